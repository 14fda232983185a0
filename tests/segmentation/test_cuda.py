"""seg-anl-train on a GPU, held to itself in single precision on the CPU."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from seg_anl.engine.command import compose
from seg_anl.records import read_metrics
from seg_anl.segmentation.experiment import train

TINY = ["data.size=32", "data.limit=24", "batch_size=8", "epochs=2", "model.base_filters=4", "model.max_filters=16"]
TINY += ["evaluation.test_every=2", "evaluation.last_k=1"]
TINY += ["noise.alpha=0.5", "noise.beta=0.5", "progress=false", "logger=null"]


def losses(folder: Path, *settings: str) -> list[float]:
    torch.compiler.reset()
    (run,) = train(compose("segmentation", [*TINY, f"run_root={folder}", *settings]))
    rows = read_metrics(run.path / "metrics.csv")
    assert all(0 <= row.values["dice"] <= 1 for row in rows if row.split == "test")
    return [row.values["loss"] for row in rows if row.split == "train"]


@pytest.mark.parametrize(
    "settings",
    [
        pytest.param(["device=cpu", "precision=bf16"], id="cpu-bf16"),
        pytest.param(["device=cuda"], marks=pytest.mark.cuda, id="cuda"),
        pytest.param(["device=cuda", "precision=fp16"], marks=pytest.mark.cuda, id="cuda-fp16"),
        pytest.param(["device=cuda", "precision=bf16", "compile=true"], marks=pytest.mark.cuda, id="cuda-bf16-compile"),
        pytest.param(["device=cuda", "loss=t_loss", "loss.dice_weight=1"], marks=pytest.mark.cuda, id="cuda-t-loss"),
    ],
)
def test_a_run_is_that_of_the_cpu(tmp_path: Path, settings: list[str]) -> None:
    loss = [setting for setting in settings if setting.startswith("loss")]
    expected = losses(tmp_path / "expected", "device=cpu", *loss)
    assert losses(tmp_path / "found", *settings) == pytest.approx(expected, rel=0.15)  # fp16 leaves out its first steps
