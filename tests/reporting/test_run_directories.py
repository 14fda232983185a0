"""What the report makes of a run directory, whole, half-written or damaged."""

from __future__ import annotations

import json
import os
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest

from seg_anl.records import UserError, read_metrics
from seg_anl.reporting.run_directories import Run, find_runs, read_metrics_table, read_run, read_runs, tidy_metrics
from seg_anl.reporting.tables import make_report

RESULTS = Path(__file__).parents[2] / "docs" / "results"


def test_a_finished_run_says_what_it_was(write_run):
    run = read_run(write_run("a", [0.2, 0.4, 0.8], k=2, seed=3, loss={"name": "anl_ce", "alpha": 5.0}))
    assert (run.status, run.reason) == ("finished", "")
    assert (run.task, run.seed, run.epochs) == ("classification", 3, 3)
    assert (run.method_name, run.noise_name, run.data_name) == ("ANL-CE", "symmetric 0.4", "cifar10")
    assert run.headline[:3] == ("test", "accuracy", 2)
    assert run.headline.value == pytest.approx(0.6)  # (0.4 + 0.8) / 2
    curve = run.curve("test", "accuracy")
    assert curve.epochs.tolist() == [0, 1, 2]
    assert curve.values.tolist() == [0.2, 0.4, 0.8]
    tidy = tidy_metrics([run], ["accuracy", "loss"])
    assert len(tidy) == 9  # accuracy of two splits and the training loss over three epochs
    assert set(tidy.columns) == {"run", "split", "epoch", "metric", "value"}


@pytest.mark.parametrize("folder", ["embedded-200.zip/ce-seed1", "isic2017-400.zip/t_loss-seed2"])
def test_runs_of_the_trainers_themselves_are_whole(folder):
    (run,) = read_runs([RESULTS / folder])
    assert (run.status, run.reason) == ("finished", "")


def test_the_fast_reader_agrees_with_the_strict_one_on_a_real_file(tmp_path):
    with zipfile.ZipFile(RESULTS / "isic2017-400.zip") as archive:
        path = Path(archive.extract("gce-seed1/metrics.csv", tmp_path))
    table = read_metrics_table(path)
    rows = read_metrics(path)
    assert len(table) == len(rows) > 0
    for (_, found), row in zip(table.iterrows(), rows, strict=True):
        assert (found["epoch"], found["split"]) == (row.epoch, row.split)
        assert found.drop(["epoch", "split"]).dropna().to_dict() == row.values  # to the last bit


def test_a_run_in_training_is_unfinished_and_says_how_far_it_is(write_run):
    folder = write_run("a", [0.1, 0.2, 0.3], epochs=10)
    (folder / "summary.json").unlink()
    run = read_run(folder)
    assert (run.status, run.reason) == ("unfinished", "3 of 10 epochs done")
    assert run.curve("test", "accuracy").values.tolist() == [0.1, 0.2, 0.3]


def test_a_run_that_has_only_begun_is_unfinished(write_run):
    folder = write_run("a", epochs=10)
    for name in ("summary.json", "metrics.csv"):
        (folder / name).unlink()
    (folder / ".partial-xyz.csv").write_text("epoch,spl")
    (folder / "environment.json").write_text("{}")
    assert find_runs([folder.parent]) == {str(folder): folder}
    run = read_run(folder)
    assert (run.status, run.reason) == ("unfinished", "0 of 10 epochs done")


def _cut(path: Path, share: float) -> None:
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])


def _edit_summary(folder: Path, **values: object) -> None:
    path = folder / "summary.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def _without_line(path: Path, line: int) -> None:
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(lines[:line] + lines[line + 1 :]))


def _headline_of(folder: Path, value: float) -> None:
    path = folder / "summary.json"
    summary = json.loads(path.read_text())
    summary["metrics"]["test/accuracy"]["last_k_mean"] = value
    path.write_text(json.dumps(summary))


DAMAGE = {
    "summary cut": (lambda f: _cut(f / "summary.json", 0.6), "summary.json: damaged"),
    "summary empty": (lambda f: (f / "summary.json").write_text(""), "summary.json: damaged"),
    "summary a list": (lambda f: (f / "summary.json").write_text("[1]"), "expected named values"),
    "summary of a later version": (lambda f: _edit_summary(f, schema=2), "schema 2"),
    "summary without metrics": (lambda f: _edit_summary(f, metrics={}), "no headline value"),
    "summary of another run": (lambda f: _edit_summary(f, seed=9), "of different runs: seed"),
    "value edited": (lambda f: _headline_of(f, 0.99), "0.99"),
    "config missing": (lambda f: (f / "config.yaml").unlink(), "config.yaml is missing"),
    "config not yaml": (lambda f: (f / "config.yaml").write_text("a: [1"), "config.yaml: damaged"),
    "config not settings": (lambda f: (f / "config.yaml").write_text("- 1"), "config.yaml: damaged"),
    "metrics missing": (lambda f: (f / "metrics.csv").unlink(), "ends after 0 epochs"),
    "metrics empty": (lambda f: (f / "metrics.csv").write_text(""), "expected columns"),
    "metrics binary": (lambda f: (f / "metrics.csv").write_bytes(b"\xff\x00\xfe\n"), "metrics.csv"),
    "metrics cut within a number": (lambda f: _cut(f / "metrics.csv", 0.999), "cut off"),
    "metrics cut within a line": (lambda f: _cut(f / "metrics.csv", 0.9), "cut off"),
    "metrics end early": (lambda f: [_without_line(f / "metrics.csv", 5) for _ in range(2)], "ends after 2 epochs"),
    "a test line gone": (lambda f: _without_line(f / "metrics.csv", 5), "metrics.csv"),
    "a word for a number": (
        lambda f: (f / "metrics.csv").write_text((f / "metrics.csv").read_text().replace("0.3", "good")),
        "damaged",
    ),
    "an epoch beyond counting": (
        lambda f: (f / "metrics.csv").write_text((f / "metrics.csv").read_text().replace("\n2,", f"\n{10**30},")),
        "damaged",
    ),
    "a headline over no number of epochs": (
        lambda f: (f / "summary.json").write_text((f / "summary.json").read_text().replace('"k": 1', '"k": Infinity')),
        "no headline value",
    ),
    "epochs out of order": (
        lambda f: (f / "metrics.csv").write_text((f / "metrics.csv").read_text().replace("\n1,", "\n7,")),
        "do not rise",
    ),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_run_is_known_as_such_and_why(write_run, damage):
    folder = write_run("a", [0.1, 0.2, 0.3])
    assert read_run(folder).status == "finished"
    spoil, words = DAMAGE[damage]
    spoil(folder)
    run = read_run(folder)
    assert run.status == "damaged"
    assert words in run.reason
    assert str(folder) not in run.reason  # the path stands beside the reason already
    with pytest.raises(ValueError, match="damaged"):
        _ = run.headline


@pytest.mark.parametrize(
    "settings",
    [
        {"model": "cnn8"},
        {"method": [1, 2]},
        {"noise": {"kind": "symmetric", "rate": "most", "seed": 1}},
        {"noise": {"kind": "symmetric", "rate": 0.4, "seed": [1]}},
        {"noise": {"alpha": 0.7, "beta": 0.7, "kinds": 3}},
        {"noise": {"alpha": 0.7, "beta": 0.7, "kinds": [[1]]}},
    ],
    ids=str,
)
def test_a_setting_of_another_kind_spoils_its_run_and_not_the_report(write_run, tmp_path, settings):
    write_run("runs/good", [0.1, 0.2], seed=1)
    write_run("runs/bad", [0.1, 0.2], seed=2, **settings)
    report = make_report(read_runs([tmp_path / "runs"]), [])
    assert [run.status for run in report.runs] == ["damaged", "finished"]
    assert len(report.tables) == 1
    assert " must be a" in report.runs[0].reason


def test_a_diverged_run_is_not_a_number_to_average(write_run):
    run = read_run(write_run("a", [0.1, float("nan")]))
    assert run.status == "damaged"
    assert "diverged" in run.reason


def test_runs_are_found_at_any_depth_once_whatever_the_order(write_run, tmp_path):
    a, b = write_run("x/y/z/a"), write_run("x/b")
    write_run("x/.hidden/c")
    (a / "first_network").mkdir()
    shutil.copy(b / "config.yaml", a / "first_network")
    shutil.copy(b / "metrics.csv", a / "first_network")
    os.symlink(tmp_path / "x", tmp_path / "x" / "y" / "loop")
    os.symlink(b, tmp_path / "again")
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "config.yaml").write_text("task: cooking")
    places = [tmp_path, tmp_path / "x", b]
    found = find_runs(places)
    assert found == find_runs(places[::-1])
    assert sorted(path.resolve() for path in found.values()) == sorted([a.resolve(), b.resolve()])


def test_a_place_that_is_no_folder_is_the_persons_mistake(write_run, tmp_path):
    folder = write_run("a")
    with pytest.raises(UserError, match=r"metrics\.csv is a file; give run directories"):
        find_runs([folder / "metrics.csv"])
    with pytest.raises(UserError, match="nowhere does not exist"):
        find_runs([tmp_path / "nowhere"])
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=r"no run directory in .*empty; one holds config\.yaml"):
        find_runs([tmp_path / "empty"])


def test_a_metric_that_is_not_measured_in_every_epoch_keeps_its_epochs(tmp_path):
    path = tmp_path / "metrics.csv"
    path.write_text("epoch,split,dice,lr\n0,test,0.5,\n1,test,,\n2,test,0.75,\n2,train,,0.1\n")
    run = Run("a", tmp_path, "unfinished", metrics=read_metrics_table(path))
    np.testing.assert_array_equal(run.curve("test", "dice").epochs, [0, 2])
    np.testing.assert_array_equal(run.curve("test", "dice").values, [0.5, 0.75])
    assert not run.has("test", "lr")
    assert run.has("train", "lr")
