"""Batches of image files: decoded and augmented by worker processes, normalized on the training device.

A sample's augmentation depends only on the seed, the epoch and its position, so batches do not depend on the number of
workers or training processes and are the same after a resume. The transforms are torchvision's, on Pillow images, in
the order of the published code.
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

from .crop_flip_rotate import normalize
from .datasets import Dataset, FileImages
from .settings import Augmentation

EVALUATION = -1  # as epoch: no augmentation


class FileBatches:
    """Training batches of image files, in the same order as :class:`ResidentBatches`.

    Args:
        data: data set whose training images are :class:`FileImages`.
        settings: cropping and augmentation.
        sizes: samples per step over all processes, see :meth:`RunSettings.batch_sizes`.
        seed: seed of order and augmentation.
        process: this process, with its device and its part of each batch.
        workers: number of decoding processes; 0 decodes in this process.
        indexed: whether each batch ends with the positions ``(B,)`` of its samples.

    Raises:
        UserError: in :meth:`epoch`, naming an unreadable image.
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
        self._order = _BatchOrder(len(images), sizes, seed, process.of_batch)
        self._loader = _make_loader(_DecodedImages(images, settings, seed), self._order, workers, process.device)

    def __len__(self) -> int:
        return len(self._order)

    def epoch(self, epoch: int) -> Iterator[Batch]:
        """Normalized float32 images ``(B, 3, H, W)`` and int64 labels ``(B,)``."""
        self._order.epoch = epoch
        for host_positions, images in _iterate(self._loader):
            positions = moved(host_positions, self.device)
            weights = () if self.weights is None else (self.weights[positions],)
            images = normalize(images.to(self.device, non_blocking=True), self.mean, self.std)
            yield images, self.targets[positions], *weights, *((positions,) if self.indexed else ())


def evaluation_batches(
    images: FileImages, settings: Augmentation, batch_size: int, device: torch.device, *, workers: int
) -> Iterator[Tensor]:
    """All images of a split in order, without augmentation: uint8 batches ``(B, 3, H, W)`` on ``device``.

    Raises:
        UserError: during iteration, naming an unreadable image.
    """
    keys = [_Key(EVALUATION, position) for position in range(len(images))]
    batches = [keys[start : start + batch_size] for start in range(0, len(keys), batch_size)]
    loader = _make_loader(_DecodedImages(images, settings, seed=0), batches, min(workers, len(batches)), device)
    for _, batch in _iterate(loader):
        yield batch.to(device, non_blocking=True)


def transforms(settings: Augmentation, *, training: bool) -> Callable[[Image.Image], Tensor]:
    """A transform from a Pillow image to uint8 ``(3, H, W)``; training draws from torch's global generator.

    The transform raises a UserError for an image smaller than the crop.
    """
    from torchvision.transforms import v2  # imported late, because runs on images in memory do not need torchvision

    steps: list[Any] = []
    if training and settings.crop_scale is not None:
        steps.append(v2.RandomResizedCrop(settings.crop, scale=settings.crop_scale))
    else:
        if settings.resize is not None:
            steps.append(v2.Resize(settings.resize))
        if settings.crop is not None and training and settings.random_crop:
            steps.append(_CheckSize(settings.crop, 2 * settings.crop_padding))
            steps.append(v2.RandomCrop(settings.crop, padding=settings.crop_padding or None))
        elif settings.crop is not None:
            steps += [_CheckSize(settings.crop, 0), v2.CenterCrop(settings.crop)]
    if training and settings.flip:
        steps.append(v2.RandomHorizontalFlip(settings.flip))
    if training and settings.rotation:
        steps.append(v2.RandomRotation(settings.rotation))
    if training and any(settings.jitter):
        steps.append(v2.ColorJitter(*settings.jitter))
    return v2.Compose([*steps, v2.PILToTensor()])  # type: ignore[no-any-return]


@dataclass(frozen=True)
class _CheckSize:
    """Refuses images smaller than the crop, which torchvision would pad."""

    crop: int
    padding: int

    def __call__(self, image: Image.Image) -> Image.Image:
        if min(image.size) + self.padding < self.crop:
            width, height = image.size
            raise UserError(
                f"{width} x {height} pixels, smaller than augmentation.crop={self.crop}; set augmentation.resize or a "
                "smaller crop"
            )
        return image


class _Key(NamedTuple):
    epoch: int
    position: int


class _BatchOrder(Sampler[list[_Key]]):
    """The keys of this process's part of each batch of an epoch."""

    def __init__(self, count: int, sizes: Sequence[int], seed: int, of_batch: slice) -> None:
        self.count, self.sizes, self.seed, self.of_batch = count, sizes, seed, of_batch
        self.epoch = 0

    def __len__(self) -> int:
        return len(self.sizes)

    def __iter__(self) -> Iterator[list[_Key]]:
        order = torch.randperm(self.count, generator=epoch_generator(self.seed, self.epoch, "order"))
        for batch in order[: sum(self.sizes)].split(list(self.sizes)):
            yield [_Key(self.epoch, position) for position in batch[self.of_batch].tolist()]


class _DecodedImages(torch.utils.data.Dataset[Any]):
    """Positions and uint8 images by key, or an error message for an unreadable image.

    Messages instead of exceptions, because those from worker processes include the traceback in their text.
    """

    def __init__(self, images: FileImages, settings: Augmentation, seed: int) -> None:
        # One array instead of a million objects, whose reference counts would copy shared memory into each worker.
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
            with _seeded(item_hash(self.seed, f"{key.epoch} {key.position}", "augmentation")):
                return key.position, self.training(image)
        except UserError as error:
            return f"{path}: {error}"


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Seed torch's global generator, which torchvision uses, and restore its state afterwards."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed % 2**63)
        yield


def _collate(samples: list[tuple[int, Tensor] | str]) -> tuple[Tensor, Tensor] | str:
    for sample in samples:
        if isinstance(sample, str):
            return sample
    positions, images = zip(*samples, strict=True)
    sizes = sorted({tuple(image.shape[1:]) for image in images})
    if len(sizes) > 1:
        examples = ", ".join(f"{width} x {height}" for height, width in sizes[:3])
        return f"images of different sizes ({examples}): set augmentation.crop"
    return torch.tensor(positions), torch.stack(images)


def _make_loader(
    images: _DecodedImages, keys: Sampler[list[_Key]] | Sequence[list[_Key]], workers: int, device: torch.device
) -> DataLoader[Any]:
    return DataLoader(
        images,
        batch_sampler=keys,
        num_workers=workers,
        collate_fn=_collate,
        pin_memory=device.type == "cuda",
        persistent_workers=workers > 0 and isinstance(keys, _BatchOrder),  # only for training
        generator=torch.Generator(),  # otherwise starting workers would draw from the global generator
    )


def _iterate(loader: DataLoader[Any]) -> Iterator[tuple[Tensor, Tensor]]:
    try:
        for batch in loader:
            if isinstance(batch, str):
                raise UserError(batch)
            yield batch
    except RuntimeError as error:
        if "DataLoader worker" not in str(error):
            raise
        raise UserError(
            "a worker process was killed, probably because memory (or a container's shared memory) ran out: "
            f"lower workers={loader.num_workers} or batch_size"
        ) from error
