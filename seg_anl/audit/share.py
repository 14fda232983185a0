"""A share of the cases, with an interval: overall, per kind, per annotator or site."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

_LEVEL, _DRAWS = 0.95, 2000


@dataclass(frozen=True)
class Share:
    """Estimated share of wrong annotations, with its 95% interval."""

    value: float
    low: float
    high: float

    def as_dict(self) -> dict[str, float]:
        """The fields rounded to four digits, for JSON."""
        return {name: round(value, 4) for name, value in vars(self).items()}


def share_of(flags: NDArray[np.bool_]) -> Share:
    """The share of suspected cases in a group, with a bootstrap interval."""
    return Share(float(flags.mean()), *_bootstrap_interval(flags.astype(float)))


def _bootstrap_interval(values: NDArray[Any]) -> tuple[float, float]:
    if values.min() == values.max():  # no resample differs; the exact bound (Clopper and Pearson, 1934)
        margin = 1 - ((1 - _LEVEL) / 2) ** (1 / len(values))
        return (0.0, margin) if values[0] == 0 else (1 - margin, 1.0)
    generator = np.random.default_rng(0)
    means = generator.binomial(len(values), float(values.mean()), size=_DRAWS) / len(values)
    low, high = np.quantile(means, [(1 - _LEVEL) / 2, (1 + _LEVEL) / 2])
    return float(low), float(high)
