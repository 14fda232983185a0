"""From the ``data`` group to a data set: settings, reading, checks, the part in use, mean and deviation."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import numpy as np
from numpy.typing import NDArray
from omegaconf import DictConfig

from seg_anl.engine.paths import configured_path
from seg_anl.engine.settings import plain
from seg_anl.records import UserError, nearest_names
from seg_anl.records.ranges import checked, complaint, keyword_parameters

from .dataset import DATASETS, Dataset, FileImages
from .selection import DataSelection, evaluation_part, training_part

_CHUNK = 4096  # images summed at once


def load_dataset(data: DictConfig) -> Dataset:
    """Read the data set of a ``data`` configuration (``configs/data``), by ``data.name``.

    ``data.limit`` is taken first, then ``data.imbalance``; mean and deviation are those of what is left, unless given.

    Raises:
        UserError: an unknown name, files that are missing, damaged or not as they should be, a setting out of range.
    """
    reader, own, selection = reader_settings(data)
    found = reader(**own)
    _check(found)
    kept = training_part(found.train.labels, found.num_classes, selection)
    train = found.train if len(kept) == len(found.train) else found.train.part(kept)
    mean, std = _normalization(train.images, selection)
    return replace(
        found,
        train=train,
        tests={name: evaluation_part(split, found.num_classes, selection) for name, split in found.tests.items()},
        mean=mean,
        std=std,
        found_labels=found.train.labels,
        kept=kept,
    )


def reader_settings(data: DictConfig) -> tuple[Callable[..., Dataset], dict[str, Any], DataSelection]:
    """The reader that a ``data`` configuration names, its own settings, and those that every data set has.

    Raises:
        UserError: an unknown name or setting, or a value out of range.
    """
    given = plain(data)
    name = str(given.pop("name", None))
    if name not in DATASETS:
        raise UserError(f"data.name={name}: {nearest_names(name, DATASETS)}")
    own = {}
    for setting, parameter in keyword_parameters(DATASETS[name]).items():
        if setting not in given:
            raise UserError(f"the setting data.{setting} is needed")
        value, kinds = given.pop(setting), (parameter.annotation, *get_args(parameter.annotation))
        if Path in kinds and not (value is None and type(None) in kinds):
            value = configured_path(value, f"data.{setting}")
        elif wrong := complaint(f"data.{setting}", parameter.annotation, value):
            raise UserError(wrong)
        own[setting] = value
    return DATASETS[name], own, checked(DataSelection, given, "data")


def _check(found: Dataset) -> None:
    """Refuse labels outside ``[0, K)``, training sets that lack a class, and images in memory of different sizes."""
    number = found.num_classes
    if number < 2:
        raise UserError(
            f"{found.remark}: {'one class only' if number else 'no classes'}; there is nothing to tell apart"
        )
    for name, split in {"train": found.train, **found.tests}.items():
        if not len(split):
            raise UserError(f"{found.remark}: no images in the split {name!r}")
        if split.labels.min() < 0 or split.labels.max() >= number:
            wrong = split.labels.min() if split.labels.min() < 0 else split.labels.max()
            raise UserError(
                f"{found.remark}: label {wrong} in the split {name!r}; "
                f"the {number} classes of the training set are 0 to {number - 1}"
            )
    absent = np.setdiff1d(np.arange(number), found.train.labels)
    if len(absent):
        others = f" (and {len(absent) - 1} more)" if len(absent) > 1 else ""
        raise UserError(
            f"{found.remark}: no training image of class {absent[0]} ({found.classes[absent[0]]}){others}; "
            f"labels must be 0 to {number - 1} without gaps"
        )
    for name, split in found.tests.items():
        if not isinstance(split.images, FileImages) and not isinstance(found.train.images, FileImages):
            train, other = (" x ".join(map(str, images.shape[1:])) for images in (found.train.images, split.images))
            if train != other:
                raise UserError(
                    f"{found.remark}: training images of {train} (channels, rows, columns), {name} images of {other}"
                )


def _normalization(images: Any, selection: DataSelection) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """``data.mean`` and ``data.std``, or those of the training images ``(N, C, H, W)`` in use.

    Raises:
        UserError: numbers that do not fit the channels, or null where the images are in files.
    """
    if selection.mean is not None and selection.std is not None:
        channels = 3 if isinstance(images, FileImages) else images.shape[1]
        for name, values in (("mean", selection.mean), ("std", selection.std)):
            if len(values) != channels:
                raise UserError(f"data.{name} must be {channels} number(s), one for each channel; got {list(values)}")
        return selection.mean, selection.std
    if isinstance(images, FileImages):
        raise UserError(
            "data.mean and data.std must be given for images in files; ImageNet's are in data/imagenet.yaml"
        )
    return pixel_statistics(images.numpy())


def pixel_statistics(images: NDArray[np.uint8]) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation of all pixels of uint8 images ``(N, C, H, W)`` over 255, by channel.

    A channel that is constant gets the deviation 1.

    >>> pixel_statistics(np.array([0, 255], dtype=np.uint8).reshape(1, 1, 1, 2))
    ((0.5,), (0.5,))
    """
    # Sums of whole numbers: the result does not depend on how the sum is cut into pieces.
    total, squares = np.zeros((2, images.shape[1]), dtype=np.int64)
    for start in range(0, len(images), _CHUNK):
        values = images[start : start + _CHUNK].astype(np.int64)
        total += values.sum(axis=(0, 2, 3))
        squares += np.square(values).sum(axis=(0, 2, 3))
    count = images[:, 0].size
    mean = total / count
    deviation = np.sqrt((squares / count - mean**2).clip(min=0))
    deviation = np.where(deviation > 0, deviation, 255.0)
    return tuple((mean / 255).tolist()), tuple((deviation / 255).tolist())
