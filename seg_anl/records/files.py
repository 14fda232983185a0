"""Folders that other people made, and the files below them. Reading those: :mod:`seg_anl.records.foreign_files`."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from .errors import UserError

_LEFT_BEHIND = ("Thumbs.db", "desktop.ini")  # by systems, as are hidden files


def check_folder(path: Path, setting: str = "") -> None:
    """Raise a UserError unless ``path``, the value of ``setting``, is a folder."""
    if not os.path.isdir(path):  # a Path's own question fails where the name is too long
        raise UserError(f"{setting}{': ' if setting else ''}{path} is not a folder")


def files_below(folder: Path) -> list[Path]:
    """Every file below ``folder``, sorted, without hidden ones and what systems leave behind; links are followed.

    Raises:
        UserError: a folder that cannot be listed or is linked into itself, or a name that is not UTF-8.
    """
    return sorted(_walk(folder, ()))


def _walk(folder: Path, above: tuple[str, ...]) -> Iterator[Path]:
    resolved = os.path.realpath(folder)
    if resolved in above:
        raise UserError(f"{folder} is a link to a folder above it, a loop without end")
    try:
        names = os.listdir(folder)
    except OSError as error:
        raise UserError(f"cannot list {folder}: {error.strerror}") from error
    for name in names:
        if name.startswith(".") or name in _LEFT_BEHIND:
            continue
        path = folder / name
        if os.path.isdir(path):
            yield from _walk(path, (*above, resolved))
            continue
        if any("\ud800" <= letter <= "\udfff" for letter in str(path)):  # tables and manifests need text
            raise UserError(f"{name!a} in {str(folder)!a}: the name is not UTF-8; rename it")
        yield path
