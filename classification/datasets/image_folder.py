"""Any data set as a folder of images for each class."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from omegaconf import DictConfig

from seg_anl.records import UserError

from .files import class_folders, first_folder, labeled_folders, root_folder
from .split import Found, Split


def image_folder(data: DictConfig) -> Found:
    """``ROOT/train/CLASS/...`` with ``ROOT/test/CLASS/...``, ``ROOT/val/CLASS/...`` or both.

    Classes are the sub-folders of the training folder in the order of the alphabet. With both, the validation images
    decide which epoch is best; a single one of any name is the split ``test``. Evaluation folders may lack classes.

    Raises:
        UserError: a folder that is missing or empty, or one for evaluation with a class that the training folder lacks.
    """
    root = root_folder(data)
    train = first_folder(root, "train", "training")
    if train is None:
        raise UserError(f"{root}: no folder train in it; expected ROOT/train/CLASS/IMAGE and ROOT/test/CLASS/IMAGE")
    test = first_folder(root, "test", "testing")
    validation = first_folder(root, "val", "validation", "valid")
    if test is None and validation is None:
        raise UserError(f"{root}: no folder test or val in it to test on; expected ROOT/test/CLASS/IMAGE")
    classes = tuple(class_folders(train))
    if not classes:
        raise UserError(f"{train}: no folders of classes in it; expected ROOT/train/CLASS/IMAGE")
    folders = {"validation": validation, "test": test} if validation and test else {"test": test or validation}
    return Found(
        labeled_folders(train, classes),
        {name: _evaluation(folder, classes) for name, folder in folders.items() if folder is not None},
        classes,
        labels_are_clean=True,
        remark=f"{root}: tested on {(test or validation).name}",  # type: ignore[union-attr]
    )


def _evaluation(folder: Path, classes: Sequence[str]) -> Split:
    there = class_folders(folder)
    foreign = [name for name in there if name not in set(classes)]
    if foreign:
        raise UserError(f"{folder / foreign[0]}: no such class in the training set")
    if not there:
        raise UserError(f"{folder}: no folders of classes in it; expected {folder}/CLASS/IMAGE")
    found = labeled_folders(folder, there)
    return found.with_labels(np.searchsorted(classes, there)[found.labels])
