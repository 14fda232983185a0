"""Where images and masks are: the embedded set, the official ISIC-2017 folders, or any folder."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any, BinaryIO

from omegaconf import DictConfig

from data_prep.folders import usual_folders
from data_prep.isic2017 import official_folders
from data_prep.pairing import Matched, first_of, match
from seg_anl.engine.settings import listed, plain
from seg_anl.records import UserError, chosen_items, is_number, is_whole_number, nearest_names

_Folders = tuple[Path, Path]  # of images and of masks


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
    train = _without(pairs.train, listed(plain(data).get("exclude")))
    if data.limit is not None:
        if not is_whole_number(data.limit) or not 1 <= data.limit <= len(train):
            raise UserError(
                f"data.limit must be from 1 to {len(train)}, the number of training images; got {data.limit}"
            )
        kept = chosen_items([pair.item for pair in train], data.limit / len(train), seed, "limit")
        train = [pair for pair in train if pair.item in kept]
    return Pairs(train, pairs.test, pairs.remark)


def _without(pairs: list[Pair], excluded: tuple[str, ...]) -> list[Pair]:
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
    images, masks = official_folders(root, "Training")
    if not images.is_dir():
        raise UserError(f"{root} holds no folder {images.name}; expected the official ISIC-2017 Part 1 layout")
    for official in ("Test_v2", "Validation"):
        test_images, test_masks = official_folders(root, official)
        if test_images.is_dir():
            return _divided((images, masks), (test_images, test_masks), f"ISIC-2017: tested on {official}")
    raise UserError(f"{root}: neither ISIC-2017_Test_v2_Data nor ISIC-2017_Validation_Data to test on")


def _folder(data: DictConfig, seed: int) -> Pairs:
    root = _root(data)
    if data.images is None and official_folders(root, "Training")[0].is_dir():
        return _isic2017(root)
    train_folders, test_folders = _folders(root, data)
    if test_folders is not None:
        return _divided(train_folders, test_folders, f"{train_folders[0]}: tested on {test_folders[0]}")
    matched = match(*train_folders, "train")
    pairs = _usable(matched)
    share = _share(data.test_share, "data.test_share")
    held_out = chosen_items([pair.item for pair in pairs], share, seed, "test")
    test = [pair for pair in pairs if pair.item in held_out]
    train = [pair for pair in pairs if pair.item not in held_out]
    if not train or not test:
        raise UserError(f"data.test_share={data.test_share} of {len(pairs)} images leaves nothing to train or test on")
    remark = f"{root}: no test folder, so tested on {len(test)} images held out (data.test_share={share})"
    return Pairs(train, test, remark + _left_out(matched))


def _folders(root: Path, data: DictConfig) -> tuple[_Folders, _Folders | None]:
    """Folders of images and masks to train on, and to test on where there are any: as told, or of a usual layout."""
    if data.images is None:
        splits = usual_folders(root)
        return splits["train"], splits.get("test", splits.get("validation"))
    named = {
        key: root / str(data[key]) for key in ("images", "masks", "test_images", "test_masks") if data[key] is not None
    }
    for key, folder in named.items():
        if not folder.is_dir():
            raise UserError(f"data.{key}: {folder} is not a folder")
    if "masks" not in named or ("test_images" in named) != ("test_masks" in named):
        raise UserError("data.images needs data.masks beside it, and data.test_images data.test_masks")
    test = (named["test_images"], named["test_masks"]) if "test_images" in named else None
    return (named["images"], named["masks"]), test


def _divided(train_folders: _Folders, test_folders: _Folders, remark: str) -> Pairs:
    train, test = match(*train_folders, "train"), match(*test_folders, "test")
    return Pairs(_usable(train), _usable(test), remark + _left_out(train, test))


def _usable(matched: Matched) -> list[Pair]:
    if matched.faults:
        raise UserError(first_of(matched.faults))
    return [Pair(pair.item, Source(str(pair.image)), Source(str(pair.mask))) for pair in matched.pairs]


def _left_out(*parts: Matched) -> str:
    """What to say of masks that are not used."""
    spare = [line for matched in parts for line in matched.spare]
    return f"; masks left out: {first_of(spare)}" if spare else ""


def _root(data: DictConfig) -> Path:
    root = Path(str(data.root)).expanduser()
    if not root.is_dir():
        raise UserError(f"data.root: {root} is not a folder")
    return root


def _share(value: Any, setting: str) -> float:
    if not is_number(value) or not 0 < value < 1:
        raise UserError(f"{setting} must be between 0 and 1, got {value!r}")
    return float(value)
