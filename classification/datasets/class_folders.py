"""Images in class folders: any such folder, and ImageNet (ILSVRC12) in torchvision's or Kaggle's layout."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from seg_anl.records import UserError
from seg_anl.records.files import walked
from seg_anl.records.foreign_files import read_table

from .dataset import ClassCount, Dataset, Split, dataset
from .image_lists import (
    check_root,
    class_folders,
    first_folder,
    image_files,
    labeled_folders,
    listed_files,
    read_labeled,
)

KAGGLE_FOLDERS = ("Data/CLS-LOC", "ILSVRC/Data/CLS-LOC")
SOLUTION, LABEL_LIST = "LOC_val_solution.csv", "val.txt"


@dataset
def imagefolder(*, root: Path) -> Dataset:
    """``ROOT/train/CLASS/...`` with ``ROOT/test/CLASS/...``, ``ROOT/val/CLASS/...`` or both.

    Classes are the subfolders of the training folder in alphabetical order. With both evaluation folders, the
    validation images determine the best epoch; a single one, whatever its name, is the split ``test``. Evaluation
    folders may lack classes. Files that are no images, or in no class folder, are counted.

    Raises:
        UserError: for a missing or empty folder, or an evaluation class that the training folder lacks.
    """
    check_root(root)
    train = first_folder(root, "train", "training")
    if train is None:
        raise UserError(f"{root}: no folder train; expected ROOT/train/CLASS/IMAGE and ROOT/test/CLASS/IMAGE")
    test = first_folder(root, "test", "testing")
    validation = first_folder(root, "val", "validation", "valid")
    tested = test or validation
    if tested is None:
        raise UserError(f"{root}: no folder test or val; expected ROOT/test/CLASS/IMAGE")
    classes = _list_classes(train, "ROOT/train/CLASS/IMAGE")
    folders = {"validation": validation, "test": test} if validation and test else {"test": tested}
    splits = {name: _evaluation_split(folder, classes) for name, folder in folders.items()}
    loaded = labeled_folders(train, classes)
    files = sum(1 for folder in (train, *folders.values()) for _ in walked(folder))
    other = files - sum(map(len, (loaded, *splits.values())))
    remark = f"{root}: tested on {tested.name}" + (f"; {other} other files left out" if other else "")
    return Dataset(loaded, splits, tuple(classes), remark)


@dataset
def imagenet(*, root: Path, classes: ClassCount | None) -> Dataset:
    """``ROOT/train/SYNSET/*.JPEG``, tested on the validation images found by :func:`validation_split`.

    Classes are the synsets in alphabetical order; ``classes`` limits their number (None: all).

    Raises:
        UserError: for missing folders or lists, or fewer classes than requested.

    Reference: Russakovsky et al., ImageNet Large Scale Visual Recognition Challenge, IJCV 2015.
    """
    check_root(root)
    train = _home(root) / "train"
    if not train.is_dir():
        raise UserError(f"{root}: no folder train; expected ROOT/train/SYNSET/*.JPEG and ROOT/val")
    synsets = _list_classes(train, "ROOT/train/SYNSET/*.JPEG")
    chosen = synsets[: class_count(classes, len(synsets))]
    test = validation_split(root, chosen, synsets)
    return Dataset(
        labeled_folders(train, chosen), {"test": test}, tuple(chosen), f"ImageNet, {len(chosen)} classes, in {root}"
    )


def class_count(requested: int | None, available: int) -> int:
    """The number of classes for ``data.classes``; None means all.

    Raises:
        UserError: if more classes are requested than available.
    """
    if requested is not None and requested > available:
        raise UserError(f"data.classes must be from 2 to {available} (all classes), got {requested}")
    return available if requested is None else requested


def validation_split(root: Path, synsets: Sequence[str], all_synsets: Sequence[str]) -> Split:
    """The validation images of ``synsets`` (in label order), in ROOT or ROOT/ILSVRC/Data/CLS-LOC.

    They are either in ``val/SYNSET/``, or all in ``val/`` with a list of their classes next to it: Kaggle's
    ``LOC_val_solution.csv``, or ``val.txt`` with lines ``IMAGE LABEL``, where labels index all sorted synsets.

    Raises:
        UserError: if no such layout is found.
    """
    home = _home(root)
    folder = first_folder(home, "val", "validation")
    if folder is None:
        raise UserError(f"{root}: no folder val; expected ROOT/val/SYNSET/*.JPEG")
    if class_folders(folder):
        return labeled_folders(folder, synsets)
    if not image_files(folder):
        raise UserError(f"{folder}: no images; incomplete download?")
    synset_of = _read_synsets_of_images((root, home, home / "val"), all_synsets)
    label_of = {synset: label for label, synset in enumerate(synsets)}
    chosen = sorted(name for name, synset in synset_of.items() if synset in label_of)
    return listed_files([folder / name for name in chosen], [label_of[synset_of[name]] for name in chosen], folder)


def _list_classes(folder: Path, layout: str) -> list[str]:
    classes = class_folders(folder)
    if not classes:
        raise UserError(f"{folder}: no class folders; expected {layout}")
    return classes


def _evaluation_split(folder: Path, classes: Sequence[str]) -> Split:
    own = _list_classes(folder, f"{folder}/CLASS/IMAGE")
    unknown = [name for name in own if name not in classes]
    if unknown:
        raise UserError(f"{folder / unknown[0]}: no such class in the training set")
    return labeled_folders(folder, own, [classes.index(name) for name in own])


def _read_synsets_of_images(folders: Sequence[Path], all_synsets: Sequence[str]) -> dict[str, str]:
    for folder in folders:
        if (folder / SOLUTION).is_file():
            return _read_solution(folder / SOLUTION)
        if (folder / LABEL_LIST).is_file():
            return _read_label_list(folder / LABEL_LIST, all_synsets)
    raise UserError(f"{folders[-1]}: no class folders, and no {SOLUTION} or {LABEL_LIST} in {folders[0]}")


def _read_solution(path: Path) -> dict[str, str]:
    rows = read_table(path, "ImageId", "PredictionString")
    try:
        return {f"{row['ImageId']}.JPEG": row["PredictionString"].split()[0] for row in rows}
    except IndexError as error:
        raise UserError(f"{path}: damaged: an image without a synset") from error


def _read_label_list(path: Path, all_synsets: Sequence[str]) -> dict[str, str]:
    rows = read_labeled(path)
    highest = max((label for _, label in rows), default=0)
    if highest >= len(all_synsets):
        raise UserError(f"{path}: label {highest}, but there are {len(all_synsets)} synsets")
    return {Path(name).name: all_synsets[label] for name, label in rows}


def _home(root: Path) -> Path:
    return first_folder(root, *KAGGLE_FOLDERS) or root
