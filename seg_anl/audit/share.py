"""How many annotations are wrong: an estimate with an interval, of all, of each kind, of each annotator or site."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

SUSPECTED_RATIO = 1.25  # contrast across the predicted outline over that across the annotated one
_RATIOS = (1.15, 1.35)  # between which nobody knows where to draw the line; part of the interval
LEAST_DISPLACEMENT = 0.005  # what is less off than this nobody would call wrong
SURE_CONTRADICTION = 0.1  # so far off that it is enough for the image not to side with the annotation
_DRAWS, _LEVEL = 200, 0.95
_ROUNDS = 100
_SMALLEST = 1e-3


@dataclass(frozen=True)
class Share:
    """Estimated share of wrong annotations, with the limits of its 95 % interval."""

    value: float
    low: float
    high: float

    def as_dict(self) -> dict[str, float]:
        """For JSON, in four digits."""
        return {name: round(value, 4) for name, value in vars(self).items()}


def suspected_by_image(
    ratios: NDArray[np.float64], displacements: NDArray[np.float64], contradictions: NDArray[np.float64]
) -> tuple[NDArray[np.bool_], Share]:
    """Suspected is an annotation that is off, and whose outline shows in the image less than the predicted one does.

    One that is far off is suspected wherever the image does not side with it.

    The interval is the bootstrap's, widened to the shares at the stricter and the laxer line.

    Args:
        ratios: ``(N,)`` contrast across the predicted outline over that across the annotated one.
        displacements, contradictions: ``(N,)`` the scores of these names.
    """
    off, far = displacements > LEAST_DISPLACEMENT, (contradictions > SURE_CONTRADICTION) & (ratios > 1)
    suspected, *limits = ((off & (ratios > line)) | far for line in (SUSPECTED_RATIO, *_RATIOS))
    (_, high), (low, _) = (_interval(flags.astype(float)) for flags in limits)
    return suspected, Share(float(suspected.mean()), low, high)


def suspected_by_mixture(scores: NDArray[np.float64]) -> tuple[NDArray[np.bool_], Share]:
    """Two normal distributions of the scores' logarithm: suspected is what belongs to the upper one.

    Overstates small shares: the network's own mistakes are in the upper one too.

    Args:
        scores: ``(N,)`` confident disagreement.
    """
    logs = np.log(scores + _SMALLEST)
    if len(logs) < 4 or logs.std() < 1e-6:
        return np.zeros(len(logs), bool), Share(0.0, 0.0, 1.0)
    weight, posterior = _mixture(logs[None])
    generator = np.random.default_rng(0)
    drawn, _ = _mixture(logs[generator.integers(len(logs), size=(_DRAWS, len(logs)))])
    low, high = np.quantile(drawn, [(1 - _LEVEL) / 2, (1 + _LEVEL) / 2])
    return posterior[0] > 0.5, Share(float(weight[0]), float(low), float(high))


def share_of(flags: NDArray[np.bool_]) -> Share:
    """The share of suspected cases in a group, with its bootstrap interval."""
    return Share(float(flags.mean()), *_interval(flags.astype(float)))


def _interval(values: NDArray[Any]) -> tuple[float, float]:
    generator = np.random.default_rng(0)
    means = generator.binomial(len(values), float(values.mean()), size=10 * _DRAWS) / len(values)
    low, high = np.quantile(means, [(1 - _LEVEL) / 2, (1 + _LEVEL) / 2])
    return float(low), float(high)


def _mixture(samples: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Expectation-maximization of two normals in every row ``(R, N)``: weight of the upper one, and its posteriors."""
    mean = np.quantile(samples, [0.35, 0.9], axis=1)[..., None]
    spread = np.broadcast_to(samples.std(axis=1)[:, None] / 2, mean.shape)
    weight = np.array([0.7, 0.3])[:, None, None] * np.ones_like(mean)
    for _ in range(_ROUNDS):
        density = weight * np.exp(-0.5 * ((samples - mean) / spread) ** 2) / spread + 1e-300
        share = density / density.sum(axis=0)
        total = share.sum(axis=2, keepdims=True)
        weight = total / samples.shape[1]
        mean = (share * samples).sum(axis=2, keepdims=True) / total
        spread = np.sqrt((share * (samples - mean) ** 2).sum(axis=2, keepdims=True) / total + 0.05**2)
    upper = np.argmax(mean[..., 0], axis=0)
    rows = np.arange(len(samples))
    return weight[upper, rows, 0], share[upper, rows]
