"""Two processes of torchrun train and measure a segmentation network like one with the same global batch."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from seg_anl.records import read_metrics
from tests.processes import run_groups

PROGRAM = """
import sys
from seg_anl.engine.command import compose
from seg_anl.segmentation.experiment import train

settings = ["data.size=32", "data.limit=9", "batch_size=4", "epochs=2", "model.base_filters=4"]
settings += ["model.max_filters=8", "noise.alpha=0.7", "noise.beta=0.5", "progress=false", "device=cpu", "workers=1"]
train(compose("segmentation", [*settings, "optim=sgd", "optim.lr=0.01", "run_dir=" + sys.argv[1]]))
"""


def test_two_processes_train_and_measure_like_one(tmp_path: Path) -> None:
    run_groups(PROGRAM, *((count, [str(tmp_path / str(count))]) for count in (2, 1)))
    one, two = (torch.load(tmp_path / count / "checkpoints/last.pt", weights_only=True) for count in ("1", "2"))
    for key, value in one["model"].items():
        torch.testing.assert_close(value, two["model"][key], rtol=1e-4, atol=1e-5)
    rows, shared = (read_metrics(tmp_path / count / "metrics.csv") for count in ("1", "2"))
    for row, other in zip(rows, shared, strict=True):
        assert (row.epoch, row.split) == (other.epoch, other.split)
        assert other.values == pytest.approx(row.values, rel=1e-3, abs=1e-3)
