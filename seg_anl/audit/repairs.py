"""Undo mistakes of an annotation, one function per kind, and measure how well the result fits the prediction.

Fit is the soft Dice with the probabilities. Sizes are in the unit of the spacing.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy  # scipy.ndimage and scipy.signal are loaded lazily
from numpy.typing import NDArray

from .cases import BoolArray
from .scores import Compared, equivalent_radius, signed_distance

Other = tuple[str, BoolArray, BoolArray]
"""Name, annotation and prediction of another label, cropped to the same box."""

# By dimension: maximum size of a piece relative to its largest inscribed disk (ball). Rims and crescents exceed it.
_COMPACT = {2: 4.0, 3: 8.0}
_MAX_PIECES = 5


@dataclass(frozen=True)
class Repair:
    """A mistake and the fit after undoing it.

    Attributes:
        kind: kind of mistake.
        after: soft Dice with the prediction after undoing it.
        measures: the size of the mistake, for tables.
        text: the size of the mistake in words.
    """

    kind: str
    after: float
    measures: dict[str, Any]
    text: str


class Fit:
    """Soft Dice of masks with the probabilities of a structure."""

    def __init__(self, probability: NDArray[np.float32]) -> None:
        self.probability = probability.astype(np.float64)
        self.mass = float(self.probability.sum())

    def of(self, mask: BoolArray) -> float:
        """Soft Dice of a mask."""
        overlap = float(self.probability[mask].sum())
        return 2 * overlap / (int(np.count_nonzero(mask)) + self.mass) if mask.any() else 0.0

    def best(self) -> float:
        """The highest soft Dice of any mask; it is reached by a level set."""
        return float(self.cumulative(np.sort(self.probability, axis=None)[::-1]).max())

    def cumulative(self, ordered: NDArray[np.float64]) -> NDArray[np.float64]:
        """Soft Dice of the masks of the first 1, 2, ... elements, given all probabilities in that order."""
        return 2 * np.cumsum(ordered) / (np.arange(1, ordered.size + 1) + self.mass)


def repairs(compared: Compared, fit: Fit, unit: str, others: Sequence[Other]) -> Iterator[Repair]:
    """All mistakes that can be undone."""
    yield from offsets(compared, fit, unit)
    yield from parts(compared, fit, unit)
    yield from swaps(compared, fit, others)
    yield from shifts(compared, fit, unit)


def whole(compared: Compared, best: float) -> Repair:
    """The whole structure is annotated but not predicted, or the reverse."""
    size = float(np.count_nonzero(compared.annotated | compared.predicted) * math.prod(compared.spacing))
    measures = {"size": size, "share": 1.0, "enclosed": 0.0}
    if compared.annotated.any():
        return Repair("part added", 1.0, measures, "annotated but not predicted at all")
    return Repair("part missing", best, measures, "predicted but not annotated at all")


def offsets(compared: Compared, fit: Fit, unit: str) -> Iterator[Repair]:
    """Eroded or dilated: the best level set of the annotation's signed distance, outside or inside the annotation.

    Requires that the annotation and the prediction share at least half of the inner structure.
    """
    overlap = np.count_nonzero(compared.annotated & compared.predicted)
    distance = signed_distance(compared.annotated, compared.spacing).ravel()
    order = np.argsort(distance, kind="stable")
    dice = fit.cumulative(fit.probability.ravel()[order])
    is_level_end = np.append(np.diff(distance[order]) > 1e-9, True)  # a level set includes all elements at one distance
    last_annotated = int(np.count_nonzero(compared.annotated)) - 1
    # The boundary lies half an element from the level.
    for kind, side, levels, half, inner in (
        ("eroded", "inside", slice(last_annotated + 1, None), 0.5, compared.annotated),
        ("dilated", "outside", slice(0, last_annotated), -0.5, compared.predicted),
    ):
        values = np.where(is_level_end, dice, -1.0)[levels]
        if values.size and values.max() > 0 and 2 * overlap >= np.count_nonzero(inner):
            level = abs(float(distance[order][levels][values.argmax()]))
            offset = max(level + half * min(compared.spacing), 0.0)
            text = f"{kind}: the outline is {offset:.1f} {unit} {side} the predicted one"
            yield Repair(kind, float(values.max()), {"offset": offset}, text)


def shifts(compared: Compared, fit: Fit, unit: str) -> Iterator[Repair]:
    """Shifted: the translation that maximizes the overlap of annotation and probability."""
    annotated = compared.annotated.astype(np.float64)
    mirrored = annotated[tuple(slice(None, None, -1) for _ in annotated.shape)]
    overlap = scipy.signal.fftconvolve(fit.probability, mirrored)
    # Ties go to the smallest translation.
    translations = np.argwhere(overlap >= overlap.max() - 1e-6) - (np.array(annotated.shape) - 1)
    back = min(translations.tolist(), key=lambda steps: (sum(step * step for step in steps), steps))
    if any(back):
        shift = -np.array(back) * np.array(compared.spacing)  # from the prediction to the annotation
        length = float(np.linalg.norm(shift))
        measures = {"shift": [round(float(step), 3) for step in shift], "shift_length": length}
        after = 2 * float(overlap.max()) / (float(annotated.sum()) + fit.mass)
        yield Repair("shifted", after, measures, f"shifted by {length:.1f} {unit} ({describe_shift(shift, unit)})")


def describe_shift(shift: NDArray[np.float64], unit: str) -> str:
    """A shift in words: up, down, left or right in images, signed axes otherwise."""
    if len(shift) == 2 and unit == "px":
        return describe_steps(shift, (("up", "down"), ("left", "right")), minimum=1e-9)
    return ", ".join(f"{step:+.1f} along axis {axis}" for axis, step in enumerate(shift) if abs(step) > 0)


def describe_steps(
    steps: Iterable[float], names: Sequence[tuple[str, str]], unit: str = "", minimum: float = 0.05
) -> str:
    """Steps of at least ``minimum`` in words, given the names of the negative and positive direction of each axis."""
    pairs = zip(steps, names, strict=True)
    return ", ".join(f"{abs(step):.1f} {unit}{pair[int(step > 0)]}" for step, pair in pairs if abs(step) >= minimum)


def parts(compared: Compared, fit: Fit, unit: str) -> Iterator[Repair]:
    """Part missing or added: a compact part, or a hole, present only in the prediction or only in the annotation."""
    annotated, predicted = compared.annotated, compared.predicted
    filled = scipy.ndimage.binary_fill_holes(annotated)
    for kind, region in (("part missing", predicted & ~annotated), ("part added", annotated & ~predicted)):
        enclosed = filled & region & ~annotated
        part = _compact_pieces(region, compared.spacing) | enclosed
        if not part.any():
            continue
        mended = annotated | part if kind == "part missing" else annotated & ~part
        size = float(np.count_nonzero(part) * math.prod(compared.spacing))
        share = float(np.count_nonzero(part) / np.count_nonzero(predicted))
        size_unit = f"{unit}{'²' if len(compared.spacing) == 2 else '³'}"
        text = f"{kind}: {size:.0f} {size_unit}, {100 * share:.0f} % of the predicted size"
        enclosed_share = float(np.count_nonzero(enclosed) / np.count_nonzero(region))
        yield Repair(kind, fit.of(mended), {"size": size, "share": share, "enclosed": enclosed_share}, text)


def _compact_pieces(region: BoolArray, spacing: tuple[float, ...]) -> BoolArray:
    """The compact pieces of a region: around its deepest points, at most a few times the size of the inscribed disk."""
    part = np.zeros_like(region)
    # The transform treats a piece as continuing past the array's edge.
    depth = scipy.ndimage.distance_transform_edt(region, sampling=spacing)
    labeled, count = scipy.ndimage.label(region)
    if not count:
        return part
    boxes = scipy.ndimage.find_objects(labeled)
    deepest = np.atleast_1d(scipy.ndimage.maximum(depth, labeled, np.arange(1, count + 1)))
    for index in np.argsort(-deepest, kind="stable")[:_MAX_PIECES]:
        if deepest[index] < 1.5 * min(spacing) or deepest[index] < 0.25 * deepest.max():
            break
        box, reach = boxes[index], 0.5 * deepest[index]
        inside = labeled[box] == index + 1
        core = inside & (depth[box] >= reach)
        piece = inside & (scipy.ndimage.distance_transform_edt(~core, sampling=spacing) <= reach + min(spacing))
        radius_ratio = equivalent_radius(int(np.count_nonzero(piece)), spacing) / deepest[index]
        if radius_ratio**region.ndim <= _COMPACT[region.ndim]:
            part[box] |= piece
    return part


def swaps(compared: Compared, fit: Fit, others: Sequence[Other]) -> Iterator[Repair]:
    """Swapped: elements annotated as this label and predicted as another, or the reverse."""
    for name, annotated, predicted in others:
        extra, missing = compared.annotated & predicted, annotated & compared.predicted
        if extra.any() or missing.any():
            mended = (compared.annotated & ~extra) | missing
            union = np.count_nonzero(compared.annotated | compared.predicted)
            share = float(np.count_nonzero(extra | missing) / union)
            text = f"swapped with {name} on {100 * share:.0f} % of the structure"
            yield Repair("swapped", fit.of(mended), {"with": name, "share": share}, text)
