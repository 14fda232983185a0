"""What feeds the loop: training batches, augmented on the device, and evaluation batches in order."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf
from torch import Tensor

from seg_anl.engine import Process, ResidentBatches
from seg_anl.engine.randomness import epoch_generator
from seg_anl.records import UserError, config_folder

from .augmentation import Augmentation, Draws, apply, normalized
from .datasets import Dataset, FileImages, Split
from .streaming import FileBatches, FileEvaluation, FileTransforms

FILE_SETTINGS = ("resize", "crop", "random_crop", "crop_scale", "jitter")
"""Settings of ``augmentation`` that concern images in files only."""

Samples = Callable[[Split], Iterator[Tensor]]
"""Split -> normalized float32 images ``(B, C, H, W)`` on the device, all of them in order, not augmented."""


@dataclass(frozen=True, eq=False)
class TrainingBatches:
    """An epoch's batches, this process's share, in the two parts that the loop knows.

    Attributes:
        epoch: epoch -> batches as they are drawn.
        finish: such batches, one of each run -> normalized images ``(B, C, H, W)`` and labels ``(B,)`` of each.
        steps: batches of an epoch.
    """

    epoch: Callable[[int], Iterator[Any]]
    finish: Callable[[Sequence[Any]], Sequence[tuple[Tensor, Tensor]]]
    steps: int


def check_augmentation(data: Dataset, config: DictConfig) -> None:
    """Refuse ``augmentation`` settings that cannot be, or do nothing, for the kind of images that ``data`` has."""
    if isinstance(data.train.images, FileImages):
        FileTransforms.from_config(config.augmentation, data.mean, data.std)
        return
    Augmentation.from_config(config.augmentation)
    side = min(data.train.images.shape[2:])
    if config.augmentation.crop_padding >= side:
        raise UserError(f"augmentation.crop_padding={config.augmentation.crop_padding} leaves nothing of {side} pixels")
    default = OmegaConf.load(config_folder() / "classification.yaml").augmentation
    for name in FILE_SETTINGS:
        if config.augmentation[name] != default[name]:
            raise UserError(
                f"augmentation.{name} is for images in files; those of data={config.data.name} lie in memory, where "
                "crop_padding, flip and rotation are there"
            )


def training_batches(data: Dataset, config: DictConfig, process: Process) -> TrainingBatches:
    """Batches of ``data.train``, from device memory where its images are tensors, else decoded by worker processes."""
    if isinstance(data.train.images, FileImages):
        transforms = FileTransforms.from_config(config.augmentation, data.mean, data.std)
        files = FileBatches(data.train, transforms, config.batch_size, config.seed, process, workers=config.workers)
        return TrainingBatches(files.epoch, list, len(files))
    augmentation = Augmentation.from_config(config.augmentation)
    batches = ResidentBatches(
        data.train.images,
        torch.from_numpy(data.train.labels),
        config.batch_size,
        config.seed,
        process,
    )

    # Augmentation draws on the CPU, for the whole batch: the same on every device and with any number of processes, and
    # no synchronization to read it back. The 0 is of the stream that the recorded runs drew from.
    def epoch(epoch: int) -> Iterator[tuple[Tensor, Tensor, Draws]]:
        generator = epoch_generator(config.seed, epoch, "augmentation 0")
        for images, labels in batches.epoch(epoch):
            yield images, labels, augmentation.draw(config.batch_size, generator).part(process.of_batch)

    def finish(drawn: Sequence[tuple[Tensor, Tensor, Draws]]) -> Sequence[tuple[Tensor, Tensor]]:
        images, labels, draws = zip(*drawn, strict=True)
        together = images[0] if len(images) == 1 else torch.cat(images)
        augmented = normalized(apply(together, Draws.of_all(draws)), data.mean, data.std)
        return list(zip(augmented.chunk(len(images)), labels, strict=True))

    return TrainingBatches(epoch, finish, len(batches))


def evaluation_samples(data: Dataset, config: DictConfig, device: torch.device) -> Samples:
    """A function from a split to its images as a network is evaluated on them."""

    def samples(split: Split) -> Iterator[Tensor]:
        size = config.evaluation.batch_size
        if isinstance(split.images, FileImages):
            transforms = FileTransforms.from_config(config.augmentation, data.mean, data.std)
            yield from FileEvaluation(split.images, transforms, size, device, workers=config.workers)
            return
        for batch in split.images.split(size):
            yield normalized(batch.to(device, non_blocking=True), data.mean, data.std)

    return samples
