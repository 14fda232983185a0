"""Augmented batches of patches from volumes of any shape, some of them around a labeled voxel."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from seg_anl.engine.batches import Batch
from seg_anl.engine.distribution import Process
from seg_anl.engine.randomness import epoch_generator

from .augmentation import VolumeAugmentation
from .labels import IGNORED
from .preparation import Volume

MOST_PLACES = 10_000  # per class and image, as in nnU-Net


class PatchBatches:
    """Augmented patches, a function of seed and epoch.

    An epoch takes ``patches`` of each volume in random order. As in nnU-Net, the last ones of a batch are centered on a
    random voxel of a random class of their volume, the others lie anywhere. Each process takes
    :attr:`Process.of_batch`.

    Args:
        volumes: with the masks to train on.
        patch: voxels along each axis; smaller images are padded with zeros and background.
        patches: of each volume in an epoch.
        foreground: share of a batch that is certain to hold a labeled voxel.
        augmentation: changes of whole batches; its margin is cut out with the patches.
        sizes: samples of each step over all processes.
        seed: of order, places and augmentation.
        process: with its device and its part of every batch.
        weights: ``(N,)`` or None; the third part of each batch.
    """

    def __init__(
        self,
        volumes: Sequence[Volume],
        patch: Sequence[int],
        *,
        patches: int,
        foreground: float,
        augmentation: VolumeAugmentation,
        sizes: Sequence[int],
        seed: int,
        process: Process,
        weights: Tensor | None = None,
    ) -> None:
        self.volumes, self.patch, self.patches, self.foreground = volumes, tuple(patch), patches, foreground
        self.augmentation, self.sizes, self.seed, self.process = augmentation, sizes, seed, process
        self.weights = weights
        self.places = [_places(volume.mask) for volume in volumes]

    def __len__(self) -> int:
        return len(self.sizes)

    def epoch(self, epoch: int) -> Iterator[Batch]:
        """Patches, masks and, if any, weights on the device."""
        order = torch.randperm(len(self.volumes) * self.patches, generator=epoch_generator(self.seed, epoch, "order"))
        where, what = (epoch_generator(self.seed, epoch, purpose) for purpose in ("places", "augmentation 0"))
        device, of_batch = self.process.device, self.process.of_batch
        for batch in (order[: sum(self.sizes)] % len(self.volumes)).split(list(self.sizes)):
            # Drawn for the whole batch on the CPU: the same on every device and for any number of processes.
            places = torch.rand(len(batch), 2 + len(self.patch), generator=where, dtype=torch.float64).numpy()
            certain = np.arange(len(batch)) >= round(len(batch) * (1 - self.foreground))
            draws = self.augmentation.draw(len(batch), what)[of_batch]
            index = batch[of_batch]
            cut = [self._cut(*each) for each in zip(index.tolist(), places[of_batch], certain[of_batch], strict=True)]
            images, masks = (torch.from_numpy(np.stack(part)).to(device) for part in zip(*cut, strict=True))
            weights = () if self.weights is None else (self.weights[index].to(device, non_blocking=True),)
            images, masks = self.augmentation(images, masks, draws)
            yield images, masks, *weights

    def _cut(self, number: int, draw: NDArray[np.float64], certain: bool) -> tuple[NDArray[Any], NDArray[Any]]:
        volume, of_class = self.volumes[number], self.places[number]
        room = [max(0, have - want) for have, want in zip(volume.mask.shape, self.patch, strict=True)]
        start = [int(u * (r + 1)) for u, r in zip(draw[2:], room, strict=True)]
        if certain and of_class:
            places = of_class[int(draw[0] * len(of_class))]
            middle = np.unravel_index(places[int(draw[1] * len(places))], volume.mask.shape)
            start = [min(max(0, int(m) - want // 2), r) for m, want, r in zip(middle, self.patch, room, strict=True)]
        missing = [max(0, want - have) for have, want in zip(volume.mask.shape, self.patch, strict=True)]
        margin = self.augmentation.margin
        first = [s - n // 2 - m for s, n, m in zip(start, missing, margin, strict=True)]
        size = [want + 2 * m for want, m in zip(self.patch, margin, strict=True)]
        return _window(volume.image, first, size), _window(volume.mask, first, size)


def _window(array: NDArray[Any], first: Sequence[int], size: Sequence[int]) -> NDArray[Any]:
    """The part of the last axes of an array from ``first`` on; what lies outside of it is 0."""
    channels = array.ndim - len(size)
    inside, missing = [slice(None)] * channels, [(0, 0)] * channels
    for have, start, want in zip(array.shape[channels:], first, size, strict=True):
        inside.append(slice(max(0, start), max(0, start + want)))
        missing.append((max(0, -start), max(0, start + want - have)))
    return np.pad(array[tuple(inside)], missing)


def _places(mask: NDArray[np.uint8]) -> list[NDArray[np.int64]]:
    """For each foreground class of a mask, the flat indices of some thousand voxels spread over it."""
    flat = np.asarray(mask).ravel()
    classes = [value for value in np.flatnonzero(np.bincount(flat, minlength=256)) if 0 < value < IGNORED]
    found = (np.flatnonzero(flat == value) for value in classes)
    return [places[:: -(-len(places) // MOST_PLACES)].copy() for places in found]  # a view would keep all of them
