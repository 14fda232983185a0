"""The data set types of the trainer: images in memory or in files, integer labels, and normalization statistics."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np
from numpy.typing import ArrayLike, NDArray

from seg_anl.records import array_digest
from seg_anl.records.ranges import Interval

if TYPE_CHECKING:
    from torch import Tensor

ClassCount = Annotated[int, Interval(least=2, whole=True)]

DATASETS: dict[str, Callable[..., Dataset]] = {}
"""Data set readers by name."""


def dataset(reader: Callable[..., Dataset]) -> Callable[..., Dataset]:
    """Register a reader under its function name, for ``data=NAME``.

    Its keyword-only parameters are the data set's settings in ``configs/data/NAME.yaml``; their annotations define the
    allowed values. In parameters annotated with ``Path``, ``~`` is expanded.
    """
    DATASETS[reader.__name__] = reader
    return reader


@dataclass(frozen=True, eq=False)
class FileImages:
    """Image files, decoded on demand."""

    paths: tuple[Path, ...]

    def __len__(self) -> int:
        return len(self.paths)


@dataclass(frozen=True, eq=False)
class Split:
    """Images and their labels.

    Attributes:
        images: uint8 ``(N, C, H, W)`` in memory, or image files.
        labels: ``(N,)`` int64 in ``[0, K)``.
        weights: sample weights ``(N,)`` in the loss; None for equal weights.
    """

    images: Tensor | FileImages
    labels: NDArray[np.int64]
    weights: Tensor | None = None

    @classmethod
    def in_memory(cls, images: NDArray[np.uint8], labels: ArrayLike) -> Split:
        """A split of images ``(N, C, H, W)``."""
        import torch  # imported late, because settings are validated without torch

        return cls(torch.from_numpy(np.ascontiguousarray(images)), np.asarray(labels, dtype=np.int64))

    @classmethod
    def in_files(cls, paths: Sequence[Path], labels: ArrayLike) -> Split:
        """A split of image files."""
        return cls(FileImages(tuple(paths)), np.asarray(labels, dtype=np.int64))

    def __len__(self) -> int:
        return len(self.labels)

    def part(self, index: slice | NDArray[np.int64]) -> Split:
        """The samples at ``index``, in that order. A slice does not copy images in memory."""
        if not isinstance(self.images, FileImages):
            return Split(self.images[index], self.labels[index])
        chosen = range(len(self))[index] if isinstance(index, slice) else index
        return Split(FileImages(tuple(self.images.paths[i] for i in chosen)), self.labels[index])


@dataclass(frozen=True, eq=False)
class Dataset:
    """A data set. Readers leave the fields with defaults empty, except ``labels_are_clean``.

    Attributes:
        train: the training samples.
        tests: evaluation splits by name; the first one determines the best epoch.
        classes: names of the K classes, in label order.
        remark: one line for the user about what was found and where.
        labels_are_clean: False if the published training labels are noisy, so that no further noise is added.
        mean, std: normalization statistics per channel, for intensities from 0 to 1.
        found_labels: labels of the full training set, before ``data.limit`` and ``data.imbalance``.
        kept: ascending positions of the samples of ``train`` in the full training set, to index files about it (human
            labels, recorded softmax).
    """

    train: Split
    tests: dict[str, Split]
    classes: tuple[str, ...]
    remark: str
    labels_are_clean: bool = True
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    found_labels: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, dtype=np.int64))
    kept: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, dtype=np.int64))

    @property
    def num_classes(self) -> int:
        """The number of classes K."""
        return len(self.classes)


def fingerprints(data: Dataset) -> dict[str, str]:
    """Digests of all images and labels by name; for images in files, of the file names."""
    digests: dict[str, str] = {}
    for name, split in {"training": data.train, **data.tests}.items():
        digests |= {f"{name} images": _images_digest(split.images), f"{name} labels": array_digest(split.labels)}
    return digests


def _images_digest(images: Tensor | FileImages) -> str:
    if isinstance(images, FileImages):
        names = b"\n".join(os.fsencode(path.name) for path in images.paths)  # names may not be valid text
        return array_digest(np.frombuffer(names, dtype=np.uint8))
    return array_digest(images.numpy())
