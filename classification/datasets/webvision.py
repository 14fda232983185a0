"""WebVision 1.0, by default "mini": the Google images of its first fifty classes."""

from __future__ import annotations

import os
from pathlib import Path

from omegaconf import DictConfig

from seg_anl.records import UserError

from .files import class_folders, file_split, read_labeled, read_lines, refuse_missing, root_folder
from .imagenet import class_count, validation_split
from .split import Found, Split

ALL_CLASSES = 1000
TRAIN_LIST, TEST_LIST, SYNSETS = "info/train_filelist_google.txt", "info/val_filelist.txt", "info/synsets.txt"


def webvision(data: DictConfig) -> Found:
    """Training images by ``info/train_filelist_google.txt``, in its order; two clean test sets of the same classes.

    ``test`` is WebVision's own validation set (``info/val_filelist.txt``), ``ilsvrc12`` that of ImageNet, where
    ``data.imagenet_root`` names it. Only the first ``data.classes`` are taken. The file list has not always had the
    same length, so the number of training images is compared with ``data.expected_count``.

    Raises:
        UserError: a list or an image that is missing, or another number of training images than expected.

    Reference: Li et al., WebVision Database: Visual Learning and Understanding from Web Data, 2017; mini: Jiang et al.,
    MentorNet: Learning Data-Driven Curriculum for Very Deep Neural Networks on Corrupted Labels, ICML 2018.
    """
    root = root_folder(data)
    number = class_count(data.classes, ALL_CLASSES)
    train = _split(root, TRAIN_LIST, ("", "google", "google_resized_256"), number)
    if data.expected_count is not None and len(train) != data.expected_count:
        raise UserError(
            f"{root / TRAIN_LIST}: {len(train)} images of the first {number} classes, but "
            f"data.expected_count={data.expected_count}; set it to {len(train)}, or to null, if that is right"
        )
    tests = {"test": _split(root, TEST_LIST, ("val_images_256", "val_images", ""), number)}
    synsets = _synsets(root)
    if data.imagenet_root is not None:
        tests["ilsvrc12"] = _ilsvrc12(data, synsets, number)
    classes = tuple(synsets[:number]) or tuple(str(label) for label in range(number))
    return Found(train, tests, classes, labels_are_clean=False, remark=f"WebVision, {number} classes, in {root}")


def _split(root: Path, file_list: str, folders: tuple[str, ...], number: int) -> Split:
    rows = [(name, label) for name, label in read_labeled(root / file_list) if label < number]
    if not rows:
        raise UserError(f"{root / file_list}: no images of the first {number} classes")
    # Where the archives were unpacked differs; the first image tells.
    folder = next((root / name for name in folders if os.path.isfile(root / name / rows[0][0])), root / folders[0])
    paths = [folder / name for name, _ in rows]
    refuse_missing(paths, root / file_list)
    return file_split(paths, [label for _, label in rows])


def _synsets(root: Path) -> list[str]:
    """WordNet ids of all classes in label order; the file is not needed for training."""
    if not (root / SYNSETS).is_file():
        return []
    return [line.split()[0] for line in read_lines(root / SYNSETS)]


def _ilsvrc12(data: DictConfig, synsets: list[str], number: int) -> Split:
    """ImageNet's validation images of the same classes: WebVision numbers them as ImageNet's sorted synsets."""
    imagenet_root = root_folder(data, "imagenet_root")
    folder = imagenet_root / "val"
    if not synsets and folder.is_dir():
        synsets = class_folders(folder)
    if len(synsets) < number:
        raise UserError(
            f"{data.root}: no {SYNSETS} with {number} classes, by which the images in {imagenet_root} are found; "
            "it is part of WebVision's info archive"
        )
    return validation_split(imagenet_root, synsets[:number], synsets)
