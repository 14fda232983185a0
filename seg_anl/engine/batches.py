"""Batches from data sets that are kept, and augmented, on the training device, which makes small ones fast."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor

from .distribution import Process
from .randomness import epoch_generator

RESIDENT_SHARE = 0.25  # of a GPU's free memory that the data may take
PIXELS_AT_ONCE = 2**21  # to evaluate at once on a GPU: 2048 images of 32 x 32; with fewer it idles between calls

Batch = tuple[Tensor, ...]
"""Inputs and target; then, if present, the weight of each sample ``(B,)`` and its position ``(B,)``."""

Order = Callable[[int, Sequence[int], torch.Generator], Tensor]
"""(number of samples, batch sizes, generator) -> positions of the samples of all batches, concatenated."""


def shuffled(samples: int, sizes: Sequence[int], generator: torch.Generator) -> Tensor:
    """A random order without repetition, cut off after the last batch."""
    return torch.randperm(samples, generator=generator)[: sum(sizes)]


class BatchAugmentation(Protocol):
    """Random augmentation of whole batches, drawn on the CPU and applied on the device."""

    def draw(self, count: int, generator: torch.Generator) -> Any:
        """Random parameters for ``count`` images: a tensor ``(count, ...)``, or an object that slices like it and
        has ``joined(several, device)``."""

    def __call__(self, images: Tensor, targets: Tensor, draws: Any, /) -> tuple[Tensor, Tensor]:
        """Convert uint8 images and their targets to augmented network inputs and targets."""


class ResidentBatches:
    """Augmented batches of images and targets, which depend only on seed and epoch.

    The data are on the training device if they fit, else in pinned host memory.

    Args:
        images: ``(N, ...)`` uint8.
        targets: ``(N, ...)``.
        sizes: samples of each step over all processes, see :meth:`RunSettings.batch_sizes`.
        seed: of order and augmentation.
        process: gets :attr:`Process.of_batch` of each batch, on its device.
        weights: ``(N,)`` or None.
        indexed: whether each batch ends with the positions ``(B,)`` of its samples.
        order: the samples of each batch.
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
        self.augmentation, self.sizes, self.seed, self.indexed, self.order = augmentation, sizes, seed, indexed, order
        self.device, self.of_batch = process.device, process.of_batch
        self.images, self.targets = placed(self.device, images, targets)
        self.weights = None if weights is None else weights.to(self.targets.device)

    def __len__(self) -> int:
        return len(self.sizes)

    def epoch(self, epoch: int) -> Iterator[Batch]:
        """Augmented images and targets on the device."""
        order = self.order(len(self.images), self.sizes, epoch_generator(self.seed, epoch, "order"))
        order = moved(order, self.images.device)
        # Drawn on the CPU for all processes, so the numbers do not depend on devices; moved at once, so that steps need
        # not wait for copies. The name of the stream must stay that of recorded runs.
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
    """``tensor`` on ``device``; copies from the host to a GPU are asynchronous."""
    if device.type == "cuda" and tensor.device.type == "cpu":
        tensor = tensor.pin_memory()  # CUDA copies other memory in parts, synchronously
    return tensor.to(device, non_blocking=True)


def placed(device: torch.device, *tensors: Tensor) -> list[Tensor]:
    """``tensors`` on ``device`` if all of them fit there, else in pinned host memory."""
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        if sum(tensor.nbytes for tensor in tensors if not tensor.is_cuda) >= RESIDENT_SHARE * free:
            return [tensor.cpu().pin_memory() for tensor in tensors]
    return [tensor.to(device) for tensor in tensors]


def evaluated_at_once(images: Tensor, least: int, device: torch.device) -> Iterator[Tensor]:
    """``images`` ``(N, C, *S)`` on ``device`` in parts of ``least`` images, or more if a GPU would idle."""
    size = max(least, PIXELS_AT_ONCE // max(images.shape[2:].numel(), 1)) if device.type == "cuda" else least
    return (moved(part, device) for part in images.split(size))
