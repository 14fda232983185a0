"""What a data set is to the trainer: images in memory or in files, integer labels, and how intensities are scaled."""

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
"""Functions that read a data set, by its name."""


def dataset(reader: Callable[..., Dataset]) -> Callable[..., Dataset]:
    """Make ``reader`` known under its name: ``data=NAME``.

    Its keyword-only parameters are the data set's own settings in ``configs/data/NAME.yaml``, and their annotations say
    what is allowed. One annotated ``Path`` is a path; ``~`` is the person's own folder.
    """
    DATASETS[reader.__name__] = reader
    return reader


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
        weights: ``(N,)`` of the samples in the loss; None: all alike.
    """

    images: Tensor | FileImages
    labels: NDArray[np.int64]
    weights: Tensor | None = None

    @classmethod
    def in_memory(cls, images: NDArray[np.uint8], labels: ArrayLike) -> Split:
        """Images ``(N, C, H, W)``."""
        import torch  # imported late: the settings of a data set are checked without it

        return cls(torch.from_numpy(np.ascontiguousarray(images)), np.asarray(labels, dtype=np.int64))

    @classmethod
    def in_files(cls, paths: Sequence[Path], labels: ArrayLike) -> Split:
        """Images that are decoded when they are needed."""
        return cls(FileImages(tuple(paths)), np.asarray(labels, dtype=np.int64))

    def __len__(self) -> int:
        return len(self.labels)

    def part(self, index: slice | NDArray[np.int64]) -> Split:
        """The samples of ``index``, in its order; images in memory are not copied for a slice."""
        if not isinstance(self.images, FileImages):
            return Split(self.images[index], self.labels[index])
        chosen = range(len(self))[index] if isinstance(index, slice) else index
        return Split(FileImages(tuple(self.images.paths[i] for i in chosen)), self.labels[index])


@dataclass(frozen=True, eq=False)
class Dataset:
    """A data set as its reader finds it and, with what has a default here filled in, as it is trained on.

    Attributes:
        train: the training samples.
        tests: evaluation splits by name; the first one decides which epoch is best.
        classes: names of the K classes, in label order.
        remark: a line for the person: what was found, where.
        labels_are_clean: False where the published training labels are noisy: nobody knows which are wrong, and they
            take no further noise.
        mean, std: per channel, on a scale where white is 1; what images are normalized by.
        found_labels: labels of the whole training set, before ``data.limit`` and ``data.imbalance`` took a part of it.
        kept: positions in it of the images of ``train``, ascending: what files about the whole training set (human
            labels, recorded softmaxes) are read by.
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
        """K."""
        return len(self.classes)


def fingerprints(data: Dataset) -> dict[str, str]:
    """Digests of what a run trains and is measured on, by name; of images in files, of the files' names."""
    found: dict[str, str] = {}
    for name, split in {"training": data.train, **data.tests}.items():
        found |= {f"{name} images": _images_digest(split.images), f"{name} labels": array_digest(split.labels)}
    return found


def _images_digest(images: Tensor | FileImages) -> str:
    if isinstance(images, FileImages):
        names = b"\n".join(os.fsencode(path.name) for path in images.paths)  # a name may be no text
        return array_digest(np.frombuffer(names, dtype=np.uint8))
    return array_digest(images.numpy())
