"""A share of the cases, with an interval: overall, per kind, per annotator or site."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

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


def share_of(count: int, total: int) -> Share:
    """``count`` of ``total`` cases, with a bootstrap interval."""
    if count in (0, total):  # no resample differs; the exact bound (Clopper and Pearson, 1934)
        margin = 1 - ((1 - _LEVEL) / 2) ** (1 / total)
        return Share(0.0, 0.0, margin) if count == 0 else Share(1.0, 1 - margin, 1.0)
    means = np.random.default_rng(0).binomial(total, count / total, size=_DRAWS) / total
    low, high = np.quantile(means, [(1 - _LEVEL) / 2, (1 + _LEVEL) / 2])
    return Share(count / total, float(low), float(high))
