"""Estimate the share of wrong annotations, with an interval: overall, per kind, per annotator or site."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

SUSPECTED_RATIO = 1.25  # contrast across the predicted outline over that across the annotated one
_RATIO_RANGE = (1.15, 1.35)  # laxer and stricter thresholds; the interval covers both
MIN_DISPLACEMENT = 0.005  # smaller displacements are never suspected
SURE_CONTRADICTION = 0.1  # above this, a ratio over 1 is enough
_DRAWS, _LEVEL = 200, 0.95
_ITERATIONS = 100
_MIN_FITTED = 4  # cases
_LOG_OFFSET = 1e-3


@dataclass(frozen=True)
class Share:
    """Estimated share of wrong annotations, with its 95% interval."""

    value: float
    low: float
    high: float

    def as_dict(self) -> dict[str, float]:
        """The fields rounded to four digits, for JSON."""
        return {name: round(value, 4) for name, value in vars(self).items()}


def suspected_by_image(
    ratios: NDArray[np.float64], displacements: NDArray[np.float64], contradictions: NDArray[np.float64]
) -> tuple[NDArray[np.bool_], Share]:
    """Suspect annotations that are displaced and whose outline has less contrast in the image than the predicted one.

    A strong contradiction is suspected whenever the predicted outline has more contrast. The interval is a bootstrap
    interval, extended to the shares at the laxer and stricter thresholds.

    Args:
        ratios: ``(N,)`` contrast across the predicted outline over that across the annotated one.
        displacements, contradictions: ``(N,)`` the scores of these names.
    """
    displaced, sure = displacements > MIN_DISPLACEMENT, (contradictions > SURE_CONTRADICTION) & (ratios > 1)
    thresholds = (SUSPECTED_RATIO, *_RATIO_RANGE)
    suspected, *limits = ((displaced & (ratios > threshold)) | sure for threshold in thresholds)
    (_, high), (low, _) = (_bootstrap_interval(flags.astype(float)) for flags in limits)
    return suspected, Share(float(suspected.mean()), low, high)


def suspected_by_mixture(scores: NDArray[np.float64]) -> tuple[NDArray[np.bool_], Share]:
    """Fit two normal distributions to the log scores and suspect the cases of the upper one.

    Overestimates small shares, because the network's own mistakes are in the upper component too. Cases of score 0, on
    which annotation and prediction agree, are left out: many of them would make up the lower component alone.

    Args:
        scores: ``(N,)`` confident disagreement.
    """
    fitted = scores > 0
    if np.count_nonzero(fitted) < _MIN_FITTED:
        fitted[:] = True
    logs, suspected = np.log(scores[fitted] + _LOG_OFFSET), np.zeros(len(scores), bool)
    if len(logs) < _MIN_FITTED or logs.std() < 1e-6:
        return suspected, Share(0.0, 0.0, 1.0)
    weight, posterior = _fit_mixture(logs[None])
    suspected[fitted] = posterior[0] > 0.5
    generator = np.random.default_rng(0)
    drawn, _ = _fit_mixture(logs[generator.integers(len(logs), size=(_DRAWS, len(logs)))])
    low, high = np.quantile(drawn, [(1 - _LEVEL) / 2, (1 + _LEVEL) / 2])
    return suspected, Share(*(float(share * fitted.mean()) for share in (weight[0], low, high)))


def share_of(flags: NDArray[np.bool_]) -> Share:
    """The share of suspected cases in a group, with a bootstrap interval."""
    return Share(float(flags.mean()), *_bootstrap_interval(flags.astype(float)))


def _bootstrap_interval(values: NDArray[Any]) -> tuple[float, float]:
    if values.min() == values.max():  # no resample differs; the exact bound (Clopper and Pearson, 1934)
        margin = 1 - ((1 - _LEVEL) / 2) ** (1 / len(values))
        return (0.0, margin) if values[0] == 0 else (1 - margin, 1.0)
    generator = np.random.default_rng(0)
    means = generator.binomial(len(values), float(values.mean()), size=10 * _DRAWS) / len(values)
    low, high = np.quantile(means, [(1 - _LEVEL) / 2, (1 + _LEVEL) / 2])
    return float(low), float(high)


def _fit_mixture(samples: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Fit two normals to each row ``(R, N)`` by EM; returns weight ``(R,)`` and posterior ``(R, N)`` of the upper."""
    mean = np.quantile(samples, [0.35, 0.9], axis=1)[..., None]
    spread = np.broadcast_to(samples.std(axis=1)[:, None] / 2, mean.shape)
    weight = np.array([0.7, 0.3])[:, None, None] * np.ones_like(mean)
    for _ in range(_ITERATIONS):
        density = weight * np.exp(-0.5 * ((samples - mean) / spread) ** 2) / spread + 1e-300
        share = density / density.sum(axis=0)
        total = share.sum(axis=2, keepdims=True)
        weight = total / samples.shape[1]
        mean = (share * samples).sum(axis=2, keepdims=True) / total
        spread = np.sqrt((share * (samples - mean) ** 2).sum(axis=2, keepdims=True) / total + 0.05**2)
    upper = np.argmax(mean[..., 0], axis=0)
    rows = np.arange(len(samples))
    return weight[upper, rows, 0], share[upper, rows]
