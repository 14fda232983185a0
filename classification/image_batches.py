"""Training batches with augmentation and evaluation batches in order, from memory or from files."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import torch
from torch import Tensor

from seg_anl.engine.batches import ResidentBatches, evaluated_at_once, placed
from seg_anl.engine.distribution import Process

from .crop_flip_rotate import CropFlipRotate, normalize
from .datasets import Dataset, FileImages, Split
from .decoded_batches import FileBatches, evaluation_batches
from .settings import Settings

Samples = Callable[[Split], Iterator[Tensor]]
"""Split -> batches of normalized float32 images ``(B, C, H, W)`` on the device, in order, without augmentation."""


def training_batches(
    data: Dataset, settings: Settings, process: Process, *, indexed: bool = False
) -> ResidentBatches | FileBatches:
    """Batches of ``data.train``, from device memory if its images are tensors, otherwise decoded by worker processes.

    With ``indexed``, each batch ends with the positions ``(B,)`` of its samples.
    """
    run, images = settings.run, data.train.images
    sizes = run.batch_sizes(len(data.train), process.world_size)
    if isinstance(images, FileImages):
        return FileBatches(data, settings.augmentation, sizes, run.seed, process, workers=run.workers, indexed=indexed)
    augmentation = CropFlipRotate(settings.augmentation, data.mean, data.std)
    labels, weights = torch.from_numpy(data.train.labels), data.train.weights
    return ResidentBatches(images, labels, augmentation, sizes, run.seed, process, weights, indexed=indexed)


def on_device(split: Split, device: torch.device) -> Split:
    """The split with its in-memory images moved to the device."""
    return split if isinstance(split.images, FileImages) else replace(split, images=placed(device, split.images)[0])


def evaluation_samples(data: Dataset, settings: Settings, device: torch.device) -> Samples:
    """A function from a split to its evaluation batches."""

    def samples(split: Split) -> Iterator[Tensor]:
        images, size, workers = split.images, settings.evaluation.batch_size, settings.run.workers
        batches = (
            evaluation_batches(images, settings.augmentation, size, device, workers=workers)
            if isinstance(images, FileImages)
            else evaluated_at_once(images, size, device)
        )
        for batch in batches:
            yield normalize(batch, data.mean, data.std)

    return samples
