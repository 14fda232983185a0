"""Write files whole or not at all: into a temporary file beside the target, synced, then renamed over the target.

The writing process holds a lock on the temporary file, so a later start can tell what a killed process left behind
from what another process is still writing.
"""

from __future__ import annotations

import csv
import io
import json
import os
import re
import secrets
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from errno import ENOSPC
from pathlib import Path
from typing import Any

from .errors import UserError, cannot_write

try:
    import fcntl
except ImportError:  # Windows: leftovers stay there
    fcntl = None  # type: ignore[assignment]

PARTIAL_PREFIX = ".partial-"  # of temporary files and folders
_PARTIAL = re.compile(re.escape(PARTIAL_PREFIX) + r"\w{8}(\..+)?")
# torch's errors when a write fails; it does not say why, and a full disk is the usual reason.
_TORCH_CANNOT_WRITE = ("PytorchStreamWriter failed", "unexpected pos", "file write failed")


def make_directory(path: Path) -> Path:
    """Create ``path`` and its parents.

    Raises:
        UserError: if that fails; the message names a file that is in the way.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        # os.path, because Path.exists raises where a name is too long or a folder is not readable
        in_the_way = next((p for p in (path, *path.parents) if os.path.lexists(p) and not os.path.isdir(p)), None)
        reason = f"{in_the_way} is a file" if in_the_way else getattr(error, "strerror", None) or error
        raise UserError(f"cannot create the folder {path}: {reason}") from error
    return path


@contextmanager
def written_aside(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside ``path``; on success sync it and rename it to ``path``, on any error remove it.

    The temporary name keeps the suffixes of ``path``, because writers choose their format by them. A killed process
    leaves only a file whose name starts with :data:`PARTIAL_PREFIX`.

    Raises:
        UserError: if the file cannot be created or written, for example because the disk is full.
    """
    if os.path.isdir(path):
        raise UserError(f"cannot write {path}: a folder has this name")
    aside = path.parent / f"{_partial_name()}{''.join(path.suffixes)}"
    try:
        descriptor = os.open(aside, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666)
    except ValueError as error:  # a NUL in the name
        raise UserError(f"cannot write {path}: {error}") from error
    except OSError as error:
        raise cannot_write(path, error) from error
    try:
        _lock(descriptor)
        yield aside
        with open(aside, "rb+") as written:
            os.fsync(written.fileno())
        os.replace(aside, path)
    except BaseException as error:
        with suppress(OSError):
            aside.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.filename in (None, str(aside)):
            raise cannot_write(path, error) from error
        if isinstance(error, RuntimeError) and any(words in str(error) for words in _TORCH_CANNOT_WRITE):
            raise cannot_write(path, OSError(ENOSPC, os.strerror(ENOSPC))) from error
        raise
    finally:
        os.close(descriptor)


@contextmanager
def folder_aside(path: Path) -> Iterator[Path]:
    """Yield an empty folder beside ``path``; on success rename it to ``path``, on any error remove it."""
    with scratch_folder(path.parent) as aside:
        yield aside
        if path.is_dir():
            path.rmdir()  # raises unless it is empty
        os.replace(aside, path)


@contextmanager
def scratch_folder(parent: Path) -> Iterator[Path]:
    """Yield an empty folder in ``parent`` that no other process takes for a leftover; remove it in the end."""
    folder = make_directory(parent) / _partial_name()
    folder.mkdir()
    descriptor = os.open(folder, os.O_RDONLY) if fcntl else None
    try:
        _lock(descriptor)
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        if descriptor is not None:
            os.close(descriptor)


def remove_partial(folder: Path, *, below: bool = True) -> None:
    """Delete, and name, what killed processes left half-written in ``folder`` and, with ``below``, in its subfolders.

    Files that another process is writing stay.
    """
    found = folder.rglob(f"{PARTIAL_PREFIX}*") if below else folder.glob(f"{PARTIAL_PREFIX}*")
    for path in sorted(path for path in found if _PARTIAL.fullmatch(path.name) and not path.is_symlink()):
        if _is_left_over(path):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
            print(f"{path}: left half-written by a process that was killed; deleted")


def _partial_name() -> str:
    return f"{PARTIAL_PREFIX}{secrets.token_hex(4)}"


def _lock(descriptor: int | None) -> None:
    if fcntl and descriptor is not None:
        with suppress(OSError):  # a file system without locks
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _is_left_over(path: Path) -> bool:
    """Whether no process holds a lock on the file or folder."""
    if not fcntl or not (path.is_file() or path.is_dir()):
        return False
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except OSError:  # just renamed, or owned by someone else
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    finally:
        os.close(descriptor)
    return True


def write_bytes(path: Path, data: bytes) -> None:
    """Write ``data`` to ``path``, whole or not at all."""
    with written_aside(path) as aside:
        aside.write_bytes(data)


def write_text(path: Path, text: str) -> None:
    """Write ``text`` to ``path`` in UTF-8, whole or not at all.

    Raises:
        UserError: also for a file name in ``text`` that is not UTF-8.
    """
    try:
        data = text.encode("utf-8")
    except UnicodeEncodeError as error:
        part = text[max(0, error.start - 40) : error.end + 20]
        raise UserError(f"cannot write {path}: a name that is not UTF-8 in {part!r}; rename that file") from error
    write_bytes(path, data)


def write_json(path: Path, value: Any) -> None:
    """Write ``value`` as indented JSON with a final newline."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def write_csv(path: Path, columns: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> None:
    """Write ``rows`` under a header line: floats in full precision, missing values as empty cells."""
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, columns, lineterminator="\n", restval="")
    writer.writeheader()
    writer.writerows(rows)
    write_text(path, text.getvalue())
