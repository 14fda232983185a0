"""Whether a run directory may be used again, and what it records."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from omegaconf import DictConfig, OmegaConf

from seg_anl.engine.distribution import Process
from seg_anl.engine.experiment import tuning_metric
from seg_anl.engine.run_directory import RunDirectory, settings_digest
from seg_anl.records import UserError


def config(**changes: object) -> DictConfig:
    return OmegaConf.merge({"seed": 1, "optim": {"lr": 0.1}, "device": "cpu", "run_root": "runs"}, changes)


def test_the_same_settings_may_go_on_elsewhere_and_others_may_not(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path / "run")
    run.check(config())
    run.create(config())
    run.check(config(device="cuda", run_root="/other"))
    with pytest.raises(UserError, match=r"other settings \(optim\.lr=0\.1 there, 0\.2 now\)"):
        run.check(config(optim={"lr": 0.2}))
    with pytest.raises(UserError, match=r"new\.setting=None there, 3 now"):
        run.check(config(new={"setting": 3}))


def test_a_resumed_run_says_what_a_later_version_has_added(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path / "run")
    run.create(config())
    later = config(folds=None)
    run.check(later)
    run.create(later)
    assert dict(run.config()) == {"seed": 1, "optim": {"lr": 0.1}, "folds": None}


def test_digest_is_of_what_is_trained_not_of_where_or_which_seed() -> None:
    assert settings_digest(config()) == settings_digest(config(seed=2, device="cuda", run_root="x"))
    assert settings_digest(config()) != settings_digest(config(optim={"lr": 0.2}))


def test_a_whole_number_is_the_same_with_a_point_and_without() -> None:
    whole, pointed = (config(optim={"lr": one, "milestones": [one, 2]}) for one in (1, 1.0))
    assert settings_digest(whole) == settings_digest(pointed)
    assert settings_digest(config(optim={"lr": True})) != settings_digest(whole)


def test_a_run_is_held_by_one_process(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path)
    run.create(config())
    with run.locked(), pytest.raises(UserError, match="another process"), RunDirectory(tmp_path).locked():
        pass
    with run.locked():
        assert not run.finished


def test_environment_remembers_where_it_was_resumed(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path)
    run.create(config())
    process = Process(torch.device("cpu"))
    run.write_environment(process.machine)
    run.write_environment(process.machine, resumed_at=4)
    content = json.loads((tmp_path / "environment.json").read_text())
    assert content["versions"]["torch"] == torch.__version__.split("+")[0]
    assert [entry["epoch"] for entry in content["resumed"]] == [4]


@pytest.mark.parametrize(("name", "text"), [("config.yaml", "a: [1"), ("config.yaml", "- 1"), ("summary.json", "{")])
def test_damaged_files_are_named(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text)
    run = RunDirectory(tmp_path)
    with pytest.raises(UserError, match=f"{name}: damaged"):
        run.finished if name == "summary.json" else run.config()


def test_a_folder_that_is_no_run_is_told_apart(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="not a run directory"):
        RunDirectory(tmp_path).config()
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"file is a file"):
        RunDirectory(tmp_path / "file" / "run").create(config())


def test_a_search_goes_by_what_was_held_out_of_the_noisy_labels_if_anything_was(tmp_path: Path) -> None:
    runs = []
    for name, values in {"a": {"test/dice": 0.9, "tuning/dice": 0.5}, "b": {"test/dice": 0.7}}.items():
        (tmp_path / name).mkdir()
        metrics = {metric: {"last_k_mean": value} for metric, value in values.items()}
        (tmp_path / name / "summary.json").write_text(json.dumps({"headline": "test/dice", "metrics": metrics}))
        runs.append(RunDirectory(tmp_path / name))
    assert tuning_metric(runs) == pytest.approx((0.5 + 0.7) / 2)


def test_what_a_killed_process_left_is_deleted_by_the_next(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path / "run")
    run.create(config())
    for name in (".partial-abcdefg1.pt", "checkpoints/.partial-abcdefg2.pt"):
        (run.path / name).write_text("half")
    with run.locked():
        assert not list(run.path.rglob(".partial-*"))
    (run.path / ".lock").mkdir()
    with pytest.raises(UserError, match=r"cannot write .*\.lock"), run.locked():
        pass


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("model: null", "model is None"),
        ("data: text", "data is 'text'"),
        ("seed: ${oc.env:HOME}", "where a value belongs"),
        ("a: &a [1]\nb: *a", "an alias"),
    ],
)
def test_a_configuration_of_another_form_is_one_line(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "config.yaml").write_text(text)
    with pytest.raises(UserError, match=words):
        RunDirectory(tmp_path).config()
