"""Load a data set from the ``data`` group: validate settings, read, check, select samples, compute statistics."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import numpy as np
from numpy.typing import NDArray
from omegaconf import DictConfig

from seg_anl.engine.settings import plain
from seg_anl.records import UserError, nearest_names
from seg_anl.records.paths import configured_path
from seg_anl.records.ranges import checked, complaint, keyword_parameters

from .dataset import DATASETS, Dataset, FileImages
from .selection import DataSelection, evaluation_part, training_part

_CHUNK = 4096  # images per partial sum


def load_dataset(data: DictConfig) -> Dataset:
    """Read the data set named by ``data.name`` of a ``data`` configuration (``configs/data``).

    ``data.limit`` is applied first, then ``data.imbalance``. Unless given, mean and std are computed on what remains.

    Raises:
        UserError: for an unknown name, missing or damaged files, or a setting out of range.
    """
    reader, own, selection = reader_settings(data)
    loaded = reader(**own)
    _check(loaded)
    kept = training_part(loaded.train.labels, loaded.num_classes, selection)
    train = loaded.train if len(kept) == len(loaded.train) else loaded.train.part(kept)
    mean, std = _normalization(train.images, selection)
    return replace(
        loaded,
        train=train,
        tests={name: evaluation_part(split, loaded.num_classes, selection) for name, split in loaded.tests.items()},
        mean=mean,
        std=std,
        found_labels=loaded.train.labels,
        kept=kept,
    )


def reader_settings(data: DictConfig) -> tuple[Callable[..., Dataset], dict[str, Any], DataSelection]:
    """The reader named by a ``data`` configuration, its own settings, and the settings that all data sets share.

    Raises:
        UserError: for an unknown name or setting, or a value out of range.
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


def _check(loaded: Dataset) -> None:
    """Refuse labels outside ``[0, K)``, training sets that lack a class, and images in memory of different sizes."""
    number = loaded.num_classes
    if number < 2:
        raise UserError(f"{loaded.remark}: {'only one class' if number else 'no classes'}; expected two or more")
    for name, split in {"train": loaded.train, **loaded.tests}.items():
        if not len(split):
            raise UserError(f"{loaded.remark}: no images in the split {name!r}")
        if split.labels.min() < 0 or split.labels.max() >= number:
            invalid = split.labels.min() if split.labels.min() < 0 else split.labels.max()
            raise UserError(
                f"{loaded.remark}: label {invalid} in the split {name!r}; "
                f"the {number} classes of the training set are 0 to {number - 1}"
            )
    absent = np.setdiff1d(np.arange(number), loaded.train.labels)
    if len(absent):
        others = f" (and {len(absent) - 1} more)" if len(absent) > 1 else ""
        raise UserError(
            f"{loaded.remark}: no training image of class {absent[0]} ({loaded.classes[absent[0]]}){others}; "
            f"labels must be 0 to {number - 1} without gaps"
        )
    for name, split in loaded.tests.items():
        if not isinstance(split.images, FileImages) and not isinstance(loaded.train.images, FileImages):
            train, other = (" x ".join(map(str, images.shape[1:])) for images in (loaded.train.images, split.images))
            if train != other:
                raise UserError(
                    f"{loaded.remark}: training images of {train} (channels, rows, columns), {name} images of {other}"
                )


def _normalization(images: Any, selection: DataSelection) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """``data.mean`` and ``data.std``, or the statistics of the training images ``(N, C, H, W)``.

    Raises:
        UserError: if their number differs from the number of channels, or they are null for images in files.
    """
    if selection.mean is not None and selection.std is not None:
        channels = 3 if isinstance(images, FileImages) else images.shape[1]
        for name, values in (("mean", selection.mean), ("std", selection.std)):
            if len(values) != channels:
                raise UserError(f"data.{name} must be {channels} number(s), one per channel; got {list(values)}")
        return selection.mean, selection.std
    if isinstance(images, FileImages):
        raise UserError(
            "data.mean and data.std must be given for images in files; ImageNet's are in data/imagenet.yaml"
        )
    return pixel_statistics(images.numpy())


def pixel_statistics(images: NDArray[np.uint8]) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation of the pixels of uint8 images ``(N, C, H, W)`` over 255, per channel.

    Constant channels get the standard deviation 1.

    >>> pixel_statistics(np.array([0, 255], dtype=np.uint8).reshape(1, 1, 1, 2))
    ((0.5,), (0.5,))
    """
    # Integer sums, so that the result does not depend on the chunk size.
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
