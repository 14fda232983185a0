"""Wrong parts: holes, missing components, spurious components, exchanged labels."""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy  # loads scipy.ndimage when it is first used
from numpy.typing import NDArray

from ..regions import BoolArray, bounding_box, pasted
from ..spline_field import smooth_field
from .mask_kind import Outcome, Structure, mask_noise
from .morphology import eroded_once

HOLE_SPANS = 8
SWAP_SPANS = 3
_MAX_STRETCH = 1.6


@mask_noise("holes", beta="share of the area taken out of the interior as holes")
def with_holes(structure: Structure, ratio: float, generator: np.random.Generator) -> Outcome:
    """Take ``int(A * ratio)`` elements out of the interior, where a smooth random field is highest.

    A rim of one element stays, so the outline does not move. Strengths of one draw are nested.
    """
    inside = structure.inside
    wanted = int(np.count_nonzero(inside) * ratio)
    box = bounding_box(inside)
    part = inside[box]
    field = smooth_field(part.shape, HOLE_SPANS, generator)
    interior = eroded_once(part)
    removable = int(np.count_nonzero(interior))
    if min(wanted, removable) == 0:
        return Outcome(inside.copy(), {"holes": 0})
    holes = _highest(field, interior, min(wanted, removable))
    note = f"less than asked: only {removable} elements lie inside the rim" if removable < wanted else ""
    count = int(scipy.ndimage.label(holes)[1])
    return Outcome(pasted(inside.shape, box, part & ~holes), {"holes": count}, note)


@mask_noise(
    "miss", beta="share of the area left out, rounded to whole components; at least one goes, at least one stays"
)
def without_components(structure: Structure, ratio: float, generator: np.random.Generator) -> Outcome:
    """Leave out components, in random order, while that brings the missing share of the area nearer to ``ratio``.

    At least one is left out (the smallest if all are too large) and at least one stays. Elements are connected over
    corners, too.
    """
    inside = structure.inside
    box = bounding_box(inside)
    labeled, count = scipy.ndimage.label(inside[box], structure=np.ones((3,) * inside.ndim))
    order = generator.permutation(count)
    if ratio == 0:
        return Outcome(inside.copy(), {"components": count, "left_out": 0})
    if count < 2:
        only = "unchanged: only one component, which must stay"
        return Outcome(inside.copy(), {"components": count, "left_out": 0}, only)
    sizes = np.bincount(labeled.ravel(), minlength=count + 1)[1:]
    left_out: list[int] = []
    wanted, gone = ratio * int(sizes.sum()), 0
    for component in order:
        with_it = gone + int(sizes[component])
        if abs(with_it - wanted) < abs(gone - wanted) and len(left_out) < count - 1:
            gone = with_it
            left_out.append(int(component))
    if not left_out:
        left_out = [int(np.argmin(sizes))]
    missing = np.isin(labeled, np.array(left_out) + 1)
    parameters = {"components": count, "left_out": len(left_out)}
    return Outcome(pasted(inside.shape, box, inside[box] & ~missing), parameters)


@mask_noise("spurious", beta="area of the component added, over the area of the label")
def with_spurious(structure: Structure, ratio: float, generator: np.random.Generator) -> Outcome:
    """Add one ellipsoidal component of ``int(A * ratio)`` elements to the background, apart from the mask.

    Its center is drawn from the places with room for it; if there are none, it lies as far off as it can and may be
    smaller than asked.
    """
    inside, spacing = structure.inside, structure.spacing
    wanted = int(np.count_nonzero(inside) * ratio)
    place, stretch = float(generator.random()), generator.uniform(1 / _MAX_STRETCH, _MAX_STRETCH, inside.ndim)
    if wanted == 0:
        return Outcome(inside.copy(), {})
    allowed = ~scipy.ndimage.binary_dilation(inside, np.ones((3,) * inside.ndim))  # not even touching at a corner
    if structure.free is not None:
        allowed &= structure.free
    if not allowed.any():
        return Outcome(inside.copy(), {}, "unchanged: no background apart from the label")
    clearance = scipy.ndimage.distance_transform_cdt(np.pad(allowed, 1), metric="chessboard")
    clearance = clearance[(slice(1, -1),) * inside.ndim].ravel()
    room = np.flatnonzero(clearance > wanted ** (1 / inside.ndim) / 2 * _MAX_STRETCH)
    flat = int(room[int(place * room.size)]) if room.size else int(np.argmax(clearance))
    center = [int(coordinate) for coordinate in np.unravel_index(flat, inside.shape)]
    steps = (1.0,) * inside.ndim if spacing is None else spacing
    grids = np.ogrid[tuple(slice(length) for length in inside.shape)]
    radius = np.zeros(inside.shape)
    for grid, middle, step, factor in zip(grids, center, steps, stretch, strict=True):
        radius = radius + ((grid - middle) * (step / factor)) ** 2
    radius[~allowed] = np.inf
    taken = min(wanted, int(np.count_nonzero(allowed)))
    added = radius <= np.partition(radius, taken - 1, axis=None)[taken - 1]
    pieces, _ = scipy.ndimage.label(added, structure=np.ones((3,) * inside.ndim))  # the mask may cut the ellipsoid
    added = pieces == pieces[tuple(center)]
    size = int(np.count_nonzero(added))
    note = f"less than asked: room for {size} elements in one piece" if size < wanted else ""
    return Outcome(inside | added, {"centre": center}, note)


@mask_noise("swap", beta="share of the common area of two labels on which they are exchanged", whole_mask=True)
def exchanged(mask: NDArray[Any], values: list[int], ratio: float, generator: np.random.Generator) -> Outcome:
    """Exchange two labels, drawn from ``values``, on a share ``ratio`` of their common area.

    A smooth random field is highest on the exchanged elements, so they form connected regions; a ratio of 1 exchanges
    all.
    """
    if len(values) < 2:
        return Outcome(mask.copy(), {}, "unchanged: swap needs two labels")
    one, other = (values[int(rank)] for rank in sorted(generator.choice(len(values), 2, replace=False)))
    pair = (mask == one) | (mask == other)
    box = bounding_box(pair)
    field = smooth_field(pair[box].shape, SWAP_SPANS, generator)
    taken = int(np.count_nonzero(pair) * ratio)
    noisy = mask.copy()
    if taken:
        region = pasted(mask.shape, box, _highest(field, pair[box], taken))
        noisy[region & (mask == one)] = other
        noisy[region & (mask == other)] = one
    return Outcome(noisy, {"exchanged": [one, other]})


def _highest(field: NDArray[np.float64], among: BoolArray, count: int) -> BoolArray:
    """The ``count`` elements of ``among`` where the field is highest."""
    return among & (field >= np.sort(field[among])[-count])
