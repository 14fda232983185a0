"""Two processes equal one, through the loop."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from seg_anl.engine.distribution import Process, started
from seg_anl.records import UserError
from tests.processes import run_groups

PROGRAM = """
import sys, torch
from omegaconf import OmegaConf
from pathlib import Path
from seg_anl.engine.distribution import started
from seg_anl.engine.loop import Task, Training, fit
from seg_anl.engine.run_directory import RunDirectory
from seg_anl.engine.settings import LoopSettings, OptimSettings
from seg_anl.losses import build_loss
from seg_anl.records import UserError

def batches(epoch):
    generator = torch.Generator().manual_seed(epoch)
    for step in range(4):
        inputs = torch.randn(8, 3, 6, 6, generator=generator)
        target = (inputs.mean(dim=1) > 0).long()
        target[1::2] = 1 - target[1::2]  # so that the second process has gradients of its own
        if sys.argv[3] == "broken" and step == 3:
            inputs[-1] = torch.inf  # the last of the last batch, which the last process has
        yield inputs[process.rank :: process.world_size], target[process.rank :: process.world_size]

with started("cpu") as process:
    torch.manual_seed(0)
    layers = [torch.nn.Conv2d(3, 2, 3, padding=1)]
    if sys.argv[3] == "normalized":
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
    try:
        fit(Training(model, loss, task, run), LoopSettings(epochs=3, progress=False), optim, process)
    except UserError as error:
        print(error)
"""


@pytest.mark.parametrize("loss", ["anl_ce", "t_loss"])
def test_two_processes_train_like_one(tmp_path: Path, loss: str) -> None:
    run_groups(PROGRAM, *((n, [str(tmp_path / name), loss, "plain"]) for n, name in ((2, "two"), (1, "one"))))
    one, two = (torch.load(tmp_path / name / "checkpoints/last.pt", weights_only=True) for name in ("one", "two"))
    for part in ("model", "loss"):
        assert one[part].keys() == two[part].keys()
        for key, value in one[part].items():
            torch.testing.assert_close(value, two[part][key], rtol=1e-5, atol=1e-6)


def test_what_follows_an_epoch_sees_the_same_statistics_in_every_process(tmp_path: Path) -> None:
    run_groups(PROGRAM, (2, [str(tmp_path / "two"), "ce", "normalized"]))
    for epoch in range(3):
        first, second = (torch.load(tmp_path / f"two/mean{rank}-{epoch}.pt", weights_only=True) for rank in (0, 1))
        assert torch.equal(first, second)
        assert first.abs().max() > 0


def test_a_loss_that_is_lost_in_one_process_ends_all_of_them(tmp_path: Path) -> None:
    ((first, second),) = run_groups(PROGRAM, (2, [str(tmp_path / "run"), "ce", "broken"]))
    assert "the training loss became nan in epoch 1" in first
    assert second == first


@pytest.mark.parametrize("world_size", [1, 2, 3, 7])
def test_shares_are_disjoint_ordered_and_even(world_size: int) -> None:
    shares = [list(range(23))[Process(torch.device("cpu"), rank, world_size).share(23)] for rank in range(world_size)]
    assert [item for share in shares for item in share] == list(range(23))
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


def test_a_full_device_is_one_line_with_what_to_do() -> None:
    with pytest.raises(UserError, match="out of memory; lower batch_size"), started("cpu"):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB.")
