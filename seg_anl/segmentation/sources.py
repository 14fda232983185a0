"""Where images and masks are: the embedded set, the official ISIC-2017 folders, or any folder."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from importlib import resources
from itertools import pairwise
from pathlib import Path
from typing import Any, BinaryIO

from omegaconf import DictConfig

from seg_anl.records import UserError, chosen_items, item_id, nearest_names

from .images import IMAGE_SUFFIXES

MASK_ENDINGS = ("_segmentation", "_mask", "_seg", "_label")
NOT_IMAGES = ("_superpixels",)  # lie beside the images in the official ISIC folders


@dataclass(frozen=True)
class Source:
    """A file, or the content of one that lies in an archive."""

    name: str
    content: bytes | None = None

    def open(self) -> Path | BinaryIO:
        """What an image reader takes."""
        return Path(self.name) if self.content is None else io.BytesIO(self.content)


@dataclass(frozen=True)
class Pair:
    """An image with its mask."""

    item: str
    image: Source
    mask: Source


@dataclass(frozen=True)
class Pairs:
    """Training and test pairs, sorted by item, and what should be said about where they come from."""

    train: list[Pair]
    test: list[Pair]
    remark: str


def find_pairs(data: DictConfig, seed: int) -> Pairs:
    """The pairs of a ``data`` configuration; ``seed`` draws the held-out and the limited part.

    Raises:
        UserError: for a folder that is missing or empty, an image without a mask, or a limit that cannot be.
    """
    readers: dict[str, Callable[[DictConfig, int], Pairs]] = {
        "embedded": _embedded,
        "folder": _folder,
        "isic2017": lambda data, seed: _isic2017(_root(data)),
    }
    name = str(data.name)
    if name not in readers:
        raise UserError(f"data.name={name}: {nearest_names(name, readers)}")
    pairs = readers[name](data, seed)
    train = _without(pairs.train, [str(item) for item in data.get("exclude") or ()])
    if data.limit is not None:
        if not isinstance(data.limit, int) or not 1 <= data.limit <= len(train):
            raise UserError(
                f"data.limit must be from 1 to {len(train)}, the number of training images; got {data.limit}"
            )
        kept = chosen_items([pair.item for pair in train], data.limit / len(train), seed, "limit")
        train = [pair for pair in train if pair.item in kept]
    return Pairs(train, pairs.test, pairs.remark)


def _without(pairs: list[Pair], excluded: list[str]) -> list[Pair]:
    items = [pair.item for pair in pairs]
    for item in excluded:
        if item not in items:
            raise UserError(f"data.exclude: no training image {item!r}; {nearest_names(item, items)[:200]}")
    return [pair for pair in pairs if pair.item not in excluded]


def _embedded(data: DictConfig, seed: int) -> Pairs:
    content = resources.files("seg_anl.segmentation").joinpath("embedded/isic2017_96.zip").read_bytes()
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        members = {name: Source(name, archive.read(name)) for name in archive.namelist()}

    def pairs(split: str) -> list[Pair]:
        items = sorted(Path(name).stem for name in members if name.startswith(f"images/{split}/"))
        return [
            Pair(item, members[f"images/{split}/{item}.jpg"], members[f"masks/{split}/{item}.png"]) for item in items
        ]

    return Pairs(pairs("train"), pairs("validation"), "embedded ISIC-2017: tested on the challenge's validation images")


def _isic2017(root: Path) -> Pairs:
    def folders(official: str) -> tuple[Path, Path]:
        return root / f"ISIC-2017_{official}_Data", root / f"ISIC-2017_{official}_Part1_GroundTruth"

    images, masks = folders("Training")
    if not images.is_dir():
        raise UserError(
            f"{root}: no folder ISIC-2017_Training_Data in it; expected the official ISIC-2017 Part 1 layout"
        )
    for official in ("Test_v2", "Validation"):
        test_images, test_masks = folders(official)
        if test_images.is_dir():
            return Pairs(_matched(images, masks), _matched(test_images, test_masks), f"ISIC-2017: tested on {official}")
    raise UserError(f"{root}: neither ISIC-2017_Test_v2_Data nor ISIC-2017_Validation_Data to test on")


def _folder(data: DictConfig, seed: int) -> Pairs:
    root = _root(data)
    if data.images is None and (root / "ISIC-2017_Training_Data").is_dir():
        return _isic2017(root)
    images, masks, test_images, test_masks = _layout(root, data)
    train = _matched(images, masks)
    if test_images is not None and test_masks is not None:
        return Pairs(train, _matched(test_images, test_masks), f"{root}: tested on {test_images.name}")
    share = _share(data.test_share, "data.test_share")
    held_out = chosen_items([pair.item for pair in train], share, seed, "test")
    test = [pair for pair in train if pair.item in held_out]
    train = [pair for pair in train if pair.item not in held_out]
    if not train or not test:
        raise UserError(
            f"data.test_share={data.test_share} of {len(train) + len(test)} images leaves nothing to train or test on"
        )
    return Pairs(
        train, test, f"{root}: no test folder, so tested on {len(test)} images held out (data.test_share={share})"
    )


def _layout(root: Path, data: DictConfig) -> tuple[Path, Path, Path | None, Path | None]:
    """Folders of images, masks, test images, test masks: as told, or one of the usual layouts."""
    if data.images is not None:
        named: dict[str, Path | None] = {}
        for key in ("images", "masks", "test_images", "test_masks"):
            named[key] = None if data[key] is None else root / str(data[key])
            if named[key] is not None and not named[key].is_dir():  # type: ignore[union-attr]
                raise UserError(f"data.{key}: {named[key]} is not a folder")
        if named["masks"] is None or (named["test_images"] is None) != (named["test_masks"] is None):
            raise UserError("data.images needs data.masks beside it, and data.test_images data.test_masks")
        return named["images"], named["masks"], named["test_images"], named["test_masks"]  # type: ignore[return-value]
    for train, test in (
        ("images/train", "images/test"),
        ("images/train", "images/validation"),
        ("train/images", "test/images"),
    ):
        if (root / train).is_dir() and (root / test).is_dir():
            return root / train, _masks_of(root, train), root / test, _masks_of(root, test)
    if (root / "images").is_dir() and (root / "masks").is_dir():
        return root / "images", root / "masks", None, None
    return root, root, None, None


def _masks_of(root: Path, images: str) -> Path:
    return root / images.replace("images", "masks")


def _matched(images: Path, masks: Path) -> list[Pair]:
    """Pairs by stem; a mask may end in ``_segmentation``, ``_mask``, ``_seg`` or ``_label``."""
    together = images == masks
    mask_files: dict[str, Path] = {}
    for path in _image_files(masks):
        if not together or _is_mask_name(path):
            mask_files.setdefault(_stem(path, masks), path)
    pairs, without = [], []
    for path in _image_files(images):
        if path.stem.endswith(NOT_IMAGES) or (together and _is_mask_name(path)):
            continue
        item = item_id(path, images)
        if item in mask_files:
            pairs.append(Pair(item, Source(str(path)), Source(str(mask_files[item]))))
        else:
            without.append(path)
    if without:
        others = f" (and {len(without) - 1} more)" if len(without) > 1 else ""
        raise UserError(f"{without[0]}: no mask for it in {masks}{others}; expected {without[0].stem}.png or the like")
    if not pairs:
        raise UserError(f"{images}: no images in it ({', '.join(IMAGE_SUFFIXES)})")
    twice = {a.item for a, b in pairwise(pairs) if a.item == b.item}
    if twice:
        raise UserError(f"{images}: two images of the stem {sorted(twice)[0]!r}")
    return pairs


def _image_files(folder: Path) -> list[Path]:
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder")
    return sorted(path for path in folder.rglob("*") if path.suffix.lower() in IMAGE_SUFFIXES and path.is_file())


def _is_mask_name(path: Path) -> bool:
    return path.stem.endswith(MASK_ENDINGS)


def _stem(path: Path, root: Path) -> str:
    item = item_id(path, root)
    for ending in MASK_ENDINGS:
        item = item.removesuffix(ending)
    return item


def _root(data: DictConfig) -> Path:
    root = Path(str(data.root)).expanduser()
    if not root.is_dir():
        raise UserError(f"data.root: {root} is not a folder")
    return root


def _share(value: Any, setting: str) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < 1:
        raise UserError(f"{setting} must be between 0 and 1, got {value!r}")
    return float(value)
