"""The three numbers of a table's cell: mean and spread over seeds, and the distance to a published number."""

from __future__ import annotations

import math
from collections.abc import Sequence


def mean(values: Sequence[float]) -> float:
    """Arithmetic mean, without regard to the order of the values.

    >>> mean([1.0, 2.0, 6.0])
    3.0
    """
    return math.fsum(values) / len(values)


def sample_std(values: Sequence[float]) -> float | None:
    """Sample standard deviation (n - 1); None for fewer than two values.

    >>> sample_std([1.0, 3.0]) == math.sqrt(2.0)
    True
    """
    if len(values) < 2:
        return None
    center = mean(values)
    return math.sqrt(math.fsum((value - center) ** 2 for value in values) / (len(values) - 1))


def standard_error(ours: float | None, seeds: int, published: float | None, published_runs: int | None) -> float | None:
    """Standard error of the difference of two independent means (Welch).

    The square root of ``ours**2 / seeds + published**2 / published_runs``; the second term is left out where the paper
    gives no spread or no number of runs. None without a spread of ours, which one seed has not.

    >>> standard_error(3.0, 9, 4.0, 4) == math.sqrt(5.0)
    True
    """
    if ours is None:
        return None
    variance = ours**2 / seeds
    if published is not None and published_runs:
        variance += published**2 / published_runs
    return math.sqrt(variance)
