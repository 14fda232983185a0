"""MNIST, Fashion-MNIST, CIFAR-10 and CIFAR-100 as torchvision stores them.

A folder that torchvision filled is read as it is. Where files are missing they are downloaded (``data.download``), with
checksums; archives that a person put there are unpacked instead. CIFAR's files are pickles: they are opened only when
the checksum of every one of them is the published one.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from omegaconf import DictConfig
from torchvision.datasets import CIFAR10, CIFAR100, MNIST, FashionMNIST
from torchvision.datasets.mnist import read_image_file, read_label_file
from torchvision.datasets.utils import check_integrity

from seg_anl.records import UserError

from ..paths import configured_path
from .download import Archive, default_root, fetch
from .split import Found, Split


def cifar10(data: DictConfig) -> Found:
    """50000 training and 10000 test images of 3 x 32 x 32 in ten classes, in the published order.

    Reference: Krizhevsky, Learning Multiple Layers of Features from Tiny Images, 2009.
    """
    return _cifar(CIFAR10, data)


def cifar100(data: DictConfig) -> Found:
    """50000 training and 10000 test images of 3 x 32 x 32 in a hundred classes (the fine ones), in the published order.

    Reference: Krizhevsky, Learning Multiple Layers of Features from Tiny Images, 2009.
    """
    return _cifar(CIFAR100, data)


def mnist(data: DictConfig) -> Found:
    """60000 training and 10000 test images of 1 x 28 x 28: handwritten digits.

    Reference: LeCun et al., Gradient-Based Learning Applied to Document Recognition, Proceedings of the IEEE 1998.
    """
    return _mnist(MNIST, data)


def fashion_mnist(data: DictConfig) -> Found:
    """60000 training and 10000 test images of 1 x 28 x 28: articles of clothing.

    Reference: Xiao et al., Fashion-MNIST: a Novel Image Dataset for Benchmarking Machine Learning Algorithms, 2017.
    """
    return _mnist(FashionMNIST, data)


def _cifar(kind: type[CIFAR10], data: DictConfig) -> Found:
    root = _root(data)
    folder = root / kind.base_folder
    checksums = dict([*kind.train_list, *kind.test_list])
    checksums[kind.meta["filename"]] = kind.meta["md5"]

    def missing() -> list[Path]:
        return [folder / name for name, checksum in checksums.items() if not check_integrity(folder / name, checksum)]

    fetch([Archive((kind.url,), kind.tgz_md5, root, missing)], bool(data.download))
    train, test = kind(root, train=True), kind(root, train=False)
    splits = [
        Split(torch.from_numpy(np.ascontiguousarray(part.data.transpose(0, 3, 1, 2))), _int64(part.targets))
        for part in (train, test)
    ]
    return Found(splits[0], {"test": splits[1]}, tuple(train.classes), labels_are_clean=True, remark=str(folder))


def _mnist(kind: type[MNIST], data: DictConfig) -> Found:
    folder = _root(data) / kind.__name__ / "raw"

    def missing_file(path: Path) -> Callable[[], list[Path]]:
        axes = 3 if "images" in path.name else 1
        return lambda: [] if _is_whole_idx(path, axes) else [path]

    archives = [
        Archive(
            tuple(mirror + name for mirror in kind.mirrors),
            checksum,
            folder,
            missing_file(folder / name.removesuffix(".gz")),
        )
        for name, checksum in kind.resources
    ]
    fetch(archives, bool(data.download))
    splits = [
        Split(
            read_image_file(str(folder / f"{part}-images-idx3-ubyte"))[:, None],
            _int64(read_label_file(str(folder / f"{part}-labels-idx1-ubyte")).numpy()),
        )
        for part in ("train", "t10k")
    ]
    for split in splits:
        if len(split.images) != len(split.labels):
            raise UserError(f"{folder}: {len(split.images)} images with {len(split.labels)} labels; fetch them anew")
    return Found(splits[0], {"test": splits[1]}, tuple(kind.classes), labels_are_clean=True, remark=str(folder))


def _is_whole_idx(path: Path, axes: int) -> bool:
    """Whether a file of the IDX format has so many axes and is as long as its header says, which torchvision trusts."""
    if not os.path.isfile(path):
        return False
    with path.open("rb") as file:
        if file.read(4) != bytes([0, 0, 8, axes]):  # two zero bytes, the code of unsigned bytes, the number of axes
            return False
        sizes = np.frombuffer(file.read(4 * axes), dtype=">u4").tolist()
    return len(sizes) == axes and 0 not in sizes and path.stat().st_size == 4 + 4 * axes + math.prod(sizes)


def _root(data: DictConfig) -> Path:
    return default_root(str(data.name)) if data.root is None else configured_path(data.root, "data.root")


def _int64(labels: list[int] | NDArray[np.int64]) -> NDArray[np.int64]:
    return np.asarray(labels, dtype=np.int64)
