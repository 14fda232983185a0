"""Which images of a data set are used: ``data.limit``, ``data.test_limit`` and artificial class imbalance.

Every choice is a function of ``data.subset_seed``, the class and the image's position in the data set. A class's images
stand in one drawn order of which a beginning is taken, so that the sets of a smaller limit, or of a stronger imbalance,
lie within those of a larger one, or of a weaker one.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from omegaconf import DictConfig

from seg_anl.records import UserError, is_number, is_whole_number, item_generator, nearest_names

from .split import Split

IMBALANCES = ("long_tailed", "step")


def training_part(labels: NDArray[np.int64], num_classes: int, data: DictConfig) -> NDArray[np.int64]:
    """Positions of the training images in use, ascending.

    Args:
        labels: (N,) of the whole training set.
        num_classes: K.
        data: ``limit`` images, as evenly over the classes as they allow, then ``imbalance`` with ``imbalance_ratio``.

    Raises:
        UserError: a setting that cannot be.
    """
    counts = np.bincount(labels, minlength=num_classes)
    if data.limit is not None:
        _check_whole(data.limit, "data.limit", num_classes, len(labels), "number of training images")
        counts = even_counts(counts, data.limit)
    if data.imbalance is not None:
        counts = imbalanced_counts(counts, str(data.imbalance), _ratio(data.imbalance_ratio))
    return drawn(labels, counts, _seed(data.subset_seed))


def evaluation_part(split: Split, num_classes: int, data: DictConfig) -> Split:
    """``data.test_limit`` images of an evaluation split, as evenly over the classes as they allow; null: all."""
    if data.test_limit is None or (is_whole_number(data.test_limit) and data.test_limit >= len(split)):
        return split
    _check_whole(data.test_limit, "data.test_limit", 1, len(split), "number of test images")
    counts = even_counts(np.bincount(split.labels, minlength=num_classes), data.test_limit)
    return split.subset(drawn(split.labels, counts, _seed(data.subset_seed)))


def even_counts(available: NDArray[np.int64], total: int) -> NDArray[np.int64]:
    """How many of each class make ``total``: alike, but for a difference of one and for classes that have no more.

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
    if kind not in IMBALANCES:
        raise UserError(f"data.imbalance={kind}: {nearest_names(kind, IMBALANCES)}")
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


def _check_whole(value: Any, setting: str, lowest: int, highest: int, meaning: str) -> None:
    if not is_whole_number(value) or not lowest <= value <= highest:
        reason = " (one of each class)" if lowest > 1 else ""
        raise UserError(
            f"{setting} must be a whole number from {lowest}{reason} to {highest}, the {meaning}; got {value!r}"
        )


def _seed(value: Any) -> int:
    if not is_whole_number(value):
        raise UserError(f"data.subset_seed must be a whole number, got {value!r}")
    return int(value)


def _ratio(value: Any) -> float:
    if not is_number(value) or not 0 < value <= 1:
        raise UserError(f"data.imbalance_ratio (smallest class over largest) must be in (0, 1], got {value!r}")
    return float(value)
