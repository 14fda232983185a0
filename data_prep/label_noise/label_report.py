"""Checks of a label vector, and the report on its noise."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

MAX_CLASSES = 5000  # a stray label must not ask for a confusion matrix of terabytes


class LabelReport(NamedTuple):
    """What noise did to a label vector."""

    realised: float  # share of changed labels, in [0, 1]
    class_rates: tuple[float | None, ...]  # the same for every clean class; None without samples
    confusion: NDArray[np.int64]  # (K, K): samples by clean class (row) and label (column)


def label_report(clean: NDArray[Any], noisy: NDArray[Any], num_classes: int) -> LabelReport:
    """Compare two label vectors, (N,) integers in ``[0, num_classes)``, or raise a ValueError.

    >>> report = label_report(np.array([0, 0, 1, 1]), np.array([0, 1, 1, 1]), 2)
    >>> report.realised, report.class_rates, report.confusion.tolist()
    (0.25, (0.5, 0.0), [[1, 1], [0, 2]])
    """
    rows, columns = checked_labels(clean, num_classes), checked_labels(noisy, num_classes, "noisy labels")
    if rows.shape != columns.shape:
        raise ValueError(f"{len(rows)} clean labels but {len(columns)} noisy ones")
    cells = np.bincount(rows * num_classes + columns, minlength=num_classes**2)
    confusion = cells.reshape(num_classes, num_classes).astype(np.int64)
    sizes, kept = confusion.sum(axis=1), confusion.diagonal()
    rates = tuple(float((n - k) / n) if n else None for k, n in zip(kept, sizes, strict=True))
    return LabelReport(float(np.mean(rows != columns)), rates, confusion)


def checked_labels(labels: NDArray[Any], num_classes: int, name: str = "labels") -> NDArray[np.int64]:
    """The labels as int64; a ValueError unless they are (N,) integers in ``[0, num_classes)``, N >= 1, K >= 2."""
    if labels.ndim != 1 or not labels.size:
        raise ValueError(f"{name} must be one non-empty row of numbers, got shape {labels.shape}{_remedy(labels)}")
    if labels.dtype.kind not in "iu":
        raise ValueError(f"{name} must be integers, got {labels.dtype}: save them with .astype('int64')")
    low, high = int(labels.min()), int(labels.max())
    if low < 0:
        raise ValueError(f"{name} must count classes from 0, found {low}..{high}")
    if num_classes < 2:
        raise ValueError(f"label noise needs at least 2 classes, got {num_classes}")
    if num_classes > MAX_CLASSES:
        raise ValueError(f"{num_classes} classes are more than the {MAX_CLASSES} that are allowed: are these labels?")
    if high >= num_classes:
        raise ValueError(f"{name} must lie in 0..{num_classes - 1} for {num_classes} classes, found {low}..{high}")
    if np.iinfo(labels.dtype).max < num_classes - 1:
        raise ValueError(f"{name} of type {labels.dtype} cannot hold {num_classes} classes")
    return labels.astype(np.int64)


def _remedy(labels: NDArray[Any]) -> str:
    """How to convert labels of a shape that other programs write."""
    if labels.ndim != 2 or not labels.size or labels.dtype.kind not in "biuf":
        return ""
    if labels.shape[1] == 1:
        return ": save labels[:, 0]"
    one_hot = bool(((labels == labels.max()).sum(axis=1) == 1).all())
    return ": save labels.argmax(axis=1)" if one_hot else ""


def random_stream(seed: int) -> np.random.RandomState:
    """The generator of all label noise: NumPy's Mersenne Twister from ``seed`` in [0, 2**32).

    NumPy freezes its stream (NEP 19), but not that of ``Generator``; and published code draws from it after
    ``np.random.seed(seed)``, so equal seeds give equal labels.
    """
    return np.random.RandomState(seed)


def with_report(clean: NDArray[Any], noisy: NDArray[Any], num_classes: int) -> tuple[NDArray[Any], LabelReport]:
    """Noisy labels in the clean ones' dtype, and their report."""
    return noisy.astype(clean.dtype), label_report(clean, noisy, num_classes)
