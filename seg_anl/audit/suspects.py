"""Suspect annotations: by the images if these show the outlines, otherwise by Dice."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .share import Share, share_of

Rows = Sequence[dict[str, Any]]
"""One row per structure of a case, with its scores."""

SUSPECTED_RATIO = 1.25  # contrast across the predicted outline over that across the annotated one, or a moved one
_RATIO_RANGE = (1.15, 1.35)  # laxer and stricter thresholds; the interval covers both
MIN_DISPLACEMENT = 0.005  # smaller displacements are never suspected
SURE_CONTRADICTION = 0.1  # above this, a ratio over 1 is enough
SUSPECTED_EXCESS, _EXCESS_RANGE = 2.0, (1.5, 2.5)  # standard deviations
_ITERATIONS = 100
_MIN_FITTED = 4  # cases
_LOG_OFFSET, _MIN_SPREAD = 1e-3, 0.05


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
    return _flagged(structures, cases, [(displaced & (ratio > threshold)) | sure for threshold in thresholds])


def suspect_by_dice(structures: Rows, cases: int) -> Share:
    """Suspect annotations with a Dice far below that of the plausible ones of their structure.

    A small structure has a lower Dice than a large one, and must not hide it. Sets ``excess`` and ``suspected`` of
    every row, and returns the share as :func:`suspect_by_images` does. Overestimates small shares, because the
    network's own mistakes are among the suspects.
    """
    for name in {row["structure"] for row in structures}:
        rows = [row for row in structures if row["structure"] == name]
        for row, excess in zip(rows, excess_of(np.array([row["hard_dice"] for row in rows])), strict=True):
            row["excess"] = float(excess)
    excess = np.array([row["excess"] for row in structures])
    return _flagged(structures, cases, [excess > threshold for threshold in (SUSPECTED_EXCESS, *_EXCESS_RANGE)])


def _flagged(structures: Rows, cases: int, flags: Sequence[NDArray[np.bool_]]) -> Share:
    """Set ``suspected`` by the first of three flags of each row; the others, lax and strict, extend the interval."""
    for row, flag in zip(structures, flags[0], strict=True):
        row["suspected"] = int(flag)
    shares = []
    for each in flags:
        found = len({row["item"] for row, flag in zip(structures, each, strict=True) if flag})
        shares.append(share_of(np.arange(cases) < found))
    value, lax, strict = shares
    return Share(value.value, strict.low, lax.high)


def excess_of(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    """Log scores, in standard deviations above the mean of the plausible ones.

    Two normal distributions are fitted by EM, and the lower one is taken for that of the plausible annotations. Scores
    of 0, on which annotation and prediction agree, are left out of the fit: many of them would make up the lower one
    alone. All 0 if there is nothing to fit.

    Args:
        scores: ``(N,)``, at least 0.
    """
    fitted = scores > 0
    if np.count_nonzero(fitted) < _MIN_FITTED:
        fitted[:] = True
    logs = np.log(scores + _LOG_OFFSET)
    sample = logs[fitted]
    if len(sample) < _MIN_FITTED or sample.std() < 1e-6:
        return np.zeros(len(scores))
    mean = np.quantile(sample, [0.35, 0.9])[:, None]
    spread = np.full((2, 1), sample.std() / 2)
    weight = np.array([[0.7], [0.3]])
    for _ in range(_ITERATIONS):
        density = weight * np.exp(-0.5 * ((sample - mean) / spread) ** 2) / spread + 1e-300
        part = density / density.sum(axis=0)
        total = part.sum(axis=1, keepdims=True)
        weight = total / len(sample)
        mean = (part * sample).sum(axis=1, keepdims=True) / total
        spread = np.sqrt((part * (sample - mean) ** 2).sum(axis=1, keepdims=True) / total + _MIN_SPREAD**2)
    lower = int(np.argmin(mean[:, 0]))
    return np.asarray((logs - mean[lower]) / spread[lower])
