from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch

from seg_anl.losses import RobustLoss, build_loss, list_losses
from seg_anl.losses.declarations import declarations

# Weighted sums of two losses. test_registry holds each to its parts; what is true of both parts is true of the sum.
PAIRS = {
    name: ("ce", "rce") if name == "sce" else tuple(name.split("_"))
    for name, known in declarations().items()
    if known.module in ("seg_anl.losses.active_passive", "seg_anl.losses.joint_asymmetric")
    and "alpha" in known.parameters
}
SINGLE = [name for name in list_losses() if name not in PAIRS]


@pytest.fixture(autouse=True, scope="package")
def _one_thread() -> Iterator[None]:
    """On tensors this small, threads that wait for each other take most of the time."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


@pytest.fixture
def make_loss() -> Callable[..., RobustLoss]:
    """``build_loss`` that knows what a loss cannot do without: the transition matrix of ``forward``."""

    def make(name: str, classes: int = 3, **keywords: Any) -> RobustLoss:
        if name == "forward":
            keywords.setdefault("transition", 0.7 * torch.eye(classes) + 0.3 / classes)
        return build_loss(name, **keywords)

    return make


@pytest.fixture
def evaluate() -> Callable[..., tuple[torch.Tensor, torch.Tensor]]:
    """Value and gradient of a loss, with torch's generator started anew so that random losses repeat."""

    def value_and_gradient(loss: Any, logits: torch.Tensor, target: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        torch.manual_seed(1)
        logits = logits.detach().clone().requires_grad_()
        value = loss(logits, target)
        (gradient,) = torch.autograd.grad(value.sum(), logits)
        return value.detach(), gradient

    return value_and_gradient
