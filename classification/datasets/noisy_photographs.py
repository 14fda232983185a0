"""Photographs with noisy published training labels: WebVision, Animal-10N and Clothing1M."""

from __future__ import annotations

import os
import re
from pathlib import Path

from seg_anl.records import UserError
from seg_anl.records.ranges import Count

from .class_folders import class_count, validation_split
from .dataset import ClassCount, Dataset, Split, dataset
from .image_lists import (
    check_root,
    class_folders,
    first_folder,
    image_files,
    listed_files,
    read_labeled,
    read_lines,
)

ANIMALS = ("cat", "lynx", "wolf", "coyote", "cheetah", "jaguar", "chimpanzee", "orangutan", "hamster", "guinea pig")
WEBVISION_CLASSES = 1000
TRAIN_LIST, TEST_LIST, SYNSETS = "info/train_filelist_google.txt", "info/val_filelist.txt", "info/synsets.txt"


@dataset
def webvision(
    *, root: Path, imagenet_root: Path | None, classes: ClassCount | None, expected_count: Count | None
) -> Dataset:
    """WebVision 1.0, by default "mini": the Google images of its first fifty classes.

    Training images are listed in ``info/train_filelist_google.txt``. There are two clean test sets of the same classes:
    ``test`` is WebVision's own validation set (``info/val_filelist.txt``), and ``ilsvrc12`` is ImageNet's, if
    ``imagenet_root`` is given. Only the first ``classes`` are used. Published versions of the file list differ in
    length, so the number of training images is compared with ``expected_count``.

    Raises:
        UserError: for a missing list or image, or an unexpected number of training images.

    Reference: Li et al., WebVision Database: Visual Learning and Understanding from Web Data, 2017; mini: Jiang et al.,
    MentorNet: Learning Data-Driven Curriculum for Very Deep Neural Networks on Corrupted Labels, ICML 2018.
    """
    check_root(root)
    number = class_count(classes, WEBVISION_CLASSES)
    train = _webvision_split(root, TRAIN_LIST, ("", "google", "google_resized_256"), number)
    if expected_count is not None and len(train) != expected_count:
        raise UserError(
            f"{root / TRAIN_LIST}: {len(train)} images of the first {number} classes, but "
            f"data.expected_count={expected_count}; set it to {len(train)}, or to null, if that is right"
        )
    tests = {"test": _webvision_split(root, TEST_LIST, ("val_images_256", "val_images", ""), number)}
    # WordNet ids of all classes in label order; training does not need the file.
    synsets = [line.split()[0] for line in read_lines(root / SYNSETS)] if (root / SYNSETS).is_file() else []
    names = tuple(synsets[:number] or map(str, range(number)))
    if imagenet_root is not None:
        check_root(imagenet_root, "imagenet_root")
        # WebVision's class order is that of ImageNet's sorted synsets.
        if not synsets and (imagenet_root / "val").is_dir():
            synsets = class_folders(imagenet_root / "val")
        if len(synsets) < number:
            raise UserError(
                f"{root}: no {SYNSETS} with {number} classes, which is needed to find the images in {imagenet_root}; "
                "it is part of WebVision's info archive"
            )
        tests["ilsvrc12"] = validation_split(imagenet_root, synsets[:number], synsets)
    return Dataset(train, tests, names, f"WebVision, {number} classes, in {root}", labels_are_clean=False)


@dataset
def animal10n(*, root: Path) -> Dataset:
    """Animal-10N: ten animals in five similar pairs, labeled by people, with about 8 % wrong labels.

    ``ROOT/training/LABEL_NUMBER.jpg`` and ``ROOT/testing/LABEL_NUMBER.jpg``, or the same below ``ROOT/raw_image``.

    Raises:
        UserError: for a missing or empty folder, or a file with another name.

    Reference: Song et al., SELFIE: Refurbishing Unclean Samples for Robust Deep Learning, ICML 2019.
    """
    check_root(root)
    home = root if (root / "training").is_dir() else root / "raw_image"
    train, test = _animals(root, home, "training"), _animals(root, home, "testing")
    return Dataset(train, {"test": test}, ANIMALS, f"Animal-10N in {home}", labels_are_clean=False)


@dataset
def clothing1m(*, root: Path) -> Dataset:
    """Clothing1M: a million images from online shops, labeled from the surrounding text, nearly 40 % wrongly.

    Lists of keys (such as ``images/3/25/NAME.jpg``) and of labels by key are in ``ROOT`` or ``ROOT/annotations``. Of
    the images with clean labels, the 14313 for validation determine the best epoch and the 10526 for testing are used;
    the 47570 for training are not.

    Raises:
        UserError: for a missing list or image, or a key without a label.

    Reference: Xiao et al., Learning from Massive Noisy Labeled Data for Image Classification, CVPR 2015; the split as
    in Patrini et al., Making Deep Neural Networks Robust to Label Noise, CVPR 2017.
    """
    check_root(root)
    lists = root if (root / "noisy_train_key_list.txt").is_file() else root / "annotations"
    noisy, clean = (dict(read_labeled(lists / f"{kind}_label_kv.txt")) for kind in ("noisy", "clean"))
    names = read_lines(lists / "category_names_eng.txt")

    def split(key_list: Path, labels: dict[str, int]) -> Split:
        keys = read_lines(key_list)
        without = [key for key in keys if key not in labels]
        if without:
            raise UserError(f"{key_list}: no label for {without[0]} ({len(without)} of {len(keys)} keys)")
        return listed_files([root / key for key in keys], [labels[key] for key in keys], key_list)

    return Dataset(
        split(lists / "noisy_train_key_list.txt", noisy),
        {
            "validation": split(lists / "clean_val_key_list.txt", clean),
            "test": split(lists / "clean_test_key_list.txt", clean),
        },
        tuple(names),
        f"Clothing1M in {root}",
        labels_are_clean=False,
    )


def _webvision_split(root: Path, file_list: str, folders: tuple[str, ...], number: int) -> Split:
    rows = [(name, label) for name, label in read_labeled(root / file_list) if label < number]
    if not rows:
        raise UserError(f"{root / file_list}: no images of the first {number} classes")
    # The folder depends on how the archives were unpacked; look for the first image.
    folder = next((root / name for name in folders if os.path.isfile(root / name / rows[0][0])), root / folders[0])
    return listed_files([folder / name for name, _ in rows], [label for _, label in rows], root / file_list)


def _animals(root: Path, home: Path, name: str) -> Split:
    folder = first_folder(home, name)
    if folder is None:
        raise UserError(f"{root}: no folder {name}; expected the folders training and testing of Animal-10N")
    paths = image_files(folder)
    if not paths:
        raise UserError(f"{folder}: no images; incomplete download?")
    matches = [re.fullmatch(r"(\d{1,9})_.+", path.stem) for path in paths]
    if None in matches:
        raise UserError(
            f"{paths[matches.index(None)]}: expected a name LABEL_NUMBER.jpg, with a label from 0 to {len(ANIMALS) - 1}"
        )
    return Split.in_files(paths, [int(match[1]) for match in matches if match])
