"""How far an annotation is from what a network makes of the image: one number per question, all documented.

Below, ``a`` is the annotated structure (0 or 1 for every element), ``p`` the network's probability of it, ``h`` where
``p >= 0.5``, ``d`` an element's distance to the boundary of ``h``, and ``r`` the radius of the disk (ball) as large as
``a`` and ``h`` together. Higher always means more likely wrong. Only ``contradiction`` looks at the image.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy  # loads scipy.ndimage when it is first used
from numpy.typing import NDArray

from data_prep.regions import Box, bounding_box, widened

from .cases import BoolArray, Case, Prediction

TEMPERATURE = 0.1  # cleanlab's, of its softmin
THRESHOLD = 0.5
MOST_COMPONENTS = 50  # of a structure in components.csv, largest first
SCORES = {
    "contradiction": "(displacement + 0.002) q^2, q = (contrast across the outline of h + 0.1) / (that of a + 0.1)",
    "displacement": "sum over a != h of |log(p / (1 - p))| d, over ln 999 |a or h| r; p cut to [0.001, 0.999]",
    "confident_disagreement": "sum over a != h of (2p - 1)^4, over |a or h|",
    "soft_dice": "1 - 2 sum(a p) / (sum(a) + sum(p))",
    "hard_dice": "1 - 2 |a and h| / (|a| + |h|)",
    "boundary": "mean of d along the rim of a, over r",
    "beyond_tolerance": "sum over a != h with d above the tolerance of |a - p|, over |a or h|",
    "self_confidence": "1 - softmin of the probability of the annotated class (cleanlab's), temperature 0.1",
}
_SURE = 0.999  # float16 tells no more
_LEAST_DISPLACEMENT, _LEAST_CONTRAST = 0.002, 0.1
_BAND, _LEAST_BAND = 0.2, 2.0  # width of the bands beside an outline: share of the radius, and elements


@dataclass(frozen=True)
class Compared:
    """A structure's annotation and prediction, cut to the box that holds both.

    Attributes:
        annotated, predicted: ``a`` and ``h``.
        probability: ``p``.
        depth: signed distance to the boundary of ``h``, positive outside of it, in the unit of ``spacing``.
        radius: ``r``.
        box: where the cut lies in the case.
        spacing: of an element along each axis.
    """

    annotated: BoolArray
    predicted: BoolArray
    probability: NDArray[np.float32]
    depth: NDArray[np.float64]
    radius: float
    box: Box
    spacing: tuple[float, ...]

    @property
    def disagreement(self) -> BoolArray:
        """Where annotation and prediction differ."""
        return self.annotated != self.predicted


def compare(prediction: Prediction, spacing: tuple[float, ...]) -> Compared | None:
    """Cut a structure out of its case and measure distances; None where neither annotation nor prediction has it."""
    predicted = prediction.probability >= THRESHOLD
    either = np.ascontiguousarray(prediction.annotated | predicted)
    if not either.any():
        return None
    radius = equivalent_radius(int(np.count_nonzero(either)), spacing)
    margins = [int(band_width(radius, spacing) / step) + 1 for step in spacing]
    box = tuple(
        widened((side,), margin, (length,))[0]
        for side, margin, length in zip(bounding_box(either), margins, either.shape, strict=True)
    )
    annotated, predicted = prediction.annotated[box], predicted[box]
    depth = np.full(annotated.shape, radius) if not predicted.any() else signed_distance(predicted, spacing)
    return Compared(annotated, predicted, prediction.probability[box], depth, radius, box, spacing)


def structure_scores(compared: Compared, tolerance: float) -> dict[str, float]:
    """The scores of one structure by name, as :data:`SCORES` describes them, and the signed distance in its unit."""
    annotated, predicted, probability = compared.annotated, compared.predicted, compared.probability
    disagreement = compared.disagreement
    depth = np.abs(compared.depth)
    either = float(np.count_nonzero(annotated | predicted))
    sure = np.clip(probability[disagreement].astype(np.float64), 1 - _SURE, _SURE)
    odds = np.abs(np.log(sure / (1 - sure))) / math.log(_SURE / (1 - _SURE))
    wrong = np.where(annotated, 1 - probability, probability).astype(np.float64)
    rim = compared.depth[rim_of(annotated)]
    size, mass = float(np.count_nonzero(annotated)), float(probability.sum(dtype=np.float64))
    common = float(probability[annotated].sum(dtype=np.float64))
    hard = float(np.count_nonzero(annotated & predicted))
    return {
        "displacement": float(odds @ depth[disagreement]) / (either * compared.radius),
        "confident_disagreement": float(((2 * sure - 1) ** 4).sum()) / either,
        "soft_dice": 1 - 2 * common / (size + mass),
        "hard_dice": 1 - 2 * hard / (size + np.count_nonzero(predicted)),
        "boundary": float(np.abs(rim).mean()) / compared.radius if rim.size else 1.0,
        "beyond_tolerance": float(wrong[disagreement & (depth > tolerance)].sum()) / either,
        "self_confidence": 1 - softmin(1 - wrong),
        "signed_distance": float(rim.mean()) if rim.size else 0.0,
    }


def contradiction(compared: Compared, image: NDArray[np.float32], displacement: float) -> tuple[float, float]:
    """The score that asks the image too, and the ratio ``q`` in it: above 1 the predicted outline is better seen.

    The contrast across an outline is the Mahalanobis distance between the mean intensities of the bands inside and
    outside of it, a fifth of the radius wide.

    Args:
        compared: annotation and prediction.
        image: ``(channels, *spatial)``, cut to the same box.
        displacement: the score of that name.
    """
    width = band_width(compared.radius, compared.spacing)
    seen = _contrast(image, compared.depth, width) if compared.predicted.any() else 0.0
    drawn = signed_distance(compared.annotated, compared.spacing) if compared.annotated.any() else None
    ratio = (seen + _LEAST_CONTRAST) / ((0.0 if drawn is None else _contrast(image, drawn, width)) + _LEAST_CONTRAST)
    return (displacement + _LEAST_DISPLACEMENT) * ratio**2, ratio


def band_width(radius: float, spacing: tuple[float, ...]) -> float:
    """Width of the bands on both sides of an outline."""
    return max(_LEAST_BAND * min(spacing), _BAND * radius)


def _contrast(image: NDArray[np.float32], distance: NDArray[np.float64], width: float) -> float:
    inside, outside = (image[:, (side > 0) & (side < width)].astype(np.float64) for side in (-distance, distance))
    if min(inside.shape[1], outside.shape[1]) < 4:
        return 0.0
    channels = len(image)
    spread = sum(np.cov(band).reshape(channels, channels) * band.shape[1] for band in (inside, outside))
    spread = spread / (inside.shape[1] + outside.shape[1])
    spread += np.diag(0.01 * image.reshape(channels, -1).var(axis=1) + 1e-6)
    step = inside.mean(axis=1) - outside.mean(axis=1)
    return float(np.sqrt(step @ np.linalg.solve(spread, step)))


def case_self_confidence(case: Case) -> float:
    """One minus cleanlab's label quality of the whole case: all classes, background too, every counted element.

    For probabilities of classes, not of regions.

    Reference: Lad and Mueller, Estimating label quality and errors in semantic segmentation data via any model, 2023.
    """
    background = 1 - sum(case.of(structure).probability for structure in case.structures)
    confidence = np.asarray(np.clip(background, 0, 1))
    for structure in case.structures:
        one = case.of(structure)
        confidence[one.annotated] = one.probability[one.annotated]
    return 1 - softmin(confidence if case.counted is None else confidence[case.counted])


def softmin(confidence: NDArray[Any]) -> float:
    """Mean confidence, weighted by ``exp((1 - confidence) / 0.1)``: the least confident elements count most."""
    confidence = confidence.astype(np.float64).ravel()
    if confidence.size == 0:
        return 1.0
    weight = np.exp(-confidence / TEMPERATURE)
    return float(confidence @ weight / weight.sum())


def components(compared: Compared) -> list[dict[str, Any]]:
    """One row per connected piece of the annotation, and per predicted piece that the annotation does not touch.

    Its score is one minus the mean probability of an annotated piece, and the mean probability of a predicted one.
    """
    neighbors = np.ones((3,) * compared.annotated.ndim)
    rows = []
    for kind, own, other in (
        ("annotated", compared.annotated, compared.predicted),
        ("predicted only", compared.predicted, compared.annotated),
    ):
        labeled, count = scipy.ndimage.label(own, neighbors)
        sizes = np.bincount(labeled.ravel(), minlength=count + 1)[1:]
        means = np.atleast_1d(scipy.ndimage.mean(compared.probability, labeled, np.arange(1, count + 1)))
        overlaps = np.bincount(labeled[other], minlength=count + 1)[1:] / sizes
        centers = scipy.ndimage.center_of_mass(own, labeled, np.arange(1, count + 1))
        for index in np.argsort(-sizes, kind="stable")[:MOST_COMPONENTS]:
            if kind == "annotated" or overlaps[index] == 0:
                mean = float(means[index])
                center = [middle + side.start for middle, side in zip(centers[index], compared.box, strict=True)]
                row = {"kind": kind, "score": 1 - mean if kind == "annotated" else mean}
                row |= {"elements": int(sizes[index]), "size": float(sizes[index] * math.prod(compared.spacing))}
                row |= {"overlap": float(overlaps[index]), "center": " ".join(f"{place:.1f}" for place in center)}
                rows.append(row)
    return rows


def equivalent_radius(elements: int, spacing: tuple[float, ...]) -> float:
    """Radius of the disk or ball of that many elements."""
    size = elements * math.prod(spacing)
    return math.sqrt(size / math.pi) if len(spacing) == 2 else (3 * size / (4 * math.pi)) ** (1 / 3)


def signed_distance(inside: BoolArray, spacing: tuple[float, ...]) -> NDArray[np.float64]:
    """Distance of every element's center to the boundary, negative inside; the array's edge is no boundary."""
    half = min(spacing) / 2
    edt = scipy.ndimage.distance_transform_edt
    if inside.all():
        return np.full(inside.shape, -equivalent_radius(inside.size, spacing))
    return np.where(inside, half - edt(inside, sampling=spacing), edt(~inside, sampling=spacing) - half)


def rim_of(mask: BoolArray) -> BoolArray:
    """Elements with a neighbor outside the mask; the edge of the picture is no outside."""
    return mask & ~scipy.ndimage.binary_erosion(mask, border_value=1)
