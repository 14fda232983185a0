"""Images in a folder for each class: any such folder, and ImageNet (ILSVRC12) as torchvision or Kaggle has it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from seg_anl.records import UserError
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

    Classes are the sub-folders of the training folder in the order of the alphabet. With both, the validation images
    decide which epoch is best; a single one of any name is the split ``test``. Evaluation folders may lack classes.

    Raises:
        UserError: a folder that is missing or empty, or one for evaluation with a class that the training folder lacks.
    """
    check_root(root)
    train = first_folder(root, "train", "training")
    if train is None:
        raise UserError(f"{root}: no folder train in it; expected ROOT/train/CLASS/IMAGE and ROOT/test/CLASS/IMAGE")
    test = first_folder(root, "test", "testing")
    validation = first_folder(root, "val", "validation", "valid")
    tested = test or validation
    if tested is None:
        raise UserError(f"{root}: no folder test or val in it to test on; expected ROOT/test/CLASS/IMAGE")
    classes = _classes(train, "ROOT/train/CLASS/IMAGE")
    folders = {"validation": validation, "test": test} if validation and test else {"test": tested}
    tests = {name: _evaluation(folder, classes) for name, folder in folders.items()}
    return Dataset(labeled_folders(train, classes), tests, tuple(classes), f"{root}: tested on {tested.name}")


@dataset
def imagenet(*, root: Path, classes: ClassCount | None) -> Dataset:
    """``ROOT/train/SYNSET/*.JPEG`` and the validation images as :func:`validation_split` finds them, as the test set.

    Classes are the synsets in the order of the alphabet; ``classes`` takes the first so many (None: all).

    Raises:
        UserError: folders or lists that are missing, or not as many classes as asked for.

    Reference: Russakovsky et al., ImageNet Large Scale Visual Recognition Challenge, IJCV 2015.
    """
    check_root(root)
    train = _home(root) / "train"
    if not train.is_dir():
        raise UserError(f"{root}: no folder train in it; expected ROOT/train/SYNSET/*.JPEG and ROOT/val")
    synsets = _classes(train, "ROOT/train/SYNSET/*.JPEG")
    chosen = synsets[: class_count(classes, len(synsets))]
    test = validation_split(root, chosen, synsets)
    return Dataset(
        labeled_folders(train, chosen), {"test": test}, tuple(chosen), f"ImageNet, {len(chosen)} classes, in {root}"
    )


def class_count(asked: int | None, available: int) -> int:
    """``data.classes``; None is all.

    Raises:
        UserError: more than there are.
    """
    if asked is not None and asked > available:
        raise UserError(f"data.classes must be from 2 to {available}, all classes; got {asked}")
    return available if asked is None else asked


def validation_split(root: Path, synsets: Sequence[str], all_synsets: Sequence[str]) -> Split:
    """The validation images of ``synsets``, whose order gives the labels, in ROOT or ROOT/ILSVRC/Data/CLS-LOC.

    They lie in ``val/SYNSET/``, or all in ``val/`` with a file beside it that names their classes: Kaggle's
    ``LOC_val_solution.csv``, or ``val.txt`` of lines ``IMAGE LABEL``, which numbers all synsets of ILSVRC12 as sorted.

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
    synset_of = _synsets_of_images((root, home, home / "val"), all_synsets)
    label_of = {synset: label for label, synset in enumerate(synsets)}
    chosen = sorted(name for name, synset in synset_of.items() if synset in label_of)
    return listed_files([folder / name for name in chosen], [label_of[synset_of[name]] for name in chosen], folder)


def _classes(folder: Path, layout: str) -> list[str]:
    found = class_folders(folder)
    if not found:
        raise UserError(f"{folder}: no folders of classes in it; expected {layout}")
    return found


def _evaluation(folder: Path, classes: Sequence[str]) -> Split:
    there = _classes(folder, f"{folder}/CLASS/IMAGE")
    foreign = [name for name in there if name not in classes]
    if foreign:
        raise UserError(f"{folder / foreign[0]}: no such class in the training set")
    return labeled_folders(folder, there, [classes.index(name) for name in there])


def _synsets_of_images(places: Sequence[Path], all_synsets: Sequence[str]) -> dict[str, str]:
    for place in places:
        if (place / SOLUTION).is_file():
            return _solution(place / SOLUTION)
        if (place / LABEL_LIST).is_file():
            return _label_list(place / LABEL_LIST, all_synsets)
    raise UserError(
        f"{places[-1]}: no folders of classes in it, nor {SOLUTION} or {LABEL_LIST} in {places[0]} that names them"
    )


def _solution(path: Path) -> dict[str, str]:
    rows = read_table(path, "ImageId", "PredictionString")
    try:
        return {f"{row['ImageId']}.JPEG": row["PredictionString"].split()[0] for row in rows}
    except IndexError as error:
        raise UserError(f"{path}: damaged: an image without a synset") from error


def _label_list(path: Path, all_synsets: Sequence[str]) -> dict[str, str]:
    rows = read_labeled(path)
    highest = max((label for _, label in rows), default=0)
    if highest >= len(all_synsets):
        raise UserError(f"{path}: label {highest}, but {len(all_synsets)} synsets are known")
    return {Path(name).name: all_synsets[label] for name, label in rows}


def _home(root: Path) -> Path:
    return first_folder(root, *KAGGLE_FOLDERS) or root
