"""Noise-robust Dice: between the Dice loss and the mean absolute error, over all images of a batch."""

from __future__ import annotations

from typing import Annotated, Literal

import torch
from torch import Tensor
from typing_extensions import Unpack

from seg_anl.records.ranges import Interval

from .base import RobustLoss, positive_or_one
from .chunked import chunked_sums
from .declarations import Common, loss
from .inputs import LabeledLogits, labeled_logits, matching_class_weights

SMOOTH = 1e-5  # pixels, added to the areas: a class that is neither present nor predicted has loss 0


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
    to the areas. ``reduction="none"`` gives each image's share of the error, ``(B,)``, scaled so that their mean is the
    loss. Sigmoid: the classes are the channels.

    Soft labels replace g (not an expectation over labels). Weights of samples and pixels apply in the sums, class
    weights in the mean over the classes.

    Args:
        gamma: from 1, most robust, to 2, fastest.
        areas: ``"official"``, the sum of p + g as in the published code, or ``"squared"``, that of p^2 + g^2 as in the
            paper.
        include_background: whether to include class 0; no effect under sigmoid.

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
        """The batch without class weights, which apply in the mean over the classes."""
        return labeled_logits(input, target, weight=weight, ignore_index=self.ignore_index, activation=self.activation)

    def evaluate(self, batch: LabeledLogits) -> tuple[Tensor, Tensor | None]:
        """One value per image, ``(B,)``."""
        batch = batch.with_one_logit_per_channel()
        classes, weight = batch.scores.shape[1], batch.full_weight()  # under sigmoid the classes are the channels
        pair = batch.sigmoid or classes == 2
        every = [1] if pair else list(range(0 if self.include_background else 1, classes))
        errors = classes if batch.sigmoid else len(every)
        found = chunked_sums(batch, lambda part: self._errors_and_areas(part, every, pair=pair))
        error, areas = found[:, :errors], found[:, errors:].sum(dim=0)
        order = [1, 0] if len(areas) > errors else every
        present = None if weight is None else (weight > 0).reshape(len(error), -1).any(dim=1)
        images = len(error) if present is None else present.sum()
        parts = images * error / (areas + SMOOTH)
        if self.class_weights is None:
            return parts.mean(dim=1), present
        weights = matching_class_weights(self.class_weights, batch.scores)
        weights = weights if batch.sigmoid else weights[order]
        return (parts * weights).sum(dim=1) / positive_or_one(weights.sum()), present

    def _errors_and_areas(self, batch: LabeledLogits, every: list[int], *, pair: bool) -> Tensor:
        """|p - g|^gamma of the classes, then their areas, ``(B, M, *E)``."""
        squared, weight = self.areas == "squared", batch.full_weight()
        if batch.sigmoid:
            probs = torch.sigmoid(batch.scores)
        elif pair:
            probs = torch.sigmoid(batch.scores[:, 1:] - batch.scores[:, :1])
        else:
            probs = torch.softmax(batch.scores, dim=1)[:, -len(every) :]
        truth = _truth(batch, every)
        found = [_power((probs - truth.to(probs.dtype)).abs(), self.gamma), _area(probs, truth, squared=squared)]
        if pair and not batch.sigmoid and self.include_background:
            # The errors of background and foreground are equal; their areas are not.
            absent = ~truth if truth.dtype == torch.bool else 1 - truth
            found.append(_area(1 - probs, absent, squared=squared))
        values = torch.cat(found, dim=1)
        if weight is None:
            return values
        weight = torch.cat([weight] * len(found), dim=1) if batch.sigmoid else weight.unsqueeze(1)
        return values * weight if weight.is_floating_point() else torch.where(weight, values, 0)


def _truth(batch: LabeledLogits, classes: list[int]) -> Tensor:
    """One-hot or soft labels of some classes, ``(B, len(classes), *spatial)``."""
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
    # A power below 2 has no finite second derivative at 0, which saturated probabilities reach.
    values = values.clamp(min=torch.finfo(values.dtype).tiny)
    return values * values.sqrt() if exponent == 1.5 else values.pow(exponent)  # sqrt is much faster than pow
