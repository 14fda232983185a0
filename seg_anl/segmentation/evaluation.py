"""Dice of a network's predictions, per image and pooled, and the predictions themselves."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from monai.metrics import compute_dice
from torch import Tensor, nn

from .augmentation import normalized

BATCH_SIZE = 32


def predict_labels(model: nn.Module, images: Tensor, device: torch.device) -> Tensor:
    """Class indices ``(N, H, W)`` uint8, on ``device``, of uint8 images ``(N, 3, H, W)``."""
    parts = []
    for batch in images.split(BATCH_SIZE):
        logits = model(normalized(batch.to(device, non_blocking=True)))
        parts.append(logits.argmax(dim=1).to(torch.uint8))
    return torch.cat(parts)


def dice_per_image(predicted: Tensor, truth: Tensor, classes: int) -> Tensor:
    """Dice of every image, the mean over foreground classes, ``(N,)``.

    A class that an image's truth does not have counts 1 where the prediction does not have it either, else 0.

    Args:
        predicted, truth: class indices ``(N, H, W)``.
    """
    values = compute_dice(
        _one_hot(predicted, classes), _one_hot(truth, classes), include_background=False, ignore_empty=False
    )
    return values.mean(dim=1)


def dice_scores(predicted: Tensor, truth: Tensor, classes: int) -> dict[str, float]:
    """``dice`` (mean over images) and ``dice_pooled`` (one ratio over all pixels, the mean over foreground classes)."""
    truth = truth.to(predicted.device)
    pooled = []
    for label in range(1, classes):
        p, t = predicted == label, truth == label
        total = p.sum() + t.sum()
        pooled.append(torch.where(total > 0, 2 * (p & t).sum() / total.clamp(min=1), 1.0))
    return {
        "dice": dice_per_image(predicted, truth, classes).mean().item(),
        "dice_pooled": torch.stack(pooled).mean().item(),
    }


def _one_hot(labels: Tensor, classes: int) -> Tensor:
    return F.one_hot(labels.long(), classes).movedim(-1, 1)
