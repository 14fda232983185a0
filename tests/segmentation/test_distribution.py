"""Two processes of torchrun, on one machine or on two, train and measure a segmentation network like one."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from seg_anl.records import read_metrics
from tests.processes import run_groups, run_nodes

from .conftest import write_discs

SETTINGS = [
    *("data=folder", "data.size=32", "data.test_share=0.36", "batch_size=4", "epochs=2"),
    *("model.base_filters=4", "model.max_filters=8"),
    *("noise.alpha=0.7", "noise.beta=0.5", "progress=false", "device=cpu", "workers=1", "optim=sgd", "optim.lr=0.01"),
]
PROGRAM = """
import sys
from seg_anl.engine.command import compose
from seg_anl.segmentation.experiment import train

train(compose("segmentation", sys.argv[1:]))
"""


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Nine images to train on and five for testing, which two processes cannot share evenly."""
    return [*SETTINGS, f"data.root={write_discs(tmp_path_factory.mktemp('images') / 'data', 14)}"]


@pytest.fixture(scope="module")
def one(settings: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run directory of a single process."""
    folder = tmp_path_factory.mktemp("runs") / "one"
    run_groups(PROGRAM, (1, [*settings, f"run_dir={folder}"]))
    counts = json.loads((folder / "summary.json").read_text())["counts"]
    assert (counts["train"], counts["test"]) == (9, 5)
    return folder


@pytest.mark.parametrize("machines", [1, 2])
def test_two_processes_train_and_measure_like_one(
    settings: list[str], one: Path, tmp_path: Path, machines: int
) -> None:
    two = tmp_path / "two"
    if machines == 1:
        run_groups(PROGRAM, (2, [*settings, f"run_dir={two}"]))
    else:
        run_nodes(2, "seg_anl.segmentation.train", [*settings, f"run_dir={two}"])
    check_same(one, two)


@pytest.mark.parametrize("method", [["trinet", "method.gradual_epochs=2"], ["clslsr"]], ids=lambda words: words[0])
def test_methods_in_two_processes_are_those_of_one(settings: list[str], tmp_path: Path, method: list[str]) -> None:
    settings = [*settings, f"method={method[0]}", *method[1:], "evaluation.train_every=1"]
    runs = [tmp_path / name for name in ("one", "two")]
    run_groups(PROGRAM, *((number, [*settings, f"run_dir={run}"]) for number, run in enumerate(runs, start=1)))
    check_same(*runs)


def check_same(one: Path, two: Path) -> None:
    """Equal weights and metrics, up to rounding."""
    trained = [torch.load(run / "checkpoints/last.pt", weights_only=True)["model"] for run in (one, two)]
    for key, value in trained[0].items():
        torch.testing.assert_close(value, trained[1][key], rtol=1e-4, atol=1e-5)
    for row, other in zip(read_metrics(one / "metrics.csv"), read_metrics(two / "metrics.csv"), strict=True):
        assert (row.epoch, row.split) == (other.epoch, other.split)
        assert other.values == pytest.approx(row.values, rel=1e-3, abs=1e-3)
