"""Noise-robust Dice: between the Dice loss and the mean absolute error, over all images of a batch."""

from __future__ import annotations

from typing import Annotated, Literal

import torch
from torch import Tensor

from .base import RobustLoss
from .inputs import LabelledLogits
from .parameters import Interval

SMALLEST_AREA = 1e-5  # pixels; a class that is neither there nor predicted costs nothing


class NoiseRobustDice(RobustLoss):
    """Sum of |p - g|^gamma over the areas of prediction and label, per class over the whole batch; mean over classes.

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
        self.hyperparameters = {"gamma": gamma, "areas": areas, "include_background": include_background}

    def evaluate(self, batch: LabelledLogits) -> tuple[Tensor, Tensor | None]:
        """One value per image, ``(B,)``."""
        probs, counted = torch.softmax(batch.logits, dim=1), batch.counted
        if batch.sigmoid:
            probs, truth = probs[:, 1], batch.labels == 1
        else:
            first = 0 if self.include_background else 1
            classes = torch.arange(first, probs.shape[1], device=probs.device)
            probs = probs[:, first:]
            truth = batch.labels.unsqueeze(1) == classes.view(-1, *[1] * (batch.labels.ndim - 1))
            counted = None if counted is None else counted.unsqueeze(1)
        miss = torch.where(truth, 1 - probs, probs)
        area = (probs.square() if self.areas == "squared" else probs) + truth
        if counted is not None:
            miss, area = torch.where(counted, miss, 0), torch.where(counted, area, 0)
        # At 0, which saturated probabilities reach, a power below 2 has no finite second derivative.
        error = miss.clamp(min=torch.finfo(miss.dtype).tiny).pow(self.gamma)
        per_image = error.flatten(2).sum(dim=2) if error.ndim > 2 else error
        areas = area.transpose(0, 1).flatten(1).sum(dim=1)
        there = None if counted is None else counted.flatten(1).any(dim=1)
        images = len(per_image) if there is None else there.sum()
        return (images * per_image / (areas + SMALLEST_AREA)).mean(dim=1), there
