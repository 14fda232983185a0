"""Class probabilities, or masks of several raters, to learn from instead of the masks.

Both are resized like masks, by the nearest pixel: the mean of resized masks is the resized mean.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.transforms import Resize
from numpy.typing import NDArray
from torch import Tensor

from data_prep.pairing import Pair, files_by_item, first_of, image_files, mask_item
from data_prep.pictures import check_size, read_labels, read_mask
from seg_anl.engine.settings import listed
from seg_anl.records import NoiseRecord, UserError, array_digest, item_hash
from seg_anl.records.array_files import read_array
from seg_anl.records.files import check_folder, files_below
from seg_anl.records.paths import configured_path
from seg_anl.records.workers import in_threads

from .datasets import ImageSet
from .settings import DataSettings

SUM_TOLERANCE = 2e-3  # for half precision, as in the losses


def rater_files(pairs: Sequence[Pair], data: DataSettings) -> list[dict[str, Path]]:
    """The files of ``data.soft`` or of each of ``data.raters`` by item, at least those of ``pairs``."""
    if data.soft is not None:
        return [_files(data.soft, "data.soft", pairs)]
    return [_files(folder, "data.raters", pairs) for folder in listed(data.raters)]


def with_rater_labels(
    images: ImageSet, pairs: Sequence[Pair], files: Sequence[dict[str, Path]], data: DataSettings, workers: int
) -> ImageSet:
    """``images`` with the labels in :func:`rater_files`, read in ``workers`` threads."""
    if data.soft is not None:
        return replace(images, soft=_read(_soft, files[0], pairs, data, workers).half())
    if files:
        each = [_read(_mask, of_rater, pairs, data, workers) for of_rater in files]
        return replace(images, raters=torch.stack(each, dim=1).squeeze(2).to(torch.uint8))
    return images


def consensus(images: ImageSet) -> tuple[NDArray[np.uint8], list[NoiseRecord]]:
    """The most probable class ``(N, H, W)``, or that of most raters (of equals the lowest), and records of the
    difference from the masks."""
    if images.soft is not None:
        kind, masks = "soft", images.soft.float().argmax(dim=1)
    else:
        assert images.raters is not None
        classes = int(images.raters.max()) + 1
        votes = torch.stack([(images.raters == label).sum(dim=1) for label in range(classes)], dim=1)
        kind, masks = "raters", votes.argmax(dim=1)
    found = masks.to(torch.uint8).numpy()
    records = []
    for item, mask, truth in zip(images.items, found, images.masks.numpy(), strict=True):
        changed = np.count_nonzero(mask != truth) / max(int(np.count_nonzero(truth)), 1)
        records.append(NoiseRecord(item, kind, 0.0, changed, "", {}, array_digest(truth), array_digest(mask)))
    return found, records


def drawn_masks(images: ImageSet, seed: int, epoch: int) -> Tensor:
    """The mask of one rater for each image ``(N, H, W)``, a function of seed, epoch and item."""
    assert images.raters is not None
    count = images.raters.shape[1]
    chosen = [item_hash(seed, f"{epoch} {item}", "rater") % count for item in images.items]
    return images.raters[torch.arange(len(chosen)), torch.tensor(chosen)]


def _files(value: object, setting: str, pairs: Sequence[Pair]) -> dict[str, Path]:
    folder = configured_path(value, setting)
    check_folder(folder, setting)
    arrays = [path for path in files_below(folder) if path.suffix in (".npz", ".npy")]
    items = {pair.item for pair in pairs}
    found = arrays if setting == "data.soft" else image_files(folder)
    files = files_by_item(found, lambda path: mask_item(path, folder, items))
    lacking = [pair.item for pair in pairs if pair.item not in files]
    if lacking:
        raise UserError(f"{setting}: {folder} has no file of the training image {first_of(lacking)}")
    return files


def _read(
    reader: Callable[[Path, DataSettings], NDArray[Any]],
    files: dict[str, Path],
    pairs: Sequence[Pair],
    data: DataSettings,
    workers: int,
) -> Tensor:
    """Resized arrays ``(N, C, H, W)`` of all pairs, from files of ``(C, h, w)``."""
    resize = Resize(spatial_size=data.shape, mode="nearest")

    def one(pair: Pair) -> Tensor:
        path = files[pair.item]
        array = reader(path, data)
        check_size(array[0], read_labels(pair.mask.open(), pair.mask.name, gray=True), str(path))
        resized: Any = resize(torch.from_numpy(array))
        return resized.as_tensor()  # type: ignore[no-any-return]

    return torch.stack(list(in_threads(one, pairs, workers)))


def _soft(path: Path, data: DataSettings) -> NDArray[np.float32]:
    array = read_array(path, "probabilities").astype(np.float32)
    if array.ndim != 3 or array.shape[0] != data.classes:
        raise UserError(f"{path}: probabilities of shape {array.shape}, expected ({data.classes}, height, width)")
    if not ((array >= 0).all() and (np.abs(array.sum(axis=0) - 1) <= SUM_TOLERANCE).all()):
        raise UserError(f"{path}: not class probabilities: they must be >= 0 and sum to 1 in every pixel")
    return array


def _mask(path: Path, data: DataSettings) -> NDArray[np.float32]:
    return read_mask(path, str(path), classes=data.classes, threshold=data.threshold)[None].astype(np.float32)
