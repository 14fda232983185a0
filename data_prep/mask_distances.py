"""How far a noisy mask is from the clean one: Dice, average and 95th-percentile surface distance."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import numpy as np
import scipy  # loads scipy.ndimage and scipy.spatial when they are first used
from numpy.typing import NDArray

from .mask_noise import label_values
from .regions import BoolArray, bounding_box, widened


def distances(
    clean: NDArray[Any],
    noisy: NDArray[Any],
    spacing: tuple[float, ...] | None = None,
    labels: Collection[int] | None = None,
) -> dict[str, Any]:
    """Dice, symmetric average surface distance and 95 % Hausdorff distance of two label masks.

    Each is the mean over the labels present in ``clean``; a label that has vanished from ``noisy`` counts with Dice 0
    and has no distance. The distances are those of MONAI's metrics, to the last digit.

    Args:
        clean: (H, W) or (D, H, W), or with axes of length one.
        noisy: the same shape and labels.
        spacing: mm per element along each axis; None: distances in elements.
        labels: count these values only; None: all.

    Returns:
        ``dice``, ``assd``, ``hd95`` (None where they have no value) and their ``unit``, ``"mm"`` or ``"px"``.
    """
    long = [axis for axis in range(clean.ndim) if clean.shape[axis] != 1]
    clean, noisy = clean.squeeze(), noisy.squeeze()
    steps = None if spacing is None else tuple(spacing[axis] for axis in long)
    values = [value for value in label_values(clean) if labels is None or value in labels]
    rows = [_of_one_label(clean == value, noisy == value, steps) for value in values]
    unit = "px" if spacing is None else "mm"
    return {**{name: _mean([row[name] for row in rows]) for name in ("dice", "assd", "hd95")}, "unit": unit}


def _of_one_label(clean: BoolArray, noisy: BoolArray, spacing: tuple[float, ...] | None) -> dict[str, float | None]:
    common = int(np.count_nonzero(clean & noisy))
    dice = 2 * common / (int(np.count_nonzero(clean)) + int(np.count_nonzero(noisy)))
    if common == np.count_nonzero(clean) == np.count_nonzero(noisy):
        return {"dice": 1.0, "assd": 0.0, "hd95": 0.0}
    if not noisy.any() or clean.ndim < 2:
        return {"dice": dice, "assd": None, "hd95": None}
    box = widened(bounding_box(clean | noisy), 1, clean.shape)
    rims = [np.argwhere(_rim(mask[box])) * (1.0 if spacing is None else np.asarray(spacing)) for mask in (noisy, clean)]
    there, back = (
        scipy.spatial.KDTree(target, leafsize=32).query(points)[0].astype(np.float32)
        for points, target in (rims, rims[::-1])
    )
    hd95 = max(float(np.quantile(way, 0.95)) for way in (there, back))
    import torch  # takes a second to import, and only its float32 mean rounds as MONAI's in the sixth decimal

    return {
        "dice": dice,
        "assd": round(float(torch.from_numpy(np.concatenate([there, back])).mean()), 6),
        "hd95": round(hd95, 6),
    }


def _rim(mask: BoolArray) -> BoolArray:
    """The elements with a neighbor outside; what lies outside the array counts as such."""
    return mask ^ scipy.ndimage.binary_erosion(mask)


def _mean(values: list[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None
