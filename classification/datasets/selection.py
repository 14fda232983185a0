"""Select samples of a data set: ``data.limit``, ``data.test_limit`` and artificial class imbalance.

A selection depends only on ``data.subset_seed``, the class and the sample's position. The samples of each class are
shuffled once and the first ones are kept, so selections are nested: a smaller limit, or a stronger imbalance, keeps a
subset of a larger limit or weaker imbalance.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray

from seg_anl.engine.settings import DivisionSettings
from seg_anl.records import UserError, item_generator
from seg_anl.records.ranges import Count, Fraction, Interval, PositiveFraction

from .dataset import Split


@dataclass(frozen=True, kw_only=True)
class DataSelection(DivisionSettings):
    """Settings shared by all data sets: selection of samples, and normalization.

    Files refer to images by position in the full training set.

    Attributes:
        mean, std: per channel, for intensities from 0 to 1; None for the statistics of the training images.
        flips: data set whose published asymmetric noise applies to these classes.
        limit: number of training images, balanced over the classes as far as possible; None for all.
        test_limit: the same for each evaluation split.
        subset_seed: seed of the selection.
        imbalance: kind of class imbalance, applied after ``limit``.
        imbalance_ratio: size of the smallest class over that of the largest.
    """

    mean: tuple[Fraction, ...] | None = None
    std: tuple[Annotated[float, Interval(least=1e-6, most=1)], ...] | None = None
    flips: str | None = None
    limit: Count | None = None
    test_limit: Count | None = None
    subset_seed: Annotated[int, Interval(whole=True)] = 0
    imbalance: Literal["long_tailed", "step"] | None = None
    imbalance_ratio: PositiveFraction = 0.1

    def __post_init__(self) -> None:
        if (self.mean is None) != (self.std is None):
            raise UserError("data.mean and data.std must both be given, or both be null")


def training_part(labels: NDArray[np.int64], num_classes: int, selection: DataSelection) -> NDArray[np.int64]:
    """Ascending positions of the selected training samples, given the labels (N,) of the full training set.

    Applies ``limit``, balanced over the classes, and then ``imbalance``.

    Raises:
        UserError: for a limit smaller than the number of classes or larger than the training set.
    """
    counts = np.bincount(labels, minlength=num_classes)
    if selection.limit is not None:
        if not num_classes <= selection.limit <= len(labels):
            raise UserError(
                f"data.limit must be from {num_classes} (one per class) to {len(labels)} (all training images), "
                f"got {selection.limit}"
            )
        counts = even_counts(counts, selection.limit)
    if selection.imbalance is not None:
        counts = imbalanced_counts(counts, selection.imbalance, selection.imbalance_ratio)
    return draw_positions(labels, counts, selection.subset_seed)


def evaluation_part(split: Split, num_classes: int, selection: DataSelection) -> Split:
    """``test_limit`` samples of an evaluation split, balanced over the classes; all if it is None."""
    if selection.test_limit is None or selection.test_limit >= len(split):
        return split
    counts = even_counts(np.bincount(split.labels, minlength=num_classes), selection.test_limit)
    return split.part(draw_positions(split.labels, counts, selection.subset_seed))


def even_counts(available: NDArray[np.int64], total: int) -> NDArray[np.int64]:
    """Number of samples per class that sum to ``total``: equal up to one, except for exhausted classes.

    >>> even_counts(np.array([5, 1, 9]), 8)
    array([4, 1, 3])
    """
    counts = np.zeros_like(available)
    while (missing := total - int(counts.sum())) > 0:
        open_classes = np.flatnonzero(counts < available)
        if missing < len(open_classes):
            counts[open_classes[:missing]] += 1
        else:
            room = available[open_classes] - counts[open_classes]
            counts[open_classes] += np.minimum(room, missing // len(open_classes))
    return counts


def imbalanced_counts(available: NDArray[np.int64], kind: str, ratio: float) -> NDArray[np.int64]:
    """Number of samples per class in an artificially imbalanced set; at least one, at most those available.

    With n the size of the largest of K classes: ``long_tailed`` keeps n * ratio^(i / (K - 1)) of class i, rounded down;
    ``step`` keeps n * ratio of each class in the second half (for odd K without the middle one).

    Reference: Cui et al., Class-Balanced Loss Based on Effective Number of Samples, CVPR 2019 (long-tailed); Buda et
    al., A systematic study of the class imbalance problem in convolutional neural networks, Neural Networks 2018
    (step).

    >>> imbalanced_counts(np.array([100, 100, 100]), "long_tailed", 0.01)
    array([100,  10,   1])
    """
    position = np.arange(len(available))
    if kind == "long_tailed":
        shares = ratio ** (position / max(1, len(available) - 1))
    else:
        shares = np.where(position >= (len(available) + 1) // 2, ratio, 1.0)
    # The offset guards against rounding errors: 5000 * 0.1^(1/1) is 500, not 499.
    counts = np.floor(available.max() * shares + 1e-6).astype(available.dtype)
    return np.clip(counts, 1, available)


def draw_positions(labels: NDArray[np.int64], counts: NDArray[np.int64], seed: int) -> NDArray[np.int64]:
    """Ascending positions of ``counts[k]`` samples of each class k, drawn without replacement."""
    chosen = []
    for label, count in enumerate(counts):
        positions = np.flatnonzero(labels == label)
        if count < len(positions):
            positions = item_generator(seed, str(label), "subset").permutation(positions)[:count]
        chosen.append(positions)
    return np.sort(np.concatenate(chosen)).astype(np.int64)
