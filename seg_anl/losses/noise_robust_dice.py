"""Noise-robust Dice: between the Dice loss and the mean absolute error, over all images of a batch."""

from __future__ import annotations

from typing import Annotated, Literal

import torch
from torch import Tensor

from seg_anl.records.ranges import Interval

from .base import RobustLoss
from .declarations import loss
from .inputs import LabeledLogits

SMALLEST_AREA = 1e-5  # pixels; a class that is neither there nor predicted costs nothing


@loss(
    "nr_dice",
    title="NR-Dice",
    formula=r"\sum_i {\lvert p_i - g_i \rvert}^\gamma \,/ \left(\sum_i p_i + \sum_i g_i\right)",
    order=15,
)
class NRDiceLoss(RobustLoss):
    """Noise-robust Dice: the sum of |p - g|^gamma over the areas of prediction and label.

    Each class is summed over the whole batch; the loss is the mean over the classes.
    g is the one-hot label. ``gamma = 2`` with squared areas is the Dice loss, ``gamma = 1`` an absolute error relative
    to the areas. ``reduction="none"`` gives each image's part of the error, ``(B,)``, scaled so that their mean is the
    loss. Sigmoid: the classes are the channels.

    Args:
        gamma: from 1, most robust, to 2, fastest.
        areas: ``"official"``, the sum of p + g as in the published code, or ``"squared"``, that of p^2 + g^2 as in the
            paper.
        include_background: whether class 0 counts; without effect under sigmoid.

    Reference: Wang et al., A Noise-Robust Framework for Automatic Segmentation of COVID-19 Pneumonia Lesions from CT
    Images, IEEE TMI 2020; the authors' PyMIC for areas over the batch and the mean over all classes.
    """

    per_image = True

    def __init__(
        self,
        *,
        gamma: Annotated[float, Interval(least=1, most=2)] = 1.5,
        areas: Literal["official", "squared"] = "official",
        include_background: bool = True,
        reduction: str = "mean",
        ignore_index: int | None = None,
        activation: str = "softmax",
    ) -> None:
        super().__init__(reduction=reduction, ignore_index=ignore_index, activation=activation)
        self.gamma, self.areas, self.include_background = gamma, areas, include_background

    def evaluate(self, batch: LabeledLogits) -> tuple[Tensor, Tensor | None]:
        """One value per image, ``(B,)``."""
        logits, labels, counted = batch.logits, batch.labels, batch.counted
        if not batch.sigmoid:  # under sigmoid the channels stand there already
            labels = labels.unsqueeze(1)
            counted = None if counted is None else counted.unsqueeze(1)
        pair = logits.shape[1] == 2
        if pair:
            probs, truth = torch.sigmoid(logits[:, 1] - logits[:, 0]).reshape(labels.shape), labels == 1
        else:
            classes = torch.arange(0 if self.include_background else 1, logits.shape[1], device=logits.device)
            probs = torch.softmax(logits, dim=1)[:, -len(classes) :]
            truth = labels == classes.view(-1, *[1] * (labels.ndim - 2))
        error = _power((probs - truth.to(probs.dtype)).abs(), self.gamma)
        area = _area(probs, truth, squared=self.areas == "squared")
        error, areas = _sums(error, counted), _sums(area, counted).sum(dim=0)
        if pair and not batch.sigmoid and self.include_background:
            # The background misses what the foreground has too much of: one error, two areas.
            background = _area(1 - probs, ~truth, squared=self.areas == "squared")
            areas = torch.cat([areas, _sums(background, counted).sum(dim=0)])
        there = None if counted is None else counted.flatten(1).any(dim=1)
        images = len(error) if there is None else there.sum()
        return (images * error / (areas + SMALLEST_AREA)).mean(dim=1), there


def _area(probs: Tensor, truth: Tensor, *, squared: bool) -> Tensor:
    return (probs.square() if squared else probs) + truth


def _power(values: Tensor, exponent: float) -> Tensor:
    # At 0, which saturated probabilities reach, a power below 2 has no finite second derivative.
    values = values.clamp(min=torch.finfo(values.dtype).tiny)
    return values * values.sqrt() if exponent == 1.5 else values.pow(exponent)  # the former in a fraction of the time


def _sums(values: Tensor, counted: Tensor | None) -> Tensor:
    """Over the pixels that count, ``(B, C)``."""
    if counted is not None:
        values = torch.where(counted, values, 0)
    return values.flatten(2).sum(dim=2) if values.ndim > 2 else values
