"""Folders that other people made, and the files below them. Reading those: :mod:`seg_anl.records.foreign_files`."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

from .errors import UserError

_LEFT_BEHIND = ("Thumbs.db", "desktop.ini")  # by systems, as are hidden files


def check_folder(path: Path, setting: str = "") -> None:
    """Raise a UserError unless ``path``, the value of ``setting``, is a folder."""
    if not os.path.isdir(path):  # a Path's own question fails where the name is too long
        raise UserError(f"{setting}{': ' if setting else ''}{path} is not a folder")


def file_sha256(path: Path) -> str:
    """Hexadecimal digits of a file of any size."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def files_below(folder: Path) -> list[Path]:
    """Every file below ``folder``, sorted, without hidden ones and what systems leave behind; links are followed."""
    found = sorted(walked(folder))
    for path in found:
        if any("\ud800" <= letter <= "\udfff" for letter in str(path)):  # tables and manifests need text
            raise UserError(f"{path.name!a} in {str(path.parent)!a}: the name is not UTF-8; rename it")
    return found


def walked(folder: Path, above: tuple[str, ...] = ()) -> Iterator[Path]:
    """The same in no order, whatever the names; ``above`` are the folders that ``folder`` lies in."""
    resolved = os.path.realpath(folder)
    if resolved in above:
        raise UserError(f"{folder} is a link to a folder above it, a loop without end")
    try:
        entries = list(os.scandir(folder))
    except OSError as error:
        raise UserError(f"cannot list {folder}: {error.strerror}") from error
    for entry in entries:
        if entry.name.startswith(".") or entry.name in _LEFT_BEHIND:
            continue
        if entry.is_dir():
            yield from walked(folder / entry.name, (*above, resolved))
        else:
            yield folder / entry.name
