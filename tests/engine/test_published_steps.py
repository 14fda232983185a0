"""Steps of the trainer in float64 against steps written out from the papers' formulas, in plain PyTorch.

Loss, L1 penalty, clipping, SGD with momentum and the cosine schedule, on the 8-layer network of the papers.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from omegaconf import OmegaConf
from torch import Tensor, nn

from classification.networks import build_model
from seg_anl.engine.distribution import Process
from seg_anl.engine.loop import Task, Training, fit
from seg_anl.engine.run_directory import RunDirectory
from seg_anl.engine.settings import LoopSettings, OptimSettings
from seg_anl.losses import build_loss

EPOCHS, STEPS, CLASSES = 4, 2, 10


def batches(epoch: int) -> Iterator[tuple[Tensor, Tensor]]:
    generator = torch.Generator().manual_seed(epoch)
    for _ in range(STEPS):
        images = torch.randn(4, 3, 32, 32, generator=generator, dtype=torch.float64)
        yield images, torch.randint(CLASSES, (4,), generator=generator)


def network() -> nn.Module:
    torch.manual_seed(0)
    return build_model("cnn8", CLASSES, 3, (32, 32)).double()


def surprises(logits: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """-log p of the label, and of every class."""
    every = -torch.log(torch.exp(logits) / torch.exp(logits).sum(1, keepdim=True))
    return every[torch.arange(len(target)), target], every


def anl_ce(logits: Tensor, target: Tensor, epoch: int) -> Tensor:
    """alpha NCE + beta NNCE with A = -log 1e-7: Ye et al. 2024, Eq. 8 and 11."""
    own, every = surprises(logits, target)
    highest = -math.log(1e-7)
    negative = 1 - (highest - own) / (highest - every).sum(1)
    return (5 * own / every.sum(1) + 5 * negative).mean()


def nce_rce(logits: Tensor, target: Tensor, epoch: int) -> Tensor:
    """alpha NCE + beta RCE with log 0 taken for log 1e-4: Ma et al. 2020, Eq. 2 and Section 3."""
    own, every = surprises(logits, target)
    return (own / every.sum(1) - math.log(1e-4) * (1 - torch.exp(-own))).mean()


def ce_sr(logits: Tensor, target: Tensor, epoch: int) -> Tensor:
    """CE of normalized, sharpened outputs + lambda_t ||p||_p^p: Zhou et al. 2021, Eq. 9, Sections 3.2 and 3.3."""
    sharp = logits / logits.square().sum(1, keepdim=True).sqrt() / 0.5
    own, every = surprises(sharp, target)
    return (own + 1.2 * 1.03**epoch * torch.exp(-every).pow(0.1).sum(1)).mean()


@pytest.mark.parametrize(
    ("name", "parameters", "written", "decay", "l1"),
    [
        ("anl_ce", {"alpha": 5.0, "beta": 5.0}, anl_ce, 0.0, 5e-5),
        ("nce_rce", {}, nce_rce, 1e-4, 0.0),
        ("ce_sr", {"tau": 0.5, "p": 0.1, "lam": 1.2, "rho": 1.03, "every": 1}, ce_sr, 1e-4, 0.0),
    ],
)
def test_steps_are_those_of_the_formulas(
    tmp_path: Path, name: str, parameters: dict, written: Callable[..., Tensor], decay: float, l1: float
) -> None:
    optim = OptimSettings("sgd", lr=0.01, weight_decay=decay, momentum=0.9, schedule="cosine", clip_norm=5.0, l1=l1)
    task = Task(batches, STEPS, lambda model, epoch: {"test": {"accuracy": 0.0}}, ("test", "accuracy"))
    run = RunDirectory(tmp_path)
    run.create(OmegaConf.create({}))
    trained, loss = network(), build_loss(name, **parameters)
    settings = LoopSettings(epochs=EPOCHS, progress=False, checkpoint_every=EPOCHS)
    rows = fit(Training(trained, loss, task, run), settings, optim, Process(torch.device("cpu")))

    expected = network()
    velocity = [torch.zeros_like(p) for p in expected.parameters()]
    for epoch in range(EPOCHS):
        rate, values = 0.01 * (1 + math.cos(math.pi * epoch / EPOCHS)) / 2, []
        for images, target in batches(epoch):
            value = written(expected(images), target, epoch)
            gradients = torch.autograd.grad(value, list(expected.parameters()))
            values.append(value.item())
            with torch.no_grad():
                gradients = [g + l1 * p.sign() for g, p in zip(gradients, expected.parameters(), strict=True)]
                norm = math.sqrt(sum(float(g.square().sum()) for g in gradients))
                for p, g, v in zip(expected.parameters(), gradients, velocity, strict=True):
                    v.mul_(0.9).add_(g * min(1.0, 5 / (norm + 1e-6)) + decay * p)
                    p.sub_(rate * v)
        mean = next(row.values["loss"] for row in rows if (row.epoch, row.split) == (epoch, "train"))
        assert mean == pytest.approx(sum(values) / STEPS, rel=1e-6)  # the loop adds losses up in float32
    for p, q in zip(trained.parameters(), expected.parameters(), strict=True):
        assert (p - q).norm() < 1e-9 * q.norm() + 1e-15
