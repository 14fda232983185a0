"""Optimizer, learning-rate schedule and the L1 penalty, from the ``optim`` settings."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf
from torch import nn
from torch.optim import lr_scheduler

from seg_anl.records import UserError, is_number, is_whole_number, nearest_names

OPTIMIZERS = ("adam", "adamw", "sgd")
SCHEDULES = ("constant", "exponential", "cosine", "step", "milestones")
NOT_NEGATIVE = ("weight_decay", "momentum", "eta_min", "l1", "jacobian")


@dataclass(frozen=True)
class OptimSettings:
    """The ``optim`` group of the configuration.

    Attributes:
        name: ``adam``, ``adamw`` or ``sgd``.
        lr, weight_decay: of the network's parameters.
        momentum, nesterov: of SGD.
        schedule: per epoch: ``constant``; ``exponential`` (times ``gamma``); ``cosine`` (to ``eta_min`` over all
            epochs); ``step`` (times ``gamma`` every ``step_size`` epochs); ``milestones`` (times ``gamma`` from each
            of the epochs in ``milestones`` on).
        clip_norm: largest gradient norm of the network, the L1 sub-gradient included; None: no clipping.
        l1: delta, the weight of the L1 norm of all network parameters.
        jacobian: weight of the squared Jacobian norm, see :mod:`seg_anl.engine.jacobian`; half of it counts.
        loss_lr: learning rate of parameters that belong to the loss (T-Loss's log nu); they have no weight decay.
    """

    name: str
    lr: float
    weight_decay: float = 0.0
    momentum: float = 0.9
    nesterov: bool = False
    schedule: str = "constant"
    gamma: float = 1.0
    step_size: int = 1
    milestones: Sequence[int] = ()
    eta_min: float = 0.0
    clip_norm: float | None = None
    l1: float = 0.0
    jacobian: float = 0.0
    loss_lr: float = 1e-3

    @classmethod
    def from_config(cls, config: DictConfig) -> OptimSettings:
        """The ``optim`` group, checked.

        Raises:
            UserError: naming the setting that is unknown, missing or out of range.
        """
        known = {field.name for field in fields(cls)}
        for setting in map(str, config):
            if setting not in known:
                raise UserError(f"optim.{setting}: no such setting; {nearest_names(setting, known)}")
        for needed in ("name", "lr"):
            if needed not in config:
                raise UserError(f"the setting optim.{needed} is needed")
        return cls(**OmegaConf.to_container(config, resolve=True))  # type: ignore[arg-type]

    def __post_init__(self) -> None:
        for setting, value, known in (
            ("optim.name", self.name, OPTIMIZERS),
            ("optim.schedule", self.schedule, SCHEDULES),
        ):
            if value not in known:
                raise UserError(f"{setting}={value}: {nearest_names(str(value), known)}")
        for field in fields(self):
            value = getattr(self, field.name)
            if field.name in ("lr", "gamma", "step_size", "loss_lr", "clip_norm"):
                none = value is None and field.name == "clip_norm"
                if not none and not (is_number(value) and value > 0):
                    raise UserError(f"optim.{field.name} must be a number > 0, got {value!r}")
            elif field.name in ("weight_decay", "momentum", "eta_min", "l1", "jacobian") and not (
                is_number(value) and value >= 0
            ):
                raise UserError(f"optim.{field.name} must be a number >= 0, got {value!r}")
        if self.momentum >= 1:
            raise UserError(f"optim.momentum must be below 1, got {self.momentum!r}")
        if not is_whole_number(self.step_size):
            raise UserError(f"optim.step_size must be a whole number of epochs, got {self.step_size!r}")
        if not isinstance(self.nesterov, bool):
            raise UserError(f"optim.nesterov must be true or false, got {self.nesterov!r}")
        if self.nesterov and self.name == "sgd" and self.momentum == 0:
            raise UserError("optim.nesterov=true needs optim.momentum > 0")
        if not _are_rising_epochs(self.milestones):
            raise UserError(f"optim.milestones must be a list of rising epochs > 0, got {self.milestones}")


def build_optimizer(settings: OptimSettings, model: nn.Module, loss: nn.Module) -> torch.optim.Optimizer:
    """The optimizer over the network's and, in a group of their own without decay, the loss's parameters."""
    groups: list[dict[str, Any]] = [{"params": list(model.parameters()), "weight_decay": settings.weight_decay}]
    own = list(loss.parameters())
    if own:
        groups.append({"params": own, "lr": settings.loss_lr, "weight_decay": 0.0})
    # One kernel in the place of a dozen per parameter: a fifth of the time on a CPU.
    fused = all(parameter.device.type in ("cpu", "cuda") for group in groups for parameter in group["params"])
    if settings.name == "sgd":
        optimizer = torch.optim.SGD(
            groups, lr=settings.lr, momentum=settings.momentum, nesterov=settings.nesterov, fused=fused
        )
        if settings.momentum:
            # A first step that is skipped, because half precision overflowed, would leave fused SGD with momenta of
            # uninitialized memory. From zero the first step is the same.
            for parameter in itertools.chain.from_iterable(group["params"] for group in optimizer.param_groups):
                optimizer.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter)
        return optimizer
    kind = torch.optim.Adam if settings.name == "adam" else torch.optim.AdamW
    return kind(groups, lr=settings.lr, fused=fused)


def build_schedule(settings: OptimSettings, optimizer: torch.optim.Optimizer, epochs: int) -> lr_scheduler.LRScheduler:
    """The schedule, to be stepped once per epoch; the loss's own group keeps its rate."""

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
        return 1.0

    constant = [lambda epoch: 1.0] * (len(optimizer.param_groups) - 1)
    return lr_scheduler.LambdaLR(optimizer, [factor, *constant])


@torch.no_grad()
def add_l1_subgradient(parameters: Iterable[nn.Parameter], delta: float) -> None:
    """Add delta * sign(theta) to every gradient: the L1 penalty of Ye et al., 2023, over *all* network parameters.

    The published code includes biases and the scales and shifts of normalization layers; so does this.
    """
    if delta == 0:
        return
    pairs = [(parameter, parameter.grad) for parameter in parameters if parameter.grad is not None]
    signs = torch._foreach_sign([parameter for parameter, _ in pairs])
    torch._foreach_add_([gradient for _, gradient in pairs], signs, alpha=delta)


def _are_rising_epochs(value: Any) -> bool:
    if not isinstance(value, (list, tuple)):
        return False
    whole = all(is_whole_number(epoch) and epoch > 0 for epoch in value)
    return whole and list(value) == sorted(set(value))
