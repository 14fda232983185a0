"""The data sets by name, and what holds for all of them: checks, the part that is used, mean and deviation."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from omegaconf import DictConfig

from seg_anl.records import UserError, nearest_names

from .animal10n import animal10n
from .arrays import arrays
from .checks import check_labels, check_sizes
from .clothing1m import clothing1m
from .digits import digits
from .image_folder import image_folder
from .imagenet import imagenet
from .selection import evaluation_part, training_part
from .split import Dataset, Found
from .statistics import mean_and_deviation
from .torchvision_sets import cifar10, cifar100, fashion_mnist, mnist
from .webvision import webvision

DATASETS: dict[str, Callable[[DictConfig], Found]] = {
    "animal10n": animal10n,
    "arrays": arrays,
    "cifar10": cifar10,
    "cifar100": cifar100,
    "clothing1m": clothing1m,
    "digits": digits,
    "fashion_mnist": fashion_mnist,
    "imagefolder": image_folder,
    "imagenet": imagenet,
    "mnist": mnist,
    "webvision": webvision,
}

# Sets that may come as one .npz file (data.file) in the place of their own files, and how many classes that must hold.
CLASSES_IN_ARRAYS = {"cifar10": 10, "cifar100": 100, "fashion_mnist": 10, "mnist": 10}


def load_dataset(data: DictConfig) -> Dataset:
    """Read the data set of a ``data`` configuration (``configs/data``), by ``data.name``.

    ``data.limit`` is taken first, then ``data.imbalance``; mean and deviation are those of what is left, unless given.

    Raises:
        UserError: an unknown name, files that are missing, damaged or not as they should be, a setting that cannot be.
    """
    name = str(data.name)
    if name not in DATASETS:
        raise UserError(f"data.name={name}: {nearest_names(name, DATASETS)}")
    found = DATASETS[name](data) if data.get("file") is None else arrays(data)
    check_labels(found)
    check_sizes(found)
    number = len(found.classes)
    if number != CLASSES_IN_ARRAYS.get(name, number):
        raise UserError(f"{found.remark}: labels of {number} classes, data={name} has {CLASSES_IN_ARRAYS[name]}")
    kept = training_part(found.train.labels, number, data)
    train = found.train if len(kept) == len(found.train) else found.train.subset(kept)
    tests = {name: evaluation_part(split, number, data) for name, split in found.tests.items()}
    mean, std = mean_and_deviation(train.images, data)
    return Dataset(
        train=train,
        tests=tests,
        classes=found.classes,
        labels_are_clean=found.labels_are_clean,
        remark=found.remark,
        mean=mean,
        std=std,
        found_labels=found.train.labels.astype(np.int64),
        kept=kept,
    )
