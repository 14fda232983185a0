"""Scores of how far an annotation is from a network's prediction.

Notation: ``a`` is the annotation (0 or 1 per element), ``p`` the predicted probability, ``h`` the predicted mask
``p >= 0.5``, ``d`` an element's distance to the boundary of ``h``, and ``r`` the radius of the disk (ball) as large as
the union of ``a`` and ``h``. Higher scores mean more likely wrong. Only ``contradiction`` uses the image.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy  # scipy.ndimage is loaded lazily
from numpy.typing import NDArray

from data_prep.regions import Box, bounding_box, widened

from .cases import BoolArray, Case, Prediction

TEMPERATURE = 0.1  # of the softmin, as in cleanlab
THRESHOLD = 0.5
MAX_COMPONENTS = 50  # per structure in components.csv, largest first
SCORES = {
    "contradiction": "(displacement + 0.002) q^2, q = (contrast across the outline of h + 0.1) / (that of a + 0.1)",
    "displacement": "sum over a != h of |log(p / (1 - p))| d, over ln 999 |a or h| r; p cut to [0.001, 0.999]",
    "confident_disagreement": "sum over a != h of (2p - 1)^4, over |a or h|",
    "soft_dice": "1 - 2 sum(a p) / (sum(a) + sum(p))",
    "hard_dice": "1 - 2 |a and h| / (|a| + |h|)",
    "boundary": "mean of d along the rim of a, over r",
    "beyond_tolerance": "sum over a != h with d above the tolerance of |a - p|, over |a or h|",
    "excess": "(log(hard_dice + 0.001) - mean) / standard deviation, those of the lower of two normal distributions "
    "over the cases of a structure",
    "self_confidence": "1 - softmin of the probability of the annotated class (cleanlab's), temperature 0.1",
}
_MAX_PROBABILITY = 0.999  # the precision of float16
_DISPLACEMENT_OFFSET, _CONTRAST_OFFSET = 0.002, 0.1
_BAND, _MIN_BAND = 0.2, 2.0  # width of the bands along an outline: share of the radius, and elements


@dataclass(frozen=True)
class Compared:
    """A structure's annotation and prediction, cropped to a box around both.

    Attributes:
        annotated, predicted: ``a`` and ``h``.
        probability: ``p``.
        depth: signed distance to the boundary of ``h``, positive outside, in the unit of ``spacing``.
        radius: ``r``.
        box: position of the crop in the case.
        spacing: element size along each axis.
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
    """Crop a structure and compute distances; None if it is neither annotated nor predicted."""
    predicted = prediction.probability >= THRESHOLD
    union = np.ascontiguousarray(prediction.annotated | predicted)
    if not union.any():
        return None
    radius = equivalent_radius(int(np.count_nonzero(union)), spacing)
    margins = [int(band_width(radius, spacing) / step) + 1 for step in spacing]
    box = tuple(
        widened((side,), margin, (length,))[0]
        for side, margin, length in zip(bounding_box(union), margins, union.shape, strict=True)
    )
    annotated, predicted = prediction.annotated[box], predicted[box]
    depth = np.full(annotated.shape, radius) if not predicted.any() else signed_distance(predicted, spacing)
    return Compared(annotated, predicted, prediction.probability[box], depth, radius, box, spacing)


def structure_scores(compared: Compared, tolerance: float) -> dict[str, float]:
    """The scores of one structure by name (see :data:`SCORES`), and the signed distance in the unit of the spacing."""
    annotated, predicted, probability = compared.annotated, compared.predicted, compared.probability
    disagreement = compared.disagreement
    depth = np.abs(compared.depth)
    union = float(np.count_nonzero(annotated | predicted))
    clipped = np.clip(probability[disagreement].astype(np.float64), 1 - _MAX_PROBABILITY, _MAX_PROBABILITY)
    log_odds = np.abs(np.log(clipped / (1 - clipped))) / math.log(_MAX_PROBABILITY / (1 - _MAX_PROBABILITY))
    error = np.where(annotated, 1 - probability, probability).astype(np.float64)
    rim = compared.depth[rim_of(annotated)]
    size, mass = float(np.count_nonzero(annotated)), float(probability.sum(dtype=np.float64))
    soft_overlap = float(probability[annotated].sum(dtype=np.float64))
    hard_overlap = float(np.count_nonzero(annotated & predicted))
    return {
        "displacement": float(log_odds @ depth[disagreement]) / (union * compared.radius),
        "confident_disagreement": float(((2 * clipped - 1) ** 4).sum()) / union,
        "soft_dice": 1 - 2 * soft_overlap / (size + mass),
        "hard_dice": 1 - 2 * hard_overlap / (size + np.count_nonzero(predicted)),
        "boundary": float(np.abs(rim).mean()) / compared.radius if rim.size else 1.0,
        "beyond_tolerance": float(error[disagreement & (depth > tolerance)].sum()) / union,
        "self_confidence": 1 - softmin(1 - error),
        "signed_distance": float(rim.mean()) if rim.size else 0.0,
    }


def image_scores(compared: Compared, image: NDArray[np.float32], displacement: float) -> dict[str, float | None]:
    """The scores that use the image: ``contradiction``, ``contrast_ratio`` and ``sharpness``.

    A contrast ratio ``q`` above 1 means that the predicted outline has more contrast in the image than the annotated
    one. The contrast across an outline is the Mahalanobis distance between the mean intensities of the bands inside and
    outside it, each a fifth of the radius wide, and at least two elements. The sharpness is the contrast across the
    predicted outline over that across the outline moved by one band, inward and outward (geometric mean): about 1 where
    the image has no edge at the outline; None if the structure is too small to tell.

    Args:
        compared: annotation and prediction.
        image: ``(channels, *spatial)``, cropped to the same box.
        displacement: the score of that name.
    """
    width = band_width(compared.radius, compared.spacing)
    annotated = predicted = inner = outer = None
    if compared.annotated.any():
        annotated = _contrast(image, signed_distance(compared.annotated, compared.spacing), width)
    if compared.predicted.any():
        predicted, inner, outer = (_contrast(image, compared.depth + move, width) for move in (0, width, -width))
    measured = None not in (predicted, inner, outer)
    ratio = _ratio(predicted, annotated)
    return {
        "contradiction": (displacement + _DISPLACEMENT_OFFSET) * ratio**2,
        "contrast_ratio": ratio,
        "sharpness": math.sqrt(_ratio(predicted, inner) * _ratio(predicted, outer)) if measured else None,
    }


def _ratio(above: float | None, below: float | None) -> float:
    """The ratio of two contrasts; one that cannot be measured is none."""
    return ((above or 0.0) + _CONTRAST_OFFSET) / ((below or 0.0) + _CONTRAST_OFFSET)


def band_width(radius: float, spacing: tuple[float, ...]) -> float:
    """Width of the bands inside and outside an outline."""
    return max(_MIN_BAND * min(spacing), _BAND * radius)


def _contrast(image: NDArray[np.float32], distance: NDArray[np.float64], width: float) -> float | None:
    """Contrast across the outline where ``distance`` is 0; None if fewer than 4 elements are on a side."""
    inside, outside = (image[:, (side > 0) & (side < width)].astype(np.float64) for side in (-distance, distance))
    if min(inside.shape[1], outside.shape[1]) < 4:
        return None
    channels = len(image)
    covariance = sum(np.cov(band).reshape(channels, channels) * band.shape[1] for band in (inside, outside))
    covariance = covariance / (inside.shape[1] + outside.shape[1])
    covariance += np.diag(0.01 * image.reshape(channels, -1).var(axis=1) + 1e-6)
    difference = inside.mean(axis=1) - outside.mean(axis=1)
    return float(np.sqrt(difference @ np.linalg.solve(covariance, difference)))


def case_self_confidence(case: Case) -> float:
    """One minus cleanlab's label quality of a case, over all classes including background and all counted elements.

    For class probabilities, not for regions.

    Reference: Lad and Mueller, Estimating label quality and errors in semantic segmentation data via any model, 2023.
    """
    background = 1 - sum(case.of(structure).probability for structure in case.structures)
    confidence = np.asarray(np.clip(background, 0, 1))
    for structure in case.structures:
        prediction = case.of(structure)
        confidence[prediction.annotated] = prediction.probability[prediction.annotated]
    return 1 - softmin(confidence if case.counted is None else confidence[case.counted])


def softmin(confidence: NDArray[Any]) -> float:
    """Mean confidence weighted by ``exp((1 - confidence) / 0.1)``, dominated by the least confident elements."""
    confidence = confidence.astype(np.float64).ravel()
    if confidence.size == 0:
        return 1.0
    weight = np.exp(-confidence / TEMPERATURE)
    return float(confidence @ weight / weight.sum())


def components(compared: Compared) -> list[dict[str, Any]]:
    """One row per connected component of the annotation, and per predicted component that it does not touch.

    The score is one minus the mean probability of an annotated component, or the mean probability of a predicted one.
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
        for index in np.argsort(-sizes, kind="stable")[:MAX_COMPONENTS]:
            if kind == "annotated" or overlaps[index] == 0:
                mean = float(means[index])
                center = [local + side.start for local, side in zip(centers[index], compared.box, strict=True)]
                row = {"kind": kind, "score": 1 - mean if kind == "annotated" else mean}
                row |= {"elements": int(sizes[index]), "size": float(sizes[index] * math.prod(compared.spacing))}
                row |= {
                    "overlap": float(overlaps[index]),
                    "center": " ".join(f"{coordinate:.1f}" for coordinate in center),
                }
                rows.append(row)
    return rows


def equivalent_radius(elements: int, spacing: tuple[float, ...]) -> float:
    """Radius of a disk or ball with that many elements."""
    size = elements * math.prod(spacing)
    return math.sqrt(size / math.pi) if len(spacing) == 2 else (3 * size / (4 * math.pi)) ** (1 / 3)


def signed_distance(inside: BoolArray, spacing: tuple[float, ...]) -> NDArray[np.float64]:
    """Distance of each element's center to the boundary, negative inside. The array's edge is not a boundary."""
    half = min(spacing) / 2
    edt = scipy.ndimage.distance_transform_edt
    if inside.all():
        return np.full(inside.shape, -equivalent_radius(inside.size, spacing))
    return np.where(inside, half - edt(inside, sampling=spacing), edt(~inside, sampling=spacing) - half)


def rim_of(mask: BoolArray) -> BoolArray:
    """Elements of the mask with a neighbor outside it. The array's edge does not count as outside."""
    return mask & ~scipy.ndimage.binary_erosion(mask, border_value=1)
