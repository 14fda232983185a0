"""Wrong outlines: a wavering contour, and a polygon of few clicked points.

Human errors rather than errors of a protocol; compare Heller et al., Imperfect Segmentation Labels: How Much Do They
Matter?, 2018.
"""

from __future__ import annotations

import cv2
import numpy as np
import scipy  # loads scipy.ndimage when it is first used
from numpy.typing import NDArray

from ..regions import BoolArray, bounding_box, pasted, widened
from ..spline_field import smooth_field
from .mask_kind import Outcome, Structure, mask_noise

FIELD_SPANS = 8
MAX_POINTS = 48
_JITTER = 0.35  # of the distance between points: small enough to keep their order


@mask_noise("boundary", beta="share of the area that changes sides where the contour wavers in and out")
def wavering(structure: Structure, ratio: float, generator: np.random.Generator) -> Outcome:
    """Move the contour in and out along a smooth random field until ``int(A * ratio)`` elements have changed sides.

    The field, times a growing amplitude, is added to the signed distance from the contour; an element changes sides
    when the amplitude passes its distance over the field's value. So changes of one draw are nested and exact (but for
    ties), and the deepest element inside stays. The draws depend only on the mask's box.
    """
    inside, spacing, free = structure.inside, structure.spacing, structure.free
    wanted = int(np.count_nonzero(inside) * ratio)
    box = bounding_box(inside)
    longest = max(side.stop - side.start for side in box)
    # Independent of the strength, so that all strengths draw the same field.
    wide = widened(box, longest // 2 + 2, inside.shape)
    part = inside[wide]
    field = smooth_field(part.shape, FIELD_SPANS, generator)
    if wanted == 0:
        return Outcome(inside.copy(), {"amplitude": 0.0})
    framed = np.pad(part, 1)
    inner = (slice(1, -1),) * part.ndim
    to_outside = scipy.ndimage.distance_transform_edt(framed, sampling=spacing)[inner]
    to_inside = scipy.ndimage.distance_transform_edt(~part, sampling=spacing)
    pull = np.where(part, -field, field)
    movable = pull > 0
    if free is not None:
        movable &= part | free[wide]
    amplitude = np.full(part.shape, np.inf)
    amplitude[movable] = np.where(part, to_outside, to_inside)[movable] / pull[movable]
    amplitude[part & (amplitude == amplitude[part].max())] = np.inf
    reachable = np.sort(amplitude[np.isfinite(amplitude)], axis=None)
    if reachable.size == 0:
        return Outcome(inside.copy(), {"amplitude": 0.0})
    limit = float(reachable[min(wanted, reachable.size) - 1])
    note = f"less than asked: only {reachable.size} elements can change sides" if reachable.size < wanted else ""
    return Outcome(pasted(inside.shape, wide, part ^ (amplitude <= limit)), {"amplitude": round(limit, 6)}, note)


@mask_noise("polygon", beta="exclusive or of mask and polygon over the area; few points give at most about 0.6")
def polygonal(structure: Structure, ratio: float, generator: np.random.Generator) -> Outcome:
    """Replace every contour, also of holes, by the polygon through 3 to 48 of its points, about evenly spaced.

    Their number is the one whose exclusive or with the mask is nearest to ``ratio``. Volumes are outlined slice by
    slice.
    """
    inside, slice_axis = structure.inside, structure.slice_axis
    start = float(generator.random())
    jitter = generator.uniform(-_JITTER, _JITTER, MAX_POINTS)
    area = int(np.count_nonzero(inside))
    box = bounding_box(inside)
    stack = np.ascontiguousarray(np.moveaxis(inside[box], slice_axis, 0)) if inside.ndim == 3 else inside[box][None]
    outlines = [_contours(picture) for picture in stack]
    best: tuple[float, int, NDArray[np.uint8]] | None = None
    for points in range(3, MAX_POINTS + 1):
        places = np.sort((np.arange(points) + start + jitter[:points]) / points % 1.0)
        drawn = np.stack([_filled(stack.shape[1:], outline, places) for outline in outlines])
        distance = abs(int(np.count_nonzero(drawn != stack)) - area * ratio)
        if best is None or distance <= best[0]:
            best = (distance, points, drawn)
    assert best is not None
    part = best[2].astype(bool)
    part = np.moveaxis(part, 0, slice_axis) if inside.ndim == 3 else part[0]
    return Outcome(pasted(inside.shape, box, part), {"points": best[1]})


def _contours(picture: BoolArray) -> list[NDArray[np.int32]]:
    found, _ = cv2.findContours(np.ascontiguousarray(picture).view(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    return [contour[:, 0, :].astype(np.int32) for contour in found]


def _filled(
    shape: tuple[int, ...], outlines: list[NDArray[np.int32]], places: NDArray[np.float64]
) -> NDArray[np.uint8]:
    """The polygons through ``places`` of each outline, filled by the even-odd rule, which keeps holes."""
    canvas = np.zeros(shape, np.uint8)
    if outlines:
        cv2.fillPoly(canvas, [outline[(places * len(outline)).astype(int)] for outline in outlines], 1)
    return canvas
