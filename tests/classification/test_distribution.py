"""Two processes of torchrun train like one with the same global batch, through the trainer itself."""

from __future__ import annotations

from pathlib import Path

import torch

from tests.processes import run_groups

PROGRAM = """
import sys
import torch
from classification.models import MODELS
from classification.models.registry import Architecture
from classification.train import train
from seg_anl.engine import compose

# Without batch norm, whose statistics are each process's own.
def network(num_classes, channels, size):
    return torch.nn.Sequential(
        torch.nn.Conv2d(channels, 6, 3), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Linear(6 * 36, num_classes)
    )

MODELS["unnormalised"] = Architecture(network, 0)
settings = ["model.name=unnormalised", "data.limit=240", "data.test_limit=60", "batch_size=40", "epochs=3"]
settings += ["optim.clip_norm=1.0", "optim.l1=1e-4", "noise.rate=0.4", "progress=false", "device=cpu"]
train(compose("classification", [*settings, "run_dir=" + sys.argv[1]]))
"""


def test_two_processes_train_like_one(tmp_path: Path) -> None:
    run_groups(PROGRAM, (2, [str(tmp_path / "two")]), (1, [str(tmp_path / "one")]))
    one, two = (torch.load(tmp_path / name / "checkpoints/last.pt", weights_only=True) for name in ("one", "two"))
    for key, value in one["model"].items():
        torch.testing.assert_close(value, two["model"][key], rtol=1e-5, atol=1e-6)
    accuracies = [[row["values"]["accuracy"] for row in run["rows"] if row["split"] == "test"] for run in (one, two)]
    assert accuracies[0] == accuracies[1]
