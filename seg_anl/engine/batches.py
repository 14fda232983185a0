"""Batches cut from tensors that are whole on the training device and augmented there: what makes small sets fast."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol

import torch
from torch import Tensor

from seg_anl.records import UserError

from .distribution import Process
from .randomness import epoch_generator

# The share of a GPU's free memory that the data may take; beyond it they stay in the host's memory.
RESIDENT_SHARE = 0.25


Batch = tuple[Tensor, Tensor] | tuple[Tensor, Tensor, Tensor]
"""Inputs, target and, where samples have one, the weight of each ``(B,)``."""


class BatchAugmentation(Protocol):
    """Random changes of whole batches, drawn on the CPU and made on the device."""

    def draw(self, count: int, generator: torch.Generator) -> Any:
        """What happens to each of ``count`` images; may be cut with a slice over the images."""

    def __call__(self, images: Tensor, targets: Tensor, draws: Any, /) -> tuple[Tensor, Tensor]:
        """uint8 images and their targets to what the network is given, changed as drawn."""


def check_batch_size(batch_size: int, count: int, world_size: int = 1) -> None:
    """Refuse a ``batch_size`` that ``count`` images or ``world_size`` processes do not allow."""
    if not 1 <= batch_size <= count:
        raise UserError(f"batch_size must be from 1 to {count}, the number of training images; got {batch_size}")
    if batch_size % world_size:
        raise UserError(f"batch_size={batch_size} cannot be shared by {world_size} processes")


class ResidentBatches:
    """Augmented batches of images and targets, the same for the same seed and epoch whatever came before.

    Both are on the training device if they fit, else in (pinned) host memory. Each process takes
    :attr:`Process.of_batch`.

    Args:
        images: ``(N, ...)`` uint8.
        targets: ``(N, ...)``.
        batch_size: samples of a step, over all processes.
        seed: of order and augmentation.
        process: whose device it is, and whose part of every batch.
        weights: ``(N,)`` or None; the third part of each batch.
    """

    def __init__(
        self,
        images: Tensor,
        targets: Tensor,
        augmentation: BatchAugmentation,
        batch_size: int,
        seed: int,
        process: Process,
        weights: Tensor | None = None,
    ) -> None:
        check_batch_size(batch_size, len(images), process.world_size)
        self.augmentation, self.batch_size, self.seed = augmentation, batch_size, seed
        self.device, self.of_batch = process.device, process.of_batch
        resident = _fits(images, self.device)
        place = self.device if resident else torch.device("cpu")
        self.images, self.targets = images.to(place), targets.to(place)
        if not resident:
            self.images, self.targets = self.images.pin_memory(), self.targets.pin_memory()
        self.weights = None if weights is None else weights.to(self.targets.device)

    def __len__(self) -> int:
        return len(self.images) // self.batch_size

    def epoch(self, epoch: int) -> Iterator[Batch]:
        """Augmented images and targets on the device; a last, smaller batch is left out."""
        order = torch.randperm(len(self.images), generator=epoch_generator(self.seed, epoch, "order"))
        order = order.to(self.images.device)
        # Drawn on the CPU for the whole batch: the same on every device and for any number of processes, and nothing
        # waits for the device. The stream's name is that of the recorded runs.
        generator = epoch_generator(self.seed, epoch, "augmentation 0")
        for start in range(0, len(self) * self.batch_size, self.batch_size):
            index = order[start : start + self.batch_size][self.of_batch]
            draws = self.augmentation.draw(self.batch_size, generator)[self.of_batch]
            images, targets = self.augmentation(
                self.images[index].to(self.device, non_blocking=True),
                self.targets[index].to(self.device, non_blocking=True),
                draws,
            )
            weights = () if self.weights is None else (self.weights[index].to(self.device, non_blocking=True),)
            yield images, targets, *weights


def _fits(images: Tensor, device: torch.device) -> bool:
    if device.type != "cuda":
        return True
    free, _ = torch.cuda.mem_get_info(device)
    return images.numel() < RESIDENT_SHARE * free
