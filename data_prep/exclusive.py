"""One process at a time in a folder that a command fills: two would take each other's half-written files for litter."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from seg_anl.records import UserError

LOCK = ".seg-anl.lock"


@contextmanager
def alone_in(folder: Path) -> Iterator[None]:
    """Hold ``folder``, which exists, against other processes; a killed one holds it no longer.

    Raises:
        UserError: when another process holds it, or the lock's file cannot be made.
    """
    lock = FileLock(folder / LOCK, timeout=0)
    try:
        lock.acquire()
    except Timeout as error:
        raise UserError(f"{folder}: another process is writing there; wait for it, or choose another folder") from error
    except OSError as error:
        raise UserError(f"cannot write into {folder}: {error.strerror or error}") from error
    try:
        yield
    finally:
        with suppress(OSError):  # nothing is to stay behind; where an open file cannot be deleted it does
            (folder / LOCK).unlink()
        lock.release()
