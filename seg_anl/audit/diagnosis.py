"""What is wrong with an annotation: which single mistake, undone, brings it nearest to the prediction.

The evidence is of two kinds. Every mistake is undone as well as it can be (:mod:`.repairs`) and *explains* the share
``(after - before) / (best - before)`` of what could be gained; ``before`` and ``after`` are soft Dice with the
prediction, ``best`` that of the best mask there is (a level set of the probabilities). And the outline shows
signs of its own: whether it lies equally far out everywhere, or out on one side and in on the other, and how many
corners draw it. The kinds are asked for one after the other (:data:`RULES`), those that show in the outline first.
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
_MOST_ELEMENTS = 1 << 20  # of a box; a larger one is diagnosed on every second, third, ... element
_CORNER_IOU = 0.93  # of a polygon with the outline it stands for


@dataclass(frozen=True)
class Evidence:
    """What speaks for the kinds of mistakes in one annotation.

    Attributes:
        explained: by kind, the share of what could be gained that undoing it gains.
        enclosed: share of what the annotation lacks that lies in its holes.
        uniform: share of the mean square distance between the outlines that a constant explains; negative: inward.
        one_sided: the same for what depends on the direction from the annotation's center.
        balance: the smaller of what is missing and what is too much, over the larger.
        corners, predicted_corners: of the coarsest polygon that stands for the outline.
    """

    explained: dict[str, float]
    enclosed: float
    uniform: float
    one_sided: float
    balance: float
    corners: int
    predicted_corners: int

    def of(self, kind: str) -> float:
        """What a kind explains; 0 where there is nothing to undo."""
        return self.explained.get(kind, 0.0)


# Whether the evidence is that of one kind. Limits were chosen on 2800 made-up mistakes, see docs/audit.md.


def is_swapped(evidence: Evidence) -> bool:
    """Another label explains much, and more than a part does."""
    return evidence.of("swapped") >= max(0.4, evidence.of("part missing"), evidence.of("part added"))


def has_few_corners(evidence: Evidence) -> bool:
    """A polygon of at most 5 corners, and of at most 0.6 of the predicted outline's, draws it."""
    return 3 <= evidence.corners <= min(5, 0.6 * evidence.predicted_corners)


def has_hole(evidence: Evidence) -> bool:
    """At least half of what is missing is enclosed."""
    return evidence.enclosed >= 0.5 and evidence.of("part missing") >= 0.4


def is_dilated(evidence: Evidence) -> bool:
    """The outline lies about equally far outside of the predicted one."""
    return evidence.uniform > 0.6 and evidence.of("dilated") > 0


def is_eroded(evidence: Evidence) -> bool:
    """The outline lies about equally far inside of the predicted one."""
    return evidence.uniform < -0.8 and evidence.of("eroded") >= 0.5


def is_shifted(evidence: Evidence) -> bool:
    """The distance depends on the direction, and moving the annotation back mends it."""
    return evidence.one_sided >= 0.4 and evidence.of("shifted") >= 0.3


def has_part_added(evidence: Evidence) -> bool:
    """A compact part is too much, and little is missing."""
    return evidence.of("part added") >= 0.3 and evidence.of("part added") > 2 * evidence.of("part missing")


def lacks_part(evidence: Evidence) -> bool:
    """A compact part is missing, and little is too much."""
    return evidence.of("part missing") >= 0.4 and evidence.of("part missing") > 3 * evidence.of("part added")


def wavers(evidence: Evidence) -> bool:
    """Parts are missing and parts are too much."""
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
    (COARSE, wavers),
)


def likeliest(evidence: Evidence) -> str:
    """The first kind whose rule holds; else what explains most, if it is enough and all on one side."""
    for kind, rule in RULES:
        if rule(evidence):
            return kind
    share, best = max(((share, kind) for kind, share in evidence.explained.items()), default=(0.0, COARSE))
    return best if share > 0.3 and evidence.balance < 0.4 else COARSE


@dataclass(frozen=True)
class Diagnosis:
    """The likeliest mistake with its evidence.

    Attributes:
        kind: one of :data:`KINDS`.
        before, best: soft Dice of the annotation and of the best mask with the prediction.
        repair: what undoes it; None for a coarse outline.
        text: the evidence in a sentence.
    """

    kind: str
    before: float
    best: float
    repair: Repair | None
    text: str


def diagnose(compared: Compared, unit: str, others: Sequence[Other] = ()) -> Diagnosis:
    """Find the mistake.

    Args:
        compared: annotation and prediction of a structure.
        unit: of its spacing.
        others: every other label.
    """
    thin, compared = _thinned(compared)
    others = [(name, annotated[thin], predicted[thin]) for name, annotated, predicted in others]
    fit = Fit(compared.probability)
    before, best = fit.of(compared.annotated), fit.best()
    if not compared.annotated.any() or not compared.predicted.any():
        swapped = (repair for repair in swaps(compared, fit, others) if repair.measures["share"] >= 0.5)
        return _told(next(swapped, whole(compared, best)), before, best)
    by_kind: dict[str, Repair] = {}
    for repair in repairs(compared, fit, unit, others):
        if repair.kind not in by_kind or repair.after > by_kind[repair.kind].after:
            by_kind[repair.kind] = repair
    evidence = _evidence(compared, by_kind, before, best)
    kind = likeliest(evidence)
    if kind in by_kind:
        return _told(by_kind[kind], before, best)
    drawn = f"{evidence.corners} corners draw it, the predicted outline needs {evidence.predicted_corners}"
    seen = drawn if has_few_corners(evidence) else "off inward and outward"
    return Diagnosis(kind, before, best, None, f"{seen}: soft Dice {before:.2f}, at best {best:.2f}")


def _told(repair: Repair, before: float, best: float) -> Diagnosis:
    text = f"{repair.text}: soft Dice {before:.2f}, undone {repair.after:.2f}"
    return Diagnosis(repair.kind, before, best, repair, text)


def _thinned(compared: Compared) -> tuple[tuple[slice, ...], Compared]:
    """A large structure on a coarser grid, the finest axes first; and which elements these are."""
    strides = [1] * compared.annotated.ndim
    while math.prod(map(math.ceil, np.divide(compared.annotated.shape, strides))) > _MOST_ELEMENTS:
        steps = [step * stride for step, stride in zip(compared.spacing, strides, strict=True)]
        strides[steps.index(min(steps))] += 1
    thin = tuple(slice(None, None, stride) for stride in strides)
    arrays = {name: getattr(compared, name)[thin] for name in ("annotated", "predicted", "probability", "depth")}
    spacing = tuple(step * stride for step, stride in zip(compared.spacing, strides, strict=True))
    return thin, replace(compared, **arrays, spacing=spacing)


def _evidence(compared: Compared, by_kind: dict[str, Repair], before: float, best: float) -> Evidence:
    annotated, predicted = compared.annotated, compared.predicted
    gain = max(best - before, 1e-6)
    missing, beyond = (int(np.count_nonzero(part)) for part in (predicted & ~annotated, annotated & ~predicted))
    uniform, one_sided = _distance_explained(compared)
    return Evidence(
        explained={kind: (repair.after - before) / gain for kind, repair in by_kind.items()},
        enclosed=by_kind["part missing"].measures["enclosed"] if "part missing" in by_kind else 0.0,
        uniform=uniform,
        one_sided=one_sided,
        balance=min(missing, beyond) / max(missing, beyond, 1),
        corners=_corners(annotated, compared.spacing),
        predicted_corners=_corners(predicted, compared.spacing),
    )


def _distance_explained(compared: Compared) -> tuple[float, float]:
    """Shares of the mean square distance along the annotation's rim: of a constant (signed), and of the direction."""
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


def _corners(mask: BoolArray, spacing: tuple[float, ...]) -> int:
    """Corners of the coarsest polygon that stands for the mask's outline; of a volume, in the slice with most of it."""
    if mask.ndim == 3:
        axis = int(np.argmax(spacing)) if len(set(spacing)) > 1 else int(np.argmin(mask.shape))
        slices = np.moveaxis(mask, axis, 0)
        mask = slices[int(slices.sum(axis=(1, 2)).argmax())]
    outlines, _ = cv2.findContours(np.ascontiguousarray(mask).view(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    outline = max(outlines, key=cv2.contourArea)
    inside = cv2.fillPoly(np.zeros(mask.shape, np.uint8), [outline], 1) > 0
    for coarseness in np.linspace(0.3, 0.02, 15) * math.sqrt(np.count_nonzero(inside)):
        polygon = cv2.approxPolyDP(outline, float(coarseness), True)
        drawn = cv2.fillPoly(np.zeros(mask.shape, np.uint8), [polygon], 1) > 0
        if np.count_nonzero(drawn & inside) >= _CORNER_IOU * np.count_nonzero(drawn | inside):
            return len(polygon)
    return len(outline)
