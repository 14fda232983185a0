"""Two processes of torchrun train like one with the same global batch, through the trainer itself."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import torch

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
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])

    def start(folder: str, rank: int, world_size: int) -> subprocess.Popen:
        ranks = {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(world_size)}
        address = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "OMP_NUM_THREADS": "1"}
        return subprocess.Popen(
            [sys.executable, "-c", PROGRAM, str(tmp_path / folder)],
            env={**os.environ, **ranks, **address},
            stderr=subprocess.PIPE,
            text=True,
        )

    processes = [start("two", 0, 2), start("two", 1, 2), start("one", 0, 1)]
    for process in processes:
        _, errors = process.communicate(timeout=240)
        assert process.returncode == 0, errors
    one, two = (torch.load(tmp_path / name / "checkpoints/last.pt", weights_only=True) for name in ("one", "two"))
    for key, value in one["model"].items():
        torch.testing.assert_close(value, two["model"][key], rtol=1e-5, atol=1e-6)
    accuracies = [[row["values"]["accuracy"] for row in run["rows"] if row["split"] == "test"] for run in (one, two)]
    assert accuracies[0] == accuracies[1]
