"""The loop on a GPU, and on a CPU in lower precision, held to the same loop in single precision on the CPU."""

from __future__ import annotations

import math
import os
import subprocess
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import OmegaConf
from torch import Tensor, nn

from classification.crop_flip_rotate import CropFlipRotate, normalize
from classification.networks import build_model
from classification.settings import Augmentation
from seg_anl.engine.batches import Batch, ResidentBatches
from seg_anl.engine.checkpoint import read_checkpoint
from seg_anl.engine.distribution import Process, started
from seg_anl.engine.ledger import Metrics
from seg_anl.engine.loop import Task, Training, fit
from seg_anl.engine.run_directory import RunDirectory
from seg_anl.engine.settings import LoopSettings, OptimSettings
from seg_anl.engine.side_by_side import fit_together
from seg_anl.losses import build_loss

ROOT = Path(__file__).parents[2]
OPTIM = OptimSettings("sgd", lr=0.01, schedule="cosine", clip_norm=5.0, l1=5e-5)
TOLERANCE = {"fp32": 0.03, "bf16": 0.03, "fp16": 0.15}  # fp16 leaves out its first steps until its scale fits
STEPS, BATCH, LAST = 8, 16, 10
SIZES = [BATCH] * (STEPS - 1) + [LAST]


@contextmanager
def never_waiting(device: torch.device) -> Iterator[None]:
    """An error wherever the host waits for the GPU."""
    if device.type == "cuda":
        torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        if device.type == "cuda":
            torch.cuda.set_sync_debug_mode("default")


def training(folder: Path, device: torch.device, seed: int = 1, *, watched: bool = False) -> Training:
    """cnn4 on images of noise, with all of an epoch's steps under :func:`never_waiting` where ``watched``."""
    generator = torch.Generator().manual_seed(seed)
    images = torch.randint(0, 256, (sum(SIZES), 3, 16, 16), dtype=torch.uint8, generator=generator)
    labels = torch.randint(0, 10, (sum(SIZES),), generator=generator)
    augmentation = CropFlipRotate(Augmentation(crop_padding=2, flip=0.5, rotation=10.0), (0.5,) * 3, (0.25,) * 3)
    resident = ResidentBatches(images, labels, augmentation, SIZES, seed, Process(device))

    def batches(epoch: int) -> Iterable[Batch]:
        if not watched or epoch == 0:  # in which convolutions are tried and graphs compiled
            return resident.epoch(epoch)
        return under_watch(resident.epoch(epoch))

    def under_watch(epoch: Iterator[Batch]) -> Iterator[Batch]:
        yield next(epoch)  # the epoch's draws have come with it
        with never_waiting(device):
            yield from epoch

    def evaluate(model: nn.Module, epoch: int) -> Metrics:
        output: Tensor = model(normalize(images.to(device), augmentation.mean, augmentation.std))
        return {"test": {"spread": output.float().std().item()}}

    torch.manual_seed(seed)
    run = RunDirectory(folder)
    run.create(OmegaConf.create({"seed": seed}))
    model = build_model("cnn4", 10, 3, (16, 16))
    return Training(model, build_loss("anl_ce"), Task(batches, STEPS, evaluate, ("test", "spread")), run)


def fitted(one: Training, settings: LoopSettings, device: torch.device) -> list[float]:
    rows = fit(one, settings, OPTIM, Process(device))
    return [row.values["loss"] for row in rows if row.split == "train"]


ON_A_GPU = ["fp32", "bf16", "fp16", "bf16 compile", "fp16 compile", "fp32 graph", "bf16 graph", "bf16 compile graph"]
CASES = [
    pytest.param("cpu", "bf16", id="cpu-bf16"),
    *(pytest.param("cuda", how, marks=pytest.mark.cuda, id=f"cuda-{how.replace(' ', '-')}") for how in ON_A_GPU),
]


@pytest.mark.parametrize(("name", "how"), CASES)
def test_losses_are_those_of_single_precision_on_the_cpu(tmp_path: Path, name: str, how: str) -> None:
    """And no step after the first epoch waits for the device."""
    settings = LoopSettings(epochs=3, progress=False, logger=None, channels_last=True)
    expected = fitted(training(tmp_path / "expected", torch.device("cpu")), settings, torch.device("cpu"))
    precision, *also = how.split()
    changes: dict[str, Any] = {"precision": precision, **dict.fromkeys(also, True)}
    settings = replace(settings, **changes)
    torch.compiler.reset()
    with started(name) as process:
        one = training(tmp_path / "found", process.device, watched=not settings.graph)
        assert fitted(one, settings, process.device) == pytest.approx(expected, rel=TOLERANCE[precision])


@pytest.mark.parametrize("name", ["cpu", pytest.param("cuda", marks=pytest.mark.cuda)])
def test_a_checkpoint_resumes_and_holds_no_device(tmp_path: Path, name: str) -> None:
    settings = LoopSettings(epochs=4, progress=False, logger=None, channels_last=True)
    with started(name) as process:
        whole = fitted(training(tmp_path / "whole", process.device), settings, process.device)
        fitted(training(tmp_path / "cut", process.device), replace(settings, epochs=2), process.device)
        one = training(tmp_path / "cut", process.device)
        resumed = fitted(one, settings, process.device)
    assert resumed == pytest.approx(whole, rel=0.01)
    saved = read_checkpoint(one.run.last, torch.device("cpu"))["model"]
    for key, value in one.model.state_dict().items():
        assert torch.equal(saved[key], value.cpu())
    plain = torch.load(one.run.last, weights_only=True)["model"]  # without being told a device
    assert {value.device.type for value in plain.values()} == {"cpu"}


@pytest.mark.cuda
@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_runs_side_by_side_are_runs_alone(tmp_path: Path, precision: str) -> None:
    settings = LoopSettings(epochs=2, progress=False, logger=None, precision=precision)  # type: ignore[arg-type]
    with started("cuda") as process:
        runs = [training(tmp_path / f"both{seed}", process.device, seed) for seed in (1, 2)]
        outcomes = fit_together(runs, settings, OPTIM, process)
        for seed, rows in zip((1, 2), outcomes, strict=True):
            alone = fitted(training(tmp_path / f"alone{seed}", process.device, seed), settings, process.device)
            assert isinstance(rows, list)
            found = [row.values["loss"] for row in rows if row.split == "train"]
            assert found == pytest.approx(alone, rel=TOLERANCE[precision])


NCCL = """
import torch
import torch.distributed as dist
from seg_anl.engine.distribution import Process
device = torch.device("cuda", 0)
torch.cuda.set_device(device)
dist.init_process_group("nccl")
several = Process(device, 0, dist.get_world_size() + 1)  # one more than there are, for one alone talks to nobody
network = several.wrapped(torch.nn.Linear(3, 2).to(device))
network(torch.ones(4, 3, device=device)).sum().backward()
print(network.module.weight.grad.sum().item(), several.mean(torch.ones((), device=device)).item())
dist.destroy_process_group()
"""


@pytest.mark.cuda
def test_torchrun_with_nccl(tmp_path: Path) -> None:
    """NCCL takes one process a GPU: of one GPU this is that gradients and means go through it at all."""
    (tmp_path / "script.py").write_text(NCCL)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "1", "script.py"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr[-2000:]
    gradient, mean = map(float, done.stdout.split())
    assert math.isclose(gradient, 24)
    assert math.isclose(mean, 0.5)
