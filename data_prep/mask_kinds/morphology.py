"""Erosion and dilation to a wanted area, from one distance transform instead of many steps.

k steps with the 3 x 3 cross (3-D: 6 neighbors) reach the elements at a city-block distance of at most k, so a
cumulative histogram of distances has the areas after any number of steps. The result equals that of the
published, iterating generators bit for bit (Gonzalez-Jimenez et al., Robust T-Loss for
Medical Image Segmentation, MICCAI 2023).
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
    """Shrink a mask (H, W) or (D, H, W) by about ``ratio`` of its area A; returns it with the number of steps.

    The target is ``A - int(A * ratio)``. The nearer of the states before and after the step that reaches it is taken
    (the earlier only if strictly nearer), and never an empty one. Outside of the array is background. With ``spacing``,
    mm per element along each axis, it shrinks by a ball instead of a cross.

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
    """Grow a mask by about ``ratio`` of its area, to ``A + int(A * ratio)``; all else as in :func:`eroded`.

    It never fills the array, and grows only where ``free`` is true.

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
        # Distances within reach are exact in the widened box, and no element outside is nearer.
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
    """A guess that is far enough for most shapes; it affects only the time."""
    if spacing is not None:  # a ball of this radius around one element would hold the growth, but for edges
        return 2.0 * float(np.prod(spacing) * growth) ** (1 / inside.ndim)
    sides = [side.stop - side.start for side in bounding_box(inside)]  # the surface of the mask's box
    return 3 + growth // sum(math.prod(sides) // side for side in sides)


def _histogram(distances: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    """The distances, ascending, and how often each occurs; whole steps also where they do not."""
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
    """The published rule: step until the target is crossed, then take the nearer of the last two states."""
    crossed = areas <= target if areas[0] > target else areas >= target
    crossed |= areas == forbidden
    last = int(np.argmax(crossed)) if crossed.any() else len(areas) - 1
    earlier_is_nearer = abs(int(areas[last - 1]) - target) < abs(int(areas[last]) - target)
    return last - 1 if areas[last] == forbidden or earlier_is_nearer else last


def _depth(inside: BoolArray, spacing: tuple[float, ...] | None = None) -> NDArray[Any]:
    """The distance of every element to the background, also outside of the array."""
    return _distance(np.pad(inside, 1), spacing)[(slice(1, -1),) * inside.ndim]


def _distance(elements: BoolArray, spacing: tuple[float, ...] | None) -> NDArray[Any]:
    """The distance of every element to the nearest False one, in steps of the cross or in mm."""
    if spacing is not None:
        return scipy.ndimage.distance_transform_edt(elements, sampling=spacing)
    if elements.ndim == 2:
        # Not the 8-bit transform, which stops at 255.
        distance = cv2.distanceTransform(np.ascontiguousarray(elements).view(np.uint8), cv2.DIST_L1, 3)
        return distance.astype(np.int32)
    return np.asarray(scipy.ndimage.distance_transform_cdt(elements, metric="taxicab"), dtype=np.int32)
