"""Mistakes of an annotation undone, one function for each kind: what remains between it and the prediction then.

How well an annotation fits is its soft Dice with the probabilities. A repair works on :class:`Compared`; sizes are in
the unit of its spacing.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy  # loads scipy.ndimage and scipy.signal when they are first used
from numpy.typing import NDArray

from .cases import BoolArray
from .scores import Compared, equivalent_radius, signed_distance

Other = tuple[str, BoolArray, BoolArray]
"""Name, annotation and prediction of another label, cut to the same box."""

_COMPACT = {2: 4.0, 3: 8.0}  # size of a part over that of the largest disk (ball) in it; rims and crescents have more
_PARTS = 5  # pieces of a part


@dataclass(frozen=True)
class Repair:
    """A mistake undone.

    Attributes:
        kind: of the mistake.
        after: soft Dice with the prediction.
        measures: the mistake's size, for tables.
        text: the same for people.
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
        common = float(self.probability[mask].sum())
        return 2 * common / (int(np.count_nonzero(mask)) + self.mass) if mask.any() else 0.0

    def best(self) -> float:
        """The highest of any mask: that of a level set."""
        return float(self.growing(np.sort(self.probability, axis=None)[::-1]).max())

    def growing(self, ordered: NDArray[np.float64]) -> NDArray[np.float64]:
        """Of the mask of the first, the first two, ... of all elements in an order, whose probabilities are given."""
        return 2 * np.cumsum(ordered) / (np.arange(1, ordered.size + 1) + self.mass)


def repairs(compared: Compared, fit: Fit, unit: str, others: Sequence[Other]) -> Iterator[Repair]:
    """Every mistake that could be undone."""
    yield from offsets(compared, fit, unit)
    yield from parts(compared, fit, unit)
    yield from swaps(compared, fit, others)
    yield from shifts(compared, fit, unit)


def whole(compared: Compared, best: float) -> Repair:
    """The structure is annotated and not predicted at all, or the other way round."""
    size = float(np.count_nonzero(compared.annotated | compared.predicted) * math.prod(compared.spacing))
    measures = {"size": size, "share": 1.0, "enclosed": 0.0}
    if compared.annotated.any():
        return Repair("part added", 1.0, measures, "annotated where the network sees none of it")
    return Repair("part missing", best, measures, "not annotated at all, but predicted")


def offsets(compared: Compared, fit: Fit, unit: str) -> Iterator[Repair]:
    """Eroded, dilated: the best of the level sets of the annotation's own signed distance, outside and inside of it.

    Of two outlines one of which lies within the other: most of the inner structure is common to both.
    """
    common = np.count_nonzero(compared.annotated & compared.predicted)
    distance = signed_distance(compared.annotated, compared.spacing).ravel()
    order = np.argsort(distance, kind="stable")
    dice = fit.growing(fit.probability.ravel()[order])
    last = np.append(np.diff(distance[order]) > 1e-9, True)  # a level set takes all elements of one distance
    own = int(np.count_nonzero(compared.annotated)) - 1
    # The boundary lies half way to the next level.
    for kind, word, chosen, half, inner in (
        ("eroded", "inside", slice(own + 1, None), 0.5, compared.annotated),
        ("dilated", "outside", slice(0, own), -0.5, compared.predicted),
    ):
        values = np.where(last, dice, -1.0)[chosen]
        if values.size and values.max() > 0 and 2 * common >= np.count_nonzero(inner):
            level = abs(float(distance[order][chosen][values.argmax()]))
            offset = max(level + half * min(compared.spacing), 0.0)
            text = f"{kind}: the outline lies {offset:.1f} {unit} {word} of the predicted one"
            yield Repair(kind, float(values.max()), {"offset": offset}, text)


def shifts(compared: Compared, fit: Fit, unit: str) -> Iterator[Repair]:
    """Shifted: the translation after which annotation and probability overlap most."""
    annotated = compared.annotated.astype(np.float64)
    mirrored = annotated[tuple(slice(None, None, -1) for _ in annotated.shape)]
    overlap = scipy.signal.fftconvolve(fit.probability, mirrored)
    # Of equal overlaps the one nearest to no shift.
    places = np.argwhere(overlap >= overlap.max() - 1e-6) - (np.array(annotated.shape) - 1)
    back = min(places.tolist(), key=lambda step: (sum(one * one for one in step), step))
    if any(back):
        shift = -np.array(back) * np.array(compared.spacing)  # from where it should be to where it is
        length = float(np.linalg.norm(shift))
        measures = {"shift": [round(float(step), 3) for step in shift], "shift_length": length}
        after = 2 * float(overlap.max()) / (float(annotated.sum()) + fit.mass)
        yield Repair("shifted", after, measures, f"shifted by {length:.1f} {unit} ({direction(shift, unit)})")


def direction(shift: NDArray[np.float64], unit: str) -> str:
    """A displacement along the array's axes in words; of pictures down and right."""
    if len(shift) == 2 and unit == "px":
        return in_words(shift, (("up", "down"), ("left", "right")), least=1e-9)
    return ", ".join(f"{step:+.1f} along axis {axis}" for axis, step in enumerate(shift) if abs(step) > 0)


def in_words(steps: Iterable[float], names: Sequence[tuple[str, str]], unit: str = "", least: float = 0.05) -> str:
    """Steps along axes by the names of both directions, but for those smaller than ``least``."""
    pairs = zip(steps, names, strict=True)
    return ", ".join(f"{abs(step):.1f} {unit}{pair[int(step > 0)]}" for step, pair in pairs if abs(step) >= least)


def parts(compared: Compared, fit: Fit, unit: str) -> Iterator[Repair]:
    """Part missing, part added: a compact part, or a hole, that only the prediction or only the annotation has."""
    annotated, predicted = compared.annotated, compared.predicted
    filled = scipy.ndimage.binary_fill_holes(annotated)
    for kind, region in (("part missing", predicted & ~annotated), ("part added", annotated & ~predicted)):
        enclosed = filled & region & ~annotated
        part = _compact(region, compared.spacing) | enclosed
        if not part.any():
            continue
        mended = annotated | part if kind == "part missing" else annotated & ~part
        size = float(np.count_nonzero(part) * math.prod(compared.spacing))
        share = float(np.count_nonzero(part) / np.count_nonzero(predicted))
        square = f"{unit}{'²' if len(compared.spacing) == 2 else '³'}"
        text = f"{kind}: {size:.0f} {square}, {100 * share:.0f} % of the predicted size"
        inside = float(np.count_nonzero(enclosed) / np.count_nonzero(region))
        yield Repair(kind, fit.of(mended), {"size": size, "share": share, "enclosed": inside}, text)


def _compact(region: BoolArray, spacing: tuple[float, ...]) -> BoolArray:
    """The compact pieces of a region: around its deepest places, and no larger than a few disks of that depth."""
    part = np.zeros_like(region)
    # Beyond the array nothing is known; where it ends a piece goes on.
    depth = scipy.ndimage.distance_transform_edt(region, sampling=spacing)
    labeled, count = scipy.ndimage.label(region)
    if not count:
        return part
    boxes = scipy.ndimage.find_objects(labeled)
    deepest = np.atleast_1d(scipy.ndimage.maximum(depth, labeled, np.arange(1, count + 1)))
    for index in np.argsort(-deepest, kind="stable")[:_PARTS]:
        if deepest[index] < 1.5 * min(spacing) or deepest[index] < 0.25 * deepest.max():
            break
        box, reach = boxes[index], 0.5 * deepest[index]
        inside = labeled[box] == index + 1
        core = inside & (depth[box] >= reach)
        piece = inside & (scipy.ndimage.distance_transform_edt(~core, sampling=spacing) <= reach + min(spacing))
        disk = equivalent_radius(int(np.count_nonzero(piece)), spacing) / deepest[index]
        if disk**region.ndim <= _COMPACT[region.ndim]:
            part[box] |= piece
    return part


def swaps(compared: Compared, fit: Fit, others: Sequence[Other]) -> Iterator[Repair]:
    """Swapped: parts that are annotated as this label and predicted as another, or the reverse."""
    for name, annotated, predicted in others:
        given, taken = compared.annotated & predicted, annotated & compared.predicted
        if given.any() or taken.any():
            mended = (compared.annotated & ~given) | taken
            either = np.count_nonzero(compared.annotated | compared.predicted)
            share = float(np.count_nonzero(given | taken) / either)
            text = f"swapped with {name} on {100 * share:.0f} % of the structure"
            yield Repair("swapped", fit.of(mended), {"with": name, "share": share}, text)
