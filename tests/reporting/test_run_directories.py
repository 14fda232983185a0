"""Reading run directories: complete, unfinished or damaged."""

from __future__ import annotations

import errno
import json
import os
import shutil
import zipfile
from pathlib import Path

import pytest

from seg_anl.records import UserError, read_metrics
from seg_anl.reporting.run_directories import Run, find_runs, read_metrics_table, read_run, read_runs, tidy_metrics

RESULTS = Path(__file__).parents[2] / "docs" / "results"


def test_finished_run(write_run):
    run = read_run(write_run("a", [0.2, 0.4, 0.8], k=2, seed=3, loss={"name": "anl_ce", "alpha": 5.0}))
    assert (run.status, run.reason) == ("finished", "")
    assert (run.task, run.seed, run.epochs) == ("classification", 3, 3)
    assert (run.method_name, run.noise_name, run.data_name) == ("ANL-CE", "symmetric 0.4", "cifar10")
    assert run.headline == ("test", "accuracy", 2, pytest.approx(0.6))  # (0.4 + 0.8) / 2
    assert run.curve("test", "accuracy").to_dict() == {0: 0.2, 1: 0.4, 2: 0.8}
    tidy = tidy_metrics([run], ["accuracy", "loss"])
    assert len(tidy) == 9  # accuracy of two splits and the training loss over three epochs
    assert set(tidy.columns) == {"run", "split", "epoch", "metric", "value"}


def test_fast_parser_agrees_with_the_strict_one(tmp_path):
    with zipfile.ZipFile(RESULTS / "isic2017-400.zip") as archive:
        path = Path(archive.extract("gce-seed1/metrics.csv", tmp_path))
    table = read_metrics_table(path)
    rows = read_metrics(path)
    assert len(table) == len(rows) > 0
    for (_, found), row in zip(table.iterrows(), rows, strict=True):
        assert (found["epoch"], found["split"]) == (row.epoch, row.split)
        assert found.drop(["epoch", "split"]).dropna().to_dict() == row.values  # to the last bit


def test_run_in_training_is_unfinished_with_progress(write_run):
    folder = write_run("a", [0.1, 0.2, 0.3], epochs=10)
    (folder / "summary.json").unlink()
    run = read_run(folder)
    assert (run.status, run.reason) == ("unfinished", "3 of 10 epochs done")
    assert [*run.curve("test", "accuracy")] == [0.1, 0.2, 0.3]
    (folder / "metrics.csv").unlink()  # it has only begun
    (folder / ".partial-xyz.csv").write_text("epoch,spl")
    (folder / "environment.json").write_text("{}")
    assert find_runs([folder.parent]) == {str(folder): folder}
    assert (read_run(folder).status, read_run(folder).reason) == ("unfinished", "0 of 10 epochs done")


def _cut(name, share):
    def cut(folder):
        data = (folder / name).read_bytes()
        (folder / name).write_bytes(data[: int(share * len(data))])

    return cut


def _text(name, text):
    return lambda folder: (folder / name).write_text(text)


def _replaced(name, old, new):
    return lambda folder: (folder / name).write_text((folder / name).read_text().replace(old, new))


def _summary(**values):
    return lambda folder: (folder / "summary.json").write_text(
        json.dumps(json.loads((folder / "summary.json").read_text()) | values)
    )


DAMAGE = {
    "summary cut": (_cut("summary.json", 0.6), "summary.json: damaged"),
    "summary empty": (_text("summary.json", ""), "summary.json: damaged"),
    "summary a list": (_text("summary.json", "[1]"), "expected named values"),
    "summary of a later version": (_summary(schema=2), "schema 2"),
    "summary without metrics": (_summary(metrics={}), "no headline value"),
    "summary of another run": (_summary(seed=9), "from different runs: seed"),
    "value edited": (_replaced("summary.json", '"last_k_mean": 0.3', '"last_k_mean": 0.99'), "0.99"),
    "a headline over no number of epochs": (_replaced("summary.json", '"k": 1', '"k": Infinity'), "no headline value"),
    "config missing": (lambda folder: (folder / "config.yaml").unlink(), "config.yaml is missing"),
    "inputs not named": (_text("inputs.json", "[1]"), "inputs.json: damaged"),
    "config not yaml": (_text("config.yaml", "a: [1"), "config.yaml: damaged"),
    "config not settings": (_text("config.yaml", "- 1"), "config.yaml: damaged"),
    "metrics missing": (lambda folder: (folder / "metrics.csv").unlink(), "ends after 0 epochs"),
    "metrics empty": (_text("metrics.csv", ""), "expected columns"),
    "metrics of no table": (_text("metrics.csv", "name\nvalue\n"), "expected columns"),
    "metrics binary": (lambda folder: (folder / "metrics.csv").write_bytes(b"\xff\x00\xfe\n"), "metrics.csv"),
    "metrics cut within a line": (_cut("metrics.csv", 0.99), "cut off"),
    "metrics end early": (_replaced("metrics.csv", "\n2,test,0.3,\n2,train,0.15,0.7\n", "\n"), "ends after 2 epochs"),
    "a test line gone": (_replaced("metrics.csv", "\n2,test,0.3", ""), "metrics.csv"),
    "a word for a number": (_replaced("metrics.csv", "0.3", "good"), "damaged"),
    "a cell too many": (_replaced("metrics.csv", "0.3", "0.3,1"), "line 6 is damaged"),
    "a cell too few": (_replaced("metrics.csv", "0.3,", "0.3"), "line 6 is damaged"),
    "a column twice": (_replaced("metrics.csv", "accuracy,loss", "loss,loss"), "damaged"),
    "an epoch beyond counting": (_replaced("metrics.csv", "\n2,", f"\n{10**30},"), "damaged"),
    "epochs out of order": (_replaced("metrics.csv", "\n1,", "\n7,"), "are not ascending"),
    "diverged": (_summary(metrics={"test/accuracy": {"k": 1, "last_k_mean": float("nan")}}), "diverged"),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_damaged_run_has_a_reason(write_run, damage):
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
    ("settings", "words"),
    [
        ({"model": "cnn8"}, "model must be a group of settings"),
        ({"method": [1, 2]}, "method must be a group of settings"),
        ({"noise": {"kind": "symmetric", "rate": "most"}}, "noise.rate must be a number, got 'most'"),
        ({"noise": {"kind": "symmetric", "seed": [1]}}, "noise.seed must be a whole number"),
        ({"noise": {"alpha": 0.7, "beta": 0.7, "kinds": 3}}, "noise.kinds must be a list"),
        ({"noise": {"alpha": 0.7, "beta": 0.7, "kinds": [[1]]}}, "each is text"),
    ],
)
def test_setting_of_wrong_type_affects_only_its_run(write_run, report_of, settings, words):
    write_run("good", [0.1, 0.2], seed=1)
    write_run("bad", [0.1, 0.2], seed=2, **settings)
    report = report_of()
    assert [run.status for run in report.runs] == ["damaged", "finished"]
    assert len(report.tables) == 1
    assert words in report.runs[0].reason


def test_runs_are_found_once_at_any_depth(write_run, tmp_path):
    a, b = write_run("x/y/z/a"), write_run("x/b")
    write_run("x/.hidden/c")
    shutil.copytree(b, a / "first_network")
    os.symlink(tmp_path / "x", tmp_path / "x" / "y" / "loop")
    os.symlink(b, tmp_path / "again")
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "config.yaml").write_text("task: cooking")
    places = [tmp_path, tmp_path / "x", b]
    found = find_runs(places)
    assert found == find_runs(places[::-1])
    assert sorted(path.resolve() for path in found.values()) == sorted([a.resolve(), b.resolve()])


def test_folder_that_cannot_be_listed_is_named(write_run, tmp_path, monkeypatch):
    folder, listed = write_run("others/a"), os.scandir

    def scandir(place):
        if str(place) == str(folder.parent):
            raise PermissionError(errno.EACCES, "Permission denied", str(place))
        return listed(place)

    monkeypatch.setattr(os, "scandir", scandir)
    (run,) = read_runs([tmp_path])
    assert (run.path, run.status) == (str(folder.parent), "damaged")
    assert run.reason == "cannot list the folder: Permission denied"


def test_missing_folder_is_a_user_error(write_run, tmp_path):
    folder = write_run("a")
    (tmp_path / "empty").mkdir()
    for place, words in (
        (folder / "metrics.csv", r"metrics\.csv is a file; expected run directories"),
        (tmp_path / "nowhere", "nowhere does not exist"),
        (tmp_path / "empty", r"no run directory in .*empty; a run directory holds config\.yaml"),
    ):
        with pytest.raises(UserError, match=words):
            find_runs([place])


def test_metric_not_measured_in_every_epoch_keeps_its_epochs(tmp_path):
    path = tmp_path / "metrics.csv"
    path.write_text("epoch,split,dice,lr\n0,test,0.5,\n1,test,,\n2,test,0.75,\n2,train,,0.1\n")
    run = Run("a", tmp_path, "unfinished", metrics=read_metrics_table(path))
    assert run.curve("test", "dice").to_dict() == {0: 0.5, 2: 0.75}
    assert run.curve("test", "lr").empty
    assert run.curve("train", "lr").to_dict() == {2: 0.1}
