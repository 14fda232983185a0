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
    if int(area * ratio) == 0:
        return inside.copy(), {"steps": 0}
    box = bounding_box(inside)
    if spacing is not None:
        return _eroded_by_ball(inside, area - int(area * ratio), spacing)
    depth = _depth(inside[box])
    areas = depth.size - np.cumsum(np.bincount(depth.ravel()))  # the background of the box has depth 0
    steps = _nearer_step(areas, area - int(area * ratio), forbidden=0)
    return pasted(inside.shape, box, depth > steps), {"steps": steps}


def dilated(
    inside: BoolArray,
    ratio: float,
    spacing: tuple[float, ...] | None = None,
    free: BoolArray | None = None,
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
    if spacing is not None:
        return _dilated_by_ball(inside, growth, spacing, free)
    box = bounding_box(inside)
    margin = _expected_steps(inside, growth)
    while True:
        # Distances up to the margin are exact within the widened box, and beyond it nothing is nearer.
        wide = widened(box, margin, inside.shape)
        distance = _city_block(~inside[wide])
        too_far = sum(distance.shape)  # more steps than any way across
        if free is not None:
            distance[~(free[wide] | inside[wide])] = too_far
        areas = np.cumsum(np.bincount(distance.ravel())[:too_far])
        if distance.shape == inside.shape or areas[: margin + 1][-1] >= area + growth:
            break
        margin *= 3
    steps = _nearer_step(areas, area + growth, forbidden=inside.size)
    return pasted(inside.shape, wide, distance <= steps), {"steps": steps}


@mask_noise("erode", beta="share of the area (volume) taken away all round")
def _erode(structure: Structure, ratio: float, generator: np.random.Generator) -> Outcome:
    return Outcome(*eroded(structure.inside, ratio, structure.spacing))


@mask_noise("dilate", beta="share of the area (volume) added all round")
def _dilate(structure: Structure, ratio: float, generator: np.random.Generator) -> Outcome:
    return Outcome(*dilated(structure.inside, ratio, structure.spacing, structure.free))


def _expected_steps(inside: BoolArray, growth: int) -> int:
    """Enough steps for most shapes, guessed from the surface of the mask's box; the guess decides the time alone."""
    sides = [side.stop - side.start for side in bounding_box(inside)]
    return 3 + growth // sum(math.prod(sides) // side for side in sides)


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
    padded = np.pad(inside, 1)
    far = _city_block(padded) if spacing is None else scipy.ndimage.distance_transform_edt(padded, sampling=spacing)
    return far[(slice(1, -1),) * inside.ndim]


def _city_block(elements: BoolArray) -> NDArray[np.int32]:
    """Steps from every element to the nearest one that is False (0 there)."""
    if elements.ndim == 2:
        # In 32 bits: the 8-bit transform stops at 255, which a 256 x 256 mask already exceeds.
        distance = cv2.distanceTransform(np.ascontiguousarray(elements).view(np.uint8), cv2.DIST_L1, 3)
        return distance.astype(np.int32)
    return np.asarray(scipy.ndimage.distance_transform_cdt(elements, metric="taxicab"), dtype=np.int32)


def _eroded_by_ball(inside: BoolArray, target: int, spacing: tuple[float, ...]) -> tuple[BoolArray, dict[str, Any]]:
    box = bounding_box(inside)
    depth = _depth(inside[box], spacing)
    radii, counts = np.unique(depth, return_counts=True)  # from 0.0, if there is background in the box
    radii, counts = np.append(0.0, radii[radii > 0]), counts[radii > 0]
    kept = _nearer_step(counts.sum() - np.cumsum(np.append(0, counts)), target, forbidden=0)
    radius = float(radii[kept])
    return pasted(inside.shape, box, depth > radius), {"radius_mm": round(radius, 6)}


def _dilated_by_ball(
    inside: BoolArray, growth: int, spacing: tuple[float, ...], free: BoolArray | None
) -> tuple[BoolArray, dict[str, Any]]:
    target = int(np.count_nonzero(inside)) + growth
    box = bounding_box(inside)
    # A ball of this radius around the outermost element alone holds `growth` elements, were there no edges.
    reach = 2.0 * float(np.prod(spacing) * growth) ** (1 / inside.ndim)
    for margins in (tuple(int(reach / step) + 1 for step in spacing), inside.shape):
        wide = widened(box, margins, inside.shape)
        distance = scipy.ndimage.distance_transform_edt(~inside[wide], sampling=spacing)
        if free is not None:
            distance[~(free[wide] | inside[wide])] = np.inf
        if np.count_nonzero(distance <= reach) >= target:  # within reach, distances are exact
            break
    radii, counts = np.unique(distance[np.isfinite(distance)], return_counts=True)
    radius = float(radii[_nearer_step(np.cumsum(counts), target, forbidden=inside.size)])
    return pasted(inside.shape, wide, distance <= radius), {"radius_mm": round(radius, 6)}
