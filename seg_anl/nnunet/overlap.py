"""Pixel counts of two label maps, and Dice from them: the mean over images, and pooled over all pixels. Pure NumPy."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

PREDICTED, TRUTH, BOTH = range(3)  # rows of the counts


def overlap(
    predicted: NDArray[np.integer], truth: NDArray[np.integer], regions: Sequence[Sequence[int]], ignore: int | None
) -> NDArray[np.int64]:
    """Pixels predicted, true, and both, ``(3, regions)``, in two label maps of one shape.

    Args:
        predicted, truth: label maps.
        regions: the labels that make up each region; a plain class is a region of one label.
        ignore: label of pixels of ``truth`` that do not count, or None.
    """
    counted = np.ones(truth.shape, bool) if ignore is None else truth != ignore
    masks = [(np.isin(predicted, labels) & counted, np.isin(truth, labels) & counted) for labels in regions]
    return np.array([(p.sum(), t.sum(), (p & t).sum()) for p, t in masks], dtype=np.int64).T


def dice_from_overlaps(overlaps: Sequence[NDArray[np.int64]]) -> dict[str, float]:
    """``dice``, mean over images, and ``dice_pooled``, one ratio over all pixels; both are the mean over regions.

    A region that is missing in an image's truth counts 1 where it is not predicted either, else 0.
    """
    counts = np.stack(overlaps)
    return {"dice": _mean_dice(counts), "dice_pooled": _mean_dice(counts.sum(axis=0))}


def _mean_dice(counts: NDArray[np.int64]) -> float:
    total = counts[..., PREDICTED, :] + counts[..., TRUTH, :]
    return float(np.where(total > 0, 2 * counts[..., BOTH, :] / np.maximum(total, 1), 1.0).mean())
