"""Boxes around a mask: where it lies, and the part of an array that an algorithm has to look at."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

Box = tuple[slice, ...]
BoolArray = NDArray[np.bool_]


def bounding_box(mask: NDArray[Any]) -> Box:
    """The smallest box that holds every non-zero element of a mask of any dimension.

    Raises:
        ValueError: when the mask is empty.
    """
    if mask.ndim == 2 and mask.dtype == np.bool_ and mask.flags.c_contiguous:
        column, row, width, height = cv2.boundingRect(mask.view(np.uint8))
        if width == 0:
            raise ValueError("an empty mask has no bounding box")
        return (slice(row, row + height), slice(column, column + width))
    box = []
    for axis in range(mask.ndim):
        others = tuple(other for other in range(mask.ndim) if other != axis)
        occupied = np.flatnonzero(mask.any(axis=others))
        if occupied.size == 0:
            raise ValueError("an empty mask has no bounding box")
        box.append(slice(int(occupied[0]), int(occupied[-1]) + 1))
    return tuple(box)


def widened(box: Box, margin: int, shape: tuple[int, ...]) -> Box:
    """``box`` with ``margin`` more elements on every side, cut off at the edges of an array of ``shape``."""
    return tuple(
        slice(max(side.start - margin, 0), min(side.stop + margin, length))
        for side, length in zip(box, shape, strict=True)
    )


def covers(box: Box, shape: tuple[int, ...]) -> bool:
    """Whether ``box`` is all of an array of ``shape``."""
    return all(side.start == 0 and side.stop == length for side, length in zip(box, shape, strict=True))


def pasted(shape: tuple[int, ...], box: Box, part: BoolArray) -> BoolArray:
    """A mask of ``shape`` that is ``part`` inside ``box`` and empty elsewhere."""
    whole = np.zeros(shape, dtype=bool)
    whole[box] = part
    return whole
