"""seg-anl-classify on a GPU against single precision on the CPU."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from classification.experiment import train
from seg_anl.engine.command import compose
from seg_anl.records import read_metrics

TINY = ["data.limit=300", "data.test_limit=100", "batch_size=50", "epochs=2", "progress=false", "logger=null"]
GPU = ["device=cuda"]


def scores(folder: Path, *settings: str) -> list[dict[str, float]]:
    """Loss and marginals of each epoch's test and training split, for each seed."""
    torch.compiler.reset()
    runs = train(compose("classification", [*TINY, f"run_root={folder}", *settings]))
    rows = [row for run in runs for row in read_metrics(run.path / "metrics.csv")]
    return [{name: row.values[name] for name in ("loss", "accuracy") if name in row.values} for row in rows]


@pytest.mark.parametrize(
    "settings",
    [
        pytest.param(["device=cpu", "precision=bf16"], id="cpu-bf16"),
        pytest.param([*GPU], marks=pytest.mark.cuda, id="cuda"),
        pytest.param([*GPU, "precision=fp16"], marks=pytest.mark.cuda, id="cuda-fp16"),
        pytest.param([*GPU, "precision=bf16", "compile=true"], marks=pytest.mark.cuda, id="cuda-bf16-compile"),
        pytest.param([*GPU, "runs_per_device=2", "seed=[1,2]"], marks=pytest.mark.cuda, id="cuda-two-runs"),
    ],
)
def test_run_matches_the_cpu(tmp_path: Path, settings: list[str]) -> None:
    seeds = [setting for setting in settings if setting.startswith("seed=")]
    expected = scores(tmp_path / "expected", "device=cpu", *seeds)
    for found, of_cpu in zip(scores(tmp_path / "found", *settings), expected, strict=True):
        assert found == pytest.approx(of_cpu, rel=0.15, abs=0.1)  # fp16 skips its first steps


@pytest.mark.cuda
@pytest.mark.parametrize("method", ["co_teaching", "d2l", "forward"])
def test_each_method_runs(tmp_path: Path, method: str) -> None:
    long_enough = ["epochs=4", "method.init_epochs=0", "method.window=2"] if method == "d2l" else []
    assert scores(tmp_path, f"method={method}", "loss=ce", *GPU, *long_enough)
