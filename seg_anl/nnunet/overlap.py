"""Pixel counts of two label maps, and Dice computed from them: the mean over images, and pooled over all pixels."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

PREDICTED, TRUTH, BOTH = range(3)  # rows of the counts


def overlap(
    predicted: NDArray[np.integer], truth: NDArray[np.integer], regions: Sequence[Sequence[int]], ignore: int | None
) -> NDArray[np.int64]:
    """Number of predicted pixels, true pixels and their overlap, ``(3, regions)``.

    Args:
        predicted, truth: label maps of the same shape.
        regions: the labels of each region; a plain class is a region of one label.
        ignore: label of pixels in ``truth`` to ignore, or None.
    """
    counted = np.ones(truth.shape, bool) if ignore is None else truth != ignore
    masks = [(np.isin(predicted, labels) & counted, np.isin(truth, labels) & counted) for labels in regions]
    return np.array([(p.sum(), t.sum(), (p & t).sum()) for p, t in masks], dtype=np.int64).T


def dice_from_overlaps(overlaps: Sequence[NDArray[np.int64]]) -> dict[str, float]:
    """``dice``, the mean over images, and ``dice_pooled``, one ratio over all pixels; both averaged over regions.

    A region missing from an image's truth scores 1 if it is not predicted either, otherwise 0.
    """
    counts = np.stack(overlaps)
    return {"dice": _mean_dice(counts), "dice_pooled": _mean_dice(counts.sum(axis=0))}


def _mean_dice(counts: NDArray[np.int64]) -> float:
    total = counts[..., PREDICTED, :] + counts[..., TRUTH, :]
    return float(np.where(total > 0, 2 * counts[..., BOTH, :] / np.maximum(total, 1), 1.0).mean())
