"""Lists of images and labels as ``monai.data.load_decathlon_datalist`` reads them: the dataset.json of the Medical
Segmentation Decathlon and its like. MONAI is not imported.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from seg_anl.records import UserError, item_id
from seg_anl.records.foreign_files import read_json

from .nnunet_raw import DESCRIPTION

TRAINING = "training"
SPLITS = (TRAINING, "validation", "test")


class Entry(NamedTuple):
    """The files of an image, one or one per channel, and its mask if there is one."""

    images: tuple[Path, ...]
    label: Path | None


class Datalist(NamedTuple):
    """The content of a list; None for names that it does not give."""

    place: Path  # its file
    splits: dict[str, list[Entry]]  # those of SPLITS that it has
    labels: dict[int, str] | None  # names of the values in the masks
    channels: list[str] | None


def read_datalist(root: Path) -> Datalist:
    """The list in the file ``root``, or in dataset.json in the folder ``root``; paths are relative to the file."""
    place = root / DESCRIPTION if root.is_dir() else root
    content = read_json(place)
    found = {split: content[split] for split in SPLITS if split in content} if isinstance(content, dict) else {}
    if not found:
        raise UserError(f"{place}: no list {TRAINING!r}; expected one as MONAI's (of nnU-Net's raw data: data=nnunet)")
    splits = {}
    for split, entries in found.items():
        if not isinstance(entries, list):
            raise UserError(f"{place}: {split!r} is not a list")
        splits[split] = [_entry(each, place, f"{split}[{number}]") for number, each in enumerate(entries)]
    channels, labels = (_numbered(content.get(key), place, key) for key in ("modality", "labels"))
    return Datalist(place, splits, labels, None if channels is None else [channels[key] for key in sorted(channels)])


def items_of(files: Sequence[Path], place: Path) -> list[str]:
    """The id of each file: its path below the common folder."""
    if not files:
        return []
    folder = Path(os.path.commonpath([file.parent for file in files]))
    file_of: dict[str, Path] = {}
    for file in files:
        item = item_id(file, folder)
        if item in file_of:
            raise UserError(f"{place}: {file} is listed twice, or also as {file_of[item].name}")
        file_of[item] = file
    return list(file_of)


def _entry(given: Any, place: Path, name: str) -> Entry:
    image, label = (given.get("image"), given.get("label")) if isinstance(given, dict) else (given, None)
    images = image if isinstance(image, list) else [image]
    if isinstance(label, list) and len(label) == 1:
        label = label[0]
    paths = [*images, *([] if label is None else [label])]
    if not images or not all(isinstance(path, str) and path for path in paths):
        expected = "a path, or {'image': a path or one for each channel, 'label': a path}"
        raise UserError(f"{place}: {name} is {str(given)[:200]}, expected {expected}")
    files = [Path(os.path.abspath(place.parent / path)) for path in paths]
    return Entry(tuple(files[: len(images)]), None if label is None else files[-1])


def _numbered(given: Any, place: Path, key: str) -> dict[int, str] | None:
    """Names by number, as ``{"0": "background", "1": "liver"}``."""
    if given is None:
        return None
    try:
        numbered = {int(number): str(name) for number, name in given.items()}
    except (AttributeError, ValueError) as error:
        raise UserError(f"{place}: {key!r} is {str(given)[:200]}, expected a name for each number") from error
    if not numbered or len(set(numbered.values())) < len(given):
        raise UserError(f"{place}: {key!r} must be different names for different numbers, got {str(given)[:200]}")
    return numbered
