"""Find files in a user's folders. :mod:`seg_anl.records.foreign_files` reads them."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

from .errors import UserError

_SYSTEM_FILES = ("Thumbs.db", "desktop.ini")


def check_folder(path: Path, setting: str = "") -> None:
    """Raise a UserError unless ``path``, the value of ``setting``, is a folder."""
    if not os.path.isdir(path):  # Path.is_dir raises if the name is too long
        raise UserError(f"{setting}{': ' if setting else ''}{path} is not a folder")


def file_sha256(path: Path) -> str:
    """The SHA-256 of a file of any size, in hexadecimal digits."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def files_below(folder: Path) -> list[Path]:
    """Every file below ``folder``, sorted, except hidden and system files; follows links."""
    found = sorted(walked(folder))
    for path in found:
        if any("\ud800" <= letter <= "\udfff" for letter in str(path)):  # cannot be written into tables
            raise UserError(f"{path.name!a} in {str(path.parent)!a}: the name is not UTF-8; rename it")
    return found


def walked(folder: Path, above: tuple[str, ...] = ()) -> Iterator[Path]:
    """The same files in any order, with names of any kind; ``above`` are the folders that contain ``folder``."""
    resolved = os.path.realpath(folder)
    if resolved in above:
        raise UserError(f"{folder} is a link to a folder above it, which is an endless loop")
    try:
        entries = list(os.scandir(folder))
    except OSError as error:
        raise UserError(f"cannot list {folder}: {error.strerror}") from error
    for entry in entries:
        if entry.name.startswith(".") or entry.name in _SYSTEM_FILES:
            continue
        if entry.is_dir():
            yield from walked(folder / entry.name, (*above, resolved))
        else:
            yield folder / entry.name
