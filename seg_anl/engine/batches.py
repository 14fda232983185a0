"""Batches cut from tensors that are whole on the training device and augmented there: what makes small sets fast."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor

from .distribution import Process
from .randomness import epoch_generator

# The share of a GPU's free memory that the data may take; beyond it they stay in the host's memory.
RESIDENT_SHARE = 0.25


Batch = tuple[Tensor, Tensor] | tuple[Tensor, Tensor, Tensor]
"""Inputs, target and, where samples have one, the weight of each ``(B,)``, or where a method asks, its position."""


class BatchAugmentation(Protocol):
    """Random changes of whole batches, drawn on the CPU and made on the device."""

    def draw(self, count: int, generator: torch.Generator) -> Any:
        """What happens to each of ``count`` images; may be cut with a slice over the images."""

    def __call__(self, images: Tensor, targets: Tensor, draws: Any, /) -> tuple[Tensor, Tensor]:
        """uint8 images and their targets to what the network is given, changed as drawn."""


class ResidentBatches:
    """Augmented batches of images and targets, the same for the same seed and epoch whatever came before.

    Both are on the training device if they fit, else in (pinned) host memory. Each process takes
    :attr:`Process.of_batch`.

    Args:
        images: ``(N, ...)`` uint8.
        targets: ``(N, ...)``.
        sizes: samples of each step over all processes, see :meth:`RunSettings.batch_sizes`.
        seed: of order and augmentation.
        process: whose device it is, and whose part of every batch.
        weights: ``(N,)`` or None; the third part of each batch.
    """

    def __init__(
        self,
        images: Tensor,
        targets: Tensor,
        augmentation: BatchAugmentation,
        sizes: Sequence[int],
        seed: int,
        process: Process,
        weights: Tensor | None = None,
    ) -> None:
        self.augmentation, self.sizes, self.seed = augmentation, sizes, seed
        self.device, self.of_batch = process.device, process.of_batch
        resident = _fits(images, self.device)
        place = self.device if resident else torch.device("cpu")
        self.images, self.targets = images.to(place), targets.to(place)
        if not resident:
            self.images, self.targets = self.images.pin_memory(), self.targets.pin_memory()
        self.weights = None if weights is None else weights.to(self.targets.device)
        self.indexed = False

    def __len__(self) -> int:
        return len(self.sizes)

    def epoch(self, epoch: int) -> Iterator[Batch]:
        """Augmented images and targets on the device."""
        order = torch.randperm(len(self.images), generator=epoch_generator(self.seed, epoch, "order"))
        order = order.to(self.images.device)
        # Drawn on the CPU for the whole batch: the same on every device and for any number of processes, and nothing
        # waits for the device. The stream's name is that of the recorded runs.
        generator = epoch_generator(self.seed, epoch, "augmentation 0")
        for batch in order[: sum(self.sizes)].split(list(self.sizes)):
            index = batch[self.of_batch]
            draws = self.augmentation.draw(len(batch), generator)[self.of_batch]
            images, targets = self.augmentation(
                self.images[index].to(self.device, non_blocking=True),
                self.targets[index].to(self.device, non_blocking=True),
                draws,
            )
            weights = () if self.weights is None else (self.weights[index].to(self.device, non_blocking=True),)
            yield images, targets, *weights, *((index.to(self.device),) if self.indexed else ())


def _fits(images: Tensor, device: torch.device) -> bool:
    if device.type != "cuda":
        return True
    free, _ = torch.cuda.mem_get_info(device)
    return images.numel() < RESIDENT_SHARE * free
