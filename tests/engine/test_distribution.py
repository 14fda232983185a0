"""Two processes equal one: real gloo processes, started as torchrun starts them."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch

PROGRAM = """
import sys, torch
from omegaconf import OmegaConf
from pathlib import Path
from seg_anl.engine import LoopSettings, OptimSettings, RunDirectory, Task, fit, started
from seg_anl.losses import build_loss

def batches(epoch):
    generator = torch.Generator().manual_seed(epoch)
    for _ in range(4):
        inputs = torch.randn(8, 3, 6, 6, generator=generator)
        target = (inputs.mean(dim=1) > 0).long()
        yield inputs[process.rank :: process.world_size], target[process.rank :: process.world_size]

with started("cpu") as process:
    torch.manual_seed(0)
    layers = [torch.nn.Conv2d(3, 2, 3, padding=1)]
    if sys.argv[3] == "normalised":
        layers.append(torch.nn.BatchNorm2d(2))
    model = torch.nn.Sequential(*layers)
    loss = build_loss(sys.argv[2])
    run = RunDirectory(Path(sys.argv[1]))
    if process.is_main:
        run.create(OmegaConf.create({}))
    process.wait()

    def after_epoch(model, epoch):
        if isinstance(model[-1], torch.nn.BatchNorm2d):
            torch.save(model[-1].running_mean, f"{sys.argv[1]}/mean{process.rank}-{epoch}.pt")
        return {}

    task = Task(batches, 4, lambda model, epoch: {"test": {"x": 0.0}}, ("test", "x"), after_epoch)
    optim = OptimSettings("adam", 1e-2, l1=1e-4, clip_norm=1.0)
    fit(model, loss, task, LoopSettings(3, progress=False), optim, run, process)
"""


def train_together(folder: Path, loss: str, layers: str, *runs: tuple[str, int, int]) -> None:
    """Run the program as each of ``runs``, (folder, rank, number of processes), at the same time."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])

    def start(name: str, rank: int, world_size: int) -> subprocess.Popen:
        ranks = {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(world_size)}
        address = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "OMP_NUM_THREADS": "1"}
        return subprocess.Popen(
            [sys.executable, "-c", PROGRAM, str(folder / name), loss, layers],
            env={**os.environ, **ranks, **address},
            stderr=subprocess.PIPE,
            text=True,
        )

    for process in [start(*run) for run in runs]:
        _, errors = process.communicate(timeout=120)
        assert process.returncode == 0, errors


@pytest.mark.parametrize("loss", ["anl_ce", "t_loss"])
def test_two_processes_train_like_one(tmp_path: Path, loss: str) -> None:
    train_together(tmp_path, loss, "plain", ("two", 0, 2), ("two", 1, 2), ("one", 0, 1))
    one, two = (torch.load(tmp_path / name / "checkpoints/last.pt", weights_only=True) for name in ("one", "two"))
    for part in ("model", "loss"):
        assert one[part].keys() == two[part].keys()
        for key, value in one[part].items():
            torch.testing.assert_close(value, two[part][key], rtol=1e-5, atol=1e-6)


def test_what_follows_an_epoch_sees_the_same_statistics_in_every_process(tmp_path: Path) -> None:
    train_together(tmp_path, "ce", "normalised", ("two", 0, 2), ("two", 1, 2))
    for epoch in range(3):
        first, second = (torch.load(tmp_path / f"two/mean{rank}-{epoch}.pt", weights_only=True) for rank in (0, 1))
        assert torch.equal(first, second)
        assert first.abs().max() > 0
