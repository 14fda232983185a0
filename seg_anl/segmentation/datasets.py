"""A data set as the trainer wants it: decoded once, resized, uint8 tensors that whole batches are cut from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.data import CacheDataset
from monai.transforms import Resized, Transform
from numpy.typing import NDArray
from torch import Tensor

from data_prep.mask_archive import read_noisy_masks
from data_prep.pairing import Pair
from data_prep.pictures import check_size, read_image, read_mask
from seg_anl.records import NoiseRecord, UserError, array_digest

from .settings import DataSettings


@dataclass(frozen=True)
class ImageSet:
    """Images and masks of one size.

    Attributes:
        items: ids, sorted.
        images: ``(N, 3, H, W)`` uint8.
        masks: ``(N, H, W)`` uint8, class indices; :data:`~data_prep.pictures.IGNORED` where there is no annotation.
        conversions: how many images were stored in another mode than RGB, by mode.
    """

    items: list[str]
    images: Tensor
    masks: Tensor
    conversions: dict[str, int]

    def __len__(self) -> int:
        return len(self.items)

    def part(self, index: NDArray[np.int64]) -> ImageSet:
        """The images at the positions ``index``."""
        return ImageSet([self.items[i] for i in index], self.images[index], self.masks[index], self.conversions)

    def with_masks(self, masks: NDArray[np.uint8]) -> ImageSet:
        """The same images under other masks ``(N, H, W)``."""
        return ImageSet(self.items, self.images, torch.from_numpy(masks), self.conversions)


class LoadPair(Transform):
    """MONAI transform: a :class:`Pair` to ``image`` (3, H, W) and ``mask`` (1, H, W) in uint8, and the stored ``mode``.

    A file that is damaged or does not fit gives ``{"error": message}``: an exception would tear down MONAI's loading
    threads in the middle of their work.
    """

    def __init__(self, data: DataSettings) -> None:
        self.mask_options: dict[str, Any] = {
            "classes": data.classes,
            "threshold": data.threshold,
            "ignore": data.ignore,
        }
        self.resize = Resized(keys=("image", "mask"), spatial_size=data.shape, mode=("bilinear", "nearest"))

    def __call__(self, data: Pair) -> dict[str, Any]:
        """Read, check and resize both files."""
        try:
            image, mask, mode = self._read(data)
        except UserError as error:
            return {"error": str(error)}
        channels_first = torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1)))
        resized = self.resize({"image": channels_first, "mask": torch.from_numpy(mask[None])})
        # Rounded bytes take a quarter of the memory of what resizing returns.
        rounded = {key: resized[key].as_tensor().round().clamp(0, 255).to(torch.uint8) for key in ("image", "mask")}
        return {**rounded, "mode": mode}

    def _read(self, data: Pair) -> tuple[NDArray[np.uint8], NDArray[np.uint8], str]:
        image, mode = read_image(data.image.open(), data.image.name)
        mask = read_mask(data.mask.open(), data.mask.name, **self.mask_options)
        check_size(mask, image, data.mask.name)
        return image, mask, mode


def read_noise(folder: Path, clean: ImageSet) -> tuple[ImageSet, list[NoiseRecord]]:
    """``clean`` under the noisy masks that a run keeps in ``folder``, and what was done to each mask.

    Raises:
        UserError: for files that are damaged or were made from other masks.
    """
    sources = {item: array_digest(mask) for item, mask in zip(clean.items, clean.masks.numpy(), strict=True)}
    masks, records = read_noisy_masks(folder, sources)
    return clean.with_masks(masks), records


def load_images(pairs: Sequence[Pair], data: DataSettings, *, workers: int, progress: bool) -> ImageSet:
    """Decode and resize all pairs (images bilinear, masks nearest) in ``workers`` threads.

    Raises:
        UserError: naming the first file that is damaged or does not fit.
    """
    transform = LoadPair(data)
    threads = max(1, min(workers, len(pairs)))
    cached = CacheDataset(list(pairs), transform, num_workers=threads, progress=progress, copy_cache=False)
    samples = [cached[i] for i in range(len(cached))]
    errors = [sample["error"] for sample in samples if "error" in sample]
    if errors:
        others = f" (and {len(errors) - 1} more files with errors)" if len(errors) > 1 else ""
        raise UserError(errors[0] + others)
    modes = [sample["mode"] for sample in samples if sample["mode"] != "RGB"]
    return ImageSet(
        [pair.item for pair in pairs],
        torch.stack([sample["image"] for sample in samples]),
        torch.stack([sample["mask"][0] for sample in samples]),
        {mode: modes.count(mode) for mode in sorted(set(modes))},
    )
