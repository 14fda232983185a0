"""Erosion and dilation to a wanted area, from one distance transform instead of step after step.

k steps with the 3 x 3 cross (3-D: the 6-neighbor cross) reach exactly the elements at a city-block distance of at most
k, so the areas after every number of steps are one cumulative histogram of distances. The published generators iterate
(Gonzalez-Jimenez et al., Robust T-Loss for Medical Image Segmentation, MICCAI 2023); the results are equal bit for bit,
its rule for the number of steps included.
"""

from __future__ import annotations

import math
from typing import Any

import cv2
import numpy as np
import scipy  # loads scipy.ndimage when it is first used
from numpy.typing import NDArray

from ..regions import BoolArray, bounding_box, pasted, widened
from .mask_kind import Outcome, Structure, mask_noise


def eroded(
    inside: BoolArray, ratio: float, spacing: tuple[float, ...] | None = None
) -> tuple[BoolArray, dict[str, Any]]:
    """Shrink a mask by about ``ratio`` of its area A, and say in how many steps.

    The target is ``A - int(A * ratio)``. Of the states before and after the step that reaches it, the nearer one is
    taken (the earlier only if strictly nearer), and never an empty one. What lies outside the array counts as
    background.

    Args:
        inside: (H, W) or (D, H, W).
        ratio: share of the area or volume to take away, in [0, 1].
        spacing: mm per element along each axis: shrink by a ball instead of a cross.

    >>> mask = np.pad(np.ones((3, 3), bool), 1)
    >>> int(eroded(mask, 0.7)[0].sum())
    1
    """
    area = int(np.count_nonzero(inside))
    wanted = int(area * ratio)
    if wanted == 0:
        return inside.copy(), {"steps": 0}
    box = bounding_box(inside)
    depth = _depth(inside[box], spacing)
    distances, counts = _histogram(depth[depth > 0])
    kept = _nearer_step(area - np.cumsum(np.append(0, counts)), area - wanted, forbidden=0)
    reached = np.append(0, distances)[kept]
    return pasted(inside.shape, box, depth > reached), _parameters(reached, spacing)


def dilated(
    inside: BoolArray, ratio: float, spacing: tuple[float, ...] | None = None, free: BoolArray | None = None
) -> tuple[BoolArray, dict[str, Any]]:
    """Grow a mask by about ``ratio`` of its area; the target is ``A + int(A * ratio)``, all else as in :func:`eroded`.

    It never fills the array. Growth where ``free`` is not true is neither made nor counted.

    >>> mask = np.pad(np.ones((1, 1), bool), 2)
    >>> int(dilated(mask, 1.0)[0].sum())
    1
    """
    area = int(np.count_nonzero(inside))
    growth = int(area * ratio)
    if growth == 0 or area == inside.size:
        return inside.copy(), {"steps": 0}
    steps = (1.0,) * inside.ndim if spacing is None else spacing
    reach = _expected_reach(inside, growth, spacing)
    while True:
        # Distances within reach are exact in the widened box, and beyond it nothing is nearer.
        wide = widened(bounding_box(inside), tuple(int(reach / step) + 1 for step in steps), inside.shape)
        distance = _distance(~inside[wide], spacing)
        within = distance.ravel() if free is None else distance[free[wide] | inside[wide]]
        if distance.shape == inside.shape or np.count_nonzero(within <= reach) >= area + growth:
            break
        reach *= 3
    distances, counts = _histogram(within)
    reached = distances[_nearer_step(np.cumsum(counts), area + growth, forbidden=inside.size)]
    grown = pasted(inside.shape, wide, distance <= reached)
    return grown if free is None else grown & (free | inside), _parameters(reached, spacing)


@mask_noise("erode", beta="share of the area (volume) taken away all round")
def _erode(structure: Structure, ratio: float, generator: np.random.Generator) -> Outcome:
    return Outcome(*eroded(structure.inside, ratio, structure.spacing))


@mask_noise("dilate", beta="share of the area (volume) added all round")
def _dilate(structure: Structure, ratio: float, generator: np.random.Generator) -> Outcome:
    return Outcome(*dilated(structure.inside, ratio, structure.spacing, structure.free))


def _expected_reach(inside: BoolArray, growth: int, spacing: tuple[float, ...] | None) -> float:
    """Far enough for most shapes; the guess decides the time alone."""
    if spacing is not None:  # a ball of this radius around one element alone would hold the growth, were there no edges
        return 2.0 * float(np.prod(spacing) * growth) ** (1 / inside.ndim)
    sides = [side.stop - side.start for side in bounding_box(inside)]  # the surface of the mask's box
    return 3 + growth // sum(math.prod(sides) // side for side in sides)


def _histogram(distances: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    """The distances that occur, rising, and how often; of steps also those between that do not."""
    if distances.dtype.kind == "f":
        return np.unique(distances, return_counts=True)
    counts = np.bincount(distances)
    return np.arange(len(counts)), counts


def _parameters(reached: Any, spacing: tuple[float, ...] | None) -> dict[str, Any]:
    return {"steps": int(reached)} if spacing is None else {"radius_mm": round(float(reached), 6)}


def eroded_once(inside: BoolArray) -> BoolArray:
    """The mask without its rim: one step of the cross, with background outside the array."""
    return _depth(inside) > 1


def _nearer_step(areas: NDArray[Any], target: int, forbidden: int) -> int:
    """The published rule: go on until the target is crossed, then take the nearer of the last two states."""
    crossed = areas <= target if areas[0] > target else areas >= target
    crossed |= areas == forbidden
    last = int(np.argmax(crossed)) if crossed.any() else len(areas) - 1
    earlier_is_nearer = abs(int(areas[last - 1]) - target) < abs(int(areas[last]) - target)
    return last - 1 if areas[last] == forbidden or earlier_is_nearer else last


def _depth(inside: BoolArray, spacing: tuple[float, ...] | None = None) -> NDArray[Any]:
    """The distance of every element to the background, which also lies all round the array."""
    return _distance(np.pad(inside, 1), spacing)[(slice(1, -1),) * inside.ndim]


def _distance(elements: BoolArray, spacing: tuple[float, ...] | None) -> NDArray[Any]:
    """Of every element to the nearest one that is False: in steps of the cross, or in mm."""
    if spacing is not None:
        return scipy.ndimage.distance_transform_edt(elements, sampling=spacing)
    if elements.ndim == 2:
        # In 32 bits: the 8-bit transform stops at 255, which a 256 x 256 mask already exceeds.
        distance = cv2.distanceTransform(np.ascontiguousarray(elements).view(np.uint8), cv2.DIST_L1, 3)
        return distance.astype(np.int32)
    return np.asarray(scipy.ndimage.distance_transform_cdt(elements, metric="taxicab"), dtype=np.int32)
