"""Dice from label maps: the mean over images, and pooled over all pixels. Pure NumPy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Overlap:
    """Pixel counts of one image, one entry per region: predicted, true, and both."""

    predicted: NDArray[np.int64]
    truth: NDArray[np.int64]
    both: NDArray[np.int64]


def overlap(
    predicted: NDArray[np.integer], truth: NDArray[np.integer], regions: Sequence[Sequence[int]], ignore: int | None
) -> Overlap:
    """Counts of two label maps of one shape.

    Args:
        predicted, truth: label maps.
        regions: the labels that make up each region; a plain class is a region of one label.
        ignore: label of pixels of ``truth`` that do not count, or None.
    """
    counted = np.ones(truth.shape, bool) if ignore is None else truth != ignore
    rows = []
    for labels in regions:
        p, t = np.isin(predicted, labels) & counted, np.isin(truth, labels) & counted
        rows.append((p.sum(), t.sum(), (p & t).sum()))
    counts = np.array(rows, dtype=np.int64).T
    return Overlap(*counts)


def dice_scores(overlaps: Sequence[Overlap]) -> dict[str, float]:
    """``dice``, mean over images, and ``dice_pooled``, one ratio over all pixels; both are the mean over regions.

    A region that an image's truth does not have counts 1 where it is not predicted either, else 0.
    """
    both = np.stack([o.both for o in overlaps])
    total = np.stack([o.predicted + o.truth for o in overlaps])
    return {"dice": float(_ratio(both, total).mean()), "dice_pooled": float(_ratio(both.sum(0), total.sum(0)).mean())}


def _ratio(both: NDArray[np.int64], total: NDArray[np.int64]) -> NDArray[np.float64]:
    return np.where(total > 0, 2 * both / np.maximum(total, 1), 1.0)
