"""Diagnose an annotation: the single mistake that best explains its disagreement with the prediction.

There are two kinds of evidence. Each mistake is undone as well as possible (:mod:`.repairs`) and *explains* the share
``(after - before) / (best - before)`` of the possible gain, where ``before`` and ``after`` are the soft Dice with the
prediction, and ``best`` is that of the best possible mask (a level set of the probabilities). The outline itself is the
other evidence: whether its offset is uniform or one-sided, and how many corners it has. The first rule of
:data:`RULES` that holds decides.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np

from .cases import BoolArray
from .repairs import Fit, Other, Repair, repairs, swaps, whole
from .scores import Compared, rim_of

PLAUSIBLE = "plausible"
COARSE = "coarse outline"
KINDS = ("eroded", "dilated", "shifted", "part missing", "part added", "swapped", COARSE)
_MAX_ELEMENTS = 1 << 20  # larger crops are subsampled
_CORNER_IOU = 0.93  # minimum IoU of a polygon with the outline it approximates


@dataclass(frozen=True)
class Evidence:
    """Evidence for the kinds of mistakes in one annotation.

    Attributes:
        explained: by kind, the share of the possible gain in soft Dice that undoing it achieves.
        enclosed: share of the missing elements that lie in holes of the annotation.
        uniform: share of the mean square distance between the outlines explained by a constant; negative if inward.
        one_sided: share explained by the direction from the annotation's center.
        balance: the smaller over the larger of the numbers of missing and extra elements.
        corners, predicted_corners: corners of the coarsest polygon that approximates each outline.
    """

    explained: dict[str, float]
    enclosed: float
    uniform: float
    one_sided: float
    balance: float
    corners: int
    predicted_corners: int

    def of(self, kind: str) -> float:
        """The share that a kind explains; 0 if there is nothing to undo."""
        return self.explained.get(kind, 0.0)


# Thresholds were chosen on 2800 synthetic mistakes, see docs/audit.md.


def is_swapped(evidence: Evidence) -> bool:
    """Swapping with another label explains a lot, and more than a missing or added part."""
    return evidence.of("swapped") >= max(0.4, evidence.of("part missing"), evidence.of("part added"))


def has_few_corners(evidence: Evidence) -> bool:
    """The outline has 3 to 5 corners, and at most 0.6 times as many as the predicted outline."""
    return 3 <= evidence.corners <= min(5, 0.6 * evidence.predicted_corners)


def has_hole(evidence: Evidence) -> bool:
    """At least half of the missing elements lie in holes."""
    return evidence.enclosed >= 0.5 and evidence.of("part missing") >= 0.4


def is_dilated(evidence: Evidence) -> bool:
    """The outline is outside the predicted one by a nearly uniform distance."""
    return evidence.uniform > 0.6 and evidence.of("dilated") > 0


def is_eroded(evidence: Evidence) -> bool:
    """The outline is inside the predicted one by a nearly uniform distance."""
    return evidence.uniform < -0.8 and evidence.of("eroded") >= 0.5


def is_shifted(evidence: Evidence) -> bool:
    """The distance depends on the direction, and moving the annotation back improves the fit."""
    return evidence.one_sided >= 0.4 and evidence.of("shifted") >= 0.3


def has_part_added(evidence: Evidence) -> bool:
    """The annotation has an extra compact part, and little is missing."""
    return evidence.of("part added") >= 0.3 and evidence.of("part added") > 2 * evidence.of("part missing")


def lacks_part(evidence: Evidence) -> bool:
    """A compact part is missing, and little is extra."""
    return evidence.of("part missing") >= 0.4 and evidence.of("part missing") > 3 * evidence.of("part added")


def is_off_both_ways(evidence: Evidence) -> bool:
    """Some parts are missing and others are extra."""
    return min(evidence.of("part missing"), evidence.of("part added")) > 0.1


RULES: tuple[tuple[str, Callable[[Evidence], bool]], ...] = (
    ("swapped", is_swapped),
    (COARSE, has_few_corners),
    ("part missing", has_hole),
    ("dilated", is_dilated),
    ("eroded", is_eroded),
    ("shifted", is_shifted),
    ("part added", has_part_added),
    ("part missing", lacks_part),
    (COARSE, is_off_both_ways),
)


def most_likely_kind(evidence: Evidence) -> str:
    """The first kind whose rule holds; otherwise the kind that explains most, if that is enough and one-sided."""
    for kind, rule in RULES:
        if rule(evidence):
            return kind
    share, best = max(((share, kind) for kind, share in evidence.explained.items()), default=(0.0, COARSE))
    return best if share > 0.3 and evidence.balance < 0.4 else COARSE


@dataclass(frozen=True)
class Diagnosis:
    """The most likely mistake and its evidence.

    Attributes:
        kind: one of :data:`KINDS`.
        before, best: soft Dice with the prediction, of the annotation and of the best mask.
        repair: the repair that undoes it; None for a coarse outline.
        text: the evidence in words.
    """

    kind: str
    before: float
    best: float
    repair: Repair | None
    text: str


def diagnose(compared: Compared, unit: str, others: Sequence[Other] = ()) -> Diagnosis:
    """Find the most likely mistake.

    Args:
        compared: annotation and prediction of a structure.
        unit: unit of its spacing.
        others: all other labels.
    """
    subset, compared = _subsample(compared)
    others = [(name, annotated[subset], predicted[subset]) for name, annotated, predicted in others]
    fit = Fit(compared.probability)
    before, best = fit.of(compared.annotated), fit.best()
    if not compared.annotated.any() or not compared.predicted.any():
        swapped = (repair for repair in swaps(compared, fit, others) if repair.measures["share"] >= 0.5)
        return _from_repair(next(swapped, whole(compared, best)), before, best)
    by_kind: dict[str, Repair] = {}
    for repair in repairs(compared, fit, unit, others):
        if repair.kind not in by_kind or repair.after > by_kind[repair.kind].after:
            by_kind[repair.kind] = repair
    evidence = _collect_evidence(compared, by_kind, before, best)
    kind = most_likely_kind(evidence)
    if kind in by_kind:
        return _from_repair(by_kind[kind], before, best)
    text = "too far in and too far out"
    if has_few_corners(evidence):
        text = f"the outline has {evidence.corners} corners, the predicted one {evidence.predicted_corners}"
    return Diagnosis(kind, before, best, None, f"{text}: soft Dice {before:.2f}, at best {best:.2f}")


def _from_repair(repair: Repair, before: float, best: float) -> Diagnosis:
    text = f"{repair.text}: soft Dice {before:.2f}, undone {repair.after:.2f}"
    return Diagnosis(repair.kind, before, best, repair, text)


def _subsample(compared: Compared) -> tuple[tuple[slice, ...], Compared]:
    """Subsample a large structure, starting with the finest axis; returns the slices used and the result."""
    strides = [1] * compared.annotated.ndim
    while math.prod(map(math.ceil, np.divide(compared.annotated.shape, strides))) > _MAX_ELEMENTS:
        steps = [step * stride for step, stride in zip(compared.spacing, strides, strict=True)]
        strides[steps.index(min(steps))] += 1
    subset = tuple(slice(None, None, stride) for stride in strides)
    arrays = {name: getattr(compared, name)[subset] for name in ("annotated", "predicted", "probability", "depth")}
    spacing = tuple(step * stride for step, stride in zip(compared.spacing, strides, strict=True))
    return subset, replace(compared, **arrays, spacing=spacing)


def _collect_evidence(compared: Compared, by_kind: dict[str, Repair], before: float, best: float) -> Evidence:
    annotated, predicted = compared.annotated, compared.predicted
    gain = max(best - before, 1e-6)
    missing, extra = (int(np.count_nonzero(part)) for part in (predicted & ~annotated, annotated & ~predicted))
    uniform, one_sided = _explained_distance(compared)
    return Evidence(
        explained={kind: (repair.after - before) / gain for kind, repair in by_kind.items()},
        enclosed=by_kind["part missing"].measures["enclosed"] if "part missing" in by_kind else 0.0,
        uniform=uniform,
        one_sided=one_sided,
        balance=min(missing, extra) / max(missing, extra, 1),
        corners=_count_corners(annotated, compared.spacing),
        predicted_corners=_count_corners(predicted, compared.spacing),
    )


def _explained_distance(compared: Compared) -> tuple[float, float]:
    """Shares of the mean square distance along the annotation's rim explained by a constant (signed) and by direction.

    Both come from a linear fit of the distance to the outward direction.
    """
    rim = rim_of(compared.annotated)
    if not rim.any():
        return 0.0, 0.0
    distance, spacing = compared.depth[rim], np.array(compared.spacing)
    outward = (np.argwhere(rim) - np.argwhere(compared.annotated).mean(axis=0)) * spacing
    outward /= np.maximum(np.linalg.norm(outward, axis=1, keepdims=True), 1e-9)
    terms = np.column_stack([np.ones(len(outward)), outward])
    fitted = terms @ np.linalg.lstsq(terms, distance, rcond=None)[0]
    mean, square = distance.mean(), np.square(distance).mean() + 1e-12
    return float(np.sign(mean) * mean**2 / square), float(np.square(fitted - fitted.mean()).mean() / square)


def _count_corners(mask: BoolArray, spacing: tuple[float, ...]) -> int:
    """Corners of the coarsest polygon that approximates the outline; for volumes, in the slice of largest area."""
    if mask.ndim == 3:
        axis = int(np.argmax(spacing)) if len(set(spacing)) > 1 else int(np.argmin(mask.shape))
        slices = np.moveaxis(mask, axis, 0)
        mask = slices[int(slices.sum(axis=(1, 2)).argmax())]
    outlines, _ = cv2.findContours(np.ascontiguousarray(mask).view(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    outline = max(outlines, key=cv2.contourArea)
    inside = cv2.fillPoly(np.zeros(mask.shape, np.uint8), [outline], 1) > 0
    for tolerance in np.linspace(0.3, 0.02, 15) * math.sqrt(np.count_nonzero(inside)):
        polygon = cv2.approxPolyDP(outline, float(tolerance), True)
        filled = cv2.fillPoly(np.zeros(mask.shape, np.uint8), [polygon], 1) > 0
        if np.count_nonzero(filled & inside) >= _CORNER_IOU * np.count_nonzero(filled | inside):
            return len(polygon)
    return len(outline)
