"""The module every loss is: it prepares the batch, evaluates, and reduces. Nothing of a particular loss lives here."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from .inputs import LabeledLogits, LabeledLogProbs, labeled_logits

REDUCTIONS = ("mean", "sum", "none")
ACTIVATIONS = ("softmax", "sigmoid")

PointwiseFunction = Callable[..., Tensor]
"""``function(pred: LabeledLogProbs, *, parameter=default, ...) -> (B, *E)``: one value per element, not reduced."""


class ScheduledLoss(nn.Module):
    """A criterion that is told when an epoch begins, whether or not it has a schedule.

    Attributes:
        draws: whether it draws random numbers, from torch's generator.
    """

    draws = False

    def set_epoch(self, epoch: int) -> None:
        """``epoch`` (from 0) begins; criteria without a schedule ignore it."""

    def numbers(self) -> dict[str, float]:
        """Parameters and buffers that are a single number, such as T-Loss's ``log_nu``, by name."""
        return {name: value.item() for name, value in self.state_dict().items() if value.ndim == 0}


class RobustLoss(ScheduledLoss):
    """Base of all losses.

    Args:
        reduction: ``"mean"`` over the elements that count, ``"sum"`` or ``"none"``; MONAI's ``LossReduction`` too.
        ignore_index: label value of elements that do not count, or None.
        activation: ``"softmax"``, or ``"sigmoid"`` for channels that are independent two-class problems.

    Shape:
        - input: logits ``(B, C, *spatial)``, zero to three spatial dimensions; C = 1 needs ``activation="sigmoid"``.
        - target: class indices ``(B, *spatial)`` or ``(B, 1, *spatial)`` (integer or integral float), or one-hot
          ``(B, C, *spatial)``.
        - output: a scalar; with ``"none"`` ``(B, *spatial)``, for sigmoid ``(B, C, *spatial)``. float32, or float64 for
          float64 logits, also under autocast.
    """

    def __init__(
        self, *, reduction: str = "mean", ignore_index: int | None = None, activation: str = "softmax"
    ) -> None:
        super().__init__()
        self.reduction = _one_of("reduction", str(getattr(reduction, "value", reduction)), REDUCTIONS)
        self.activation = _one_of("activation", activation, ACTIVATIONS)
        if ignore_index is not None and (isinstance(ignore_index, bool) or not isinstance(ignore_index, int)):
            raise ValueError(f"ignore_index must be an integer label or None, got {ignore_index!r}")
        self.ignore_index = ignore_index
        self.hyperparameters: dict[str, Any] = {}

    def evaluate(self, batch: LabeledLogits) -> tuple[Tensor, Tensor | None]:
        """One value per element, and the mask of those that count (None: all)."""
        raise TypeError(f"{type(self).__name__} does not say how it is evaluated")

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        """The loss of ``input`` (logits) against ``target``; shapes as in the class."""
        # Autocast would send matrix products of a loss to half precision.
        with torch.autocast(device_type=input.device.type, enabled=False):
            batch = labeled_logits(input, target, ignore_index=self.ignore_index, activation=self.activation)
            values, counted = self.evaluate(batch)
            return reduce_values(values, counted, self.reduction)

    def extra_repr(self) -> str:
        """The hyper-parameters and common keywords, for ``print(loss)``."""
        shown = {**self.hyperparameters, "reduction": self.reduction}
        if self.ignore_index is not None:
            shown["ignore_index"] = self.ignore_index
        if self.activation != "softmax":
            shown["activation"] = self.activation
        return ", ".join(f"{name}={value}" for name, value in shown.items() if not isinstance(value, Tensor))


class PointwiseLoss(RobustLoss):
    """A loss that is one pure function of each element's log-probabilities."""

    def __init__(
        self,
        function: PointwiseFunction,
        hyperparameters: dict[str, Any],
        fused: PointwiseFunction | None = None,
        **common: Any,
    ) -> None:
        super().__init__(**common)
        self.function = function
        self.fused = fused
        self.hyperparameters = hyperparameters

    def evaluate(self, batch: LabeledLogits) -> tuple[Tensor, Tensor | None]:
        """The function's value at every element."""
        if self.fused is not None and not torch.compiler.is_compiling():
            return self.fused(batch.logits, batch.labels, **self.hyperparameters), batch.counted
        return self.function(batch.log_probs(), **self.hyperparameters), batch.counted


def reduce_values(values: Tensor, counted: Tensor | None, reduction: str) -> Tensor:
    """Reduce one value per element; elements that do not count are 0, and the mean of none is 0 with zero gradient."""
    if counted is None:
        if reduction == "none":
            return values
        total = values.sum()
        return total / max(values.numel(), 1) if reduction == "mean" else total
    values = torch.where(counted, values, torch.zeros((), dtype=values.dtype, device=values.device))
    if reduction == "none":
        return values
    total = values.sum()
    return total / counted.sum().clamp(min=1) if reduction == "mean" else total


def _one_of(setting: str, value: str, choices: tuple[str, ...]) -> str:
    if value not in choices:
        raise ValueError(f"{setting} must be one of {', '.join(map(repr, choices))}, got {value!r}")
    return value


__all__ = ["LabeledLogProbs", "PointwiseLoss", "RobustLoss", "ScheduledLoss", "reduce_values"]
