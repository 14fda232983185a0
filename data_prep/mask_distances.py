"""Dice, average and 95th-percentile surface distance between a clean and a noisy mask."""

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
    """``dice``, ``assd``, ``hd95`` of two label masks, None if undefined, and the ``unit`` of the distances, mm or px.

    Means over the ``labels`` (None: all) present in ``clean``; one missing in ``noisy`` has Dice 0 and no distance. The
    distances equal those of MONAI's metrics. Masks are (H, W) or (D, H, W), perhaps with axes of length one;
    ``spacing`` is mm per element along each axis.
    """
    steps = [1.0] * clean.ndim if spacing is None else spacing
    long = np.array([step for step, length in zip(steps, clean.shape, strict=True) if length != 1])
    clean, noisy = clean.squeeze(), noisy.squeeze()
    values = [value for value in label_values(clean) if labels is None or value in labels]
    rows = [_of_one_label(clean == value, noisy == value, long) for value in values]
    known = {name: [row[name] for row in rows if name in row] for name in ("dice", "assd", "hd95")}
    means = {name: sum(numbers) / len(numbers) if numbers else None for name, numbers in known.items()}
    return {**means, "unit": "px" if spacing is None else "mm"}


def _of_one_label(clean: BoolArray, noisy: BoolArray, steps: NDArray[np.float64]) -> dict[str, float]:
    common = int(np.count_nonzero(clean & noisy))
    dice = 2 * common / (int(np.count_nonzero(clean)) + int(np.count_nonzero(noisy)))
    if dice == 1:
        return {"dice": 1.0, "assd": 0.0, "hd95": 0.0}
    if not noisy.any() or clean.ndim < 2:
        return {"dice": dice}
    box = widened(bounding_box(clean | noisy), 1, clean.shape)
    # The elements with a neighbor outside the mask or the array.
    rims = [np.argwhere(mask[box] ^ scipy.ndimage.binary_erosion(mask[box])) * steps for mask in (noisy, clean)]
    there, back = (scipy.spatial.KDTree(target, leafsize=32).query(points)[0] for points, target in (rims, rims[::-1]))
    hd95 = max(float(np.quantile(way, 0.95)) for way in (there, back))
    assd = float(np.concatenate([there, back]).mean())
    return {"dice": dice, "assd": round(assd, 6), "hd95": round(hd95, 6)}
