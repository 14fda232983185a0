"""What a data set is to the trainer: images in memory or in files, integer labels, and how intensities are scaled."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from seg_anl.records import array_digest


@dataclass(frozen=True, eq=False)
class FileImages:
    """Images that are decoded when a batch needs them."""

    paths: tuple[Path, ...]

    def __len__(self) -> int:
        return len(self.paths)


@dataclass(frozen=True, eq=False)
class Split:
    """Images and their labels.

    Attributes:
        images: uint8 ``(N, C, H, W)`` in memory, or the files they are decoded from.
        labels: ``(N,)`` int64 in ``[0, K)``.
    """

    images: Tensor | FileImages
    labels: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.labels)

    def subset(self, index: NDArray[np.int64]) -> Split:
        """The samples of ``index``, in its order."""
        if isinstance(self.images, FileImages):
            return Split(FileImages(tuple(self.images.paths[i] for i in index)), self.labels[index])
        return Split(self.images[index], self.labels[index])

    def part(self, share: slice) -> Split:
        """The samples of ``share``; images in memory are not copied."""
        images = self.images
        return Split(
            FileImages(images.paths[share]) if isinstance(images, FileImages) else images[share], self.labels[share]
        )

    def with_labels(self, labels: NDArray[np.int64]) -> Split:
        """The same images under other labels."""
        return Split(self.images, labels)


@dataclass(frozen=True, eq=False)
class Found:
    """What a reader of a data set finds: see :class:`Dataset`, which is a part of it with its statistics."""

    train: Split
    tests: dict[str, Split]
    classes: tuple[str, ...]
    labels_are_clean: bool
    remark: str


@dataclass(frozen=True, eq=False)
class Dataset:
    """A data set as it is trained on.

    Attributes:
        train: the training samples.
        tests: evaluation splits by name; the first one decides which epoch is best.
        classes: names of the K classes, in label order.
        labels_are_clean: False where the training labels come noisy (WebVision, Animal-10N, Clothing1M): nobody knows
            which are wrong, and no noise can be made from them.
        remark: a line for the person: what was found, where.
        mean, std: per channel, on a scale where white is 1; what images are normalized by.
        found_labels: labels of the whole training set, before ``data.limit`` and ``data.imbalance`` took a part of it.
        kept: positions in it of the images of ``train``, ascending: what files about the whole training set (human
            labels, recorded softmaxes) are read by.
    """

    train: Split
    tests: dict[str, Split]
    classes: tuple[str, ...]
    labels_are_clean: bool
    remark: str
    mean: tuple[float, ...]
    std: tuple[float, ...]
    found_labels: NDArray[np.int64]
    kept: NDArray[np.int64]

    @property
    def num_classes(self) -> int:
        """K."""
        return len(self.classes)


def fingerprints(data: Dataset) -> dict[str, str]:
    """Digests of what a run trains and is measured on, by name; of images in files, of the files' names."""
    found = {"training images": _images_digest(data.train.images), "training labels": array_digest(data.train.labels)}
    for name, split in data.tests.items():
        found |= {f"{name} images": _images_digest(split.images), f"{name} labels": array_digest(split.labels)}
    return found


def _images_digest(images: Tensor | FileImages) -> str:
    if isinstance(images, FileImages):
        names = b"\n".join(os.fsencode(path.name) for path in images.paths)  # a name may be no text
        return array_digest(np.frombuffer(names, dtype=np.uint8))
    return array_digest(images.numpy())
