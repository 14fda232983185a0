"""nnU-Net trainers on a GPU: half precision with a gradient scaler, torch.compile, and checkpoints."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from seg_anl.nnunet.trainers import TRAINERS

from .conftest import NNUNet


@pytest.fixture
def make(isic: NNUNet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """A function (trainer name, device) -> trainer on dataset 501, initialized with the same weights on any device."""
    for name, value in (isic.variables | {"nnUNet_results": str(tmp_path), "SEG_ANL_TRAIN": "seed=1"}).items():
        monkeypatch.setenv(name, value)
    folder = isic.root / "preprocessed" / "Dataset501_ISIC"

    def make_trainer(name: str, device: str, *, compiled: bool = False) -> Any:
        monkeypatch.setenv("nnUNet_compile", "t" if compiled else "f")
        plans, description = (json.loads((folder / f"{part}.json").read_text()) for part in ("nnUNetPlans", "dataset"))
        architecture = plans["configurations"]["2d"]["architecture"]["arch_kwargs"]
        architecture["features_per_stage"] = [8] * architecture["n_stages"]
        plans["continue_training"] = False
        trainer = TRAINERS[name](plans, "2d", 0, description, torch.device(device))
        trainer.initialize()
        return trainer

    return make_trainer


def losses(trainer: Any) -> list[float]:
    generator = torch.Generator().manual_seed(3)
    labels = (torch.rand(2, 1, 96, 96, generator=generator) > 0.7).to(torch.int16)
    batch = {
        "data": torch.randn(2, 3, 96, 96, generator=generator),
        "target": [labels[..., :: 2**i, :: 2**i].contiguous() for i in range(4)],
    }
    return [float(trainer.train_step(batch)["loss"]) for _ in range(3)]


@pytest.mark.cuda
@pytest.mark.parametrize(
    ("name", "compiled"),
    [
        ("nnUNetTrainerANLCE", False),
        ("nnUNetTrainerANLCE", True),
        ("nnUNetTrainerTLoss", False),
        ("nnUNetTrainerDiceGCE", False),
    ],
)
def test_steps_match_the_cpu(make: Callable[..., Any], name: str, compiled: bool) -> None:
    torch.compiler.reset()
    trainer = make(name, "cuda", compiled=compiled)
    assert trainer.grad_scaler is not None
    assert losses(trainer) == pytest.approx(losses(make(name, "cpu")), rel=0.1)


@pytest.mark.cuda
def test_checkpoint_restores_nu(make: Callable[..., Any], tmp_path: Path) -> None:
    trainer, path = make("nnUNetTrainerTLoss", "cuda"), str(tmp_path / "checkpoint.pth")
    losses(trainer)
    trainer.save_checkpoint(path)
    other = make("nnUNetTrainerTLoss", "cuda")
    other.load_checkpoint(path)
    assert other.robust_loss.log_nu.item() == trainer.robust_loss.log_nu.item() != 1
    assert losses(other) == pytest.approx(losses(trainer), rel=0.1)
