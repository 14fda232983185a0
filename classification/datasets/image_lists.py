"""Shared helpers for data sets in image files: folders, file lists, and checks for missing files."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from data_prep.pairing import IMAGE_SUFFIXES
from seg_anl.records import UserError
from seg_anl.records.files import check_folder, walked
from seg_anl.records.foreign_files import read_text

from .dataset import Split

_MAX_DIGITS = 18  # so that labels fit into 64 bits


def check_root(root: Path, setting: str = "root") -> None:
    """Refuse a missing or empty folder ``data.SETTING``."""
    check_folder(root, f"data.{setting}")
    if not _list_folder(root):
        raise UserError(f"data.{setting}: {root} is empty")


def first_folder(root: Path, *names: str) -> Path | None:
    """The first existing subfolder of ``names``."""
    return next((root / name for name in names if os.path.isdir(root / name)), None)


def image_files(folder: Path) -> list[Path]:
    """All images in ``folder`` and below, sorted by folder and name, as torchvision lists them.

    Hidden files and folders (such as ``.ipynb_checkpoints``) are skipped; links are followed.

    Raises:
        UserError: as :func:`~seg_anl.records.files.files_below`, except for names that are not valid text.
    """
    paths = (path for path in walked(folder) if path.name.lower().endswith(IMAGE_SUFFIXES))
    return sorted(paths, key=lambda path: (str(path.parent), path.name))


def _list_folder(folder: Path) -> list[str]:
    try:
        return os.listdir(folder)
    except OSError as error:
        raise UserError(f"cannot list {folder}: {error.strerror}") from error


def class_folders(folder: Path) -> list[str]:
    """Sorted names of the subfolders that are not hidden."""
    return sorted(name for name in _list_folder(folder) if not name.startswith(".") and os.path.isdir(folder / name))


def labeled_folders(folder: Path, classes: Sequence[str], labels: Sequence[int] | None = None) -> Split:
    """The images of ``folder/CLASS`` for each of ``classes``, labeled 0, 1, ... or ``labels``.

    Raises:
        UserError: for a class without a folder or images.
    """
    paths: list[Path] = []
    path_labels: list[int] = []
    for label, name in zip(range(len(classes)) if labels is None else labels, classes, strict=True):
        exists = os.path.isdir(folder / name)
        class_paths = image_files(folder / name) if exists else []
        if not class_paths:
            reason = f"no images ({' '.join(IMAGE_SUFFIXES)})" if exists else "no such folder"
            raise UserError(f"{folder / name}: {reason}; incomplete download?")
        paths += class_paths
        path_labels += [label] * len(class_paths)
    return Split.in_files(paths, path_labels)


def read_lines(path: Path) -> list[str]:
    """The nonblank lines of a text file, stripped.

    Raises:
        UserError: if it is missing or not text.
    """
    if not path.exists():
        raise UserError(f"{path}: no such file; incomplete download?")
    lines = read_text(path).removeprefix("\ufeff").splitlines()  # byte order mark from Windows
    return [line.strip() for line in lines if line.strip()]


def read_labeled(path: Path) -> list[tuple[str, int]]:
    """Read a file of ``NAME LABEL`` lines.

    Raises:
        UserError: if it is missing, or a line has another format.
    """
    rows = []
    for number, line in enumerate(read_lines(path), start=1):
        name, label = [*line.rsplit(maxsplit=1), ""][:2]
        if not label.isdecimal() or len(label) > _MAX_DIGITS:
            raise UserError(f"{path}: line {number} is {line[:60]!r}; expected a file name and a label")
        rows.append((name, int(label)))
    return rows


def listed_files(paths: Sequence[Path], labels: Iterable[int], source: Path) -> Split:
    """A split of the images listed in the file ``source``. Lists each folder once instead of checking every file.

    Raises:
        UserError: naming the first missing image and the number of missing images.
    """
    folders = {path.parent for path in paths}
    names_in = {folder: set(_list_folder(folder)) if os.path.isdir(folder) else set() for folder in folders}
    missing = [path for path in paths if path.name not in names_in[path.parent]]
    if missing:
        raise UserError(
            f"{missing[0]}: missing, with {len(missing)} of the {len(paths)} images in {source}; incomplete download?"
        )
    return Split.in_files(paths, list(labels))
