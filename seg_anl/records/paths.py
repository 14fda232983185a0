"""Files and folders that a configuration names."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from .errors import UserError

T = TypeVar("T")


def configured_path(value: object, setting: str) -> Path:
    """The ``value`` of a ``setting`` (``"data.root"``) as a path, with ``~`` expanded."""
    # In YAML, a folder called 2017 is a number.
    if isinstance(value, bool) or not isinstance(value, (str, Path, int, float)) or value == "":
        raise UserError(f"{setting} must be a path, got {value!r}")
    try:
        return Path(str(value)).expanduser()
    except RuntimeError as error:
        raise UserError(f"{setting}={value}: {error}") from error


def read_configured(read: Callable[[Path], T], value: object, setting: str) -> T:
    """What ``read`` returns for the file that a ``setting`` names; its errors name the setting, too."""
    path = configured_path(value, setting)
    try:
        return read(path)
    except UserError as error:
        raise UserError(f"{setting}: {error}") from error
