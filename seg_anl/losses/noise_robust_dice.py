"""Noise-robust Dice: between the Dice loss and the mean absolute error, over all images of a batch."""

from __future__ import annotations

from typing import Annotated, Literal

import torch
from torch import Tensor
from typing_extensions import Unpack

from seg_anl.records.ranges import Interval

from .base import RobustLoss, positive
from .declarations import Common, loss
from .inputs import LabeledLogits, fitting_class_weights, labeled_logits

SMALLEST_AREA = 1e-5  # pixels; a class that is neither there nor predicted costs nothing


@loss(
    "nr_dice",
    title="NR-Dice",
    formula=r"\sum_i {\lvert p_i - g_i \rvert}^\gamma \,/ \left(\sum_i p_i + \sum_i g_i\right)",
    order=15,
)
class NRDiceLoss(RobustLoss):
    """Noise-robust Dice: the sum of ``|p - g|^gamma`` over the areas of prediction and label.

    Each class is summed over the whole batch; the loss is the mean over the classes.
    g is the one-hot label. ``gamma = 2`` with squared areas is the Dice loss, ``gamma = 1`` an absolute error relative
    to the areas. ``reduction="none"`` gives each image's part of the error, ``(B,)``, scaled so that their mean is the
    loss. Sigmoid: the classes are the channels.

    Soft labels take the place of g (this is no expectation over labels). Weights of samples and pixels are weights in
    the sums; class weights are those of the mean over the classes.

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
        **common: Unpack[Common],
    ) -> None:
        super().__init__(**common)
        self.gamma, self.areas, self.include_background = gamma, areas, include_background

    def labeled(self, input: Tensor, target: Tensor, weight: Tensor | None = None) -> LabeledLogits:
        """The batch; class weights wait for the mean over the classes."""
        return labeled_logits(input, target, weight=weight, ignore_index=self.ignore_index, activation=self.activation)

    def evaluate(self, batch: LabeledLogits) -> tuple[Tensor, Tensor | None]:
        """One value per image, ``(B,)``."""
        logits, counted, squared = batch.logits, batch.counted, self.areas == "squared"
        if counted is not None and not batch.sigmoid:  # under sigmoid the channels stand there already
            counted = counted.unsqueeze(1)
        pair = logits.shape[1] == 2
        every = list(range(1 if pair or not self.include_background else 0, logits.shape[1]))
        if pair:
            probs = torch.sigmoid(logits[:, 1] - logits[:, 0])
            probs = probs if batch.sigmoid else probs.unsqueeze(1)
        else:
            probs = torch.softmax(logits, dim=1)[:, -len(every) :]
        truth = _truth(batch, every)
        error = _power((probs - truth.to(probs.dtype)).abs(), self.gamma)
        error, areas = _sums(error, counted), _sums(_area(probs, truth, squared=squared), counted).sum(dim=0)
        if pair and not batch.sigmoid and self.include_background:
            # The background misses what the foreground has too much of: one error, two areas.
            absent = ~truth if truth.dtype == torch.bool else 1 - truth
            areas = torch.cat([areas, _sums(_area(1 - probs, absent, squared=squared), counted).sum(dim=0)])
            every = [1, 0]
        there = None if counted is None else (counted > 0).flatten(1).any(dim=1)
        images = len(error) if there is None else there.sum()
        parts = images * error / (areas + SMALLEST_AREA)
        if self.class_weights is None:
            return parts.mean(dim=1), there
        weights = fitting_class_weights(self.class_weights, batch.scores)
        weights = weights if batch.sigmoid else weights[every]
        return (parts * weights).sum(dim=1) / positive(weights.sum()), there


def _truth(batch: LabeledLogits, classes: list[int]) -> Tensor:
    """Which pixels are of each class, ``(B, len(classes), *spatial)``; of soft labels how much of one."""
    if batch.labels is None:
        assert batch.probabilities is not None
        return batch.probabilities if batch.sigmoid else batch.probabilities[:, classes[0] :]
    if batch.sigmoid:
        return batch.labels == 1
    numbers = torch.arange(classes[0], classes[0] + len(classes), device=batch.labels.device)
    return batch.labels.unsqueeze(1) == numbers.view(-1, *[1] * (batch.labels.ndim - 1))


def _area(probs: Tensor, truth: Tensor, *, squared: bool) -> Tensor:
    if not squared:
        return probs + truth
    return probs.square() + (truth.square() if truth.is_floating_point() else truth)


def _power(values: Tensor, exponent: float) -> Tensor:
    # At 0, which saturated probabilities reach, a power below 2 has no finite second derivative.
    values = values.clamp(min=torch.finfo(values.dtype).tiny)
    return values * values.sqrt() if exponent == 1.5 else values.pow(exponent)  # the former in a fraction of the time


def _sums(values: Tensor, counted: Tensor | None) -> Tensor:
    """Over the pixels that count, ``(B, C)``."""
    if counted is not None:
        values = values * counted if counted.is_floating_point() else torch.where(counted, values, 0)
    return values.flatten(2).sum(dim=2) if values.ndim > 2 else values
