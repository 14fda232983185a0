"""Where a dataset keeps images and masks: the official ISIC-2017 folders, a folder of your own, or the embedded set.

:func:`find_pairs` is for the trainer and stops at the first fault; :func:`find_dataset` is for ``seg-anl-prep`` and
collects all of them. :mod:`data_prep.pairing` says which mask belongs to which image.
"""

from __future__ import annotations

import io
import os
import zipfile
from collections import Counter
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import Annotated, NamedTuple

from seg_anl.records import UserError, chosen_items, nearest_names
from seg_anl.records.files import check_folder
from seg_anl.records.foreign_files import read_table
from seg_anl.records.item_files import read_groups
from seg_anl.records.paths import configured_path, read_configured
from seg_anl.records.ranges import Interval, OpenFraction, complaint

from .pairing import Matched, Pair, PictureFile, check_inside, first_of, match

TRAINING = "train"
SPLITS = (TRAINING, "validation", "test")
# Of ISIC-2017, Part 1: the challenge's name for each split, and the number of images it published.
ISIC2017_SPLITS = {TRAINING: ("Training", 2000), "validation": ("Validation", 150), "test": ("Test_v2", 600)}

_Folders = tuple[Path, Path]  # of images and of masks


class Found(NamedTuple):
    """The pairs of a dataset."""

    pairs: list[Pair]
    problems: list[str]  # one line for each image without a mask, mask without an image and the like
    remarks: list[str]
    color: bool = True  # False: gray images


class TrainingPairs(NamedTuple):
    """Training and test pairs, sorted by item, and a remark on where they come from."""

    train: list[Pair]
    test: list[Pair]
    remark: str


def official_folders(root: Path, split: str) -> _Folders:
    """The folders of images and masks of a split of ISIC-2017, Part 1."""
    official, _ = ISIC2017_SPLITS[split]
    return root / f"ISIC-2017_{official}_Data", root / f"ISIC-2017_{official}_Part1_GroundTruth"


def usual_folders(root: Path) -> dict[str, _Folders]:
    """The folders of images and masks of every split below ``root``; one without splits is all training.

    Known layouts: ``images/SPLIT`` with ``masks/SPLIT``, ``SPLIT/images`` with ``SPLIT/masks``, and ``images`` with
    ``masks``, to which ``test/images`` with ``test/masks`` may be added. Any other folder is taken to hold images and
    masks side by side. Splits are :data:`SPLITS`: ``train`` and at least one other.
    """
    for images, masks in (("images/{}", "masks/{}"), ("{}/images", "{}/masks")):
        splits = {split: (root / images.format(split), root / masks.format(split)) for split in SPLITS}
        splits = {split: folders for split, folders in splits.items() if folders[0].is_dir()}
        if TRAINING in splits and len(splits) > 1:
            return splits
    if (root / "images").is_dir() and (root / "masks").is_dir():
        return {TRAINING: (root / "images", root / "masks")} | {key: splits[key] for key in splits if key != TRAINING}
    return {TRAINING: (root, root)}


def find_dataset(source: Path) -> Found:
    """The pairs of a folder with a split.csv of ``seg-anl-prep``, of the official ISIC-2017 folders, or of a folder in
    one of the usual layouts.
    """
    if os.path.lexists(source / "split.csv"):
        return _find_listed(source)
    if any(folder.is_dir() for split in ISIC2017_SPLITS for folder in official_folders(source, split)):
        return find_isic2017(source)
    found = Found([], [], [])
    for split, folders in usual_folders(source).items():
        matched = _matched(found, folders, split)
        other = f"; {len(matched.foreign)} other files left out" if matched.foreign else ""
        found.remarks.append(f"{split}: {matched.images} images{other}")
    if not found.pairs:
        raise UserError(first_of(found.problems))
    return found


def find_isic2017(root: Path) -> Found:
    """The pairs of every split of ISIC-2017 below ``root``; superpixel files are only counted."""
    found = Found([], [], [])
    for split, (_, published) in ISIC2017_SPLITS.items():
        images, masks = official_folders(root, split)
        if not images.is_dir() and not masks.is_dir():
            found.remarks.append(f"{split}: not there (no {images.name})")
            continue
        matched = _matched(found, (images, masks), split)
        found.problems.extend(matched.foreign)
        if matched.images:
            expected = "as published" if matched.images == published else f"{published} were published"
            beside = f"; {matched.superpixels} superpixel files left out" if matched.superpixels else ""
            found.remarks.append(f"{split}: {matched.images} images ({expected}){beside}")
    if not found.pairs and not found.problems:
        raise UserError(f"{root} holds no folder ISIC-2017_Training_Data, nor another of the challenge's splits")
    return found


def _matched(found: Found, folders: _Folders, split: str) -> Matched:
    """The files of a split, added to ``found``."""
    matched = match(*folders, split)
    found.pairs.extend(matched.pairs)
    found.problems.extend([*matched.alone, *matched.faults, *matched.spare])
    return matched


def _find_listed(source: Path) -> Found:
    table = source / "split.csv"
    rows = read_table(table, "id", "split", "image", "mask")
    for row in rows:
        check_inside(f"{row['split']}/{row['id']}", table)
    pairs = [Pair.of_paths(row["id"], row["split"], source / row["image"], source / row["mask"]) for row in rows]
    if not pairs:
        raise UserError(f"{table} lists no images")
    counts = Counter(pair.split for pair in pairs)
    return Found(pairs, [], [f"{split}: {count} images" for split, count in counts.items()])


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
    groups_file: object = None,
    exclude: Sequence[str] = (),
    limit: int | None = None,
) -> TrainingPairs:
    """The training and test pairs of the trainer's ``data`` group.

    Args:
        name: ``"embedded"`` (without ``root``), ``"isic2017"`` or ``"folder"``.
        seed: draws held-out items and, with ``limit``, those to use.
        images, masks, test_images, test_masks: sub-folders of ``root`` instead of a usual layout.
        test_share: held out in (0, 1) if there is no test folder.
        groups_file: CSV table item,group: items of one group are held out together.
        exclude, limit: training items to leave out; how many to use.
    """
    if name == "embedded":
        pairs = _embedded()
    elif name in ("folder", "isic2017"):
        path = configured_path(root, "data.root")
        check_folder(path, "data.root")
        named = {"images": images, "masks": masks, "test_images": test_images, "test_masks": test_masks}
        given = {key: path / value for key, value in named.items() if value}
        pairs = _from_folders(name, path, given, test_share, seed, groups_file)
    else:
        raise UserError(f"data.name={name}: {nearest_names(name, ('embedded', 'folder', 'isic2017'))}")
    kept = chosen_training_items([pair.item for pair in pairs.train], exclude, limit, seed)
    return pairs._replace(train=[pair for pair in pairs.train if pair.item in kept])


def chosen_training_items(items: Sequence[str], exclude: Sequence[str], limit: int | None, seed: int) -> set[str]:
    """The training items without ``exclude``; with a ``limit``, that many of them, drawn by ``seed``."""
    for item in exclude:
        if item not in items:
            raise UserError(f"data.exclude: no training image {item!r}; {nearest_names(item, items)[:200]}")
    kept = {*items} - {*exclude}
    if not kept:
        raise UserError(f"data.exclude leaves out all {len(items)} training images")
    if limit is None:
        return kept
    if complaint("data.limit", Annotated[int, Interval(least=1, most=len(kept), whole=True)], limit):
        raise UserError(f"data.limit must be from 1 to {len(kept)}, the number of training images; got {limit}")
    return chosen_items(kept, limit / len(kept), seed, "limit")


def held_out_items(items: Sequence[str], test_share: float, seed: int, groups_file: object = None) -> set[str]:
    """The items to test on if there is no test folder; with a table of groups, whole groups."""
    if wrong := complaint("data.test_share", OpenFraction, test_share):
        raise UserError(wrong)
    groups = None
    if groups_file is not None:
        groups = read_configured(lambda path: read_groups(path, items), groups_file, "data.groups_file")
    held_out = chosen_items(items, test_share, seed, "test", groups)
    if not 0 < len(held_out) < len(items):
        grouped = f" in {len(set(groups.values()))} group(s)" if groups else ""
        raise UserError(
            f"data.test_share={test_share} of {len(items)} images{grouped} leaves nothing to train or test on"
        )
    return held_out


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


def _from_folders(
    name: str, root: Path, named: dict[str, Path], test_share: float, seed: int, groups_file: object
) -> TrainingPairs:
    splits = {split: folders for split in SPLITS if (folders := official_folders(root, split))[0].is_dir()}
    official = TRAINING in splits and not named
    if name == "isic2017" and not official:
        folder = official_folders(root, TRAINING)[0].name
        raise UserError(f"{root} holds no folder {folder}; expected the official ISIC-2017 Part 1 layout")
    if not official:
        splits = _named_folders(named) if named else usual_folders(root)
    tested = next((split for split in ("test", "validation") if split in splits), None)
    train = match(*splits[TRAINING], TRAINING)
    pairs = _usable(train)
    if tested is not None:
        test = match(*splits[tested], "test")
        source = f"ISIC-2017: tested on {ISIC2017_SPLITS[tested][0]}"
        remark = source if official else f"{splits[TRAINING][0]}: tested on {splits[tested][0]}"
        return TrainingPairs(pairs, _usable(test), remark + _left_out(train, test))
    if official:
        raise UserError(f"{root}: neither ISIC-2017_Test_v2_Data nor ISIC-2017_Validation_Data to test on")
    held_out = held_out_items([pair.item for pair in pairs], test_share, seed, groups_file)
    share = f"{len(held_out)} images held out (data.test_share={float(test_share)})"
    kept, tested_on = ([pair for pair in pairs if (pair.item in held_out) == test] for test in (False, True))
    return TrainingPairs(kept, tested_on, f"{root}: no test folder, so tested on {share}{_left_out(train)}")


def _named_folders(named: dict[str, Path]) -> dict[str, _Folders]:
    for key, folder in named.items():
        check_folder(folder, f"data.{key}")
    if not {"images", "masks"} <= named.keys() or ("test_images" in named) != ("test_masks" in named):
        raise UserError("data.images and data.masks go together, and so do data.test_images and data.test_masks")
    test = {"test": (named["test_images"], named["test_masks"])} if "test_images" in named else {}
    return {TRAINING: (named["images"], named["masks"]), **test}


def _usable(matched: Matched) -> list[Pair]:
    if matched.alone or matched.faults:
        raise UserError(first_of([*matched.alone, *matched.faults]))
    return matched.pairs


def _left_out(*parts: Matched) -> str:
    """A remark on masks without an image."""
    spare = [line for matched in parts for line in matched.spare]
    return f"; masks left out: {first_of(spare)}" if spare else ""
