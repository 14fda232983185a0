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
    model = torch.nn.Conv2d(3, 2, 3, padding=1)
    loss = build_loss(sys.argv[2])
    run = RunDirectory(Path(sys.argv[1]))
    if process.is_main:
        run.create(OmegaConf.create({}))
    process.wait()
    task = Task(batches, 4, lambda model, epoch: {"test": {"x": 0.0}}, ("test", "x"))
    optim = OptimSettings("adam", 1e-2, l1=1e-4, clip_norm=1.0)
    fit(model, loss, task, LoopSettings(3, progress=False), optim, run, process)
"""


@pytest.mark.parametrize("loss", ["anl_ce", "t_loss"])
def test_two_processes_train_like_one(tmp_path: Path, loss: str) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])

    def start(folder: str, rank: int, world_size: int) -> subprocess.Popen:
        ranks = {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(world_size)}
        address = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "OMP_NUM_THREADS": "1"}
        return subprocess.Popen(
            [sys.executable, "-c", PROGRAM, str(tmp_path / folder), loss],
            env={**os.environ, **ranks, **address},
            stderr=subprocess.PIPE,
            text=True,
        )

    processes = [start("two", 0, 2), start("two", 1, 2), start("one", 0, 1)]
    for process in processes:
        _, errors = process.communicate(timeout=120)
        assert process.returncode == 0, errors
    one, two = (torch.load(tmp_path / name / "checkpoints/last.pt", weights_only=True) for name in ("one", "two"))
    for part in ("model", "loss"):
        assert one[part].keys() == two[part].keys()
        for key, value in one[part].items():
            torch.testing.assert_close(value, two[part][key], rtol=1e-5, atol=1e-6)
