"""The verdict of a comparison: paired differences over seeds with a Student's t interval."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

import scipy.stats

_LEVEL = 0.95


@dataclass(frozen=True)
class Difference:
    """Mean paired difference over seeds, and the half-width of its 95% interval (NaN with one seed).

    Runs of the same seed are paired: they share the split and, as far as possible, initial weights and batch order.
    The interval is Student's t with ``seeds - 1`` degrees of freedom.
    """

    mean: float
    half: float
    seeds: int

    @classmethod
    def paired(cls, ours: Sequence[float], reference: Sequence[float]) -> Difference:
        """Compute the difference from the scores of the same seeds, in the same order.

        >>> print(Difference.paired([0.8, 0.9], [0.7, 0.7]))  # 12.71 standard errors on either side
        +0.1500 ± 0.6353
        """
        differences = [our - other for our, other in zip(ours, reference, strict=True)]
        count, half = len(differences), math.nan
        if count > 1:
            quantile = float(scipy.stats.t.ppf((1 + _LEVEL) / 2, count - 1))
            half = quantile * statistics.stdev(differences) / math.sqrt(count)
        return cls(statistics.fmean(differences), half, count)

    @property
    def clear(self) -> bool:
        """Whether the interval excludes zero."""
        return abs(self.mean) > self.half  # False for NaN

    def as_dict(self) -> dict[str, float | None]:
        """The fields, with None instead of NaN, which JSON lacks."""
        return {"mean": self.mean, "half": None if math.isnan(self.half) else self.half, "seeds": self.seeds}

    def __str__(self) -> str:
        return f"{self.mean:+.4f}" + ("" if math.isnan(self.half) else f" ± {self.half:.4f}")


def sentence(ours: str, reference: str, difference: Difference, metric: str) -> str:
    """The verdict in one sentence."""
    about = f"mean and 95 % interval of the paired differences of {difference.seeds} seeds, Student's t"
    if difference.seeds == 1:
        return f"{ours} differs from {reference} by {difference} in {metric} with one seed, which says little."
    if not difference.clear:
        return (
            f"No difference larger than the spread of seeds: {ours} - {reference} = {difference} in {metric} ({about})."
        )
    where = "ahead of" if difference.mean > 0 else "behind"
    size = f"{abs(difference.mean):.4f} ± {difference.half:.4f}"
    return f"{ours} is {where} {reference} by {size} in {metric} ({about})."
