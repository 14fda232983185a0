"""RUN/records, on request: wrong masks with their predictions, for a figure of the report, and losses of each image."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from seg_anl.records import NoiseRecord
from seg_anl.records.predictions import write_arrays

from .datasets import ImageSet

OF_EACH_KIND = 6


def record_masks(
    folder: Path, clean: ImageSet, noisy: ImageSet, predicted: Tensor, records: Sequence[NoiseRecord]
) -> None:
    """Write masks.npz: training images with wrong masks, the first six of each kind of noise, and their predictions.

    ``predicted`` holds class indices ``(N, H, W)`` of the training set.
    """
    kinds = {record.item: record.kind for record in records if record.realised > 0}
    chosen: list[int] = []
    for kind in sorted(set(kinds.values())):
        chosen += [i for i, item in enumerate(clean.items) if kinds.get(item) == kind][:OF_EACH_KIND]
    index = torch.tensor(chosen, dtype=torch.long)
    write_arrays(
        folder / "masks.npz",
        images=clean.images[index].movedim(1, -1).numpy(),
        truth=clean.masks[index].numpy(),
        noisy=noisy.masks[index].numpy(),
        predicted=predicted.cpu()[index].numpy(),
        kinds=np.array([kinds[clean.items[i]] for i in chosen], dtype=np.str_),
        items=np.array([clean.items[i] for i in chosen], dtype=np.str_),
    )


def record_losses(folder: Path, epoch: int, items: Sequence[str], losses: Tensor) -> None:
    """Write dynamics/epoch_NNNN.npz: the cross entropy ``(N,)`` of each training image after ``epoch`` (from 0)."""
    path = folder / "dynamics" / f"epoch_{epoch:04d}.npz"
    write_arrays(path, loss=losses.float().cpu().numpy(), items=np.array(items, dtype=np.str_))
