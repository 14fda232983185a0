"""Batches of images in files: decoded and augmented by worker processes, normalized on the training device.

The draws of a sample are a function of seed, epoch and the sample's position alone: a batch is the same with any number
of workers or of training processes, and after a resume. The transforms are torchvision's, on Pillow images, in the
order of the published code.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Sampler

from data_prep.pictures import opened, refuse_depth, upright
from seg_anl.engine.batches import Batch, moved
from seg_anl.engine.distribution import Process
from seg_anl.engine.randomness import epoch_generator
from seg_anl.records import UserError, item_hash

from .crop_flip_rotate import normalized
from .datasets import Dataset, FileImages
from .settings import Augmentation

EVALUATION = -1  # the epoch under which a sample is not augmented


class FileBatches:
    """Training batches of a split whose images are files, in the order in which :class:`ResidentBatches` has them.

    Args:
        data: images of its ``train`` are :class:`FileImages`.
        settings: how images are cropped and augmented.
        sizes: samples of each step over all processes, see :meth:`RunSettings.batch_sizes`.
        seed: of order and augmentation.
        process: whose device it is, and whose part of every batch.
        workers: processes that decode; 0: none, this one does.
        indexed: whether each batch ends with the positions ``(B,)`` of its samples.

    Raises:
        UserError: in :meth:`epoch`, for an image that cannot be read, by name.
    """

    def __init__(
        self,
        data: Dataset,
        settings: Augmentation,
        sizes: Sequence[int],
        seed: int,
        process: Process,
        *,
        workers: int,
        indexed: bool = False,
    ) -> None:
        images = data.train.images
        assert isinstance(images, FileImages)
        self.targets, self.device = torch.from_numpy(data.train.labels).to(process.device), process.device
        self.weights = None if data.train.weights is None else data.train.weights.to(process.device)
        self.mean, self.std, self.indexed = data.mean, data.std, indexed
        self._order = _Order(len(images), sizes, seed, process.of_batch)
        self._loader = _loader(_Decoded(images, settings, seed), self._order, workers, process.device)

    def __len__(self) -> int:
        return len(self._order)

    def epoch(self, epoch: int) -> Iterator[Batch]:
        """Normalized float32 images ``(B, 3, H, W)`` and int64 labels ``(B,)``."""
        self._order.epoch = epoch
        for positions, images in _batches(self._loader):
            chosen = moved(positions, self.device)
            weights = () if self.weights is None else (self.weights[chosen],)
            images = normalized(images.to(self.device, non_blocking=True), self.mean, self.std)
            yield images, self.targets[chosen], *weights, *((chosen,) if self.indexed else ())


def evaluation_batches(
    images: FileImages, settings: Augmentation, batch_size: int, device: torch.device, *, workers: int
) -> Iterator[Tensor]:
    """All images of a split in order, not augmented: uint8 batches ``(B, 3, H, W)`` on ``device``.

    Raises:
        UserError: while it is iterated over, an image that cannot be read, by name.
    """
    keys = [_Key(EVALUATION, position) for position in range(len(images))]
    batches = [keys[start : start + batch_size] for start in range(0, len(keys), batch_size)]
    loader = _loader(_Decoded(images, settings, seed=0), batches, min(workers, len(batches)), device)
    for _, batch in _batches(loader):
        yield batch.to(device, non_blocking=True)


def transforms(settings: Augmentation, *, training: bool) -> Callable[[Image.Image], Tensor]:
    """A Pillow image to uint8 ``(3, H, W)``; in training it is augmented by draws from torch's global generator.

    The function raises a UserError for an image smaller than the crop.
    """
    from torchvision.transforms import v2  # imported late: runs on images in memory do without torchvision

    steps: list[Any] = []
    if training and settings.crop_scale is not None:
        steps.append(v2.RandomResizedCrop(settings.crop, scale=settings.crop_scale))
    else:
        if settings.resize is not None:
            steps.append(v2.Resize(settings.resize))
        if settings.crop is not None and training and settings.random_crop:
            steps.append(_LargeEnough(settings.crop, 2 * settings.crop_padding))
            steps.append(v2.RandomCrop(settings.crop, padding=settings.crop_padding or None))
        elif settings.crop is not None:
            steps += [_LargeEnough(settings.crop, 0), v2.CenterCrop(settings.crop)]
    if training and settings.flip:
        steps.append(v2.RandomHorizontalFlip(settings.flip))
    if training and settings.rotation:
        steps.append(v2.RandomRotation(settings.rotation))
    if training and any(settings.jitter):
        steps.append(v2.ColorJitter(*settings.jitter))
    return v2.Compose([*steps, v2.PILToTensor()])  # type: ignore[no-any-return]


@dataclass(frozen=True)
class _LargeEnough:
    """Refuses images smaller than the crop, which torchvision would pad."""

    crop: int
    padding: int

    def __call__(self, image: Image.Image) -> Image.Image:
        if min(image.size) + self.padding < self.crop:
            width, height = image.size
            raise UserError(
                f"{width} x {height} pixels, smaller than augmentation.crop={self.crop}; set augmentation.resize, or a "
                "smaller crop"
            )
        return image


class _Key(NamedTuple):
    epoch: int
    position: int


class _Order(Sampler[list[_Key]]):
    """The keys of this process's share of an epoch's batches."""

    def __init__(self, count: int, sizes: Sequence[int], seed: int, of_batch: slice) -> None:
        self.count, self.sizes, self.seed, self.of_batch = count, sizes, seed, of_batch
        self.epoch = 0

    def __len__(self) -> int:
        return len(self.sizes)

    def __iter__(self) -> Iterator[list[_Key]]:
        order = torch.randperm(self.count, generator=epoch_generator(self.seed, self.epoch, "order"))
        for batch in order[: sum(self.sizes)].split(list(self.sizes)):
            yield [_Key(self.epoch, position) for position in batch[self.of_batch].tolist()]


class _Decoded(torch.utils.data.Dataset[Any]):
    """Positions and uint8 images by key; what cannot be read is handed on as a message.

    An exception that leaves a worker process would come with the traceback in its text.
    """

    def __init__(self, images: FileImages, settings: Augmentation, seed: int) -> None:
        # One block of bytes rather than a million objects, whose reference counts would unshare a worker's memory.
        self.paths = np.array([os.fsencode(path) for path in images.paths])
        self.training, self.evaluation = (transforms(settings, training=training) for training in (True, False))
        self.seed = seed

    def __getitem__(self, key: _Key) -> tuple[int, Tensor] | str:
        path = Path(os.fsdecode(self.paths[key.position]))
        try:
            with opened(path, str(path)) as file:
                refuse_depth(file.mode, str(path))
                image = upright(file.convert("RGB"), file)
        except UserError as error:
            return str(error)
        try:
            if key.epoch == EVALUATION:
                return key.position, self.evaluation(image)
            with _draws_from(item_hash(self.seed, f"{key.epoch} {key.position}", "augmentation")):
                return key.position, self.training(image)
        except UserError as error:
            return f"{path}: {error}"


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
            yield batch
    except RuntimeError as error:
        if "DataLoader worker" not in str(error):
            raise
        raise UserError(
            "a process that decodes images was killed, which happens when memory (or a container's shared memory) runs "
            f"out: lower workers={loader.num_workers} or batch_size"
        ) from error
