"""What data sets in image files share: folders, lists of files, and what is missing from them."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from data_prep.pairing import IMAGE_SUFFIXES
from seg_anl.records import UserError
from seg_anl.records.files import check_folder, walked
from seg_anl.records.foreign_files import read_text

from .dataset import Split

_DIGITS = 18  # of a label at most; beyond, it is no number of 64 bits


def check_root(root: Path, setting: str = "root") -> None:
    """Refuse a folder ``data.SETTING`` that is not there or has nothing in it."""
    check_folder(root, f"data.{setting}")
    if not _listed(root):
        raise UserError(f"data.{setting}: {root} is empty")


def first_folder(root: Path, *names: str) -> Path | None:
    """The first of the sub-folders ``names`` that is there."""
    return next((root / name for name in names if os.path.isdir(root / name)), None)


def image_files(folder: Path) -> list[Path]:
    """All images in ``folder`` and below, folder by folder in the order of the alphabet, as torchvision lists them.

    Hidden files and folders (``.ipynb_checkpoints`` holds copies of images) are left out; links are followed.

    Raises:
        UserError: as :func:`~seg_anl.records.files.files_below`, but for names that are no text.
    """
    found = (path for path in walked(folder) if path.name.lower().endswith(IMAGE_SUFFIXES))
    return sorted(found, key=lambda path: (str(path.parent), path.name))


def _listed(folder: Path) -> list[str]:
    try:
        return os.listdir(folder)
    except OSError as error:
        raise UserError(f"cannot list {folder}: {error.strerror}") from error


def class_folders(folder: Path) -> list[str]:
    """Names of the sub-folders, sorted; hidden ones are left out."""
    return sorted(name for name in _listed(folder) if not name.startswith(".") and os.path.isdir(folder / name))


def labeled_folders(folder: Path, classes: Sequence[str], labels: Sequence[int] | None = None) -> Split:
    """The images of ``folder/CLASS`` for each of ``classes``, labeled 0, 1, ... or ``labels``; others are left alone.

    Raises:
        UserError: a class without a folder or an image.
    """
    paths: list[Path] = []
    of_paths: list[int] = []
    for label, name in zip(range(len(classes)) if labels is None else labels, classes, strict=True):
        there = os.path.isdir(folder / name)
        found = image_files(folder / name) if there else []
        if not found:
            reason = f"no images in it ({' '.join(IMAGE_SUFFIXES)})" if there else "no such folder"
            raise UserError(f"{folder / name}: {reason}; half downloaded or unpacked?")
        paths += found
        of_paths += [label] * len(found)
    return Split.in_files(paths, of_paths)


def read_lines(path: Path) -> list[str]:
    """The lines of a text file that are not blank, stripped.

    Raises:
        UserError: where it is missing or no text.
    """
    if not path.exists():
        raise UserError(f"{path}: no such file; half downloaded or unpacked?")
    lines = read_text(path).removeprefix("\ufeff").splitlines()  # the mark that Windows puts first
    return [line.strip() for line in lines if line.strip()]


def read_labeled(path: Path) -> list[tuple[str, int]]:
    """A file of ``NAME LABEL`` lines.

    Raises:
        UserError: where it is missing, or a line is something else.
    """
    rows = []
    for number, line in enumerate(read_lines(path), start=1):
        name, label = [*line.rsplit(maxsplit=1), ""][:2]
        if not label.isdecimal() or len(label) > _DIGITS:
            raise UserError(f"{path}: line {number} is {line[:60]!r}; expected a file name and a label")
        rows.append((name, int(label)))
    return rows


def listed_files(paths: Sequence[Path], labels: Iterable[int], source: Path) -> Split:
    """A split of the images that the list ``source`` names. Folders are read once each, not asked for every file.

    Raises:
        UserError: naming the first that is missing, with their number.
    """
    there = {folder: set(_listed(folder)) if os.path.isdir(folder) else set() for folder in {p.parent for p in paths}}
    missing = [path for path in paths if path.name not in there[path.parent]]
    if missing:
        raise UserError(
            f"{missing[0]}: not there; {len(missing)} of the {len(paths)} images in {source} are missing: half "
            "downloaded or unpacked?"
        )
    return Split.in_files(paths, list(labels))
