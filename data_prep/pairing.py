"""Which image belongs to which mask: how their files are named, and what is said where one lacks the other.

How folders lie in each other is told by :mod:`data_prep.folders`, :mod:`data_prep.isic2017` and
:mod:`data_prep.shenzhen`; reading the files is :mod:`data_prep.pictures`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from seg_anl.records import item_id
from seg_anl.records.seeds import MASK_SUFFIX

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp", ".ppm", ".pgm")
MASK_ENDINGS = (MASK_SUFFIX, "_mask", "_seg", "_label")  # of a mask's name, which is its image's otherwise
SUPERPIXELS = "_superpixels"  # pictures that lie beside the images in the official ISIC folders
IGNORED_NAMES = ("Thumbs.db", "desktop.ini")
_TABLE = ".csv"  # metadata and lists of files lie beside images; nobody takes them for a picture


@dataclass(frozen=True)
class Pair:
    """One image with its mask, and the split it belongs to."""

    item: str
    split: str
    image: Path
    mask: Path


@dataclass(frozen=True)
class Found:
    """What lies in a dataset's folders.

    Attributes:
        pairs: complete ones.
        problems: one line for each image without a mask, mask without an image and the like.
        remarks: what a person should know but need not mend.
        color: whether images are color pictures.
    """

    pairs: list[Pair]
    problems: list[str] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)
    color: bool = True


@dataclass(frozen=True)
class Matched:
    """The files of a folder of images and a folder of masks, sorted out.

    Attributes:
        pairs: complete ones, in the order of the images' paths.
        images: how many images there are, with a mask or without.
        superpixels: how many superpixel files lie beside them.
        faults: one line for each image that cannot be used: without a mask, or with another's id; also for a folder
            that is missing or empty.
        spare: one line for each mask that no image needs.
        foreign: one line for each file that is no picture.
    """

    pairs: list[Pair] = field(default_factory=list)
    images: int = 0
    superpixels: int = 0
    faults: list[str] = field(default_factory=list)
    spare: list[str] = field(default_factory=list)
    foreign: list[str] = field(default_factory=list)


def match(images: Path, masks: Path, split: str) -> Matched:
    """Pair the images with the masks below two folders, or the same one, by their ids.

    A mask has its image's name, or that with one of :data:`MASK_ENDINGS`; in one folder with the images it needs the
    ending. Superpixels, hidden files and tables are passed over.
    """
    missing = [f"{folder}: no such folder" for folder in dict.fromkeys((images, masks)) if not folder.is_dir()]
    if missing:
        return Matched(faults=missing)
    together = images == masks
    image_of: dict[str, Path] = {}
    mask_files, same, foreign, superpixels = [], [], [], 0
    for folder in dict.fromkeys((images, masks)):
        for path in visible_files(folder):
            if path.stem.endswith(SUPERPIXELS):
                superpixels += 1
            elif path.suffix.lower() not in IMAGE_SUFFIXES:
                foreign += [] if path.suffix.lower() == _TABLE else [f"{path}: no picture ({' '.join(IMAGE_SUFFIXES)})"]
            elif folder == masks and (not together or path.stem.endswith(MASK_ENDINGS)):
                mask_files.append(path)
            else:
                earlier = image_of.setdefault(item_id(path, images), path)
                same += [] if earlier == path else [same_id(earlier, path, item_id(path, images))]
    mask_of, spare = _owned(mask_files, masks, image_of, images)
    pairs = [Pair(item, split, path, mask_of[item]) for item, path in image_of.items() if item in mask_of]
    faults = [no_mask(path, masks, together=together) for item, path in image_of.items() if item not in mask_of]
    empty = [] if image_of else [f"{images}: no images in it ({', '.join(IMAGE_SUFFIXES)})"]
    return Matched(pairs, len(image_of), superpixels, faults + same + empty, spare, foreign)


def _owned(
    files: Sequence[Path], masks: Path, image_of: dict[str, Path], images: Path
) -> tuple[dict[str, Path], list[str]]:
    """The mask of each item, and a line for each mask that is left."""
    mask_of: dict[str, Path] = {}
    spare = []
    for path in files:
        item = item_id(path, masks)
        if item not in image_of:  # an image may itself be called NAME_label
            for ending in MASK_ENDINGS:
                item = item.removesuffix(ending)
        earlier = mask_of.setdefault(item, path)
        if item not in image_of:
            spare.append(no_image(path, images))
        elif earlier != path:
            spare.append(same_id(earlier, path, item))
    return mask_of, spare


def visible_files(folder: Path) -> list[Path]:
    """Every file below ``folder``, sorted, without those that systems leave behind: hidden ones, ``Thumbs.db``."""
    return sorted(
        path
        for path in folder.rglob("*")
        if path.name not in IGNORED_NAMES
        and not any(part.startswith(".") for part in path.relative_to(folder).parts)
        and path.is_file()
    )


def image_files(folder: Path) -> list[Path]:
    """Every picture below ``folder``, sorted, without superpixels."""
    return [
        path
        for path in visible_files(folder)
        if path.suffix.lower() in IMAGE_SUFFIXES and not path.stem.endswith(SUPERPIXELS)
    ]


def no_mask(image: Path, masks: Path, *, together: bool) -> str:
    """The line about an image without a mask; ``together``: the masks should lie in one folder with the images."""
    endings = MASK_ENDINGS[:2] if together else ("", MASK_ENDINGS[0])
    expected = " or ".join(f"{image.stem}{ending}.png" for ending in endings)
    return f"{image}: no mask for it in {masks}; expected {expected}, or the like"


def no_image(mask: Path, images: Path) -> str:
    """The line about a mask without an image."""
    return f"{mask}: no image for it in {images}"


def same_id(earlier: Path, path: Path, item: str) -> str:
    """The line about two files of one id."""
    return f"{earlier} and {path} have the same id {item!r}; rename one"


def first_of(lines: Sequence[str]) -> str:
    """Many lines as one: the first, and how many more there are."""
    return lines[0] + (f" (and {len(lines) - 1} more)" if len(lines) > 1 else "")
