"""What feeds the loop: training batches, augmented on the device, and evaluation batches in order."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from omegaconf import DictConfig
from torch import Tensor

from seg_anl.engine import Process, ResidentBatches
from seg_anl.engine.randomness import epoch_generator

from .augmentation import Augmentation, normalised
from .datasets import Dataset, FileImages, Split
from .streaming import FileBatches, FileEvaluation, FileTransforms

Samples = Callable[[Split], Iterator[Tensor]]
"""Split -> normalised float32 images ``(B, C, H, W)`` on the device, all of them in order, not augmented."""


@dataclass(frozen=True, eq=False)
class TrainingBatches:
    """An epoch's batches: normalised images ``(B, C, H, W)`` and labels ``(B,)``, this process's share."""

    epoch: Callable[[int], Iterator[tuple[Tensor, Tensor]]]
    steps: int


def check_augmentation(data: Dataset, config: DictConfig) -> None:
    """Refuse ``augmentation`` settings that cannot be, for the kind of images that ``data`` has."""
    if isinstance(data.train.images, FileImages):
        FileTransforms.from_config(config.augmentation, data.mean, data.std)
    else:
        Augmentation.from_config(config.augmentation)


def training_batches(data: Dataset, config: DictConfig, process: Process) -> TrainingBatches:
    """Batches of ``data.train``, from device memory where its images are tensors, else decoded by worker processes."""
    if isinstance(data.train.images, FileImages):
        transforms = FileTransforms.from_config(config.augmentation, data.mean, data.std)
        files = FileBatches(data.train, transforms, config.batch_size, config.seed, process, workers=config.workers)
        return TrainingBatches(files.epoch, len(files))
    augmentation = Augmentation.from_config(config.augmentation)
    batches = ResidentBatches(
        data.train.images,
        torch.from_numpy(data.train.labels),
        config.batch_size,
        config.seed,
        process.device,
        process.rank,
        process.world_size,
    )

    # Augmentation draws on the CPU: the same on every device, and no synchronisation to read it back.
    def epoch(epoch: int) -> Iterator[tuple[Tensor, Tensor]]:
        generator = epoch_generator(config.seed, epoch, f"augmentation {process.rank}")
        for images, labels in batches.epoch(epoch):
            yield normalised(augmentation(images, generator), data.mean, data.std), labels

    return TrainingBatches(epoch, len(batches))


def evaluation_samples(data: Dataset, config: DictConfig, device: torch.device) -> Samples:
    """A function from a split to its images as a network is evaluated on them."""

    def samples(split: Split) -> Iterator[Tensor]:
        size = config.evaluation.batch_size
        if isinstance(split.images, FileImages):
            transforms = FileTransforms.from_config(config.augmentation, data.mean, data.std)
            yield from FileEvaluation(split.images, transforms, size, device, workers=config.workers)
            return
        for batch in split.images.split(size):
            yield normalised(batch.to(device, non_blocking=True), data.mean, data.std)

    return samples
