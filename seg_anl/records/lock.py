"""Allow one process at a time in an output folder: two would delete each other's half-written files."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from .atomic import PARTIAL_PREFIX, make_directory
from .errors import UserError, cannot_write

LOCK_FILE = ".seg-anl.lock"


def is_ours(path: Path) -> bool:
    """Whether the file is what a killed process leaves in a folder that it has locked and not yet filled."""
    return path.name == LOCK_FILE or path.name.startswith(PARTIAL_PREFIX)


@contextmanager
def locked(
    folder: Path,
    busy: str = "another process is writing there; wait for it, or choose another folder",
    *,
    name: str = LOCK_FILE,
) -> Iterator[None]:
    """Lock ``folder``, creating it if necessary; a process that is killed loses its lock.

    Afterwards the lock file is deleted, and the folder too if it is empty.

    Raises:
        UserError: with the words ``busy`` if another process has the lock.
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
        with suppress(OSError):  # Windows does not delete open files
            path.unlink()
        lock.release()
        with suppress(OSError):  # not empty
            folder.rmdir()
