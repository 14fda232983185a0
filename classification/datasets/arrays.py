"""Any data set as four arrays in one ``.npz`` file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seg_anl.records import UserError

from .dataset import Dataset, Split, dataset

CHANNELS = (1, 3)
HIGHEST_LABEL = 100_000  # beyond it a number is an identifier rather than a class


@dataset
def arrays(*, file: Path) -> Dataset:
    """The arrays ``x_train``, ``y_train``, ``x_test`` and ``y_test`` of ``data.file``; any others are left alone.

    Images are uint8, ``(N, H, W)``, ``(N, H, W, C)`` or ``(N, C, H, W)`` with one or three channels (where both
    readings are possible: channels last); labels are ``(N,)`` integers from 0.

    Raises:
        UserError: a file that is missing, damaged or of pickled objects, an array that is missing, of another shape or
            type.
    """
    train, test = _split(file, "train"), _split(file, "test")
    # With a gap below the highest label, the class that is missing is named by the checks of all data sets.
    classes = tuple(str(label) for label in range(int(train.labels.max()) + 1))
    return Dataset(train, {"test": test}, classes, str(file))


def _split(path: Path, split: str) -> Split:
    from data_prep.array_files import read_array

    images, labels = read_array(path, f"x_{split}"), read_array(path, f"y_{split}")
    what = f"{path}: x_{split}"
    if images.dtype != np.uint8:
        raise UserError(f"{what}: images of type {images.dtype}; expected uint8 (0 to 255)")
    if not images.size:
        raise UserError(f"{what}: no images in it, its shape is {images.shape}")
    if images.ndim == 3:
        images = images[:, None]
    elif images.ndim == 4 and images.shape[3] in CHANNELS:
        images = images.transpose(0, 3, 1, 2)
    elif images.ndim != 4 or images.shape[1] not in CHANNELS:
        raise UserError(
            f"{what}: images of shape {images.shape}; expected (N, H, W), (N, H, W, C) or (N, C, H, W) with C 1 or 3"
        )
    _check_labels(labels, len(images), f"{path}: y_{split}")
    return Split.in_memory(images, labels)


def _check_labels(labels: NDArray[Any], count: int, what: str) -> None:
    if labels.dtype.kind not in "iu":
        raise UserError(f"{what}: labels of type {labels.dtype}; expected integers")
    if labels.shape != (count,):
        raise UserError(f"{what}: labels of shape {labels.shape}; expected ({count},), one for each image")
    if labels.min() < 0 or labels.max() >= HIGHEST_LABEL:
        wrong = labels.min() if labels.min() < 0 else labels.max()
        raise UserError(f"{what}: label {wrong}; expected labels from 0 to K - 1 for K classes")
