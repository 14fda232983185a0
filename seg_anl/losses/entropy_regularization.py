"""ANL*: an active negative loss whose average prediction is kept from leaning to some classes."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from seg_anl.records.ranges import Weight

from .base import FunctionLoss, positive
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

    def evaluate(self, batch: LabeledLogits) -> tuple[Tensor, Tensor | None]:
        """The pointwise values, each with the batch's regularizer added."""
        pred = batch.log_probs()
        regularizer = negative_marginal_entropy(pred.log_probs, batch.element_counts(), per_channel=batch.sigmoid)
        return self.values(pred) + self.lam * regularizer, batch.counted


def negative_marginal_entropy(log_probs: Tensor, counted: Tensor | None, *, per_channel: bool = False) -> Tensor:
    """log K + sum_k pi_k log pi_k with pi the mean prediction, 0 where it is uniform; with no element to count, 0.

    Args:
        log_probs: ``(B, K, *E)``.
        counted: ``(B, *E)``, a mask or what each element counts, or None.
        per_channel: keep the first dimension of E apart.

    Returns:
        A scalar, or ``(C, 1, ...)`` that broadcasts against ``(B, C, *spatial)``.
    """
    probs = log_probs.exp()
    dims = [d for d in range(log_probs.ndim) if d != 1 and not (per_channel and d == 2)]
    classes = log_probs.shape[1]
    if counted is None:
        marginal = probs.mean(dim=dims)
    else:
        weights = counted.unsqueeze(1).to(probs.dtype)
        total = weights.sum(dim=dims)
        # With nothing to count any constant will do; the uniform marginal makes the regularizer 0.
        marginal = torch.where(total > 0, (probs * weights).sum(dim=dims) / positive(total), 1 / classes)
    tiny = torch.finfo(marginal.dtype).tiny
    regularizer = math.log(classes) + (marginal * marginal.clamp(min=tiny).log()).sum(dim=0)
    return regularizer.reshape(-1, *(1,) * (log_probs.ndim - 3)) if per_channel else regularizer
