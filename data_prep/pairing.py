"""Pair images and masks by file name; :mod:`data_prep.layouts` finds their folders."""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from seg_anl.records import UserError, item_id
from seg_anl.records.files import files_below
from seg_anl.records.seeds import MASK_SUFFIX

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp", ".ppm", ".pgm")
MASK_ENDINGS = (MASK_SUFFIX, "_mask", "_seg", "_label")  # of a mask's name, after its image's
SUPERPIXELS = "_superpixels"  # beside the images in the official ISIC folders
_TABLE = ".csv"  # metadata and lists of files, common beside images


@dataclass(frozen=True)
class PictureFile:
    """The path of a file, or its content from an archive."""

    name: str
    content: bytes | None = None

    def __str__(self) -> str:
        return self.name

    def open(self) -> Path | BinaryIO:
        """What the readers of :mod:`data_prep.pictures` take."""
        return Path(self.name) if self.content is None else io.BytesIO(self.content)


@dataclass(frozen=True)
class Pair:
    """An image, its mask and its split."""

    item: str
    split: str
    image: PictureFile
    mask: PictureFile

    @classmethod
    def of_paths(cls, item: str, split: str, image: Path, mask: Path) -> Pair:
        """The pair of two files."""
        return cls(item, split, PictureFile(str(image)), PictureFile(str(mask)))


@dataclass(frozen=True)
class Matched:
    """The pairs of a folder of images and a folder of masks, sorted by item, and a line for each other file."""

    pairs: list[Pair] = field(default_factory=list)
    superpixels: int = 0  # files
    alone: list[str] = field(default_factory=list)  # images without a mask
    faults: list[str] = field(default_factory=list)  # images with another's id; folders that are missing or empty
    spare: list[str] = field(default_factory=list)  # masks without an image
    foreign: list[str] = field(default_factory=list)  # other files

    @property
    def images(self) -> int:
        """The number of images, with or without a mask."""
        return len(self.pairs) + len(self.alone)


def match(images: Path, masks: Path, split: str) -> Matched:
    """Pair the images and masks below two folders, or below one.

    A mask has its image's name, perhaps with one of :data:`MASK_ENDINGS`; in one folder it needs the ending.
    Superpixels, hidden files and tables are ignored.
    """
    folders = dict.fromkeys((images, masks))
    missing = [f"{folder}: no such folder" for folder in folders if not os.path.isdir(folder)]
    if missing:
        return Matched(faults=missing)
    image_of: dict[str, Path] = {}
    mask_files, faults, foreign, superpixels = [], [], [], 0
    for folder, path in ((below, path) for below in folders for path in files_below(below)):
        if path.stem.endswith(SUPERPIXELS):
            superpixels += 1
        elif path.suffix.lower() not in IMAGE_SUFFIXES:
            foreign += [] if path.suffix.lower() == _TABLE else [f"{path}: no picture ({' '.join(IMAGE_SUFFIXES)})"]
        elif folder == masks and (folder != images or path.stem.endswith(MASK_ENDINGS)):
            mask_files.append(path)
        elif (earlier := image_of.setdefault(item_id(path, images), path)) != path:
            faults.append(_same_id(earlier, path, item_id(path, images)))
    if not image_of:
        faults.append(f"{images}: no images in it ({', '.join(IMAGE_SUFFIXES)}); data=volumes for NIfTI and the like")
    mask_of: dict[str, Path] = {}
    spare = []
    for path in mask_files:
        item = mask_item(path, masks, image_of)
        if item not in image_of:
            spare.append(f"{path}: no image for it in {images}")
        elif (earlier := mask_of.setdefault(item, path)) != path:
            spare.append(_same_id(earlier, path, item))
    pairs = [Pair.of_paths(item, split, image_of[item], mask_of[item]) for item in sorted(mask_of)]
    alone = [_no_mask(path, masks, together=images == masks) for item, path in image_of.items() if item not in mask_of]
    return Matched(pairs, superpixels, alone, faults, spare, foreign)


def mask_item(path: Path, masks: Path, images: Collection[str] = ()) -> str:
    """The id of the image that a mask below ``masks`` belongs to; ids in ``images`` may themselves end like a
    mask's.
    """
    item = item_id(path, masks)
    for ending in MASK_ENDINGS:
        if item in images:
            break
        item = item.removesuffix(ending)
    return item


def image_files(folder: Path) -> list[Path]:
    """Every picture below ``folder``, sorted, without superpixels."""
    return [
        path
        for path in files_below(folder)
        if path.suffix.lower() in IMAGE_SUFFIXES and not path.stem.endswith(SUPERPIXELS)
    ]


def files_by_item(files: Iterable[Path], item_of: Callable[[Path], str]) -> dict[str, Path]:
    """The files by item; two files of one item are refused."""
    found: dict[str, Path] = {}
    for path in files:
        item = item_of(path)
        if item in found:
            raise UserError(_same_id(found[item], path, item))
        found[item] = path
    return found


def check_inside(name: str, place: Path) -> None:
    """Refuse a name in the file ``place`` that would lead out of the folder that it is used in."""
    if Path(name).is_absolute() or ".." in Path(name).parts:
        raise UserError(f"{place}: {name!r} leads out of its folder; expected a name")


def first_of(lines: Sequence[object]) -> str:
    """The first of several lines, and how many more there are."""
    return f"{lines[0]}" + (f" (and {len(lines) - 1} more)" if len(lines) > 1 else "")


def _no_mask(image: Path, masks: Path, *, together: bool) -> str:
    endings = MASK_ENDINGS[:2] if together else ("", MASK_ENDINGS[0])
    expected = " or ".join(f"{image.stem}{ending}.png" for ending in endings)
    return f"{image}: no mask for it in {masks}; expected {expected}, or the like"


def _same_id(earlier: Path, path: Path, item: str) -> str:
    return f"{earlier} and {path} have the same id {item!r}; rename one"
