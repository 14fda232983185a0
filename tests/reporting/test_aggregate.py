"""Grouping and averaging of runs, and notices about the others."""

from __future__ import annotations

import math
import random
import re

import pytest

from seg_anl.records import write_json
from seg_anl.reporting.aggregate import averages, gather
from seg_anl.reporting.run_directories import read_runs
from seg_anl.reporting.run_settings import distinguishing

SYMMETRIC = {"kind": "symmetric", "rate": 0.4, "counts": "cell"}


def _gathered(runs):
    """Averages on test data, and notices."""
    groups, notices = gather(runs)
    measured = averages(groups).merge(groups, left_on="group", right_index=True)
    return [*measured[measured["split"] == "test"].itertuples()], notices


@pytest.fixture
def gathered(tmp_path):
    return lambda: _gathered(read_runs([tmp_path]))


def _values(group):
    return tuple(run.headline.value for run in group.runs)


def test_mean_and_std_over_seeds(write_run, gathered):
    # 0.80, 0.84, 0.88: mean 0.84, squared distances 0.0016 + 0 + 0.0016 over 2: std 0.04
    for seed, last in enumerate((0.80, 0.84, 0.88), start=1):
        write_run(f"s{seed}", [0.1, last], seed=seed, noise={**SYMMETRIC, "seed": seed})
    (group,), notices = gathered()
    assert notices == []
    assert (group.mean, group.std, group.seeds) == (pytest.approx(84), pytest.approx(4), 3)  # percent
    assert (group.method, group.noise, group.variant) == ("CE", "symmetric 0.4", "")


def test_runs_are_averaged_over_last_k_epochs_first(write_run, gathered):
    write_run("s1", [0.0, 0.6, 0.8], k=2, metric="dice", seed=1)  # 0.7
    write_run("s2", [0.0, 0.4, 0.6], k=2, metric="dice", seed=2)  # 0.5
    (group,), _ = gathered()
    assert (group.mean, group.last_k) == (pytest.approx(60), 2)
    assert group.std == pytest.approx(100 * math.sqrt(0.02))  # (0.1**2 + 0.1**2) / 1


def test_folds_are_not_averaged_together(write_run, gathered):
    for seed in (1, 2):
        write_run(f"whole{seed}", [0.9], seed=seed)
        for fold in (0, 1):
            write_run(f"fold{fold}-{seed}", [0.5 + 0.2 * fold], seed=seed, fold=fold, folds=2)
    groups, notices = gathered()
    assert notices == []
    means = {group.data: (group.mean, group.seeds) for group in groups}
    assert {name.partition(", ")[2]: mean for name, mean in means.items()} == {
        "": (pytest.approx(90), 2),
        "fold 0 of 2": (pytest.approx(50), 2),
        "fold 1 of 2": (pytest.approx(70), 2),
    }


def test_single_seed_has_no_std_and_a_notice(write_run, gathered):
    folder = write_run("only")
    (group,), notices = gathered()
    assert math.isnan(group.std)
    assert [(notice.kind, notice.paths) for notice in notices] == [("one seed", (str(folder),))]


def test_runs_on_changed_data_have_a_notice(write_run, gathered):
    """Digests are compared between runs with the same data settings and noise seed; older runs have none."""
    for seed, images in ((1, "first"), (2, "second")):
        for loss in ("ce", "mae"):
            folder = write_run(f"{loss}{seed}", seed=seed, loss={"name": loss})
            write_json(folder / "inputs.json", {"test images": images, "training labels": "same", "noise.file": loss})
    write_run("older", seed=3)
    write_json(write_run("few", seed=4, data={"name": "cifar10", "limit": 9}) / "inputs.json", {"test images": "third"})
    _, notices = gathered()
    (changed,) = [notice for notice in notices if notice.kind == "unlike inputs"]
    assert {path.rsplit("/", 1)[1] for path in changed.paths} == {"ce1", "ce2", "mae1", "mae2", "older"}
    assert re.search("different test images under the same name, for instance in .*/ce1 and .*/ce2$", changed.text)


def test_different_settings_are_never_averaged(write_run, gathered):
    for seed in (1, 2):
        write_run(f"long{seed}", [0.1, 0.2, 0.9], seed=seed)
        write_run(f"short{seed}", [0.1, 0.5], seed=seed)
    groups, notices = gathered()
    assert {group.variant: _values(group) for group in groups} == {"epochs 3": (0.9, 0.9), "epochs 2": (0.5, 0.5)}
    (mixed,) = [notice for notice in notices if notice.kind == "mixed settings"]
    assert "differ in epochs" in mixed.text
    assert len(mixed.paths) == 4


def _folder(root, name="folder", **data):
    return {"metric": "dice", "data": {"name": name, "root": root, **data}}


@pytest.mark.parametrize(
    ("one", "other", "apart"),
    [
        ({}, {"data": {"name": "cifar10", "root": "anywhere", "limit": 4000}}, "variant"),
        ({}, {"model": {"name": "resnet34"}}, "variant"),
        ({}, {"preset": "anl2024"}, "variant"),
        ({}, {"optim": {"name": "sgd", "lr": 0.1}}, "variant"),
        ({}, {"loss": {"name": "ce", "smoothing": 0.1}}, "variant"),
        ({}, {"noise": {**SYMMETRIC, "counts": "iid", "seed": 1}}, "variant"),
        ({}, {"batch_size": 64}, "variant"),
        (_folder("one/isic"), _folder("two/isic"), "variant"),  # one name in two places
        (_folder("here"), _folder("there"), "data"),
        (_folder("Task02", "decathlon"), _folder("Task04/dataset.json", "decathlon"), "data"),
    ],
)
def test_relevant_settings_separate_groups(write_run, gathered, one, other, apart):
    write_run("a", seed=1, **one)
    write_run("b", seed=2, **other)
    groups, notices = gathered()
    assert len({getattr(group, apart) for group in groups}) == len(groups) == 2
    assert ("mixed settings" in {notice.kind for notice in notices}) == (apart == "variant")


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (_folder("Task02", "decathlon"), _folder("Task02/dataset.json", "decathlon", memory="1GB", cache="there")),
        ({}, {"noise": {"kind": "symmetric", "rate": 0.4, "counts": "cell", "seed": 7}}),
        ({}, {"data": {"name": "cifar10", "root": "elsewhere", "limit": None}}),
        ({}, {"augmentation": {"added_by_a_later_version": None}}),
        ({}, {"record": ["features"], "record_every": 5, "checkpoint_every": 10}),
        ({}, {"evaluation": {"last_k": 1, "train_every": 5, "batch_size": 64}}),
    ],
)
def test_irrelevant_settings_do_not_separate_groups(write_run, gathered, one, other):
    write_run("a", seed=1, **one)
    write_run("b", seed=2, **other)
    groups, notices = gathered()
    assert [len(group.runs) for group in groups] == [2]
    assert notices == []


def test_duplicate_seed_counts_once(write_run, gathered, tmp_path):
    for name, value in (("a", 0.6), ("b", 0.7), ("c", 0.6)):
        write_run(name, [0.5, value])
    write_run("no seed", [0.5, 0.8], seed=None, noise={"kind": "symmetric", "rate": 0.2})  # numbers stay whole
    (_, group), notices = gathered()
    assert _values(group) == (0.6,)
    twice = [notice for notice in notices if notice.kind == "duplicate"]
    assert [notice.paths for notice in twice] == [(str(tmp_path / "b"),), (str(tmp_path / "c"),)]
    assert "seed 1 as" in twice[0].text
    assert "0.7 and 0.6" in twice[0].text
    assert "the values agree" in twice[1].text


def test_runs_without_a_seed_are_distinct_unless_copied(write_run, gathered, tmp_path):
    for name, value in (("a", 0.6), ("b", 0.7), ("copy", 0.6)):
        write_run(name, [0.5, value], metric="dice", seed=None, model={"name": "nnunet"}, noise=None)
    (group,), notices = gathered()
    assert _values(group) == (0.6, 0.7)
    assert group.noise == "noise not recorded"
    assert [(notice.kind, notice.paths) for notice in notices] == [("duplicate", (str(tmp_path / "copy"),))]


def test_order_of_runs_does_not_matter(write_run, tmp_path):
    for seed in (1, 2, 3):
        for loss in ("ce", "gce"):
            write_run(f"{loss}{seed}", [0.5, 0.6 + seed / 97], seed=seed, loss={"name": loss})
    write_run("ce1again", [0.5, 0.9])
    runs = read_runs([tmp_path])

    def outcome(some):
        groups, notices = _gathered(some)
        return [(group.method, group.noise, _values(group), group.mean, group.std) for group in groups], notices

    for seed in range(5):
        assert outcome(random.Random(seed).sample(runs, len(runs))) == outcome(runs)


def test_variants_are_distinguished_by_few_settings():
    settings = [
        {"preset": "a", "epochs": 10, "optim.lr": 0.1},
        {"preset": "b", "epochs": 20, "optim.lr": 0.1},
        {"preset": "b", "epochs": 20, "optim.lr": 0.2},
    ]
    # the epochs follow from the preset, so preset and learning rate suffice
    assert distinguishing(settings, ["noise"] * 3) == ["preset", "optim.lr"]
    # settings that differ only between noises are not needed
    assert distinguishing(settings[:2], ["one", "other"]) == []


def test_equal_seeds_have_no_spread(write_run, gathered):
    for seed in (1, 2, 3):  # exactly, or equal seeds would seem to vary
        write_run(f"s{seed}", [0.1], seed=seed)
    ((group,), _) = gathered()
    assert (group.mean, group.std) == (pytest.approx(10), 0)
