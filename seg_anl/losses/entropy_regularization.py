"""ANL*: an active negative loss whose average prediction is kept from leaning to some classes."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from seg_anl.records.ranges import Weight

from .base import FunctionLoss, positive, weighted
from .in_parts import sums
from .inputs import LabeledLogits


class EntropyRegularizedLoss(FunctionLoss):
    """A pointwise loss plus ``lam`` times how far the batch's mean prediction is from uniform.

    The marginal is the weighted mean over the elements of the batch that count, per process (under DDP each rank has
    its own), for sigmoid per channel. The regularizer is added to every element, so mean, sum and none agree.

    Reference: Ye et al., Active Negative Loss, Eq. 13 and 14.
    """

    def __init__(self, *, lam: Weight = 2.0, **keywords: Any) -> None:
        super().__init__(**keywords)
        self.lam = lam

    def reduced(self, batch: LabeledLogits) -> Tensor:
        """The value of a batch; of a large one from sums of its parts."""
        if self.reduction == "none" or batch.sigmoid:
            return super().reduced(batch)
        total = batch.total()
        total = batch.scores.new_full((), total) if isinstance(total, int) else total
        # (1 + K, 1): of numbers without a dimension, forward mode would make float64.
        found = sums(batch, self._values_and_probabilities).sum(dim=0).unsqueeze(1)
        regularizer = self.lam * negative_entropy(mean_prediction(found[1:], total))
        found = found[0] / positive(total) + regularizer if self.reduction == "mean" else found[0] + total * regularizer
        return found.squeeze(0)

    def _values_and_probabilities(self, batch: LabeledLogits) -> Tensor:
        """Weighted values and predictions of each element, ``(B, 1 + K, *E)``."""
        pred, counted = batch.log_probs(), batch.element_counts()
        values, _ = weighted(batch, self.values(pred), batch.counted)
        probs = pred.log_probs.exp()
        return torch.cat([values.unsqueeze(1), probs if counted is None else probs * counted.unsqueeze(1)], dim=1)

    def evaluate(self, batch: LabeledLogits) -> tuple[Tensor, Tensor | None]:
        """The pointwise values, each with the batch's regularizer added."""
        pred = batch.log_probs()
        regularizer = negative_marginal_entropy(pred.log_probs, batch.element_counts(), per_channel=batch.sigmoid)
        return self.values(pred) + self.lam * regularizer, batch.counted


def negative_marginal_entropy(log_probs: Tensor, counted: Tensor | None, *, per_channel: bool = False) -> Tensor:
    """:func:`negative_entropy` of the mean prediction; with no element to count, 0.

    Args:
        log_probs: ``(B, K, *E)``.
        counted: ``(B, *E)``, a mask or what each element counts, or None.
        per_channel: keep the first dimension of E apart.

    Returns:
        A scalar, or ``(C, 1, ...)`` that broadcasts against ``(B, C, *spatial)``.
    """
    probs = log_probs.exp()
    dims = [d for d in range(log_probs.ndim) if d != 1 and not (per_channel and d == 2)]
    if counted is None:
        marginal = probs.mean(dim=dims)
    else:
        weights = counted.unsqueeze(1).to(probs.dtype)
        marginal = mean_prediction((probs * weights).sum(dim=dims), weights.sum(dim=dims))
    regularizer = negative_entropy(marginal)
    return regularizer.reshape(-1, *(1,) * (log_probs.ndim - 3)) if per_channel else regularizer


def mean_prediction(probs: Tensor, total: Tensor) -> Tensor:
    """Sums of probabilities ``(K, ...)`` over what all elements count; where none does uniform, which costs nothing."""
    return torch.where(total > 0, probs / positive(total), 1 / len(probs))


def negative_entropy(marginal: Tensor) -> Tensor:
    """log K + sum_k pi_k log pi_k of ``(K, ...)``, 0 where pi is uniform."""
    tiny = torch.finfo(marginal.dtype).tiny
    return math.log(len(marginal)) + (marginal * marginal.clamp(min=tiny).log()).sum(dim=0)
