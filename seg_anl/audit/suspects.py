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
MIN_CASES = 4  # that tell something of a structure
_ITERATIONS = 100
_MIN_PLAUSIBLE = 0.25  # share of the lower distribution
_LOG_OFFSET, _MIN_SPREAD = 1e-3, 0.05


def shown_in_images(structures: Rows, cases: int) -> dict[str, bool]:
    """Whether the images show the outlines of each structure: whether the median ``sharpness`` exceeds 1.25.

    Across other outlines, for instance conventional borders between parts of a brain, contrast is no evidence.
    Structures are left out whose sharpness could be measured in fewer than four cases (of so few: in all).
    """
    sharpness: dict[str, list[float]] = {}
    for row in structures:
        if row["sharpness"] is not None:
            sharpness.setdefault(row["structure"], []).append(row["sharpness"])
    enough = min(MIN_CASES, cases)
    measured = {name: values for name, values in sorted(sharpness.items()) if len(values) >= enough}
    return {name: bool(np.median(values) > SUSPECTED_RATIO) for name, values in measured.items()}


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
    return _flag(structures, cases, [(displaced & (ratio > threshold)) | sure for threshold in thresholds])


def suspect_by_dice(structures: Rows, cases: int) -> Share:
    """Suspect annotations with a Dice far below that of the plausible ones of their structure.

    A small structure has a lower Dice than a large one, and must not hide it. A structure of fewer than four cases is
    compared with all structures. Sets ``excess`` and ``suspected`` of every row, and returns the share as
    :func:`suspect_by_images` does; 0 to 1 if nothing could be fitted. Overestimates small shares, because the
    network's own mistakes are among the suspects.
    """
    of_all = plausible_range([row["hard_dice"] for row in structures])
    for name in {row["structure"] for row in structures}:
        rows = [row for row in structures if row["structure"] == name]
        fitted = plausible_range([row["hard_dice"] for row in rows]) or of_all
        for row in rows:
            row["excess"] = 0.0 if fitted is None else (np.log(row["hard_dice"] + _LOG_OFFSET) - fitted[0]) / fitted[1]
    excess = np.array([row["excess"] for row in structures])
    share = _flag(structures, cases, [excess > threshold for threshold in (SUSPECTED_EXCESS, *_EXCESS_RANGE)])
    return Share(0.0, 0.0, 1.0) if of_all is None else share


def _flag(structures: Rows, cases: int, flags: Sequence[NDArray[np.bool_]]) -> Share:
    """Set ``suspected`` by the first of three flags of each row; the others, lax and strict, extend the interval."""
    for row, flag in zip(structures, flags[0], strict=True):
        row["suspected"] = int(flag)
    found = [len({row["item"] for row, flag in zip(structures, each, strict=True) if flag}) for each in flags]
    value, lax, strict = (share_of(count, cases) for count in found)
    return Share(value.value, strict.low, lax.high)


def plausible_range(scores: Sequence[float]) -> tuple[float, float] | None:
    """Mean and standard deviation of the log scores (plus 0.001) of the plausible annotations; None if not to be told.

    Two normal distributions are fitted by EM. The lower one is that of the plausible annotations, unless it holds less
    than a quarter of them: a few are unusually good. Scores of 0, where annotation and prediction agree, are left out
    of the fit, because many of them would make up the lower distribution alone.

    Args:
        scores: at least 0.
    """
    positive = [score for score in scores if score > 0]
    sample = np.log(np.array(positive if len(positive) >= MIN_CASES else scores) + _LOG_OFFSET)
    if len(sample) < MIN_CASES or sample.std() < 1e-6:
        return None
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
    lower = int(np.argmin(mean))
    plausible = lower if weight[lower, 0] >= _MIN_PLAUSIBLE else 1 - lower
    return float(mean[plausible, 0]), float(spread[plausible, 0])
