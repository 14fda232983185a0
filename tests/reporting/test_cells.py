"""Which runs are averaged with which, and what is said of the others."""

from __future__ import annotations

import math
import random

import pytest

from seg_anl.reporting.cells import average, gather
from seg_anl.reporting.runs import find_runs, read_run
from seg_anl.reporting.settings import telling
from seg_anl.reporting.statistics import sample_std, standard_error

SYMMETRIC = {"kind": "symmetric", "rate": 0.4, "counts": "cell"}


def _gather(folder):
    return gather([read_run(path) for path in find_runs([folder])])


def test_mean_and_deviation_over_seeds_by_hand(write_run, tmp_path):
    # 0.80, 0.84, 0.88: mean 0.84, squared distances 0.0016 + 0 + 0.0016 over 2: deviation 0.04
    for seed, last in enumerate((0.80, 0.84, 0.88), start=1):
        write_run(f"s{seed}", [0.1, last], seed=seed, noise={**SYMMETRIC, "seed": seed})
    cells, notices = _gather(tmp_path)
    assert notices == []
    (cell,) = cells
    mean, std, count = average(cell.values("test/accuracy"))
    assert (mean, std, count) == (pytest.approx(0.84), pytest.approx(0.04), 3)
    assert (cell.method, cell.noise, cell.variant) == ("CE", "symmetric 0.4", "")


def test_last_k_epochs_count_for_each_run_first(write_run, tmp_path):
    write_run("s1", [0.0, 0.6, 0.8], k=2, metric="dice", seed=1)  # 0.7
    write_run("s2", [0.0, 0.4, 0.6], k=2, metric="dice", seed=2)  # 0.5
    ((cell,), _) = _gather(tmp_path)
    mean, std, _ = average(cell.values("test/dice"))
    assert mean == pytest.approx(0.6)
    assert std == pytest.approx(math.sqrt(0.02))  # (0.1**2 + 0.1**2) / 1
    assert cell.k("test/dice") == 2


def test_one_seed_has_no_spread_and_is_said_to_be_alone(write_run, tmp_path):
    folder = write_run("only")
    ((cell,), notices) = _gather(tmp_path)
    assert average(cell.values("test/accuracy")).std is None
    assert [(notice.kind, notice.paths) for notice in notices] == [("one seed", (str(folder),))]


def test_runs_of_other_settings_are_never_averaged(write_run, tmp_path):
    for seed in (1, 2):
        write_run(f"long{seed}", [0.1, 0.2, 0.9], seed=seed)
        write_run(f"short{seed}", [0.1, 0.5], seed=seed)
    cells, notices = _gather(tmp_path)
    assert {cell.variant: cell.values("test/accuracy") for cell in cells} == {
        "epochs 3": (0.9, 0.9),
        "epochs 2": (0.5, 0.5),
    }
    (mixed,) = [notice for notice in notices if notice.kind == "mixed settings"]
    assert "differ in epochs" in mixed.text
    assert len(mixed.paths) == 4


@pytest.mark.parametrize(
    ("name", "other"),
    [
        ("data", {"name": "cifar10", "root": "anywhere", "limit": 4000}),
        ("model", {"name": "resnet34"}),
        ("preset", "anl2024"),
        ("optim", {"name": "sgd", "lr": 0.1}),
        ("loss", {"name": "ce", "smoothing": 0.1}),
        ("noise", {**SYMMETRIC, "counts": "iid", "seed": 1}),
        ("batch_size", 64),
    ],
)
def test_each_setting_that_decides_numbers_keeps_runs_apart(write_run, tmp_path, name, other):
    write_run("a", seed=1)
    write_run("b", seed=2, **{name: other})
    cells, notices = _gather(tmp_path)
    assert len(cells) == 2
    assert len({cell.variant for cell in cells}) == 2
    assert "mixed settings" in {notice.kind for notice in notices}


@pytest.mark.parametrize(
    "other",
    [
        {"noise": {"kind": "symmetric", "rate": 0.4, "counts": "cell", "seed": 7}},
        {"data": {"name": "cifar10", "root": "elsewhere", "limit": None}},
        {"augmentation": {"added_by_a_later_version": None}},
        {"record": ["features"], "record_every": 5, "checkpoint_every": 10},
        {"evaluation": {"last_k": 1, "train_every": 5, "batch_size": 64}},
    ],
)
def test_seeds_places_and_what_is_kept_do_not_keep_runs_apart(write_run, tmp_path, other):
    write_run("a", seed=1)
    write_run("b", seed=2, **other)
    cells, notices = _gather(tmp_path)
    assert [len(cell.runs) for cell in cells] == [2]
    assert notices == []


def test_folders_of_ones_own_are_different_data(write_run, tmp_path):
    write_run("a", metric="dice", seed=1, data={"name": "folder", "root": "here"})
    write_run("b", metric="dice", seed=2, data={"name": "folder", "root": "there"})
    assert sorted(cell.key.data for cell in _gather(tmp_path)[0]) == ["folder here", "folder there"]


def test_folders_of_one_name_in_two_places_are_not_averaged(write_run, tmp_path):
    write_run("a", metric="dice", seed=1, data={"name": "folder", "root": "one/isic"})
    write_run("b", metric="dice", seed=2, data={"name": "folder", "root": "two/isic"})
    cells, notices = _gather(tmp_path)
    assert {cell.key.data for cell in cells} == {"folder isic"}
    assert sorted(cell.variant for cell in cells) == ["data.place one/isic", "data.place two/isic"]
    assert "mixed settings" in {notice.kind for notice in notices}


def test_the_same_seed_twice_counts_once(write_run, tmp_path):
    write_run("a", [0.5, 0.6])
    write_run("b", [0.5, 0.7])
    write_run("c", [0.5, 0.6])
    ((cell,), notices) = _gather(tmp_path)
    assert cell.values("test/accuracy") == (0.6,)
    twice = [notice for notice in notices if notice.kind == "duplicate"]
    assert [notice.paths for notice in twice] == [(str(tmp_path / "b"),), (str(tmp_path / "c"),)]
    assert "0.7 here, 0.6 there" in twice[0].text
    assert "the values agree" in twice[1].text


def test_runs_without_a_seed_are_runs_of_their_own_unless_copied(write_run, tmp_path):
    settings = {"metric": "dice", "seed": None, "model": {"name": "nnunet"}, "noise": None}
    write_run("a", [0.5, 0.6], **settings)
    write_run("b", [0.5, 0.7], **settings)
    write_run("copy", [0.5, 0.6], **settings)
    ((cell,), notices) = _gather(tmp_path)
    assert cell.values("test/dice") == (0.6, 0.7)
    assert cell.noise == "noise not recorded"
    assert [(notice.kind, notice.paths) for notice in notices] == [("duplicate", (str(tmp_path / "copy"),))]


def test_a_damaged_run_changes_no_number(write_run, tmp_path):
    for seed in (1, 2):
        write_run(f"s{seed}", [0.5, 0.6 + seed / 100], seed=seed)
    before = [cell.values("test/accuracy") for cell in _gather(tmp_path)[0]]
    broken = write_run("broken", [0.1, 0.2], seed=3)
    (broken / "summary.json").write_text("{")
    stopped = write_run("stopped", [0.1, 0.2], seed=4)
    (stopped / "summary.json").unlink()
    cells, notices = _gather(tmp_path)
    assert [cell.values("test/accuracy") for cell in cells] == before
    assert {(notice.kind, notice.paths[0]) for notice in notices} == {
        ("damaged", str(broken)),
        ("unfinished", str(stopped)),
    }


def test_the_order_of_runs_does_not_matter(write_run, tmp_path):
    for seed in (1, 2, 3):
        for loss in ("ce", "gce"):
            write_run(f"{loss}{seed}", [0.5, 0.6 + seed / 97], seed=seed, loss={"name": loss})
    write_run("ce1again", [0.5, 0.9])
    runs = [read_run(path) for path in find_runs([tmp_path])]

    def outcome(some):
        cells, notices = gather(some)
        return [(cell.method, cell.noise, cell.values("test/accuracy")) for cell in cells], notices

    expected = outcome(runs)
    for seed in range(5):
        assert outcome(random.Random(seed).sample(runs, len(runs))) == expected


def test_few_words_tell_variants_apart():
    settings = [
        {"preset": "a", "epochs": 10, "optim.lr": 0.1},
        {"preset": "b", "epochs": 20, "optim.lr": 0.1},
        {"preset": "b", "epochs": 20, "optim.lr": 0.2},
    ]
    # epochs go with the preset, so the preset and the rate are enough
    assert telling({"noise": settings}) == ["preset", "optim.lr"]
    # what differs between noises only (a rate that belongs to the noise) tells nothing
    assert telling({"one": settings[:1], "other": settings[1:2]}) == []


def test_deviation_and_standard_error_by_hand():
    assert sample_std([2.0, 4.0, 4.0, 4.0, 5.0, 5.0, 7.0, 9.0]) == pytest.approx(math.sqrt(32 / 7))
    assert sample_std([5.0]) is None
    # 0.6**2 / 4 + 0.4**2 / 1 = 0.09 + 0.16
    assert standard_error(0.6, 4, 0.4, 1) == pytest.approx(0.5)
    assert standard_error(0.6, 4, None, 3) == pytest.approx(0.3)
    assert standard_error(0.6, 4, 0.4, None) == pytest.approx(0.3)
    assert standard_error(None, 1, 0.4, 3) is None
