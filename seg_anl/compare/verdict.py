"""From the scores of seeds to a sentence: paired differences with Student's interval."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

import scipy.stats

_LEVEL = 0.95


@dataclass(frozen=True)
class Difference:
    """The mean of the differences of each seed, and half of its 95 % interval (NaN with one seed).

    Seeds are pairs: both runs of a seed have the same training and test images, first weights and order of batches as
    far as they go. The interval is that of Student's t with one degree of freedom less than there are pairs.
    """

    mean: float
    half: float
    seeds: int

    @classmethod
    def paired(cls, ours: Sequence[float], reference: Sequence[float]) -> Difference:
        """Of the scores of the same seeds.

        >>> print(Difference.paired([0.8, 0.9], [0.7, 0.7]))  # 12.71 standard errors on either side
        +0.1500 ± 0.6353
        """
        each = [own - other for own, other in zip(ours, reference, strict=True)]
        count, half = len(each), math.nan
        if count > 1:
            wide = float(scipy.stats.t.ppf((1 + _LEVEL) / 2, count - 1))
            half = wide * statistics.stdev(each) / math.sqrt(count)
        return cls(statistics.fmean(each), half, count)

    @property
    def clear(self) -> bool:
        """Whether the interval leaves zero out."""
        return abs(self.mean) > self.half  # False for NaN

    def as_dict(self) -> dict[str, float | None]:
        """For JSON, which knows no NaN."""
        return {"mean": self.mean, "half": None if math.isnan(self.half) else self.half, "seeds": self.seeds}

    def __str__(self) -> str:
        return f"{self.mean:+.4f}" + ("" if math.isnan(self.half) else f" ± {self.half:.4f}")


def sentence(ours: str, reference: str, difference: Difference, metric: str) -> str:
    """What came out, in one sentence."""
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
