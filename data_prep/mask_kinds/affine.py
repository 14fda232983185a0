"""Misplaced masks: rotated by up to 30 degrees, then shifted until a wanted share of the area disagrees.

Two generators: :func:`displaced` (corrected, 2-D and 3-D) and :func:`published_affine`, which repeats the published
script (Gonzalez-Jimenez et al., Robust T-Loss for Medical Image Segmentation, MICCAI 2023) with its faults: bilinear
rotation truncated to integers, so the mask shrinks; the sign of a shift is ignored and one direction is listed twice,
so masks only ever move down and to the right; and the last shift probed is returned instead of the best.
"""

from __future__ import annotations

import functools
import itertools
import math
import random
from typing import Any, NamedTuple

import numpy as np
import skimage  # loads skimage.transform when it is first used
from numpy.typing import NDArray

from ..regions import BoolArray, bounding_box
from .mask_kind import Outcome, Structure, mask_noise

MAX_ANGLE = 30.0  # degrees
PUBLISHED_MAX_STEP = 100
PUBLISHED_DIRECTIONS = ((1, 0), (1, 1), (0, 1), (-1, 1), (-1, 0), (-1, 1), (0, -1), (1, -1))
_ANGLE_HALVINGS = 12


def displaced(
    inside: BoolArray, ratio: float, generator: np.random.Generator, spacing: tuple[float, ...] | None = None
) -> tuple[BoolArray, dict[str, Any]]:
    """Rotate a mask about its centroid and shift it so that about ``ratio`` of its area disagrees.

    The angle is uniform in +-30 degrees (3-D: about a random axis), the direction one of the 8 (26) neighbors. While
    the rotation alone disagrees by more than ``ratio``, its angle is halved. Disagreement is the exclusive or of old
    and new over the old area; the nearer of the two shifts around the wanted value is taken. With ``spacing``, mm per
    element along each axis, the mask rotates in space.

    Returns the mask, not empty unless ``inside`` is, with what was drawn (degrees, direction) and found (shift in
    elements). The number of draws depends on neither ``inside`` nor ``ratio``.
    """
    angle = float(generator.uniform(-MAX_ANGLE, MAX_ANGLE))
    axis = _random_axis(inside.ndim, generator)
    directions = [step for step in itertools.product((-1, 0, 1), repeat=inside.ndim) if any(step)]
    direction = directions[int(generator.integers(len(directions)))]
    drawn = {"angle_drawn": round(angle, 6), "direction": list(direction)}
    if axis is not None:
        drawn["axis"] = [round(float(component), 6) for component in axis]
    if not inside.any() or ratio == 0:
        return inside.copy(), {**drawn, "angle": 0.0, "shift": 0}
    area = int(np.count_nonzero(inside))
    placed = _Placed.of(inside)
    for _ in range(_ANGLE_HALVINGS):
        turned = placed.rotated(_rotation(angle, axis), spacing)
        if turned.visible(inside.shape) and turned.disagreement(inside, area) <= ratio:
            break
        angle /= 2
    else:
        turned, angle = placed, 0.0
    shift = _best_shift(turned, inside, area, direction, ratio)
    moved = turned.shifted(direction, shift)
    return moved.on_canvas(inside.shape), {**drawn, "angle": round(angle, 6), "shift": shift}


@mask_noise("affine", beta="exclusive or of the rotated and shifted mask with the clean one, over the clean area")
def _affine(structure: Structure, ratio: float, generator: np.random.Generator) -> Outcome:
    return Outcome(*displaced(structure.inside, ratio, generator, structure.spacing))


class PublishedDraw(NamedTuple):
    """The published script's draws for a mask: degrees and direction (down, right)."""

    angle: float
    direction: tuple[int, int]

    @classmethod
    def from_stream(cls, stream: random.Random) -> PublishedDraw:
        """The next draws of the script's random stream."""
        angle = stream.uniform(-MAX_ANGLE, MAX_ANGLE)
        return cls(angle, stream.choice(PUBLISHED_DIRECTIONS))


def published_affine(inside: BoolArray, ratio: float, draw: PublishedDraw) -> tuple[BoolArray, dict[str, Any]]:
    """The published 2-D generator with its faults, for a non-empty (H, W) mask; a small one may vanish."""
    if inside.ndim != 2:
        raise ValueError("mode 'official' displaces only 2-D masks, as the published script; use mode 'corrected'")
    direction = draw.direction
    rotated = skimage.transform.rotate(inside.astype(float), draw.angle).astype(np.uint8) == 1
    area = int(np.count_nonzero(inside))
    left, right, probe, probed = 0, PUBLISHED_MAX_STEP, 0, rotated
    while left < right:
        probe = (left + right) // 2
        probed = _moved_down_right(rotated, probe * abs(direction[0]), probe * abs(direction[1]))
        disagreement = np.count_nonzero(probed ^ inside) / area
        if disagreement > ratio:
            right = probe - 1
        elif disagreement < ratio:
            left = probe + 1
        else:
            break
    return probed, {"angle": round(draw.angle, 6), "direction": list(direction), "shift": probe}


def _moved_down_right(mask: BoolArray, down: int, right: int) -> BoolArray:
    moved = np.zeros_like(mask)
    height, width = mask.shape
    if down < height and right < width:
        moved[down:, right:] = mask[: height - down, : width - right]
    return moved


class _Placed(NamedTuple):
    """A cropped mask and the place of its first element, perhaps off the canvas."""

    part: BoolArray
    origin: tuple[int, ...]

    @classmethod
    def of(cls, inside: BoolArray) -> _Placed:
        box = bounding_box(inside)
        return cls(np.ascontiguousarray(inside[box]), tuple(side.start for side in box))

    def shifted(self, direction: tuple[int, ...], steps: int) -> _Placed:
        return _Placed(self.part, tuple(o + steps * d for o, d in zip(self.origin, direction, strict=True)))

    def _overlap(self, shape: tuple[int, ...]) -> tuple[tuple[slice, ...], tuple[slice, ...]]:
        """The overlap with a canvas of ``shape``: slices of the canvas and of the part, perhaps empty."""
        on_canvas, in_part = [], []
        for start, size, length in zip(self.origin, self.part.shape, shape, strict=True):
            first, last = max(start, 0), max(min(start + size, length), 0)
            on_canvas.append(slice(first, max(last, first)))
            in_part.append(slice(first - start, max(last, first) - start))
        return tuple(on_canvas), tuple(in_part)

    def on_canvas(self, shape: tuple[int, ...]) -> BoolArray:
        canvas = np.zeros(shape, dtype=bool)
        where, part = self._overlap(shape)
        canvas[where] = self.part[part]
        return canvas

    def visible(self, shape: tuple[int, ...]) -> int:
        return int(np.count_nonzero(self.part[self._overlap(shape)[1]]))

    def disagreement(self, inside: BoolArray, area: int) -> float:
        """Exclusive or with ``inside`` over the latter's ``area``."""
        where, part = self._overlap(inside.shape)
        common = int(np.count_nonzero(inside[where] & self.part[part]))
        return (area + int(np.count_nonzero(self.part[part])) - 2 * common) / area

    def rotated(self, rotation: NDArray[np.float64], spacing: tuple[float, ...] | None) -> _Placed:
        """Rotated about the centroid, by nearest neighbor."""
        ndim = self.part.ndim
        scale = np.ones(ndim) if spacing is None else np.asarray(spacing, dtype=float)
        forward = rotation * scale[None, :] / scale[:, None]
        backward = rotation.T * scale[None, :] / scale[:, None]
        profiles = (self.part.sum(axis=tuple({*range(ndim)} - {axis})) for axis in range(ndim))
        center = np.array([np.average(np.arange(len(profile)), weights=profile) for profile in profiles])
        corners = np.array(list(itertools.product(*((0, size - 1) for size in self.part.shape)))) - center
        turned = corners @ forward.T + center
        low = np.floor(turned.min(axis=0)).astype(int)
        high = np.ceil(turned.max(axis=0)).astype(int)
        lines = [np.arange(first, last + 1) - middle for first, last, middle in zip(low, high, center, strict=True)]
        framed = np.pad(self.part, 1)  # everything outside maps to the frame
        flat = np.zeros((), dtype=np.int32)
        for axis, size in enumerate(framed.shape):
            # Adding a half and truncating rounds to the nearest element; one more for the frame.
            first, *others = map(np.multiply, backward[axis], lines)
            position = functools.reduce(np.add.outer, others, first + (center[axis] + 1.5))
            np.clip(position, 0, size - 1, out=position)
            flat = flat * np.int32(size) + position.astype(np.int32)
        part = framed.ravel().take(flat)
        return _Placed(part, tuple(start + int(first) for start, first in zip(self.origin, low, strict=True)))


def _best_shift(turned: _Placed, inside: BoolArray, area: int, direction: tuple[int, ...], ratio: float) -> int:
    """The nearer of the two shifts around the wanted disagreement that keep the mask on the canvas.

    Off the canvas the disagreement is 1, so a ``ratio`` of at most 1 is always reached.
    """

    def disagreement(shift: int) -> float:
        return turned.shifted(direction, shift).disagreement(inside, area)

    low, high = 0, 1
    while disagreement(high) < ratio:
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        if disagreement(middle) < ratio:
            low = middle
        else:
            high = middle
    on_canvas = [shift for shift in (low, high) if turned.shifted(direction, shift).visible(inside.shape)]
    return min(on_canvas, key=lambda shift: abs(disagreement(shift) - ratio), default=0)


def _random_axis(ndim: int, generator: np.random.Generator) -> NDArray[np.float64] | None:
    """A direction uniform on the sphere for 3-D; None for 2-D."""
    if ndim == 2:
        return None
    components = generator.standard_normal(3)
    return components / max(float(np.linalg.norm(components)), 1e-12)


def _rotation(angle: float, axis: NDArray[np.float64] | None) -> NDArray[np.float64]:
    """Rotation matrix by ``angle`` degrees in the plane or about ``axis`` (Rodrigues)."""
    sine, cosine = math.sin(math.radians(angle)), math.cos(math.radians(angle))
    if axis is None:
        return np.array([[cosine, -sine], [sine, cosine]])
    x, y, z = axis
    cross = np.array([[0.0, -z, y], [z, 0.0, -x], [-y, x, 0.0]])
    return np.eye(3) + sine * cross + (1 - cosine) * (cross @ cross)
