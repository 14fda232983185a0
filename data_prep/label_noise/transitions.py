"""Transition matrices and the published flips of MNIST, CIFAR-10 and CIFAR-100."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Flip = tuple[int, int]

# Patrini et al., Making Deep Neural Networks Robust to Label Noise, CVPR 2017: 7 -> 1, 2 -> 7, 5 <-> 6, 3 -> 8.
MNIST_FLIPS: tuple[Flip, ...] = ((7, 1), (2, 7), (5, 6), (6, 5), (3, 8))
# The same: truck -> automobile, bird -> airplane, cat -> dog, dog -> cat, deer -> horse. Sequential flips depend on the
# order, which is the published one.
CIFAR10_FLIPS: tuple[Flip, ...] = ((9, 1), (2, 0), (3, 5), (5, 3), (4, 7))
# Equal Loss flips all four pairs in both directions.
CIFAR10_PAIRS: tuple[Flip, ...] = ((9, 1), (2, 0), (4, 7), (3, 5))

# The superclass (coarse label) of each of the 100 fine labels, as in the data set's own files.
CIFAR100_COARSE: tuple[int, ...] = (
    *(4, 1, 14, 8, 0, 6, 7, 7, 18, 3, 3, 14, 9, 18, 7, 11, 3, 9, 7, 11),
    *(6, 11, 5, 10, 7, 6, 13, 15, 3, 15, 0, 11, 1, 10, 12, 14, 16, 9, 11, 5),
    *(5, 19, 8, 8, 15, 13, 14, 17, 18, 10, 16, 4, 17, 4, 2, 0, 17, 4, 18, 17),
    *(10, 3, 2, 12, 12, 16, 12, 1, 9, 19, 2, 10, 0, 1, 16, 12, 9, 13, 15, 13),
    *(16, 19, 2, 4, 6, 19, 5, 5, 8, 19, 18, 1, 2, 15, 6, 0, 17, 8, 14, 13),
)
# How far a row's sum may be from 1, and how far by rounding alone.
_ROW_TOLERANCE, _ROUNDING = 1e-6, 1e-12


def cifar100_groups(superclass: str) -> list[list[int]]:
    """The 20 groups of five fine labels, each in ascending order.

    Args:
        superclass: ``"index"``, contiguous blocks of five ids (behind all published numbers, although alphabetical ids
            have nothing in common), or ``"semantic"``, the superclasses of the data set.

    >>> cifar100_groups("index")[0], cifar100_groups("semantic")[0]
    ([0, 1, 2, 3, 4], [4, 30, 55, 72, 95])
    """
    if superclass == "index":
        return [list(range(start, start + 5)) for start in range(0, 100, 5)]
    return [[fine for fine, coarse in enumerate(CIFAR100_COARSE) if coarse == group] for group in range(20)]


def circular_flips(groups: Iterable[Sequence[int]]) -> list[Flip]:
    """Each class to the next of its group, the last to the first.

    >>> circular_flips([[3, 5, 8]])
    [(3, 5), (5, 8), (8, 3)]
    """
    return [(group[i], group[(i + 1) % len(group)]) for group in groups for i in range(len(group))]


def both_ways(pairs: Iterable[Flip]) -> list[Flip]:
    """Each flip, followed by its reverse."""
    return [flip for source, target in pairs for flip in ((source, target), (target, source))]


def symmetric_matrix(num_classes: int, rate: float) -> NDArray[np.float64]:
    """(K, K): ``1 - rate`` on the diagonal, the rest spread evenly."""
    matrix = np.full((num_classes, num_classes), rate / (num_classes - 1))
    np.fill_diagonal(matrix, 1 - rate)
    return matrix


def flips_matrix(num_classes: int, flips: Iterable[Flip], rate: float) -> NDArray[np.float64]:
    """(K, K): a share ``rate`` of each flip's source becomes its target; other classes stay."""
    matrix = np.eye(num_classes)
    for source, target in flips:
        matrix[source, source], matrix[source, target] = 1 - rate, rate
    return matrix


def checked_matrix(matrix: NDArray[Any], num_classes: int) -> NDArray[np.float64]:
    """The matrix as float64; a ValueError unless it is (K, K), finite, not negative and its rows sum to 1."""
    if matrix.shape != (num_classes, num_classes):
        raise ValueError(f"the matrix must be {num_classes} x {num_classes} for these labels, got {matrix.shape}")
    if matrix.dtype.kind not in "fiu":
        raise ValueError(f"the matrix must hold numbers, got {matrix.dtype}")
    given = matrix.astype(np.float64)
    if not np.isfinite(given).all() or (given < 0).any():
        row = int(np.argmax(~np.isfinite(given).all(axis=1) | (given < 0).any(axis=1)))
        raise ValueError(f"row {row} of the matrix holds a negative or non-finite probability")
    sums = given.sum(axis=1)
    off = np.abs(sums - 1)
    if off.max() > _ROW_TOLERANCE:
        row = int(off.argmax())
        raise ValueError(f"row {row} of the matrix sums to {sums[row]:.6g}, not to 1")
    # Rows that are right but for rounding stay: dividing could take a count below a whole number.
    return np.where(off[:, None] > _ROUNDING, given / sums[:, None], given)
