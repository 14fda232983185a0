"""Batches cut from tensors that are whole on the training device and augmented there: what makes small sets fast."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor

from .distribution import Process
from .randomness import epoch_generator

# The share of a GPU's free memory that the data may take; beyond it they stay in the host's memory.
RESIDENT_SHARE = 0.25
# What a GPU evaluates at once, at least: 2048 images of 32 x 32. With fewer pixels it waits for the next call.
PIXELS_AT_ONCE = 2**21


Batch = tuple[Tensor, ...]
"""Inputs and target; then the weight of each sample ``(B,)`` where they have one, and its position where asked for."""


Order = Callable[[int, Sequence[int], torch.Generator], Tensor]
"""Number of samples, sizes of the batches, randomness -> the positions of the batches' samples, one after the other."""


def shuffled(samples: int, sizes: Sequence[int], generator: torch.Generator) -> Tensor:
    """Every sample once, but for those that no batch has place for."""
    return torch.randperm(samples, generator=generator)[: sum(sizes)]


class BatchAugmentation(Protocol):
    """Random changes of whole batches, drawn on the CPU and made on the device."""

    def draw(self, count: int, generator: torch.Generator) -> Any:
        """What happens to each of ``count`` images: a tensor ``(count, ...)``, or what can be cut with a slice over the
        images like one and has ``joined(several, device)``."""

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
        weights: ``(N,)`` or None.
        indexed: whether each batch ends with the positions ``(B,)`` of its samples.
        order: which samples the batches of an epoch hold.
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
        *,
        indexed: bool = False,
        order: Order = shuffled,
    ) -> None:
        self.order = order
        self.augmentation, self.sizes, self.seed, self.indexed = augmentation, sizes, seed, indexed
        self.device, self.of_batch = process.device, process.of_batch
        resident = _fits(images, self.device)
        self.images, self.targets = (
            each.to(self.device) if resident else each.cpu().pin_memory() for each in (images, targets)
        )
        self.weights = None if weights is None else weights.to(self.targets.device)

    def __len__(self) -> int:
        return len(self.sizes)

    def epoch(self, epoch: int) -> Iterator[Batch]:
        """Augmented images and targets on the device."""
        order = self.order(len(self.images), self.sizes, epoch_generator(self.seed, epoch, "order"))
        order = moved(order, self.images.device)
        # Drawn on the CPU, batch after batch for all processes: the same on every device and for any number of them.
        # Moved once: a step that copies nothing from the host never waits. The stream's name is that of recorded runs.
        generator = epoch_generator(self.seed, epoch, "augmentation 0")
        drawn = [self.augmentation.draw(size, generator) for size in self.sizes]
        whole = isinstance(drawn[0], Tensor)
        draws = moved(torch.cat(drawn), self.device) if whole else drawn[0].joined(drawn, self.device)
        start = 0
        for batch in order.split(list(self.sizes)):
            index, of_batch = batch[self.of_batch], draws[start : start + len(batch)][self.of_batch]
            start += len(batch)
            images, targets, *weights = (
                moved(source[index], self.device)
                for source in (self.images, self.targets, self.weights)
                if source is not None
            )
            indices = (moved(index, self.device),) if self.indexed else ()
            yield *self.augmentation(images, targets, of_batch), *weights, *indices


def moved(tensor: Tensor, device: torch.device) -> Tensor:
    """``tensor`` on ``device``; from the host to a GPU without waiting for the copy."""
    if device.type == "cuda" and tensor.device.type == "cpu":
        tensor = tensor.pin_memory()  # of what is not pinned CUDA would copy a part at a time, the host beside it
    return tensor.to(device, non_blocking=True)


def placed(data: Tensor, device: torch.device) -> Tensor:
    """``data`` on ``device`` if they fit there, else in pinned memory of the host."""
    return data.to(device) if _fits(data, device) else data.pin_memory()


def evaluated_at_once(images: Tensor, least: int, device: torch.device) -> Iterator[Tensor]:
    """``images`` ``(N, C, *S)`` in parts of ``least``, and of more where a GPU would wait, on ``device``."""
    size = max(least, PIXELS_AT_ONCE // max(images.shape[2:].numel(), 1)) if device.type == "cuda" else least
    return (moved(part, device) for part in images.split(size))


def _fits(images: Tensor, device: torch.device) -> bool:
    if device.type != "cuda" or images.is_cuda:
        return True
    free, _ = torch.cuda.mem_get_info(device)
    return images.numel() < RESIDENT_SHARE * free
