"""ANL*: active negative losses with an entropy regularizer on the mean prediction."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from seg_anl.records.ranges import Weight

from .base import FunctionLoss, positive_or_one, weighted
from .chunked import chunked_sums
from .inputs import LabeledLogits


class EntropyRegularizedLoss(FunctionLoss):
    """A pointwise loss plus ``lam`` times how far the batch's mean prediction is from uniform.

    The mean is weighted, per process (under DDP each rank has its own), and per channel for sigmoid. The regularizer
    is added to every element, so that mean, sum and none agree.

    Reference: Ye et al., Active Negative Loss, Eq. 13 and 14.
    """

    def __init__(self, *, lam: Weight = 2.0, **keywords: Any) -> None:
        super().__init__(**keywords)
        self.lam = lam

    def reduced(self, batch: LabeledLogits) -> Tensor:
        """The reduced loss; of a large batch from sums over chunks."""
        if self.reduction == "none" or batch.sigmoid:
            return super().reduced(batch)
        total = batch.total_weight()
        total = batch.scores.new_full((), total) if isinstance(total, int) else total
        # (1 + K, 1): forward mode promotes zero-dimensional tensors to float64.
        found = chunked_sums(batch, self._values_and_probabilities).sum(dim=0).unsqueeze(1)
        regularizer = self.lam * negative_entropy(mean_prediction(found[1:], total))
        found = (
            found[0] / positive_or_one(total) + regularizer
            if self.reduction == "mean"
            else found[0] + total * regularizer
        )
        return found.squeeze(0)

    def _values_and_probabilities(self, batch: LabeledLogits) -> Tensor:
        """Weighted values and predictions of each element, ``(B, 1 + K, *E)``."""
        pred, weight = batch.log_probs(), batch.full_weight()
        values, _ = weighted(batch, self.values(pred), batch.weight)
        probs = pred.log_probs.exp()
        return torch.cat([values.unsqueeze(1), probs if weight is None else probs * weight.unsqueeze(1)], dim=1)

    def evaluate(self, batch: LabeledLogits) -> tuple[Tensor, Tensor | None]:
        """The pointwise values, each with the regularizer of the batch, or of its channel, added."""
        pred, weight = batch.log_probs(), batch.full_weight()
        probs = pred.log_probs.exp().movedim(1, 0)
        weight = torch.ones_like(probs[0]) if weight is None else weight
        dims = [dim for dim in range(weight.ndim) if not (batch.sigmoid and dim == 1)]
        total = weight.sum(dim=dims, keepdim=True)
        marginal = mean_prediction((probs * weight).sum(dim=[dim + 1 for dim in dims], keepdim=True), total)
        return self.values(pred) + self.lam * negative_entropy(marginal), batch.weight


def mean_prediction(probs: Tensor, total: Tensor) -> Tensor:
    """Weighted sums of probabilities ``(K, ...)`` over the total weight; uniform where that is 0."""
    return torch.where(total > 0, probs / positive_or_one(total), 1 / len(probs))


def negative_entropy(marginal: Tensor) -> Tensor:
    """log K + sum_k pi_k log pi_k of ``(K, ...)``, 0 where pi is uniform."""
    tiny = torch.finfo(marginal.dtype).tiny
    return math.log(len(marginal)) + (marginal * marginal.clamp(min=tiny).log()).sum(dim=0)
