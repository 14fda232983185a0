"""ImageNet (ILSVRC12): as torchvision unpacks it, or as Kaggle packs it."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

from omegaconf import DictConfig

from seg_anl.records import UserError, is_whole_number

from .files import (
    class_folders,
    file_split,
    first_folder,
    image_files,
    labeled_folders,
    read_labeled,
    refuse_missing,
    root_folder,
)
from .split import Found, Split

KAGGLE_FOLDERS = ("Data/CLS-LOC", "ILSVRC/Data/CLS-LOC")
SOLUTION, LABEL_LIST = "LOC_val_solution.csv", "val.txt"


def imagenet(data: DictConfig) -> Found:
    """``ROOT/train/SYNSET/*.JPEG`` and the validation images as :func:`validation_split` finds them, as the test set.

    Classes are the synsets in the order of the alphabet; ``data.classes`` takes the first so many (null: all).

    Raises:
        UserError: folders or lists that are missing, or not as many classes as asked for.

    Reference: Russakovsky et al., ImageNet Large Scale Visual Recognition Challenge, IJCV 2015.
    """
    root = root_folder(data)
    home = _home(root)
    train = home / "train"
    if not train.is_dir():
        raise UserError(f"{root}: no folder train in it; expected ROOT/train/SYNSET/*.JPEG and ROOT/val")
    synsets = class_folders(train)
    if not synsets:
        raise UserError(f"{train}: no folders of classes in it; expected ROOT/train/SYNSET/*.JPEG")
    chosen = synsets[: class_count(data.classes, len(synsets))]
    test = validation_split(root, chosen, synsets)
    return Found(
        labeled_folders(train, chosen),
        {"test": test},
        tuple(chosen),
        labels_are_clean=True,
        remark=f"ImageNet, {len(chosen)} classes, in {root}",
    )


def class_count(asked: object, available: int) -> int:
    """``data.classes``, checked; None is all.

    Raises:
        UserError: no whole number, or more than there are.
    """
    if asked is None:
        return available
    if not is_whole_number(asked) or not 2 <= asked <= available:
        raise UserError(f"data.classes must be a whole number from 2 to {available}, all classes; got {asked}")
    return asked


def validation_split(root: Path, synsets: Sequence[str], all_synsets: Sequence[str]) -> Split:
    """The validation images of ``synsets``, whose order gives the labels.

    They lie in ``val/SYNSET/``, or all in ``val/`` with a file beside it that tells their classes: Kaggle's
    ``LOC_val_solution.csv``, or ``val.txt`` of lines ``IMAGE LABEL`` with labels in the order of all synsets.

    Args:
        root: folder that holds ``val``, or ``ILSVRC/Data/CLS-LOC/val``.
        synsets: the classes wanted.
        all_synsets: every class of ILSVRC12, sorted; ``val.txt`` numbers these.

    Raises:
        UserError: where none of this is there.
    """
    home = _home(root)
    folder = first_folder(home, "val", "validation")
    if folder is None:
        raise UserError(f"{root}: no folder val in it; expected ROOT/val/SYNSET/*.JPEG")
    if class_folders(folder):
        return labeled_folders(folder, synsets)
    if not image_files(folder):
        raise UserError(f"{folder}: no images in it; half downloaded or unpacked?")
    synset_of = _synsets_of_images(root, home, all_synsets)
    wanted = {synset: label for label, synset in enumerate(synsets)}
    chosen = sorted(name for name, synset in synset_of.items() if synset in wanted)
    paths = [folder / name for name in chosen]
    refuse_missing(paths, folder)
    return file_split(paths, [wanted[synset_of[name]] for name in chosen])


def _synsets_of_images(root: Path, home: Path, all_synsets: Sequence[str]) -> dict[str, str]:
    for place in (root, home, home / "val"):
        if (place / SOLUTION).is_file():
            return _solution(place / SOLUTION)
        if (place / LABEL_LIST).is_file():
            return _label_list(place / LABEL_LIST, all_synsets)
    raise UserError(
        f"{home / 'val'}: no folders of classes in it, nor {SOLUTION} or {LABEL_LIST} in {root} to tell the classes"
    )


def _solution(path: Path) -> dict[str, str]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = list(csv.DictReader(file))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{path}: cannot be read: {error}") from error
    try:
        return {f"{row['ImageId']}.JPEG": row["PredictionString"].split()[0] for row in rows}
    except (KeyError, IndexError, AttributeError) as error:
        raise UserError(f"{path}: expected the columns ImageId and PredictionString of Kaggle's file") from error


def _label_list(path: Path, all_synsets: Sequence[str]) -> dict[str, str]:
    rows = read_labeled(path)
    highest = max((label for _, label in rows), default=0)
    if highest >= len(all_synsets):
        raise UserError(f"{path}: label {highest}, but {len(all_synsets)} synsets are known")
    return {Path(name).name: all_synsets[label] for name, label in rows}


def _home(root: Path) -> Path:
    return first_folder(root, *KAGGLE_FOLDERS) or root
