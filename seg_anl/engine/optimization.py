"""Loss, optimizer, learning-rate schedule and the L1 penalty from their settings."""

from __future__ import annotations

import copy
import itertools
import math
from collections.abc import Iterable
from typing import Any

import torch
from omegaconf import DictConfig
from torch import nn
from torch.optim import lr_scheduler

from seg_anl.losses import RobustLoss, build_loss
from seg_anl.records import UserError
from seg_anl.records.array_files import read_matrix
from seg_anl.records.paths import read_configured

from .settings import OptimSettings, plain


def loss_from_config(config: DictConfig, *others: str) -> RobustLoss:
    """The loss of a ``loss`` configuration; ``others`` are settings in it that are not the loss's.

    A ``transition`` may be a file, see :func:`seg_anl.records.array_files.read_matrix`.
    """
    parameters = plain(config, omit=("name", *others))
    if isinstance(parameters.get("transition"), str):
        parameters["transition"] = read_configured(read_matrix, parameters["transition"], "loss.transition")
    try:
        return build_loss(str(config.name), **parameters)
    except ValueError as error:
        raise UserError(str(error)) from error


def check_loss(loss: RobustLoss, classes: int) -> None:
    """Evaluate a copy of ``loss`` to refuse one that does not fit the number of classes or is not a scalar."""
    target = torch.zeros(1, 2, dtype=torch.long)
    try:
        with torch.random.fork_rng(devices=[]):  # some losses draw random numbers
            value = copy.deepcopy(loss)(torch.zeros(1, classes, 2), target)
    except ValueError as error:
        raise UserError(str(error)) from error
    if value.ndim:
        raise UserError(f"loss.reduction={loss.reduction}: training needs one number; use mean or sum")


def build_optimizer(settings: OptimSettings, model: nn.Module, loss: nn.Module) -> torch.optim.Optimizer:
    """The optimizer of the network's parameters and, in a separate group without weight decay, the loss's."""
    groups: list[dict[str, Any]] = [{"params": list(model.parameters()), "weight_decay": settings.weight_decay}]
    own = list(loss.parameters())
    if own:
        groups.append({"params": own, "lr": settings.loss_lr, "weight_decay": 0.0})
    # One kernel instead of a dozen per parameter, which takes a fifth of the time on a CPU.
    fused = all(parameter.device.type in ("cpu", "cuda") for group in groups for parameter in group["params"])
    if settings.name == "sgd":
        optimizer = torch.optim.SGD(
            groups, lr=settings.lr, momentum=settings.momentum, nesterov=settings.nesterov, fused=fused
        )
        if settings.momentum:
            # If the first step is skipped because half precision overflowed, fused SGD is left with uninitialized
            # momenta. Starting from zero does not change the first step.
            for parameter in itertools.chain.from_iterable(group["params"] for group in optimizer.param_groups):
                optimizer.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter)
        return optimizer
    kind = torch.optim.Adam if settings.name == "adam" else torch.optim.AdamW
    return kind(groups, lr=settings.lr, fused=fused)


def build_schedule(settings: OptimSettings, optimizer: torch.optim.Optimizer, epochs: int) -> lr_scheduler.LRScheduler:
    """The learning-rate schedule, stepped once per epoch; the rate of the loss's parameters is constant."""

    def factor(epoch: int) -> float:
        if settings.schedule == "exponential":
            return settings.gamma**epoch
        if settings.schedule == "step":
            return settings.gamma ** (epoch // settings.step_size)
        if settings.schedule == "milestones":
            return settings.gamma ** sum(epoch >= milestone for milestone in settings.milestones)
        if settings.schedule == "cosine":
            lowest = settings.eta_min / settings.lr
            return lowest + (1 - lowest) * (1 + math.cos(math.pi * epoch / epochs)) / 2
        if settings.schedule == "polynomial":
            return (1 - epoch / epochs) ** 0.9  # nnU-Net's (Isensee et al., Nature Methods 2021)
        return 1.0

    constant = [lambda epoch: 1.0] * (len(optimizer.param_groups) - 1)
    return lr_scheduler.LambdaLR(optimizer, [factor, *constant])


@torch.no_grad()
def add_l1_subgradient(parameters: Iterable[nn.Parameter], delta: float) -> None:
    """Add ``delta * sign(theta)`` to every gradient: the L1 penalty of Ye et al., 2023, over *all* network parameters.

    Like the published code, this includes biases and the scales and shifts of normalization layers.
    """
    if delta == 0:
        return
    pairs = [(parameter, parameter.grad) for parameter in parameters if parameter.grad is not None]
    signs = torch._foreach_sign([parameter for parameter, _ in pairs])
    torch._foreach_add_([gradient for _, gradient in pairs], signs, alpha=delta)
