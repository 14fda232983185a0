"""What feeds the loop: training batches, augmented on the device, and evaluation batches in order."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from omegaconf import DictConfig, OmegaConf
from torch import Tensor

from seg_anl.engine.batches import ResidentBatches
from seg_anl.engine.distribution import Process
from seg_anl.records import UserError, config_folder

from .augmentation import Augmentation, Draws, apply, normalized
from .datasets import Dataset, FileImages, Split
from .streaming import FileBatches, FileEvaluation, FileTransforms

FILE_SETTINGS = ("resize", "crop", "random_crop", "crop_scale", "jitter")
"""Settings of ``augmentation`` that concern images in files only."""

Samples = Callable[[Split], Iterator[Tensor]]
"""Split -> normalized float32 images ``(B, C, H, W)`` on the device, all of them in order, not augmented."""


def check_augmentation(data: Dataset, config: DictConfig) -> None:
    """Refuse ``augmentation`` settings that are invalid, or do nothing, for the kind of images that ``data`` has."""
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
                f"augmentation.{name} is for images in files; those of data={config.data.name} are in memory, where "
                "crop_padding, flip and rotation apply"
            )


def training_batches(data: Dataset, config: DictConfig, process: Process) -> ResidentBatches | FileBatches:
    """Batches of ``data.train``, from device memory where its images are tensors, else decoded by worker processes."""
    if isinstance(data.train.images, FileImages):
        transforms = FileTransforms.from_config(config.augmentation, data.mean, data.std)
        return FileBatches(data.train, transforms, config.batch_size, config.seed, process, workers=config.workers)
    labels = torch.from_numpy(data.train.labels)
    augmentation = _NormalizedAugmentation(Augmentation.from_config(config.augmentation), data)
    return ResidentBatches(data.train.images, labels, augmentation, config.batch_size, config.seed, process)


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


class _NormalizedAugmentation:
    """Augmentation, then the data set's normalization; labels stay as they are."""

    def __init__(self, augmentation: Augmentation, data: Dataset) -> None:
        self.draw, self.mean, self.std = augmentation.draw, data.mean, data.std

    def __call__(self, images: Tensor, labels: Tensor, draws: Draws) -> tuple[Tensor, Tensor]:
        return normalized(apply(images, draws), self.mean, self.std), labels
