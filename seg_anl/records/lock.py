"""One process at a time in a folder that a command fills: two would delete each other's half-written files."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from .atomic import make_directory
from .errors import UserError, cannot_write

LOCK_FILE = ".seg-anl.lock"


@contextmanager
def locked(
    folder: Path,
    busy: str = "another process is writing there; wait for it, or choose another folder",
    *,
    name: str = LOCK_FILE,
) -> Iterator[None]:
    """Hold ``folder``, made where it is missing, against other processes; the lock of a killed process is free again.

    No lock file stays behind, and neither does a folder into which nothing was written. Where another process holds it,
    ``busy`` is the error.
    """
    path = make_directory(folder) / name
    lock = FileLock(path, timeout=0)
    try:
        lock.acquire()
    except Timeout as error:
        raise UserError(f"{folder}: {busy}") from error
    except OSError as error:
        raise cannot_write(path, error) from error
    try:
        yield
    finally:
        with suppress(OSError):  # where an open file cannot be deleted, it stays
            path.unlink()
        lock.release()
        with suppress(OSError):  # it is not empty
            folder.rmdir()
