"""Part-dependent noise, and noise by prediction errors."""

import hashlib
import io
import math
import tracemalloc
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from scipy.stats import truncnorm

from data_prep.label_noise import part_dependent, prediction_error
from data_prep.label_noise.instance_noise import _cut_normal

REAL = Path(__file__).parents[2].parent / "shared" / "data" / "cifar10_jpeg.npz"


@pytest.fixture(scope="module")
def pictures():
    """4000 real CIFAR-10 pictures where they are at hand, else smooth random ones as bright; with labels."""
    if REAL.exists():
        with np.load(REAL) as pack:
            data, ends, labels = pack["train_jpeg"], pack["train_offsets"], pack["train_labels"][:4000]
        files = [data[start:end].tobytes() for start, end in pairwise(ends[:4001])]
        return np.stack([np.asarray(Image.open(io.BytesIO(file)).convert("RGB")) for file in files]), labels
    random = np.random.RandomState(0)
    rough = random.normal(120, 55, (4000, 4, 4, 3)).clip(0, 255)
    return rough.repeat(8, axis=1).repeat(8, axis=2).astype(np.uint8), random.randint(0, 10, 4000)


def concentration(report):
    """The share of each class's flips that goes to its most frequent wrong label."""
    away = report.confusion * ~np.eye(len(report.confusion), dtype=bool)
    return away.max(axis=1) / away.sum(axis=1)


def test_raw_pixels_make_almost_a_pair_flip_and_normalized_ones_do_not(pictures):
    images, labels = pictures
    for seed in range(2):
        raw = concentration(part_dependent(labels, images, 10, 0.4, seed=seed)[1])
        scaled = concentration(part_dependent(labels, images / np.float32(255), 10, 0.4, seed=seed)[1])
        even = concentration(part_dependent(labels, images, 10, 0.4, features="normalized", seed=seed)[1])
        assert 0.5 < raw.mean() < 0.95
        assert abs(raw.mean() - scaled.mean()) < 0.1
        assert 0.15 < even.mean() < 0.40
        assert raw.mean() > even.mean() + 0.25


def test_same_labels_as_the_published_generator():
    """A loop after the published code (float32, a product a sample) made these labels of these pictures with seed 3."""
    random = np.random.RandomState(99)
    random.permutation(60000)  # as the pictures were drawn when the digest was taken
    images = random.randint(0, 256, (2000, 8, 8, 3)).astype(np.uint8)
    labels = random.randint(0, 10, 2000)
    noisy, report = part_dependent(labels, images, 10, 0.4, seed=3)
    assert hashlib.sha256(noisy.astype(np.int64).tobytes()).hexdigest()[:16] == "1ebdb376ff132e8a"
    assert report.realised == pytest.approx(0.4135)


@pytest.mark.parametrize(("rate", "mean"), [(0.1, 0.1288), (0.2, 0.2055), (0.4, 0.4000)])
def test_cut_normal_has_the_mean_of_the_formula(rate, mean):
    draws = _cut_normal((np.arange(20000) + 0.5) / 20000, rate, 0.1)
    low, high = -rate / 0.1, (1 - rate) / 0.1
    density = [math.exp(-x * x / 2) / math.sqrt(2 * math.pi) for x in (low, high)]
    mass = 0.5 * (math.erf(high / math.sqrt(2)) - math.erf(low / math.sqrt(2)))
    assert draws.mean() == pytest.approx(rate + 0.1 * (density[0] - density[1]) / mass, abs=2e-5)
    assert draws.mean() == pytest.approx(mean, abs=2e-4)
    assert draws.min() >= 0
    assert draws.max() <= 1


@pytest.mark.parametrize("classes", [2, 40])
@pytest.mark.parametrize("rate", [0.1, 0.5, 1.0])
def test_part_dependent_realises_the_mean_of_the_cut_normal_for_any_number_of_classes(classes, rate):
    random = np.random.RandomState(classes)
    labels, features = random.randint(0, classes, 20_000), random.standard_normal((20_000, 5))
    _, report = part_dependent(labels, features, classes, rate, seed=2)
    mean = truncnorm(-rate / 0.1, (1 - rate) / 0.1, loc=rate, scale=0.1).mean()
    assert report.realised == pytest.approx(mean, abs=4 * math.sqrt(mean * (1 - mean) / 20_000))


def test_part_dependent_for_pictures_rows_and_other_scales(pictures):
    images, labels = pictures
    last, _ = part_dependent(labels, images, 10, 0.3, seed=4)
    np.testing.assert_array_equal(last, part_dependent(labels, images.reshape(4000, -1), 10, 0.3, seed=4)[0])
    assert last.dtype == labels.dtype
    assert (part_dependent(labels, images, 10, 0.3, seed=5)[0] != last).any()
    np.testing.assert_array_equal(part_dependent(labels, images, 10, 0.0, seed=4)[0], labels)
    # Normalizing undoes any scale and offset of the pixels.
    even, _ = part_dependent(labels, images, 10, 0.3, features="normalized", seed=4)
    shifted = images.astype(np.float64) * 0.25 - 7
    np.testing.assert_array_equal(even, part_dependent(labels, shifted, 10, 0.3, features="normalized", seed=4)[0])


def test_part_dependent_holds_a_block_of_pictures_at_a_time():
    many = np.zeros((20000, 32, 32, 3), np.uint8)
    tracemalloc.start()
    part_dependent(np.arange(20000) % 10, many, 10, 0.3, features="normalized")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 150e6  # as float64 at once they would be 491 MB


def softmaxes(number, classes, seed, epochs=None):
    shape = (number, classes) if epochs is None else (epochs, number, classes)
    values = np.random.RandomState(seed).dirichlet(np.ones(classes), shape[:-1])
    return values.reshape(shape)


@settings(max_examples=50, deadline=None)
@given(st.integers(2, 6), st.integers(1, 60), st.floats(0, 1), st.integers(0, 1000), st.randoms(use_true_random=False))
def test_the_most_confusable_are_flipped_to_what_they_are_confused_with(classes, number, rate, seed, random):
    softmax = softmaxes(number, classes, seed)
    labels = np.random.RandomState(seed + 1).randint(0, classes, number)
    noisy, report = prediction_error(labels, softmax, classes, rate, seed=seed)
    flipped = noisy != labels
    assert flipped.sum() == round(rate * number)
    assert report.realised == pytest.approx(flipped.mean())
    wrong = np.where(np.eye(classes, dtype=bool)[labels], -1, softmax)
    np.testing.assert_array_equal(noisy[flipped], wrong.argmax(axis=1)[flipped])
    if flipped.any() and not flipped.all():
        assert wrong.max(axis=1)[flipped].min() >= wrong.max(axis=1)[~flipped].max()
    # Other names of the classes, another order of the samples: the same samples, in other words.
    names = np.array(random.sample(range(classes), classes))
    renamed, _ = prediction_error(names[labels], softmax[:, np.argsort(names)], classes, rate, seed=seed)
    np.testing.assert_array_equal(renamed, names[noisy])
    order = np.array(random.sample(range(number), number))
    np.testing.assert_array_equal(prediction_error(labels[order], softmax[order], classes, rate)[0], noisy[order])


def test_epochs_are_averaged_and_a_higher_rate_flips_more_of_the_same():
    softmax = softmaxes(500, 5, 0, epochs=7)
    labels = np.arange(500) % 5
    low, _ = prediction_error(labels, softmax, 5, 0.2)
    np.testing.assert_array_equal(low, prediction_error(labels, softmax.mean(axis=0), 5, 0.2)[0])
    high, _ = prediction_error(labels, softmax, 5, 0.4)
    np.testing.assert_array_equal(high[low != labels], low[low != labels])


def test_equal_scores_are_decided_by_the_seed_not_by_the_order():
    labels = np.arange(4000) % 4
    softmax = np.eye(4)[labels]  # sure and right: nothing to choose by
    noisy, report = prediction_error(labels, softmax, 4, 0.5, seed=1)
    assert report.realised == 0.5
    assert 800 < (noisy != labels)[:2000].sum() < 1200
    away = report.confusion[~np.eye(4, dtype=bool)]
    assert away.min() > 100
    assert (prediction_error(labels, softmax, 4, 0.5, seed=2)[0] != noisy).any()


TEN = np.arange(10) % 2
HALF = np.full((10, 2), 0.5)


def test_what_cannot_be_done_is_said():
    for make, message in (
        (lambda: part_dependent(TEN, np.ones((9, 4)), 2, 0.2), r"each of the 10 labels, got shape \(9, 4\)"),
        (lambda: part_dependent(TEN, np.full((10, 4), np.inf, np.float32), 2, 0.2), "not finite"),
        (lambda: part_dependent(TEN, np.full((10, 4), "a"), 2, 0.2), "must hold numbers"),
        (lambda: part_dependent(TEN, HALF, 2, 0.2, features="scaled"), "features=scaled: known: normalized, raw"),
        (lambda: part_dependent(TEN, np.full((10, 4), 1e200), 2, 0.2), "beyond 1e"),
        (lambda: part_dependent(TEN, HALF, 2, 0.2, rate_std=0), "rate_std must be a number > 0"),
        (lambda: prediction_error(TEN, HALF[:9], 2, 0.2), r"\(10, 2\) or \(epochs, 10, 2\), got \(9, 2\)"),
        (lambda: prediction_error(TEN, HALF * 3, 2, 0.2), "epoch 0 .* not probabilities"),
        (lambda: prediction_error(TEN, np.stack([HALF, HALF * np.nan]), 2, 0.2), "epoch 1"),
        (lambda: prediction_error(TEN, np.ones((10, 2), int), 2, 0.2), "floating point"),
    ):
        with pytest.raises(ValueError, match=message):
            make()
