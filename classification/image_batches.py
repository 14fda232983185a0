"""What feeds the loop: training batches, augmented, and evaluation batches in order; from memory or from files."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from seg_anl.engine.batches import ResidentBatches
from seg_anl.engine.distribution import Process

from .crop_flip_rotate import CropFlipRotate, normalized
from .datasets import Dataset, FileImages, Split
from .decoded_batches import FileBatches, evaluation_batches
from .settings import Settings

Samples = Callable[[Split], Iterator[Tensor]]
"""Split -> normalized float32 images ``(B, C, H, W)`` on the device, all of them in order, not augmented."""


def training_batches(data: Dataset, settings: Settings, process: Process) -> ResidentBatches | FileBatches:
    """Batches of ``data.train``, from device memory where its images are tensors, else decoded by worker processes."""
    run, images = settings.run, data.train.images
    sizes = run.batch_sizes(len(data.train), process.world_size)
    if isinstance(images, FileImages):
        return FileBatches(data, settings.augmentation, sizes, run.seed, process, workers=run.workers)
    augmentation = CropFlipRotate(settings.augmentation, data.mean, data.std)
    return ResidentBatches(images, torch.from_numpy(data.train.labels), augmentation, sizes, run.seed, process)


def evaluation_samples(data: Dataset, settings: Settings, device: torch.device) -> Samples:
    """A function from a split to its images as a network is evaluated on them."""

    def samples(split: Split) -> Iterator[Tensor]:
        images, size, workers = split.images, settings.evaluation.batch_size, settings.run.workers
        batches = (
            evaluation_batches(images, settings.augmentation, size, device, workers=workers)
            if isinstance(images, FileImages)
            else (batch.to(device, non_blocking=True) for batch in images.split(size))
        )
        for batch in batches:
            yield normalized(batch, data.mean, data.std)

    return samples
