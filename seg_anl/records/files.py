"""Files and folders that other people made: whether they may be opened at all, and which lie below a folder."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

from .errors import UserError

_LEFT_BEHIND = ("Thumbs.db", "desktop.ini")  # by systems, as are hidden files


def check_folder(path: Path, setting: str = "") -> None:
    """Raise a UserError unless ``path``, the value of ``setting``, is a folder."""
    if not os.path.isdir(path):  # a Path's own question fails where the name is too long
        raise UserError(f"{setting}{': ' if setting else ''}{path} is not a folder")


def check_file(path: Path, name: str | None = None) -> None:
    """Raise a UserError unless ``path`` is a regular file: to read a FIFO or a device may take for ever.

    Args:
        path: of the file.
        name: by which the error calls it; None: the path.
    """
    name = str(path) if name is None else name
    try:
        mode = os.stat(path).st_mode
    except FileNotFoundError as error:
        raise UserError(f"{name}: no such file") from error
    except (OSError, ValueError) as error:  # a closed folder, a name that is too long or holds a NUL
        raise UserError(f"{name}: cannot be read: {getattr(error, 'strerror', None) or error}") from error
    if not stat.S_ISREG(mode):
        raise UserError(f"{name}: cannot be read: not a regular file")


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
