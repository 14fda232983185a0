"""Data sets as four arrays in one ``.npz`` file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seg_anl.records import UserError

from .dataset import Dataset, Split, dataset

CHANNELS = (1, 3)
MAX_LABEL = 100_000  # larger numbers are identifiers rather than classes


@dataset
def arrays(*, file: Path) -> Dataset:
    """The arrays ``x_train``, ``y_train``, ``x_test`` and ``y_test`` of ``data.file``; others are ignored.

    Images are uint8, ``(N, H, W)``, ``(N, H, W, C)`` or ``(N, C, H, W)`` with one or three channels (channels last if
    ambiguous); labels are integers ``(N,)`` from 0.

    Raises:
        UserError: for a file that is missing, damaged or pickled, or an array that is missing or has a wrong shape or
            dtype.
    """
    train, test = _read_split(file, "train"), _read_split(file, "test")
    # Classes without samples are reported by the checks of all data sets.
    classes = tuple(str(label) for label in range(int(train.labels.max()) + 1))
    return Dataset(train, {"test": test}, classes, str(file))


def _read_split(path: Path, split: str) -> Split:
    from seg_anl.records.array_files import read_array

    images, labels = read_array(path, f"x_{split}"), read_array(path, f"y_{split}")
    source = f"{path}: x_{split}"
    if images.dtype != np.uint8:
        raise UserError(f"{source}: images of type {images.dtype}; expected uint8 (0 to 255)")
    if not images.size:
        raise UserError(f"{source}: no images, its shape is {images.shape}")
    if images.ndim == 3:
        images = images[:, None]
    elif images.ndim == 4 and images.shape[3] in CHANNELS:
        images = images.transpose(0, 3, 1, 2)
    elif images.ndim != 4 or images.shape[1] not in CHANNELS:
        raise UserError(
            f"{source}: images of shape {images.shape}; expected (N, H, W), (N, H, W, C) or (N, C, H, W) with C 1 or 3"
        )
    _check_labels(labels, len(images), f"{path}: y_{split}")
    return Split.in_memory(images, labels)


def _check_labels(labels: NDArray[Any], count: int, source: str) -> None:
    if labels.dtype.kind not in "iu":
        raise UserError(f"{source}: labels of type {labels.dtype}; expected integers")
    if labels.shape != (count,):
        raise UserError(f"{source}: labels of shape {labels.shape}; expected ({count},), one per image")
    if labels.min() < 0 or labels.max() >= MAX_LABEL:
        invalid = labels.min() if labels.min() < 0 else labels.max()
        raise UserError(f"{source}: label {invalid}; expected labels from 0 to K - 1 for K classes")
