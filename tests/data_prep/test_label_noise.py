"""Label noise by class: published draws and realised numbers, and what must hold for any labels."""

import hashlib
import math
from typing import get_args

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chi2

from data_prep.label_noise import (
    LabelNoiseSettings,
    apply_label_noise,
    asymmetric,
    label_report,
    pair_flip,
    symmetric,
    transition,
)
from data_prep.label_noise.label_kind import Counts
from data_prep.label_noise.transitions import CIFAR10_FLIPS, MNIST_FLIPS, cifar100_groups

MNIST_SIZES = [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]  # of the training set
CIFAR10 = np.arange(50000) * 7 % 10
CIFAR100 = np.arange(50000) * 7 % 100
MNIST = np.random.RandomState(99).permutation(np.repeat(np.arange(10), MNIST_SIZES))

FINE_NAMES = """
apple aquarium_fish baby bear beaver bed bee beetle bicycle bottle bowl boy bridge bus butterfly camel can castle
caterpillar cattle chair chimpanzee clock cloud cockroach couch crab crocodile cup dinosaur dolphin elephant
flatfish forest fox girl hamster house kangaroo keyboard lamp lawn_mower leopard lion lizard lobster man maple_tree
motorcycle mountain mouse mushroom oak_tree orange orchid otter palm_tree pear pickup_truck pine_tree plain plate
poppy porcupine possum rabbit raccoon ray road rocket rose sea seal shark shrew skunk skyscraper snail snake spider
squirrel streetcar sunflower sweet_pepper table tank telephone television tiger tractor train trout tulip turtle
wardrobe whale willow_tree wolf woman worm
"""
# The published table of superclasses, in the order of the coarse ids (alphabetical).
SUPERCLASSES = """
beaver dolphin otter seal whale
aquarium_fish flatfish ray shark trout
orchid poppy rose sunflower tulip
bottle bowl can cup plate
apple mushroom orange pear sweet_pepper
clock keyboard lamp telephone television
bed chair couch table wardrobe
bee beetle butterfly caterpillar cockroach
bear leopard lion tiger wolf
bridge castle house road skyscraper
cloud forest mountain plain sea
camel cattle chimpanzee elephant kangaroo
fox porcupine possum raccoon skunk
crab lobster snail spider worm
baby boy girl man woman
crocodile dinosaur lizard snake turtle
hamster mouse rabbit shrew squirrel
maple_tree oak_tree palm_tree pine_tree willow_tree
bicycle bus motorcycle pickup_truck train
lawn_mower rocket streetcar tank tractor
"""


def digest(labels):
    return hashlib.sha256(labels.astype(np.int64).tobytes()).hexdigest()[:16]


# Digests of what sample-by-sample loops after the published code made of these labels, after np.random.seed(3): that of
# Active Negative Loss (exact cells) and of Active Passive Loss (per class, one after the other, multinomial).
@pytest.mark.parametrize(
    ("published", "make"),
    [
        ("04c0cfc70fe229af", lambda: symmetric(CIFAR10, 10, 0.4, seed=3)),
        ("0c3747020f857abd", lambda: symmetric(MNIST, 10, 0.8, seed=3)),
        ("d3a86c5c74098ee6", lambda: symmetric(CIFAR100, 100, 0.6, seed=3)),
        ("419b9e74fac3c210", lambda: symmetric(MNIST, 10, 0.8, counts="class", seed=3)),
        ("337b7e0e147199a8", lambda: symmetric(CIFAR100, 100, 0.4, counts="class", seed=3)),
        ("b84145c59895098e", lambda: asymmetric(CIFAR10, 10, 0.4, dataset="cifar10", reflip=True, seed=3)),
        ("e82a14f2152e508d", lambda: asymmetric(MNIST, 10, 0.4, dataset="mnist", seed=3)),
        ("7ea6d7999a04d231", lambda: asymmetric(CIFAR10, 10, 0.4, dataset="cifar10", seed=3)),
        ("26f5df2d4a8fb73b", lambda: asymmetric(CIFAR100, 100, 0.4, dataset="cifar100", seed=3)),
        ("f0903ebf272aec2f", lambda: asymmetric(MNIST, 10, 0.4, dataset="mnist", counts="iid", seed=3)),
        ("25df6b7f789eef77", lambda: asymmetric(CIFAR10, 10, 0.4, dataset="cifar10", counts="iid", seed=3)),
        ("c1a116c8fea1fc34", lambda: asymmetric(CIFAR100, 100, 0.4, dataset="cifar100", counts="iid", seed=3)),
    ],
)
def test_same_labels_as_the_published_generators(published, make):
    assert digest(make()[0]) == published


@pytest.mark.parametrize(
    ("labels", "number", "realised"),
    [
        (CIFAR10, 10, {0.1: 0.0990, 0.2: 0.1998, 0.4: 0.3996, 0.6: 0.5994, 0.8: 0.7992}),
        (CIFAR100, 100, {0.1: 0.0, 0.2: 0.198, 0.4: 0.396, 0.5: 0.396, 0.6: 0.594, 0.8: 0.792}),
    ],
)
def test_floors_of_exact_cells_cost_what_was_measured(labels, number, realised):
    for rate, expected in realised.items():
        assert symmetric(labels, number, rate)[1].realised == pytest.approx(expected, abs=1e-12)


def test_equal_counts_give_unequal_rates_where_class_sizes_differ():
    _, report = symmetric(MNIST, 10, 0.8, counts="class")
    changed = report.confusion.sum(axis=1) - report.confusion.diagonal()
    assert changed.tolist() == [4800] * 10
    assert report.class_rates == pytest.approx([4800 / size for size in MNIST_SIZES])
    assert (round(min(report.class_rates), 3), round(max(report.class_rates), 3)) == (0.712, 0.885)


def test_a_draw_per_sample_is_binomial():
    _, report = symmetric(CIFAR10, 10, 0.4, counts="iid", seed=5)
    assert abs(report.realised - 0.4) < 5 * math.sqrt(0.24 / 50000)
    away = report.confusion[~np.eye(10, dtype=bool)]
    expected = 5000 * 0.4 / 9
    assert ((away - expected) ** 2 / expected).sum() < 90 + 6 * math.sqrt(
        180
    )  # chi square, about 90 degrees of freedom


@pytest.mark.parametrize("rate", [0.1, 0.37, 0.4, 1.0])
def test_exact_counts_meet_the_rate_in_every_class_and_spread_evenly(rate):
    labels = np.random.RandomState(5).randint(0, 10, 1000)
    sizes = np.bincount(labels)
    for seed, single in ((0, False), (1, True)):
        make = pair_flip if single else symmetric
        _, report = make(labels, 10, rate, counts="exact", seed=seed)
        away = report.confusion - np.diag(report.confusion.diagonal())
        assert away.sum(axis=1).tolist() == [round(rate * size) for size in sizes]
        if not single:
            others = away[~np.eye(10, dtype=bool)].reshape(10, 9)
            assert (others.max(axis=1) - others.min(axis=1) <= 1).all()
    matrix = np.random.RandomState(1).dirichlet(np.ones(10), 10).astype(np.float32)  # single precision will do
    confusion = transition(labels, matrix, 10, counts="exact")[1].confusion
    assert np.abs(confusion - matrix * sizes[:, None]).max() < 1.5


@pytest.mark.parametrize("classes", [2, 3, 60])
def test_draws_per_sample_go_evenly_into_the_other_classes(classes):
    labels = np.random.RandomState(1).randint(0, classes, 30_000)
    confusion = symmetric(labels, classes, 0.37, counts="iid", seed=5)[1].confusion
    share = np.full((classes, classes), 0.37 / (classes - 1))
    np.fill_diagonal(share, 0.63)
    expected = share * confusion.sum(axis=1, keepdims=True)
    freedom = classes * (classes - 1)
    assert 1e-3 < chi2.sf(((confusion - expected) ** 2 / expected).sum(), freedom) < 1 - 1e-3


def test_a_thousand_classes_of_one_sample_each():
    labels = np.random.RandomState(2).permutation(1000)
    assert symmetric(labels, 1000, 1.0)[1].realised == 0  # each cell is less than a sample
    for counts in ("exact", "class", "iid"):
        assert symmetric(labels, 1000, 1.0, counts=counts)[1].realised == 1
    np.testing.assert_array_equal(pair_flip(labels, 1000, 1.0)[0], (labels + 1) % 1000)


@pytest.mark.parametrize(
    ("labels", "dataset", "flips"), [(MNIST, "mnist", MNIST_FLIPS), (CIFAR10, "cifar10", CIFAR10_FLIPS)]
)
def test_one_way_flips_are_exact_and_nothing_else_changes(labels, dataset, flips):
    _, report = asymmetric(labels, 10, 0.4, dataset=dataset)
    expected = np.diag(np.bincount(labels))
    for source, target in flips:
        number = int(0.4 * expected.sum(axis=1)[source])
        expected[source, target] += number
        expected[source, source] -= number
    np.testing.assert_array_equal(report.confusion, expected)
    assert report.realised == pytest.approx(0.2, abs=0.003)


def test_flipping_current_labels_flips_dogs_back():
    rates = []
    for seed in range(5):
        _, report = asymmetric(CIFAR10, 10, 0.4, dataset="cifar10", reflip=True, seed=seed)
        assert [report.class_rates[label] for label in (9, 2, 4)] == pytest.approx([0.4] * 3)
        # 2800 of 7000 "dogs" become cats, 800 of them in the mean were cats: hypergeometric, deviation about 18.5
        assert report.confusion[5, 3] + (2000 - report.confusion[3, 5]) == 2800
        rates.append((report.class_rates[3], report.class_rates[5], report.realised))
    assert np.mean(rates, axis=0) == pytest.approx([0.24, 0.40, 0.184], abs=0.006)


def test_equal_loss_flips_four_pairs_both_ways():
    _, report = asymmetric(CIFAR10, 10, 0.3, dataset="cifar10", bidirectional=True)
    away = report.confusion - np.diag(report.confusion.diagonal())
    np.testing.assert_array_equal(away, away.T)
    assert sorted(map(tuple, np.argwhere(np.triu(away)).tolist())) == [(0, 2), (1, 9), (3, 5), (4, 7)]
    assert set(away[away > 0].tolist()) == {1500}


def test_semantic_superclasses_are_those_of_the_published_table():
    names = FINE_NAMES.split()
    assert sorted(names) == names  # the ids are alphabetical
    expected = [[names.index(name) for name in group.split()] for group in SUPERCLASSES.strip().splitlines()]
    assert cifar100_groups("semantic") == [sorted(group) for group in expected]


@pytest.mark.parametrize("superclass", ["index", "semantic"])
def test_cifar100_flips_stay_in_the_superclass(superclass):
    _, circular = asymmetric(CIFAR100, 100, 0.4, dataset="cifar100", superclass=superclass)
    _, paired = asymmetric(CIFAR100, 100, 0.4, dataset="cifar100", superclass=superclass, pairs=True, seed=1)
    assert (circular.realised, paired.realised) == pytest.approx((0.4, 0.16))
    for group in cifar100_groups(superclass):
        circle = [circular.confusion[a, b] for a, b in zip(group, group[1:] + group[:1], strict=True)]
        assert circle == [200] * 5
        inside = paired.confusion[np.ix_(group, group)]
        away = inside - np.diag(inside.diagonal())
        assert (np.count_nonzero(away), away.sum()) == (2, 400)
        np.testing.assert_array_equal(away, away.T)
    other = asymmetric(CIFAR100, 100, 0.4, dataset="cifar100", superclass=superclass, pairs=True, seed=2)[1]
    assert other.class_rates != paired.class_rates
    assert other.realised == paired.realised


def test_pair_flip_is_the_next_class():
    _, report = pair_flip(CIFAR10, 10, 0.45)
    np.testing.assert_array_equal(report.confusion, 2750 * np.eye(10) + 2250 * np.roll(np.eye(10), 1, axis=1))


label_vectors = st.integers(2, 7).flatmap(
    lambda number: st.tuples(st.just(number), st.lists(st.integers(0, number - 1), min_size=1, max_size=80))
)
rates = st.floats(0, 1)
COUNTED = st.sampled_from(["exact", "cell", "iid"])


@settings(max_examples=60, deadline=None)
@given(label_vectors, rates, COUNTED, st.integers(0, 2**32 - 1), st.sampled_from([np.uint8, np.int16, np.int64]))
def test_labels_stay_labels_and_a_seed_is_a_result(case, rate, counts, seed, dtype):
    number, values = case
    labels = np.array(values, dtype)
    for make in (symmetric, pair_flip):
        before = labels.copy()
        noisy, report = make(labels, number, rate, counts=counts, seed=seed)
        np.testing.assert_array_equal(labels, before)
        assert (noisy.dtype, noisy.shape) == (dtype, labels.shape)
        assert set(noisy.tolist()) <= set(range(number))
        np.testing.assert_array_equal(noisy, make(labels, number, rate, counts=counts, seed=seed)[0])
        assert report.confusion.sum() == len(labels)
        assert report.realised == pytest.approx(np.mean(labels != noisy))
        np.testing.assert_array_equal(report.confusion.sum(axis=1), np.bincount(labels, minlength=number))
        np.testing.assert_array_equal(report.confusion.sum(axis=0), np.bincount(noisy, minlength=number))


@settings(max_examples=60, deadline=None)
@given(label_vectors, rates, st.integers(0, 1000), st.randoms(use_true_random=False))
def test_exact_counts_follow_the_names_of_the_classes(case, rate, seed, random):
    number, values = case
    labels = np.array(values)
    names = np.array(random.sample(range(number), number))
    _, plain = symmetric(labels, number, rate, seed=seed)
    _, renamed = symmetric(names[labels], number, rate, seed=seed)
    np.testing.assert_array_equal(renamed.confusion[np.ix_(names, names)], plain.confusion)
    sizes = np.bincount(labels, minlength=number)
    away = np.tile((rate / (number - 1) * sizes).astype(int)[:, None], number)
    np.fill_diagonal(away, sizes - (number - 1) * away.diagonal())
    np.testing.assert_array_equal(plain.confusion, away)


@settings(max_examples=40, deadline=None)
@given(label_vectors, st.integers(0, 1000))
def test_rate_zero_and_the_unit_matrix_change_nothing(case, seed):
    number, values = case
    labels = np.array(values)
    made = [symmetric(labels, number, 0.0, counts=counts, seed=seed) for counts in get_args(Counts)]
    made += [pair_flip(labels, number, 0.0, seed=seed), transition(labels, np.eye(number), number, counts="iid")]
    for noisy, report in made:
        np.testing.assert_array_equal(noisy, labels)
        assert report.realised == 0


@pytest.mark.parametrize("reflip", [False, True])
def test_asymmetric_at_the_ends_of_its_range(reflip):
    clean, _ = asymmetric(CIFAR10, 10, 0.0, dataset="cifar10", reflip=reflip)
    np.testing.assert_array_equal(clean, CIFAR10)
    _, report = asymmetric(CIFAR10, 10, 1.0, dataset="cifar10", reflip=reflip)
    assert report.class_rates[3] == (0.0 if reflip else 1.0)  # every cat becomes a dog, and every dog a cat
    subset = CIFAR10[CIFAR10 != 3]  # a class without samples
    assert asymmetric(subset, 10, 0.4, dataset="cifar10", reflip=reflip)[1].class_rates[3] is None


TINY = np.array([0, 1, 2, 0, 1, 2])


def test_what_cannot_be_done_is_said():
    for make, message in (
        (lambda: symmetric(TINY.astype(np.int8), 200, 0.2), "int8 cannot hold 200"),
        (lambda: symmetric(TINY, 3, 0.2, counts="some"), "counts=some: known: cell, class, exact, iid"),
        (lambda: symmetric(TINY * 0, 1, 0.2), "at least 2 classes"),
        (lambda: symmetric(np.repeat([0, 1], [9, 1]), 2, 0.8, counts="class"), "takes 4 samples .* class 1 has 1"),
        (lambda: asymmetric(MNIST, 10, 0.2, dataset="svhn"), "dataset=svhn: .*cifar10, cifar100, mnist"),
        (lambda: asymmetric(MNIST, 10, 0.2, dataset="mnist", reflip=True), "for cifar10, not for mnist"),
        (lambda: asymmetric(MNIST, 10, 0.2, dataset="mnist", pairs=True), "for cifar100, not for mnist"),
        (lambda: asymmetric(MNIST, 10, 0.2, dataset="mnist", counts="class"), "counts=class: known: cell, exact, iid"),
        (
            lambda: asymmetric(CIFAR10, 10, 0.2, dataset="cifar10", reflip=True, bidirectional=True),
            "not with bidirectional",
        ),
        (lambda: asymmetric(CIFAR100, 100, 0.2, dataset="cifar100", superclass="real"), "index, semantic"),
        (lambda: transition(TINY, np.array([[1, 0, 0], [2, -1, 0], [0, 0, 1]]), 3), "row 1 .* negative"),
        (lambda: transition(TINY, np.full((3, 3), np.nan), 3), "row 0 .* non-finite"),
        (lambda: label_report(TINY, TINY[:3], 3), "6 clean labels but 3"),
        (lambda: apply_label_noise(TINY, LabelNoiseSettings("symmetric", 3)), "needs a rate"),
        (lambda: apply_label_noise(TINY, LabelNoiseSettings("symmetric", 3, 0.2, reflip=True)), "no setting reflip"),
        (lambda: apply_label_noise(TINY, LabelNoiseSettings("part_dependent", 3, 0.2)), "needs images"),
    ):
        with pytest.raises(ValueError, match=message):
            make()
