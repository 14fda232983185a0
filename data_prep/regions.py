"""Bounding boxes of masks."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

Box = tuple[slice, ...]
BoolArray = NDArray[np.bool_]


def bounding_box(mask: NDArray[Any]) -> Box:
    """The smallest box that holds every non-zero element of a mask, which must not be empty."""
    if mask.ndim == 2 and mask.dtype == np.bool_ and mask.flags.c_contiguous:  # the usual case
        column, row, width, height = cv2.boundingRect(mask.view(np.uint8))
        box: Box = (slice(row, row + height), slice(column, column + width))
    else:
        profiles = (mask.any(axis=tuple(set(range(mask.ndim)) - {axis})) for axis in range(mask.ndim))
        occupied = [np.append(np.flatnonzero(profile), -1) for profile in profiles]
        box = tuple(slice(int(places[0]), int(places.max()) + 1) for places in occupied)
    if not all(side.stop > side.start >= 0 for side in box):
        raise ValueError("an empty mask has no bounding box")
    return box


def widened(box: Box, margin: int | tuple[int, ...], shape: tuple[int, ...]) -> Box:
    """``box`` with ``margin`` more elements on every side, clipped to an array of ``shape``."""
    margins = (margin,) * len(shape) if isinstance(margin, int) else margin
    return tuple(
        slice(max(side.start - more, 0), min(side.stop + more, length))
        for side, more, length in zip(box, margins, shape, strict=True)
    )


def pasted(shape: tuple[int, ...], box: Box, part: BoolArray) -> BoolArray:
    """A mask of ``shape`` that is ``part`` inside ``box`` and empty elsewhere."""
    whole = np.zeros(shape, dtype=bool)
    whole[box] = part
    return whole


def without_flat_axes(mask: NDArray[Any]) -> tuple[NDArray[Any], list[int]]:
    """The mask without axes of length one, but with at least two axes; and the axes that are left."""
    long = [axis for axis, length in enumerate(mask.shape) if length != 1]
    flat = [axis for axis, length in enumerate(mask.shape) if length == 1]
    kept = sorted(long + flat[: max(2 - len(long), 0)])
    return mask.reshape([mask.shape[axis] for axis in kept]), kept
