"""Decoded and resized images and masks, as uint8 tensors for whole batches, and checks of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.transforms import Resized
from numpy.typing import NDArray
from torch import Tensor

from data_prep.mask_archive import read_noisy_masks
from data_prep.pairing import Pair
from data_prep.pictures import IGNORED, check_size, read_image, read_mask
from seg_anl.records import NoiseRecord, UserError, array_digest
from seg_anl.records.progress import progress_bar
from seg_anl.records.workers import in_threads

from .settings import DataSettings


@dataclass(frozen=True)
class ImageSet:
    """Images and masks of one size, sorted by item."""

    items: list[str]
    images: Tensor  # (N, 3, H, W) uint8
    masks: Tensor  # (N, H, W) uint8 class indices, IGNORED for unlabeled pixels
    conversions: dict[str, int]  # number of images stored in another mode than RGB, by mode
    soft: Tensor | None = None  # (N, C, H, W) float16 class probabilities, learned instead of the masks
    raters: Tensor | None = None  # (N, R, H, W) uint8 masks of R raters, one drawn in each epoch

    def __len__(self) -> int:
        return len(self.items)

    def part(self, index: NDArray[np.int64]) -> ImageSet:
        """The images at the ascending positions ``index``; all of them are not copied."""
        if len(index) == len(self):
            return self
        tensors = {name: getattr(self, name) for name in ("images", "masks", "soft", "raters")}
        parts = {name: tensor[index] for name, tensor in tensors.items() if tensor is not None}
        return replace(self, items=[self.items[i] for i in index], **parts)

    def with_masks(self, masks: NDArray[np.uint8]) -> ImageSet:
        """The same images with other masks ``(N, H, W)``."""
        return replace(self, masks=torch.from_numpy(masks))


def read_noise(folder: Path, clean: ImageSet) -> tuple[ImageSet, list[NoiseRecord]]:
    """``clean`` with the noisy masks that a run keeps in ``folder``, and their records."""
    sources = {item: array_digest(mask) for item, mask in zip(clean.items, clean.masks.numpy(), strict=True)}
    masks, records = read_noisy_masks(folder, sources)
    return clean.with_masks(masks), records


def check_training_set(train: ImageSet, test: ImageSet, classes: int) -> list[str]:
    """Refuse masks of one class; returns remarks on masks (:func:`check_masks`) and on images in both sets."""
    tested = {array_digest(image) for image in test.images.numpy()}
    pairs = zip(train.items, train.images.numpy(), strict=True)
    copies = [item for item, image in pairs if array_digest(image) in tested]
    remarks = []
    if copies:
        remarks.append(
            f"{len(copies)} training images are test images, too: exclude {_first_three(copies)} (data.exclude)"
        )
    if train.soft is not None or train.raters is not None:  # learned instead of the masks
        return remarks
    counts = np.stack([np.bincount(mask.ravel(), minlength=IGNORED + 1)[:classes] for mask in train.masks.numpy()])
    names = [f"class {label}" for label in range(classes)]
    return remarks + check_masks(counts, train.items, names, "data.masks, data.threshold, data.classes")


def check_masks(counts: NDArray[np.int64], items: Sequence[str], names: Sequence[str], settings: str) -> list[str]:
    """Remarks on masks without foreground and on classes that no mask holds.

    Args:
        counts: ``(N, C)`` labeled pixels of each class in each training mask, background first.
        items: ids of the masks.
        names: of the classes.
        settings: what decides the classes, for the messages.

    Raises:
        UserError: where the masks hold one class alone.
    """
    absent = counts.sum(axis=0) == 0
    if absent.sum() >= len(names) - 1:
        held = "nothing labeled" if absent.all() else "foreground alone" if absent[0] else "background alone"
        raise UserError(f"the {len(items)} training masks hold {held}; look at {settings}")
    remarks = [
        f"{name} is in no training mask; look at {settings}" for name, no in zip(names, absent, strict=True) if no
    ]
    empty = [item for item, count in zip(items, counts[:, 1:].sum(axis=1), strict=True) if not count]
    if empty:
        remarks.append(
            f"{len(empty)} of {len(items)} training masks hold no foreground at this size: {_first_three(empty)}"
        )
    return remarks


def _first_three(items: Sequence[str]) -> str:
    return ", ".join(items[:3]) + (", ..." if len(items) > 3 else "")


def load_images(pairs: Sequence[Pair], data: DataSettings, *, workers: int, progress: bool) -> ImageSet:
    """Decode and resize all pairs (images bilinear, masks nearest) in ``workers`` threads."""
    resize = Resized(keys=("image", "mask"), spatial_size=data.shape, mode=("bilinear", "nearest"))
    options: dict[str, Any] = {"classes": data.classes, "threshold": data.threshold, "ignore": data.ignore}
    # Filled in place: stacking a list of samples would need their memory twice.
    images = torch.empty(len(pairs), 3, *data.shape, dtype=torch.uint8)
    masks = torch.empty(len(pairs), *data.shape, dtype=torch.uint8)

    def load(position: int) -> str:
        pair = pairs[position]
        image, mode = read_image(pair.image.open(), pair.image.name)
        mask = read_mask(pair.mask.open(), pair.mask.name, **options)
        check_size(mask, image, pair.mask.name)
        channels_first = torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1)))
        resized = resize({"image": channels_first, "mask": torch.from_numpy(mask[None])})
        small = {key: resized[key].as_tensor().round().clamp(0, 255).to(torch.uint8) for key in ("image", "mask")}
        images[position], masks[position] = small["image"], small["mask"][0]
        return mode

    loading = in_threads(load, range(len(pairs)), workers)
    modes = list(progress_bar(loading, "image", total=len(pairs), shown=progress))
    conversions = Counter(sorted(mode for mode in modes if mode != "RGB"))
    return ImageSet([pair.item for pair in pairs], images, masks, dict(conversions))
