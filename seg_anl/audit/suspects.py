"""Suspect annotations: by the images if these show the outlines, otherwise by the distribution of a score."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .share import DRAWS, LEVEL, Share, share_of

Rows = Sequence[dict[str, Any]]
"""One row per structure of a case, with its scores."""

SUSPECTED_RATIO = 1.25  # contrast across the predicted outline over that across the annotated one, or a moved one
_RATIO_RANGE = (1.15, 1.35)  # laxer and stricter thresholds; the interval covers both
MIN_DISPLACEMENT = 0.005  # smaller displacements are never suspected
SURE_CONTRADICTION = 0.1  # above this, a ratio over 1 is enough
_ITERATIONS = 100
_MIN_FITTED = 4  # cases
_LOG_OFFSET = 1e-3
_MIN_SPREAD = 0.05  # of log scores


@dataclass(frozen=True)
class Mixture:
    """Two normal distributions of the log scores of a structure.

    Attributes:
        suspected: whether a case more likely belongs to the upper one ``(N,)``.
        excess: log scores in standard deviations above the mean of the lower one ``(N,)``.
        share: of the upper one.
    """

    suspected: NDArray[np.bool_]
    excess: NDArray[np.float64]
    share: Share


def hidden_in_images(structures: Rows) -> list[str]:
    """The structures whose outlines the images do not show, by the median of ``sharpness`` over the cases.

    Across such outlines, for instance conventional borders between parts of a brain, contrast is no evidence.
    """
    sharpness: dict[str, list[float]] = {row["structure"]: [] for row in structures}
    for row in structures:
        if row["sharpness"] > 0:
            sharpness[row["structure"]].append(row["sharpness"])
    return sorted(name for name, each in sharpness.items() if not each or np.median(each) <= SUSPECTED_RATIO)


def suspect_by_images(structures: Rows, cases: int) -> Share:
    """Suspect annotations that are displaced and whose outline has less contrast in the image than the predicted one.

    A strong contradiction is suspected whenever the predicted outline has more contrast. Sets ``suspected`` of every
    row, and returns the share of the cases with a suspected structure. Its interval is a bootstrap interval, extended
    to the shares at a laxer and a stricter threshold.
    """
    columns = ("contrast_ratio", "displacement", "contradiction")
    ratio, displacement, contradiction = (np.array([row[name] for row in structures]) for name in columns)
    displaced, sure = displacement > MIN_DISPLACEMENT, (contradiction > SURE_CONTRADICTION) & (ratio > 1)
    thresholds = (SUSPECTED_RATIO, *_RATIO_RANGE)
    suspected, lax, strict = ((displaced & (ratio > threshold)) | sure for threshold in thresholds)
    shares = [share_of(_in_cases(structures, flags, cases)) for flags in (suspected, lax, strict)]
    _flag(structures, suspected)
    return Share(shares[0].value, shares[2].low, shares[1].high)


def suspect_by_mixture(structures: Rows, cases: int, score: str) -> Share:
    """Suspect the structures of the upper of two distributions of a score, see :func:`fit_mixture`.

    Each structure has its own distributions: a small one disagrees more than a large one, and must not hide it. Sets
    ``suspected`` and ``excess`` of every row, and returns the share of the cases with a suspected structure.
    """
    shares = []
    for name in sorted({row["structure"] for row in structures}):
        rows = [row for row in structures if row["structure"] == name]
        mixture = fit_mixture(np.array([row[score] for row in rows]))
        _flag(rows, mixture.suspected)
        for row, excess in zip(rows, mixture.excess, strict=True):
            row["excess"] = float(excess)
        shares.append([part * len(rows) / cases for part in vars(mixture.share).values()])
    if len(shares) == 1:
        return Share(*shares[0])
    if not shares:
        return Share(0.0, 0.0, 1.0)
    value = share_of(_in_cases(structures, np.array([bool(row["suspected"]) for row in structures]), cases)).value
    _, lows, highs = zip(*shares, strict=True)
    return Share(value, min(value, max(lows)), max(value, *highs))  # at least what one structure alone says


def _in_cases(structures: Rows, flags: NDArray[np.bool_], cases: int) -> NDArray[np.bool_]:
    """Flags of cases ``(cases,)``, in any order: whether one of their structures is flagged."""
    found = len({row["item"] for row, flag in zip(structures, flags, strict=True) if flag})
    return np.arange(cases) < found


def _flag(structures: Rows, flags: Iterable[Any]) -> None:
    for row, flag in zip(structures, flags, strict=True):
        row["suspected"] = int(flag)


def fit_mixture(scores: NDArray[np.float64]) -> Mixture:
    """Fit two normal distributions to log scores.

    Overestimates small shares, because the network's own mistakes are in the upper component too. Cases of score 0, on
    which annotation and prediction agree, are left out: many of them would make up the lower component alone.

    Args:
        scores: ``(N,)``, at least 0.
    """
    fitted = scores > 0
    if np.count_nonzero(fitted) < _MIN_FITTED:
        fitted[:] = True
    logs, suspected = np.log(scores + _LOG_OFFSET), np.zeros(len(scores), bool)
    sample = logs[fitted]
    if len(sample) < _MIN_FITTED or sample.std() < 1e-6:
        return Mixture(suspected, (logs - np.median(sample)) / _MIN_SPREAD, Share(0.0, 0.0, 1.0))
    weight, posterior, mean, spread = _fit_normals(sample[None])
    suspected[fitted] = (posterior[0] > 0.5) & (sample > mean[0])  # a wide upper one reaches below the lower one
    generator = np.random.default_rng(0)
    drawn, *_ = _fit_normals(sample[generator.integers(len(sample), size=(DRAWS, len(sample)))])
    low, high = np.quantile(drawn, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    share = Share(*(float(part * fitted.mean()) for part in (weight[0], low, high)))
    return Mixture(suspected, (logs - mean[0]) / spread[0], share)


def _fit_normals(samples: NDArray[np.float64]) -> tuple[NDArray[np.float64], ...]:
    """Fit two normals to each row ``(R, N)`` by EM.

    Returns weight ``(R,)`` and posterior ``(R, N)`` of the upper one, mean and deviation ``(R,)`` of the lower one.
    """
    mean = np.quantile(samples, [0.35, 0.9], axis=1)[..., None]
    spread = np.broadcast_to(samples.std(axis=1)[:, None] / 2, mean.shape)
    weight = np.array([0.7, 0.3])[:, None, None] * np.ones_like(mean)
    for _ in range(_ITERATIONS):
        density = weight * np.exp(-0.5 * ((samples - mean) / spread) ** 2) / spread + 1e-300
        share = density / density.sum(axis=0)
        total = share.sum(axis=2, keepdims=True)
        weight = total / samples.shape[1]
        mean = (share * samples).sum(axis=2, keepdims=True) / total
        spread = np.sqrt((share * (samples - mean) ** 2).sum(axis=2, keepdims=True) / total + _MIN_SPREAD**2)
    upper = np.argmax(mean[..., 0], axis=0)
    rows = np.arange(len(samples))
    return weight[upper, rows, 0], share[upper, rows], mean[1 - upper, rows, 0], spread[1 - upper, rows, 0]
