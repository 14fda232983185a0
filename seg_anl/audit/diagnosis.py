"""What is wrong with an annotation: which single mistake, undone, brings it nearest to the prediction.

Every kind is a repair of the annotation: grow it, shrink it, shift it back, add or remove a compact part, give a part
back to another label. A repair explains the share ``(after - before) / (best - before)`` of what could be gained;
``before`` and ``after`` are soft Dice with the prediction, ``best`` that of the best mask there is (a level set of the
probabilities). Beside it stand the outline's own signs: how much of the mean square distance between the outlines a
constant explains (``uniform``: grown or shrunk all round) and how much a direction does (``one_sided``: shifted), and
with how many corners the outline can be drawn.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import cv2
import numpy as np
import scipy  # loads scipy.ndimage and scipy.signal when they are first used
from numpy.typing import NDArray

from .cases import BoolArray
from .scores import Compared, equivalent_radius, signed_distance

PLAUSIBLE = "plausible"
COARSE = "coarse outline"
KINDS = ("eroded", "dilated", "shifted", "part missing", "part added", "swapped", COARSE)
_COMPACT = {2: 4.0, 3: 8.0}  # size of a part over that of the largest disk (ball) in it; rims and crescents have more
_PARTS = 5  # pieces of a part
_MOST_ELEMENTS = 1 << 20  # of a box; a larger one is diagnosed on every second, third, ... element
# Chosen on 2800 made-up mistakes (seven kinds on 400 masks of ISIC-2017), see docs/audit.md.
_UNIFORM_OUT, _UNIFORM_IN, _ONE_SIDED = 0.6, 0.8, 0.4
_FEW_CORNERS, _FEWER = 5, 0.6  # at most so many, and at most this share of the predicted outline's
_CORNER_IOU = 0.93  # of a polygon with the outline it stands for


@dataclass(frozen=True)
class Repair:
    """A mistake undone.

    Attributes:
        kind: of the mistake.
        after: soft Dice with the prediction.
        explained: share of what could be gained.
        measures: the mistake's size, for tables.
        text: the same for people.
    """

    kind: str
    after: float
    explained: float
    measures: dict[str, Any]
    text: str


@dataclass(frozen=True)
class Diagnosis:
    """The likeliest mistake with its evidence.

    Attributes:
        kind: one of :data:`KINDS`.
        before, best: soft Dice of the annotation and of the best mask with the prediction.
        repair: what undoes it; None for a coarse outline.
        signs: ``uniform`` (negative inside), ``one_sided``, ``corners`` and ``predicted_corners``.
    """

    kind: str
    before: float
    best: float
    repair: Repair | None
    signs: dict[str, float]

    @property
    def text(self) -> str:
        """The evidence in a sentence."""
        if self.repair is not None:
            return f"{self.repair.text}: soft Dice {self.before:.2f}, undone {self.repair.after:.2f}"
        drawn, predicted = (self.signs[name] for name in ("corners", "predicted_corners"))
        corners = f"{drawn:.0f} corners draw it, the predicted outline needs {predicted:.0f}"
        coarse = _few_corners(self.signs)
        return (
            f"{corners if coarse else 'off inward and outward'}: soft Dice {self.before:.2f}, at best {self.best:.2f}"
        )


def diagnose(compared: Compared, unit: str, others: Sequence[tuple[str, BoolArray, BoolArray]] = ()) -> Diagnosis:
    """Find the mistake.

    Args:
        compared: annotation and prediction of a structure.
        unit: of its spacing.
        others: name, annotation and prediction of every other label, cut to the same box.
    """
    thin, compared = _thinned(compared)
    others = [(name, annotated[thin], predicted[thin]) for name, annotated, predicted in others]
    annotated, probability = compared.annotated, compared.probability.astype(np.float64)
    mass = float(probability.sum())
    before, best = _soft_dice(annotated, probability, mass), _best_dice(probability, mass)
    if not annotated.any() or not compared.predicted.any():
        swapped = [repair for repair in _swaps(compared, others, mass) if repair.measures["share"] >= 0.5]
        repair = swapped[0] if swapped else _whole(compared, best)
        return Diagnosis(repair.kind, before, best, repair, {})
    repairs = [*_offsets(compared, unit, mass), *_parts(compared, unit, mass), *_swaps(compared, others, mass)]
    shift = _shift(compared, unit, mass)
    gain = max(best - before, 1e-6)
    by_kind: dict[str, Repair] = {}
    for repair in [*repairs, *([shift] if shift else [])]:
        known = by_kind.get(repair.kind)
        if known is None or repair.after > known.after:
            by_kind[repair.kind] = replace(repair, explained=(repair.after - before) / gain)
    signs = _signs(compared)
    kind = _likeliest({kind: repair.explained for kind, repair in by_kind.items()}, signs, by_kind)
    return Diagnosis(kind, before, best, by_kind.get(kind), signs)


def _thinned(compared: Compared) -> tuple[tuple[slice, ...], Compared]:
    """A large structure on a coarser grid, the finest axes first; and which elements these are."""
    strides = [1] * compared.annotated.ndim
    while (
        math.prod(-(-n // stride) for n, stride in zip(compared.annotated.shape, strides, strict=True)) > _MOST_ELEMENTS
    ):
        steps = [step * stride for step, stride in zip(compared.spacing, strides, strict=True)]
        strides[steps.index(min(steps))] += 1
    thin = tuple(slice(None, None, stride) for stride in strides)
    arrays = {name: getattr(compared, name)[thin] for name in ("annotated", "predicted", "probability", "depth")}
    spacing = tuple(step * stride for step, stride in zip(compared.spacing, strides, strict=True))
    return thin, replace(compared, **arrays, spacing=spacing)


def _likeliest(explained: dict[str, float], signs: dict[str, float], repairs: dict[str, Repair]) -> str:
    """Kinds that show in the outline first, then the repair that explains most."""
    missing, added, shifted = (explained.get(kind, 0.0) for kind in ("part missing", "part added", "shifted"))
    enclosed = repairs["part missing"].measures["enclosed"] if "part missing" in repairs else 0.0
    if explained.get("swapped", 0.0) >= max(0.4, missing, added):
        return "swapped"
    if _few_corners(signs):
        return COARSE
    if enclosed >= 0.5 and missing >= 0.4:
        return "part missing"
    if signs["uniform"] > _UNIFORM_OUT and explained.get("dilated", 0.0) > 0:
        return "dilated"
    if signs["uniform"] < -_UNIFORM_IN and explained.get("eroded", 0.0) >= 0.5:
        return "eroded"
    if signs["one_sided"] >= _ONE_SIDED and shifted >= 0.3:
        return "shifted"
    if added >= 0.3 and added > 2 * missing:
        return "part added"
    if missing >= 0.4 and missing > 3 * added:
        return "part missing"
    if min(missing, added) > 0.1:
        return COARSE
    share, best = max(((share, kind) for kind, share in explained.items()), default=(0.0, COARSE))
    return best if share > 0.3 and signs["balance"] < 0.4 else COARSE


def _few_corners(signs: dict[str, float]) -> bool:
    return 3 <= signs["corners"] <= min(_FEW_CORNERS, _FEWER * signs["predicted_corners"])


def _signs(compared: Compared) -> dict[str, float]:
    """What the outline shows: see the module."""
    rim = compared.annotated & ~scipy.ndimage.binary_erosion(compared.annotated, border_value=1)
    distance = compared.depth[rim] if rim.any() else np.zeros(1)
    places = np.argwhere(rim if rim.any() else compared.annotated)[: distance.size] * np.array(compared.spacing)
    center = np.argwhere(compared.annotated).mean(axis=0) * np.array(compared.spacing)
    outward = places - center
    outward = outward / np.maximum(np.linalg.norm(outward, axis=1, keepdims=True), 1e-9)
    square = float(np.square(distance).mean()) + 1e-12
    terms = np.column_stack([np.ones(len(outward)), outward])
    fitted = terms @ np.linalg.lstsq(terms, distance, rcond=None)[0]
    inward = np.count_nonzero(compared.predicted & ~compared.annotated)
    beyond = np.count_nonzero(compared.annotated & ~compared.predicted)
    return {
        "uniform": float(np.sign(distance.mean()) * distance.mean() ** 2 / square),
        "one_sided": float(np.square(fitted - fitted.mean()).mean() / square),
        "balance": min(int(inward), int(beyond)) / max(int(inward), int(beyond), 1),
        "corners": _corners(compared.annotated, compared.spacing),
        "predicted_corners": _corners(compared.predicted, compared.spacing),
    }


def _corners(mask: BoolArray, spacing: tuple[float, ...]) -> float:
    """Corners of the coarsest polygon that stands for the mask's outline; of a volume, in the slice with most of it."""
    if mask.ndim == 3:
        axis = int(np.argmax(spacing)) if len(set(spacing)) > 1 else int(np.argmin(mask.shape))
        slices = np.moveaxis(mask, axis, 0)
        mask = slices[int(slices.sum(axis=(1, 2)).argmax())]
    outlines, _ = cv2.findContours(np.ascontiguousarray(mask).view(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    outline = max(outlines, key=cv2.contourArea)
    whole = cv2.fillPoly(np.zeros(mask.shape, np.uint8), [outline], 1) > 0
    for coarseness in np.linspace(0.3, 0.02, 15) * math.sqrt(np.count_nonzero(whole)):
        polygon = cv2.approxPolyDP(outline, float(coarseness), True)
        drawn = cv2.fillPoly(np.zeros(mask.shape, np.uint8), [polygon], 1) > 0
        if np.count_nonzero(drawn & whole) >= _CORNER_IOU * np.count_nonzero(drawn | whole):
            return float(len(polygon))
    return float(len(outline))


def _soft_dice(mask: BoolArray, probability: NDArray[np.float64], mass: float) -> float:
    return 2 * float(probability[mask].sum()) / (int(np.count_nonzero(mask)) + mass) if mask.any() else 0.0


def _best_dice(probability: NDArray[np.float64], mass: float) -> float:
    """Of all masks the highest soft Dice: that of a level set."""
    falling = np.sort(probability, axis=None)[::-1]
    return float((2 * np.cumsum(falling) / (np.arange(1, falling.size + 1) + mass)).max())


def _whole(compared: Compared, best: float) -> Repair:
    """The structure is annotated and not predicted at all, or the other way round."""
    added = bool(compared.annotated.any())
    size = np.count_nonzero(compared.annotated | compared.predicted) * math.prod(compared.spacing)
    text = "annotated where the network sees none of it" if added else "not annotated at all, but predicted"
    kind = "part added" if added else "part missing"
    return Repair(kind, 1.0 if added else best, 1.0, {"size": float(size), "share": 1.0, "enclosed": 0.0}, text)


def _offsets(compared: Compared, unit: str, mass: float) -> list[Repair]:
    """Growing or shrinking all round: the level sets of the annotation's own signed distance."""
    distance = signed_distance(compared.annotated, compared.spacing).ravel()
    order = np.argsort(distance, kind="stable")
    common = np.cumsum(compared.probability.ravel()[order], dtype=np.float64)
    dice = 2 * common / (np.arange(1, order.size + 1) + mass)
    last = np.append(np.diff(distance[order]) > 1e-9, True)  # a level set takes all elements of one distance
    own = int(np.count_nonzero(compared.annotated)) - 1
    repairs = []
    for kind, word, chosen in (("eroded", "inside", slice(own + 1, None)), ("dilated", "outside", slice(0, own))):
        values = np.where(last, dice, -1.0)[chosen]
        if values.size and values.max() > 0:
            index = int(values.argmax()) + (chosen.start or 0)
            # The boundary lies half way to the next level.
            offset = abs(float(distance[order][index])) - (1 if kind == "dilated" else -1) * min(compared.spacing) / 2
            text = f"{kind}: the outline lies {max(offset, 0):.1f} {unit} {word} of the predicted one"
            repairs.append(Repair(kind, float(values.max()), 0.0, {"offset": max(offset, 0.0)}, text))
    return repairs


def _shift(compared: Compared, unit: str, mass: float) -> Repair | None:
    """The translation after which annotation and probability overlap most."""
    annotated = compared.annotated.astype(np.float64)
    mirrored = annotated[tuple(slice(None, None, -1) for _ in annotated.shape)]
    overlap = scipy.signal.fftconvolve(compared.probability.astype(np.float64), mirrored)
    # Of equal overlaps the one nearest to no shift.
    places = np.argwhere(overlap >= overlap.max() - 1e-6) - (np.array(annotated.shape) - 1)
    back = min(places.tolist(), key=lambda step: (sum(one * one for one in step), step))
    if not any(back):
        return None
    shift = -np.array(back) * np.array(compared.spacing)  # from where it should be to where it is
    after = 2 * float(overlap.max()) / (float(annotated.sum()) + mass)
    length = float(np.linalg.norm(shift))
    text = f"shifted by {length:.1f} {unit} ({direction(shift, unit)})"
    measures = {"shift": [round(float(step), 3) for step in shift], "shift_length": length}
    return Repair("shifted", after, 0.0, measures, text)


def direction(shift: NDArray[np.float64], unit: str) -> str:
    """A displacement along the array's axes in words; of pictures down and right."""
    if len(shift) == 2 and unit == "px":
        names = (("up", "down"), ("left", "right"))
        parts = [
            f"{abs(step):.1f} {pair[int(step > 0)]}" for step, pair in zip(shift, names, strict=True) if abs(step) > 0
        ]
        return ", ".join(parts)
    return ", ".join(f"{step:+.1f} along axis {axis}" for axis, step in enumerate(shift) if abs(step) > 0)


def _parts(compared: Compared, unit: str, mass: float) -> list[Repair]:
    """A compact part of the prediction that the annotation lacks, or of the annotation that is not predicted."""
    repairs = []
    for kind, region, sign in (
        ("part missing", compared.predicted & ~compared.annotated, 1),
        ("part added", compared.annotated & ~compared.predicted, -1),
    ):
        part = _compact(region, compared.spacing)
        enclosed = scipy.ndimage.binary_fill_holes(compared.annotated) & region & ~compared.annotated
        part |= enclosed
        if not part.any():
            continue
        mended = compared.annotated | part if sign > 0 else compared.annotated & ~part
        after = _soft_dice(mended, compared.probability.astype(np.float64), mass)
        size = np.count_nonzero(part) * math.prod(compared.spacing)
        share = np.count_nonzero(part) / np.count_nonzero(compared.predicted)
        square = f"{unit}{'²' if len(compared.spacing) == 2 else '³'}"
        text = f"{kind}: {size:.0f} {square}, {100 * share:.0f} % of the predicted size"
        measures = {
            "size": float(size),
            "share": float(share),
            "enclosed": float(np.count_nonzero(enclosed) / np.count_nonzero(region)),
        }
        repairs.append(Repair(kind, after, 0.0, measures, text))
    return repairs


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


def _swaps(compared: Compared, others: Sequence[tuple[str, BoolArray, BoolArray]], mass: float) -> list[Repair]:
    """Parts exchanged with another label: annotated as this and predicted as that, or the reverse."""
    repairs = []
    probability = compared.probability.astype(np.float64)
    for name, annotated, predicted in others:
        given, taken = compared.annotated & predicted, annotated & compared.predicted
        if given.any() or taken.any():
            mended = (compared.annotated & ~given) | taken
            share = np.count_nonzero(given | taken) / np.count_nonzero(compared.annotated | compared.predicted)
            text = f"swapped with {name} on {100 * share:.0f} % of the structure"
            measures = {"with": name, "share": float(share)}
            repairs.append(Repair("swapped", _soft_dice(mended, probability, mass), 0.0, measures, text))
    return repairs
