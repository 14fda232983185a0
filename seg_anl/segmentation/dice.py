"""Dice of predicted masks, per image and pooled."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from monai.metrics import compute_dice
from torch import Tensor

from data_prep.pictures import IGNORED
from seg_anl.engine.batches import moved

IMAGES_AT_ONCE = 64  # one-hot, 16 bytes per pixel and class


def dice_per_image(predicted: Tensor, truth: Tensor, classes: int) -> Tensor:
    """Dice of every image ``(N,)``, the mean over foreground classes, of class indices ``(N, H, W)``.

    A class that is missing in an image's truth counts 1 if it is missing in the prediction, too, and else 0. Pixels
    whose truth is ``IGNORED`` do not count.
    """
    predicted, truth = _labeled(predicted, truth)

    def one_hot(labels: Tensor) -> Tensor:
        return F.one_hot(labels.long(), classes).movedim(-1, 1)

    parts = zip(predicted.split(IMAGES_AT_ONCE), truth.split(IMAGES_AT_ONCE), strict=True)
    values = [
        compute_dice(one_hot(found), one_hot(true), include_background=False, ignore_empty=False)
        for found, true in parts
    ]
    return torch.cat(values).mean(dim=1)


def dice_scores(predicted: Tensor, truth: Tensor, classes: int) -> dict[str, float]:
    """``dice`` (mean over images) and ``dice_pooled`` (one ratio over all pixels, the mean over foreground classes)."""
    predicted, truth = _labeled(predicted, moved(truth, predicted.device))
    pooled = []
    for label in range(1, classes):
        p, t = predicted == label, truth == label
        total = p.sum() + t.sum()
        pooled.append(torch.where(total > 0, 2 * (p & t).sum() / total.clamp(min=1), 1.0))
    return {
        "dice": dice_per_image(predicted, truth, classes).mean().item(),
        "dice_pooled": torch.stack(pooled).mean().item(),
    }


def _labeled(predicted: Tensor, truth: Tensor) -> tuple[Tensor, Tensor]:
    """Both with background in unlabeled pixels."""
    ignored = truth == IGNORED
    return predicted.masked_fill(ignored, 0), truth.masked_fill(ignored, 0)
