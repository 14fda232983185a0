"""Which image belongs to which mask: how files are named, how folders are laid out, and what to say of what is missing.

:func:`find_pairs` serves the trainer, which stops at the first fault; :func:`find_dataset` the preparation, which
collects them all. Reading the files is :mod:`data_prep.pictures`.
"""

from __future__ import annotations

import csv
import io
import zipfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Annotated, BinaryIO

from seg_anl.records import UserError, chosen_items, item_id, nearest_names
from seg_anl.records.ranges import Interval, OpenFraction, complaint
from seg_anl.records.seeds import MASK_SUFFIX

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp", ".ppm", ".pgm")
MASK_ENDINGS = (MASK_SUFFIX, "_mask", "_seg", "_label")  # of a mask's name, which is its image's otherwise
SUPERPIXELS = "_superpixels"  # pictures that lie beside the images in the official ISIC folders
IGNORED_NAMES = ("Thumbs.db", "desktop.ini")
_TABLE = ".csv"  # metadata and lists of files lie beside images; nobody mistakes them for a picture

TRAINING = "train"
SPLITS = (TRAINING, "validation", "test")
_NESTED_LAYOUTS = (("images/{}", "masks/{}"), ("{}/images", "{}/masks"))
# Of ISIC-2017, Part 1: the challenge's name for each split, and the number of images it published.
ISIC2017_SPLITS = {TRAINING: ("Training", 2000), "validation": ("Validation", 150), "test": ("Test_v2", 600)}

_Folders = tuple[Path, Path]  # of images and of masks


@dataclass(frozen=True)
class PictureFile:
    """A file by its path, or the content of one that lies in an archive."""

    name: str
    content: bytes | None = None

    def __str__(self) -> str:
        return self.name

    def open(self) -> Path | BinaryIO:
        """What the readers of :mod:`data_prep.pictures` take."""
        return Path(self.name) if self.content is None else io.BytesIO(self.content)


@dataclass(frozen=True)
class Pair:
    """One image with its mask, and the split it belongs to."""

    item: str
    split: str
    image: PictureFile
    mask: PictureFile

    @classmethod
    def of_paths(cls, item: str, split: str, image: Path, mask: Path) -> Pair:
        """The pair of two files."""
        return cls(item, split, PictureFile(str(image)), PictureFile(str(mask)))


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
class TrainingPairs:
    """Training and test pairs, sorted by item, and what to say about where they come from."""

    train: list[Pair]
    test: list[Pair]
    remark: str


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
                same += [] if earlier == path else [_same_id(earlier, path, item_id(path, images))]
    mask_of, spare = _owned(mask_files, masks, image_of, images)
    pairs = [Pair.of_paths(item, split, path, mask_of[item]) for item, path in image_of.items() if item in mask_of]
    faults = [_no_mask(path, masks, together=together) for item, path in image_of.items() if item not in mask_of]
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
            spare.append(_same_id(earlier, path, item))
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


def no_image(mask: Path, images: Path) -> str:
    """The line about a mask without an image."""
    return f"{mask}: no image for it in {images}"


def _no_mask(image: Path, masks: Path, *, together: bool) -> str:
    endings = MASK_ENDINGS[:2] if together else ("", MASK_ENDINGS[0])
    expected = " or ".join(f"{image.stem}{ending}.png" for ending in endings)
    return f"{image}: no mask for it in {masks}; expected {expected}, or the like"


def _same_id(earlier: Path, path: Path, item: str) -> str:
    return f"{earlier} and {path} have the same id {item!r}; rename one"


def _first_of(lines: Sequence[str]) -> str:
    """Many lines as one: the first, and how many more there are."""
    return lines[0] + (f" (and {len(lines) - 1} more)" if len(lines) > 1 else "")


# Layouts


def official_folders(root: Path, split: str) -> _Folders:
    """Where the images and masks of a split of ISIC-2017, Part 1, lie."""
    official, _ = ISIC2017_SPLITS[split]
    return root / f"ISIC-2017_{official}_Data", root / f"ISIC-2017_{official}_Part1_GroundTruth"


def usual_folders(root: Path) -> dict[str, _Folders]:
    """The folders of images and masks of every split that ``root`` is divided into; undivided, it is all training.

    Known are ``images/SPLIT`` with ``masks/SPLIT``, ``SPLIT/images`` with ``SPLIT/masks``, ``images`` with ``masks``,
    and images with their masks in one folder, as which any other folder is read. The splits are those of
    :data:`SPLITS`; a division has ``train`` and one of the others.
    """
    for images, masks in _NESTED_LAYOUTS:
        splits = {
            split: (root / images.format(split), root / masks.format(split))
            for split in SPLITS
            if (root / images.format(split)).is_dir()
        }
        if TRAINING in splits and len(splits) > 1:
            return splits
    if (root / "images").is_dir() and (root / "masks").is_dir():
        return {TRAINING: (root / "images", root / "masks")}
    return {TRAINING: (root, root)}


# For the preparation


def find_dataset(source: Path) -> Found:
    """The pairs of a folder with split.csv (as ``seg-anl-prep isic2017`` writes it), of the official ISIC-2017 folders,
    or of a folder in one of the usual layouts.

    Raises:
        UserError: when the table cannot be read, or there is no pair.
    """
    if (source / "split.csv").is_file():
        return _find_listed(source)
    official = any(folder.is_dir() for split in ISIC2017_SPLITS for folder in official_folders(source, split))
    return find_isic2017(source) if official else _find_usual(source)


def find_isic2017(root: Path) -> Found:
    """Pair the images and masks of every split of ISIC-2017 that is there.

    Args:
        root: holds ``ISIC-2017_Training_Data``, ``ISIC-2017_Training_Part1_GroundTruth`` and so on.

    Returns:
        The pairs in order of split and name; superpixel files beside the images are left out and counted in a remark.

    Raises:
        UserError: when ``root`` holds none of the splits.
    """
    found = Found([])
    for split, (_, published) in ISIC2017_SPLITS.items():
        images, masks = official_folders(root, split)
        if not images.is_dir() and not masks.is_dir():
            found.remarks.append(f"{split}: not there (no {images.name})")
            continue
        matched = match(images, masks, split)
        found.pairs.extend(matched.pairs)
        found.problems.extend(matched.faults + matched.spare + matched.foreign)
        if matched.images:
            expected = "as published" if matched.images == published else f"{published} were published"
            beside = f"; {matched.superpixels} superpixel files left out" if matched.superpixels else ""
            found.remarks.append(f"{split}: {matched.images} images ({expected}){beside}")
    if not found.pairs and not found.problems:
        raise UserError(f"{root} holds no folder ISIC-2017_Training_Data, nor another of the challenge's splits")
    return found


def _find_usual(root: Path) -> Found:
    found = Found([])
    for split, (images, masks) in usual_folders(root).items():
        matched = match(images, masks, split)
        found.pairs.extend(matched.pairs)
        found.problems.extend(matched.faults + matched.spare)
        beside = f"; {len(matched.foreign)} files left out that are no pictures" if matched.foreign else ""
        found.remarks.append(f"{split}: {matched.images} images{beside}")
    if not found.pairs:
        raise UserError(_first_of(found.problems))
    return found


def _find_listed(source: Path) -> Found:
    table = source / "split.csv"
    try:
        with open(table, newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        pairs = [Pair.of_paths(row["id"], row["split"], source / row["image"], source / row["mask"]) for row in rows]
    except (OSError, KeyError, TypeError, UnicodeDecodeError) as error:
        raise UserError(f"{table}: cannot be read: expected columns id, split, image, mask ({error})") from error
    if not pairs:
        raise UserError(f"{table} lists no images")
    counts = Counter(pair.split for pair in pairs)
    return Found(pairs, remarks=[f"{split}: {count} images" for split, count in counts.items()])


# For the trainer


def find_pairs(
    name: str,
    seed: int,
    *,
    root: str | Path | None = None,
    images: str | None = None,
    masks: str | None = None,
    test_images: str | None = None,
    test_masks: str | None = None,
    test_share: float = 0.2,
    exclude: Sequence[str] = (),
    limit: int | None = None,
) -> TrainingPairs:
    """The pairs to train and to test on, by the settings of the trainer's ``data`` group.

    Args:
        name: ``"embedded"``, ``"isic2017"`` or ``"folder"``.
        seed: draws the held-out part of ``folder`` and the limited part.
        root: of the data; not for ``embedded``.
        images, masks, test_images, test_masks: sub-folders of ``root``, where ``folder`` has none of the usual layouts.
        test_share: what ``folder`` holds out, in (0, 1), where there is no test folder.
        exclude: training items to leave out.
        limit: use this many training items.

    Raises:
        UserError: for a folder that is missing or empty, an image without a mask, or a setting out of range.
    """
    if name == "embedded":
        pairs = _embedded()
    elif name == "isic2017":
        pairs = _isic2017(_checked_root(root))
    elif name == "folder":
        named = {"images": images, "masks": masks, "test_images": test_images, "test_masks": test_masks}
        pairs = _folder(_checked_root(root), {key: value for key, value in named.items() if value}, test_share, seed)
    else:
        raise UserError(f"data.name={name}: {nearest_names(name, ('embedded', 'folder', 'isic2017'))}")
    train = pairs.train
    items = [pair.item for pair in train]
    for item in exclude:
        if item not in items:
            raise UserError(f"data.exclude: no training image {item!r}; {nearest_names(item, items)[:200]}")
    train = [pair for pair in train if pair.item not in exclude]
    if limit is not None:
        if complaint("data.limit", Annotated[int, Interval(least=1, most=len(train), whole=True)], limit):
            raise UserError(f"data.limit must be from 1 to {len(train)}, the number of training images; got {limit}")
        kept = chosen_items([pair.item for pair in train], limit / len(train), seed, "limit")
        train = [pair for pair in train if pair.item in kept]
    return TrainingPairs(train, pairs.test, pairs.remark)


def _checked_root(root: str | Path | None) -> Path:
    path = Path(str(root)).expanduser()
    if not path.is_dir():
        raise UserError(f"data.root: {path} is not a folder")
    return path


def _embedded() -> TrainingPairs:
    content = resources.files("seg_anl.segmentation").joinpath("embedded/isic2017_96.zip").read_bytes()
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        files = {name: PictureFile(name, archive.read(name)) for name in archive.namelist()}

    def pairs(split: str) -> list[Pair]:
        items = sorted(Path(name).stem for name in files if name.startswith(f"images/{split}/"))
        return [
            Pair(item, split, files[f"images/{split}/{item}.jpg"], files[f"masks/{split}/{item}.png"]) for item in items
        ]

    remark = "embedded ISIC-2017: tested on the challenge's validation images"
    return TrainingPairs(pairs("train"), pairs("validation"), remark)


def _isic2017(root: Path) -> TrainingPairs:
    train = official_folders(root, TRAINING)
    if not train[0].is_dir():
        raise UserError(f"{root} holds no folder {train[0].name}; expected the official ISIC-2017 Part 1 layout")
    for split in ("test", "validation"):
        test = official_folders(root, split)
        if test[0].is_dir():
            return _divided(train, test, f"ISIC-2017: tested on {ISIC2017_SPLITS[split][0]}")
    raise UserError(f"{root}: neither ISIC-2017_Test_v2_Data nor ISIC-2017_Validation_Data to test on")


def _folder(root: Path, named: dict[str, str], test_share: float, seed: int) -> TrainingPairs:
    if "images" not in named and official_folders(root, TRAINING)[0].is_dir():
        return _isic2017(root)
    train_folders, test_folders = _named_folders(root, named) if "images" in named else _usual_two(root)
    if test_folders is not None:
        return _divided(train_folders, test_folders, f"{train_folders[0]}: tested on {test_folders[0]}")
    matched = match(*train_folders, TRAINING)
    pairs = _usable(matched)
    wrong = complaint("data.test_share", OpenFraction, test_share)
    if wrong:
        raise UserError(wrong)
    held_out = chosen_items([pair.item for pair in pairs], test_share, seed, "test")
    test = [pair for pair in pairs if pair.item in held_out]
    train = [pair for pair in pairs if pair.item not in held_out]
    if not train or not test:
        raise UserError(f"data.test_share={test_share} of {len(pairs)} images leaves nothing to train or test on")
    remark = f"{root}: no test folder, so tested on {len(test)} images held out (data.test_share={float(test_share)})"
    return TrainingPairs(train, test, remark + _left_out(matched))


def _usual_two(root: Path) -> tuple[_Folders, _Folders | None]:
    splits = usual_folders(root)
    return splits[TRAINING], splits.get("test", splits.get("validation"))


def _named_folders(root: Path, named: dict[str, str]) -> tuple[_Folders, _Folders | None]:
    folders = {key: root / name for key, name in named.items()}
    for key, folder in folders.items():
        if not folder.is_dir():
            raise UserError(f"data.{key}: {folder} is not a folder")
    if "masks" not in folders or ("test_images" in folders) != ("test_masks" in folders):
        raise UserError("data.images needs data.masks beside it, and data.test_images data.test_masks")
    test = (folders["test_images"], folders["test_masks"]) if "test_images" in folders else None
    return (folders["images"], folders["masks"]), test


def _divided(train_folders: _Folders, test_folders: _Folders, remark: str) -> TrainingPairs:
    train, test = match(*train_folders, TRAINING), match(*test_folders, "test")
    return TrainingPairs(_usable(train), _usable(test), remark + _left_out(train, test))


def _usable(matched: Matched) -> list[Pair]:
    if matched.faults:
        raise UserError(_first_of(matched.faults))
    return matched.pairs


def _left_out(*parts: Matched) -> str:
    """What to say of masks that are not used."""
    spare = [line for matched in parts for line in matched.spare]
    return f"; masks left out: {_first_of(spare)}" if spare else ""
