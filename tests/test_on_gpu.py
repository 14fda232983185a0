"""benchmarks/on_gpu.py without a GPU: resuming, time limits, the report, and the validity of its commands."""

from __future__ import annotations

import importlib.util
import json
import sys
import zipfile
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest

from classification.settings import read_settings as read_classification
from seg_anl.engine.command import compose
from seg_anl.segmentation.settings import read_settings as read_segmentation

SCRIPT = Path(__file__).parents[1] / "benchmarks" / "on_gpu.py"


@pytest.fixture
def on_gpu(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    spec = importlib.util.spec_from_file_location("on_gpu", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "on_gpu", module)
    spec.loader.exec_module(module)
    return module


def test_failures_and_timeouts_do_not_stop_the_rest_and_are_retried(
    on_gpu: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run, again = tmp_path / "work/runs/a/seed1", tmp_path / "again"
    run.mkdir(parents=True)
    for name in ("metrics.csv", "last.pt"):
        (run / name).write_text("1")
    commands = {
        "good": ["-c", f"open({str(again)!r}, 'a').write('x')"],
        "bad": ["-c", "raise SystemExit('no such kernel')"],
        "slow": ["-c", "import time; time.sleep(60)"],
        "never": ["-c", "1"],
    }
    for _ in range(2):
        session = on_gpu.Session(tmp_path / "out", tmp_path / "work", minutes=1)
        session.do(on_gpu.Part("first", commands, share=0.05))
        session.do(on_gpu.Part("second", {"without": ["-c", "1"]}, share=1, lacks="no data"))
        assert session.finish() == 1
    assert again.read_text() == "x"
    report = {row["command"]: row for row in json.loads((tmp_path / "out/report.json").read_text())}
    states = {name: row["state"] for name, row in report.items()}
    assert states == {"good": "done", "bad": "failed", "slow": "stopped", "never": "stopped", "without": "skipped"}
    assert "no such kernel" in report["bad"]["note"]
    assert "failed: first: bad" in capsys.readouterr().out
    assert zipfile.ZipFile(tmp_path / "out/runs.zip").namelist() == ["a/seed1/metrics.csv"]
    assert "no such kernel" in zipfile.ZipFile(tmp_path / "out/logs.zip").read("first_bad.log").decode()
    assert {path.suffix for path in (tmp_path / "out").iterdir()} == {".md", ".json", ".zip"}


@pytest.mark.parametrize("dry", [True, False])
def test_settings_of_all_trainings_are_valid(on_gpu: ModuleType, tmp_path: Path, dry: bool) -> None:
    for folder in ("cifar-10-batches-py", "ISIC-2017_Training_Data"):
        (tmp_path / folder).mkdir()
    session = on_gpu.Session(tmp_path / "out", tmp_path / "work", minutes=1)
    parts = {part.name: part for part in on_gpu.parts(session, tmp_path, dry)}
    trainings = [command for name in ("CIFAR-10", "ISIC-2017") for command in parts[name].commands.values()]
    assert [bool(parts[name].lacks) for name in ("CIFAR-10", "ISIC-2017")] == [False, False]
    presets = set()
    assert len(trainings) == 13
    for _, module, *settings in trainings:
        if "seed=2" in settings or "seed=3" in settings:
            continue
        classifies = module == "classification.train"
        config = compose("classification" if classifies else "segmentation", settings)
        run = read_classification(config).run if classifies else read_segmentation(config).run
        presets.add((run.preset, config.loss.name, config.noise.get("rate")))
        assert run.epochs == (1 if dry else 120 if classifies else 100)
    assert presets >= {("anl2024", "anl_ce", 0.8), ("anl2024", "ce", 0.8), ("anl2024", "anl_ce_er", 0.4)}
    assert len(presets) == 7
    files = [command[0] for command in parts["benchmarks"].commands.values()]
    tests = [word for command in parts["tests"].commands.values() for word in command if word.startswith("tests")]
    assert all((SCRIPT.parents[1] / file).is_file() for file in files + tests)
    assert len(tests) >= 4


def test_tiny_benchmark_and_training_run_on_the_cpu(on_gpu: ModuleType, tmp_path: Path) -> None:
    session = on_gpu.Session(tmp_path / "out", tmp_path / "work", minutes=20)
    for part in on_gpu.parts(session, None, dry=True):
        if part.name in ("benchmarks", "CIFAR-10"):
            session.do(replace(part, commands=dict([*part.commands.items()][:1]), share=1.0))
    assert session.finish() == 0
    runs = zipfile.ZipFile(tmp_path / "out/runs.zip").namelist()
    assert [name.rpartition("/")[2] for name in sorted(runs) if "summary" in name] == ["summary.json"]
