"""Paths that a configuration names."""

from __future__ import annotations

from pathlib import Path

from seg_anl.records import UserError


def configured_path(value: object, setting: str) -> Path:
    """The ``value`` of a ``setting`` (``"data.root"``) as a path; ``~`` is the person's own folder."""
    # 2017 is a number in YAML, but a good name for a folder.
    if isinstance(value, bool) or not isinstance(value, (str, int, float)) or value == "":
        raise UserError(f"{setting} must be a path, got {value!r}")
    try:
        return Path(str(value)).expanduser()
    except RuntimeError as error:
        raise UserError(f"{setting}={value}: {error}") from error
