"""Any data set as four arrays in one ``.npz`` file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from omegaconf import DictConfig

from data_prep.array_files import read_array
from seg_anl.records import UserError

from ..paths import configured_path
from .split import Found, Split

CHANNELS = (1, 3)
HIGHEST_LABEL = 100_000  # beyond it a number is an identifier rather than a class


def arrays(data: DictConfig) -> Found:
    """The arrays ``x_train``, ``y_train``, ``x_test`` and ``y_test`` of ``data.file``; any others are left alone.

    Images are uint8, ``(N, H, W)``, ``(N, H, W, C)`` or ``(N, C, H, W)`` with one or three channels (where both
    readings are possible: channels last); labels are ``(N,)`` integers from 0.

    Raises:
        UserError: a file that is missing, damaged or of pickled objects, an array that is missing, of another shape or
            type.
    """
    path = configured_path(data.file, "data.file")
    train, test = _split(path, "train"), _split(path, "test")
    # With a gap below the highest label, the class that is missing is named by the checks of all data sets.
    number = int(train.labels.max()) + 1
    return Found(
        train, {"test": test}, tuple(str(label) for label in range(number)), labels_are_clean=True, remark=str(path)
    )


def _split(path: Path, split: str) -> Split:
    images, labels = read_array(path, f"x_{split}")[0], read_array(path, f"y_{split}")[0]
    what = f"{path}: x_{split}"
    if images.dtype != np.uint8:
        raise UserError(f"{what}: images of type {images.dtype}; expected uint8 (0 to 255)")
    if not images.size:
        raise UserError(f"{what}: no images in it, its shape is {images.shape}")
    channels_first = _channels_first(images, what)
    _check_labels(labels, len(images), f"{path}: y_{split}")
    return Split(torch.from_numpy(channels_first), labels.astype(np.int64))


def _channels_first(images: NDArray[np.uint8], what: str) -> NDArray[np.uint8]:
    if images.ndim == 3:
        return images[:, None]
    if images.ndim == 4 and images.shape[3] in CHANNELS:
        return np.ascontiguousarray(images.transpose(0, 3, 1, 2))
    if images.ndim == 4 and images.shape[1] in CHANNELS:
        return images
    raise UserError(
        f"{what}: images of shape {images.shape}; expected (N, H, W), (N, H, W, C) or (N, C, H, W) with C 1 or 3"
    )


def _check_labels(labels: NDArray[Any], count: int, what: str) -> None:
    if labels.dtype.kind not in "iu":
        raise UserError(f"{what}: labels of type {labels.dtype}; expected integers")
    if labels.shape != (count,):
        raise UserError(f"{what}: labels of shape {labels.shape}; expected ({count},), one for each image")
    if labels.min() < 0 or labels.max() >= HIGHEST_LABEL:
        wrong = labels.min() if labels.min() < 0 else labels.max()
        raise UserError(f"{what}: label {wrong}; expected labels from 0 to K - 1 for K classes")
