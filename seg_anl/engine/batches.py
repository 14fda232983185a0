"""Batches cut from tensors that lie whole on the training device: what makes small data sets fast."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from seg_anl.records import UserError, is_whole_number

from .distribution import Process
from .randomness import epoch_generator

# The share of a GPU's free memory that the data may take; beyond it they stay in the host's memory.
RESIDENT_SHARE = 0.25


def check_batch_size(batch_size: Any, count: int, world_size: int = 1) -> None:
    """Refuse a ``batch_size`` that ``count`` images or ``world_size`` processes do not allow."""
    if not is_whole_number(batch_size) or not 1 <= batch_size <= count:
        raise UserError(f"batch_size must be from 1 to {count}, the number of training images; got {batch_size}")
    if batch_size % world_size:
        raise UserError(f"batch_size={batch_size} cannot be shared by {world_size} processes")


class ResidentBatches:
    """Batches of images and targets, the same for the same seed and epoch whatever came before.

    Both lie on the training device where they fit, else in (pinned) host memory. Each process takes
    :attr:`Process.of_batch`.

    Args:
        images: ``(N, ...)`` uint8.
        targets: ``(N, ...)``.
        batch_size: samples of a step, over all processes.
        process: whose device it is, and whose part of every batch.
    """

    def __init__(
        self,
        images: Tensor,
        targets: Tensor,
        batch_size: int,
        seed: int,
        process: Process,
    ) -> None:
        check_batch_size(batch_size, len(images), process.world_size)
        self.batch_size, self.seed, self.device = batch_size, seed, process.device
        self.of_batch = process.of_batch
        resident = _fits(images, self.device)
        place = self.device if resident else torch.device("cpu")
        self.images, self.targets = images.to(place), targets.to(place)
        if not resident:
            self.images, self.targets = self.images.pin_memory(), self.targets.pin_memory()

    def __len__(self) -> int:
        return len(self.images) // self.batch_size

    def epoch(self, epoch: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Images and targets on the device; a last, smaller batch is left out."""
        order = torch.randperm(len(self.images), generator=epoch_generator(self.seed, epoch, "order"))
        order = order.to(self.images.device)
        for start in range(0, len(self) * self.batch_size, self.batch_size):
            index = order[start : start + self.batch_size][self.of_batch]
            yield (
                self.images[index].to(self.device, non_blocking=True),
                self.targets[index].to(self.device, non_blocking=True),
            )


def _fits(images: Tensor, device: torch.device) -> bool:
    if device.type != "cuda":
        return True
    free, _ = torch.cuda.mem_get_info(device)
    return images.numel() < RESIDENT_SHARE * free
