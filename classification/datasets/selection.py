"""Which images of a data set are used: ``data.limit``, ``data.test_limit`` and artificial class imbalance.

Every choice is a function of ``data.subset_seed``, the class and the image's position in the data set. A class's images
stand in one drawn order of which a beginning is taken, so that the sets of a smaller limit, or of a stronger imbalance,
lie within those of a larger one, or of a weaker one.
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
    """What every data set lets one set: which of its images are used, and how they are normalized.

    Files name images by their position in the whole training set.

    Attributes:
        mean, std: per channel, on a scale where white is 1; None: of the training images in use.
        flips: data set whose published asymmetric noise fits the classes.
        limit: training images in use, as evenly over the classes as they allow; None: all.
        test_limit: the same for each evaluation split.
        subset_seed: draws what ``limit``, ``test_limit`` and ``imbalance`` keep.
        imbalance: thins out the training set after ``limit``.
        imbalance_ratio: smallest class over largest.
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
            raise UserError("data.mean and data.std must be given both, or neither (null)")


def training_part(labels: NDArray[np.int64], num_classes: int, selection: DataSelection) -> NDArray[np.int64]:
    """Positions of the training images in use, ascending; ``labels`` (N,) are those of the whole training set.

    That is ``limit`` images, as evenly over the classes as they allow, then ``imbalance``.

    Raises:
        UserError: a limit that leaves a class out, or that exceeds the training set.
    """
    counts = np.bincount(labels, minlength=num_classes)
    if selection.limit is not None:
        if not num_classes <= selection.limit <= len(labels):
            raise UserError(
                f"data.limit must be from {num_classes} (one of each class) to {len(labels)}, the number of training "
                f"images; got {selection.limit}"
            )
        counts = even_counts(counts, selection.limit)
    if selection.imbalance is not None:
        counts = imbalanced_counts(counts, selection.imbalance, selection.imbalance_ratio)
    return drawn(labels, counts, selection.subset_seed)


def evaluation_part(split: Split, num_classes: int, selection: DataSelection) -> Split:
    """``test_limit`` images of an evaluation split, as evenly over the classes as they allow; None: all."""
    if selection.test_limit is None or selection.test_limit >= len(split):
        return split
    counts = even_counts(np.bincount(split.labels, minlength=num_classes), selection.test_limit)
    return split.part(drawn(split.labels, counts, selection.subset_seed))


def even_counts(available: NDArray[np.int64], total: int) -> NDArray[np.int64]:
    """How many of each class make ``total``: equal but for a difference of one and for classes that have no more.

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
    """How many images of each class an artificially imbalanced set keeps; at least one, at most what there are.

    With n the largest class and K classes: ``long_tailed`` keeps n * ratio^(i / (K - 1)) of class i, rounded down;
    ``step`` keeps n * ratio of each class of the last half (K odd: without the middle one).

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
    # A share of an exact product may come out a hair below it: 5000 * 0.1^(1/1) is 500, not 499.
    asked = np.floor(available.max() * shares + 1e-6).astype(available.dtype)
    return np.clip(asked, 1, available)


def drawn(labels: NDArray[np.int64], counts: NDArray[np.int64], seed: int) -> NDArray[np.int64]:
    """Positions of ``counts[k]`` images of each class k, drawn without replacement, ascending."""
    chosen = []
    for label, count in enumerate(counts):
        positions = np.flatnonzero(labels == label)
        if count < len(positions):
            positions = item_generator(seed, str(label), "subset").permutation(positions)[:count]
        chosen.append(positions)
    return np.sort(np.concatenate(chosen)).astype(np.int64)
