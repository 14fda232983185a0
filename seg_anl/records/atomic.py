"""Files that are either whole or absent: written aside, flushed to the disk, then renamed over the target.

What is being written is held by a lock that ends with its process. So a later start knows the leftovers of one that was
killed from what another process is writing just now.
"""

from __future__ import annotations

import csv
import io
import json
import os
import re
import shutil
import tempfile
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

PARTIAL_PREFIX = ".partial-"  # of a file or folder that is being written
_PARTIAL = re.compile(re.escape(PARTIAL_PREFIX) + r"\w{8}(\..+)?")  # with tempfile's eight characters
_TORCH_CANNOT_WRITE = (
    "PytorchStreamWriter failed",
    "unexpected pos",
    "file write failed",
)  # all it says of a full disk


def make_directory(path: Path) -> Path:
    """Create ``path`` and its parents.

    Raises:
        UserError: when it cannot be made, for instance because a file stands in the way; the message names it.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        # os.path, as a Path's own questions fail where a name is too long or a folder closed
        in_the_way = next((p for p in (path, *path.parents) if os.path.lexists(p) and not os.path.isdir(p)), None)
        reason = f"{in_the_way} is a file" if in_the_way else getattr(error, "strerror", None) or error
        raise UserError(f"cannot create the folder {path}: {reason}") from error
    return path


@contextmanager
def written_aside(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside ``path``; on success it is synced and renamed to ``path``, on any error removed.

    The temporary name keeps the suffixes of ``path``, because writers choose their format by them. A process killed
    in between leaves only a file whose name starts with :data:`PARTIAL_PREFIX`.

    Raises:
        UserError: when no file can be created there, or not all of it: the disk is full.
    """
    if os.path.isdir(path):
        raise UserError(f"cannot write {path}: a folder of this name stands there")
    try:
        descriptor, name = tempfile.mkstemp(prefix=PARTIAL_PREFIX, suffix="".join(path.suffixes), dir=path.parent)
    except ValueError as error:  # a NUL in the name
        raise UserError(f"cannot write {path}: {error}") from error
    except OSError as error:
        raise cannot_write(path, error) from error
    aside = Path(name)
    try:
        _hold(descriptor)
        yield aside
        with open(aside, "rb+") as written:
            os.fsync(written.fileno())
        os.chmod(aside, 0o666 & ~_umask())
        os.replace(aside, path)
    except BaseException as error:
        with suppress(OSError):
            aside.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.filename in (None, name):
            raise cannot_write(path, error) from error
        if isinstance(error, RuntimeError) and any(words in str(error) for words in _TORCH_CANNOT_WRITE):
            raise cannot_write(path, OSError(ENOSPC, os.strerror(ENOSPC))) from error
        raise
    finally:
        os.close(descriptor)


@contextmanager
def folder_aside(path: Path) -> Iterator[Path]:
    """Yield an empty folder beside ``path``; on success it is renamed to ``path``, on any error removed."""
    make_directory(path.parent)
    aside = Path(tempfile.mkdtemp(prefix=PARTIAL_PREFIX, dir=path.parent))
    descriptor = os.open(aside, os.O_RDONLY) if fcntl else None
    try:
        _hold(descriptor)
        os.chmod(aside, 0o777 & ~_umask())
        yield aside
        if path.is_dir():
            path.rmdir()  # an empty one
        os.replace(aside, path)
    except BaseException:
        shutil.rmtree(aside, ignore_errors=True)
        raise
    finally:
        if descriptor is not None:
            os.close(descriptor)


def remove_partial(folder: Path, *, below: bool = True) -> None:
    """Delete what killed processes left half-written in ``folder`` and, with ``below``, in its folders, and name it.

    Other processes may write there.
    """
    found = folder.rglob(f"{PARTIAL_PREFIX}*") if below else folder.glob(f"{PARTIAL_PREFIX}*")
    for path in sorted(path for path in found if _PARTIAL.fullmatch(path.name) and not path.is_symlink()):
        if _is_left_over(path):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
            print(f"{path}: left half-written by a process that was killed; deleted")


def _hold(descriptor: int | None) -> None:
    if fcntl and descriptor is not None:
        with suppress(OSError):  # a file system without locks
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _is_left_over(path: Path) -> bool:
    """Whether nobody holds the file or folder any more."""
    if not fcntl or not (path.is_file() or path.is_dir()):
        return False
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except OSError:  # just renamed, or another person's
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
    """Write UTF-8 ``text`` to ``path``, whole or not at all; the name of a file in it that is no UTF-8 is refused."""
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
    """Write ``rows`` under a header line; floats in full precision, a missing value as an empty cell."""
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, columns, lineterminator="\n", restval="")
    writer.writeheader()
    writer.writerows(rows)
    write_text(path, text.getvalue())


def _umask() -> int:
    current = os.umask(0)
    os.umask(current)
    return current
