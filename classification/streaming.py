"""Batches of images in files: decoded and augmented by worker processes, normalized on the training device.

The draws of a sample are a function of seed, epoch and the sample's position alone: a batch is the same with any number
of workers or of training processes, and after a resume.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image, UnidentifiedImageError
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from data_prep.pictures import refuse_depth
from seg_anl.engine.batches import check_batch_size
from seg_anl.engine.distribution import Process
from seg_anl.engine.randomness import epoch_generator
from seg_anl.records import UserError, is_whole_number, item_hash

from .augmentation import normalized
from .datasets import FileImages, Split
from .file_transforms import FileTransforms

EVALUATION = -1  # the epoch under which a sample is not augmented


class FileBatches:
    """Training batches of a split whose images are files, in the order in which :class:`ResidentBatches` has them.

    Args:
        split: its images are :class:`FileImages`.
        transforms: how images are cropped, augmented and normalized.
        batch_size: samples of a step, over all training processes.
        seed: of order and augmentation.
        process: whose device it is, and whose part of every batch.
        workers: processes that decode; 0: none, this one does.

    Raises:
        UserError: a batch size that cannot be; in :meth:`epoch` an image that cannot be read, by name.
    """

    def __init__(
        self, split: Split, transforms: FileTransforms, batch_size: int, seed: int, process: Process, *, workers: int
    ) -> None:
        check_batch_size(batch_size, len(split), process.world_size)
        assert isinstance(split.images, FileImages)
        self.labels = torch.from_numpy(split.labels).to(process.device)
        self.transforms, self.seed, self.device = transforms, seed, process.device
        self._order = _Order(len(split), batch_size, seed, process.of_batch)
        self._loader = _loader(_Decoded(split.images, transforms, seed), self._order, workers, process.device)

    def __len__(self) -> int:
        return len(self._order)

    def epoch(self, epoch: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Normalized float32 images ``(B, 3, H, W)`` and int64 labels ``(B,)``; a last, smaller batch is left out."""
        self._order.epoch = epoch
        for positions, images in _batches(self._loader):
            labels = self.labels[positions.to(self.device, non_blocking=True)]
            on_device = images.to(self.device, non_blocking=True)
            yield normalized(on_device, self.transforms.mean, self.transforms.std), labels


class FileEvaluation:
    """All images of a split in order, not augmented: normalized float32 batches ``(B, 3, H, W)`` on ``device``.

    Raises:
        UserError: while it is iterated over, an image that cannot be read, by name.
    """

    def __init__(
        self, images: FileImages, transforms: FileTransforms, batch_size: int, device: torch.device, *, workers: int
    ) -> None:
        self.transforms, self.device = transforms, device
        positions = range(len(images))
        keys = [
            [_Key(EVALUATION, position) for position in positions[start : start + batch_size]]
            for start in range(0, len(images), batch_size)
        ]
        self._batches = len(keys)
        self._loader = _loader(_Decoded(images, transforms, seed=0), keys, min(workers, len(keys)), device)

    def __len__(self) -> int:
        return self._batches

    def __iter__(self) -> Iterator[Tensor]:
        for _, images in _batches(self._loader):
            yield normalized(images.to(self.device, non_blocking=True), self.transforms.mean, self.transforms.std)


class _Key(NamedTuple):
    epoch: int
    position: int


class _Order(Sampler[list[_Key]]):
    """The keys of this process's share of an epoch's batches."""

    def __init__(self, count: int, batch_size: int, seed: int, of_batch: slice) -> None:
        self.count, self.batch_size, self.seed, self.of_batch = count, batch_size, seed, of_batch
        self.epoch = 0

    def __len__(self) -> int:
        return self.count // self.batch_size

    def __iter__(self) -> Iterator[list[_Key]]:
        order = torch.randperm(self.count, generator=epoch_generator(self.seed, self.epoch, "order"))
        for start in range(0, len(self) * self.batch_size, self.batch_size):
            share = order[start : start + self.batch_size][self.of_batch]
            yield [_Key(self.epoch, position) for position in share.tolist()]


class _Decoded(Dataset[Any]):
    """Positions and uint8 images by key; what cannot be read is handed on as a message.

    An exception that leaves a worker process would come with the traceback in its text.
    """

    def __init__(self, images: FileImages, transforms: FileTransforms, seed: int) -> None:
        # One block of bytes rather than a million objects, whose reference counts would unshare a worker's memory.
        self.paths = np.array([os.fsencode(path) for path in images.paths])
        self.transforms, self.seed = transforms, seed

    def __getitem__(self, key: _Key) -> tuple[int, Tensor] | str:
        path = Path(os.fsdecode(self.paths[key.position]))
        try:
            with Image.open(path) as file:
                refuse_depth(file.mode, str(path))
                image = file.convert("RGB")
        except UserError as error:
            return str(error)
        except Exception as error:  # decoders of damaged files fail in any way
            return f"{path}: an image that cannot be read: {_reason(error)}"
        try:
            if key.epoch == EVALUATION:
                return key.position, self.transforms.evaluation(image)
            with _draws_from(item_hash(self.seed, f"{key.epoch} {key.position}", "augmentation")):
                return key.position, self.transforms.training(image)
        except UserError as error:
            return f"{path}: {error}"


def _reason(error: Exception) -> str:
    if isinstance(error, UnidentifiedImageError):
        return "no image, or one of a kind that Pillow does not know"
    return (error.strerror if isinstance(error, OSError) else None) or str(error) or type(error).__name__


@contextmanager
def _draws_from(seed: int) -> Iterator[None]:
    """Let torchvision, which draws from torch's global generator, draw from ``seed``; the global state is put back."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed % 2**63)
        yield


def _collated(samples: list[tuple[int, Tensor] | str]) -> tuple[Tensor, Tensor] | str:
    for sample in samples:
        if isinstance(sample, str):
            return sample
    positions, images = zip(*samples, strict=True)
    sizes = sorted({tuple(image.shape[1:]) for image in images})
    if len(sizes) > 1:
        named = ", ".join(f"{width} x {height}" for height, width in sizes[:3])
        return f"images of different sizes ({named}): augmentation.crop must be set"
    return torch.tensor(positions), torch.stack(images)


def _loader(
    images: _Decoded, keys: Sampler[list[_Key]] | Sequence[list[_Key]], workers: int, device: torch.device
) -> DataLoader[Any]:
    if not is_whole_number(workers) or workers < 0:
        raise UserError(f"workers must be a whole number from 0, got {workers!r}")
    return DataLoader(
        images,
        batch_sampler=keys,
        num_workers=workers,
        collate_fn=_collated,
        pin_memory=device.type == "cuda",
        persistent_workers=workers > 0 and isinstance(keys, _Order),  # evaluations come and go
        generator=torch.Generator(),  # else a start of workers would take a number from the global generator
    )


def _batches(loader: DataLoader[Any]) -> Iterator[tuple[Tensor, Tensor]]:
    try:
        for batch in loader:
            if isinstance(batch, str):
                raise UserError(batch)
            positions, images = batch
            yield positions, images
    except RuntimeError as error:
        if "DataLoader worker" not in str(error):
            raise
        raise UserError(
            "a process that decodes images was killed, which happens when memory (or a container's shared memory) runs "
            f"out: lower workers={loader.num_workers} or batch_size"
        ) from error
