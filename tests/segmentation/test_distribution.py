"""Two processes of torchrun, on one machine or on two, train and measure a segmentation network like one."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from seg_anl.records import MetricRow, read_metrics
from tests.processes import run_groups, run_nodes

SETTINGS = [
    *("data.size=32", "data.limit=9", "batch_size=4", "epochs=2", "model.base_filters=4", "model.max_filters=8"),
    *("noise.alpha=0.7", "noise.beta=0.5", "progress=false", "device=cpu", "workers=1", "optim=sgd", "optim.lr=0.01"),
]
PROGRAM = """
import sys
from seg_anl.engine.command import compose
from seg_anl.segmentation.experiment import train

train(compose("segmentation", sys.argv[1:]))
"""
ADELE = ["method=adele", "epochs=4", "model.max_filters=32", "model.base_filters=8", "optim.name=adam", "optim.lr=1e-3"]
ADELE += ["method.slowdown=0.2", "method.confidence=0.55"]


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run directory of a single process."""
    folder = tmp_path_factory.mktemp("runs") / "one"
    run_groups(PROGRAM, (1, [*SETTINGS, f"run_dir={folder}"]))
    return folder


@pytest.mark.parametrize("machines", [1, 2])
def test_two_processes_train_and_measure_like_one(one: Path, tmp_path: Path, machines: int) -> None:
    two = tmp_path / "two"
    if machines == 1:
        run_groups(PROGRAM, (2, [*SETTINGS, f"run_dir={two}"]))
    else:
        run_nodes(2, "seg_anl.segmentation.train", [*SETTINGS, f"run_dir={two}"])
    same_runs(one, two)


def test_two_processes_correct_the_same_masks_as_one(tmp_path: Path) -> None:
    run_groups(PROGRAM, *((count, [*SETTINGS, *ADELE, f"run_dir={tmp_path / str(count)}"]) for count in (2, 1)))
    rows = same_runs(tmp_path / "1", tmp_path / "2")
    assert rows[-1].values["corrected"] > 0


def same_runs(one: Path, two: Path) -> list[MetricRow]:
    """The rows of two runs that are equal up to rounding."""
    trained = [torch.load(run / "checkpoints/last.pt", weights_only=True)["model"] for run in (one, two)]
    for key, value in trained[0].items():
        torch.testing.assert_close(value, trained[1][key], rtol=1e-4, atol=1e-5)
    rows = read_metrics(one / "metrics.csv")
    for row, other in zip(rows, read_metrics(two / "metrics.csv"), strict=True):
        assert (row.epoch, row.split) == (other.epoch, other.split)
        assert other.values == pytest.approx(row.values, rel=1e-3, abs=1e-3)
    return rows
