"""Files of a data set that may be downloaded: what is missing is fetched, or the message says how to fetch it."""

from __future__ import annotations

import os
import socket
import tarfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path

from filelock import FileLock

from seg_anl.records import UserError, make_directory

_SECONDS = 30.0  # without an answer a network counts as none
_FAILURES = (OSError, RuntimeError, HTTPException, EOFError, ValueError, tarfile.TarError)


@dataclass(frozen=True)
class Archive:
    """A published archive.

    Attributes:
        urls: of the archive, the first that answers is taken.
        md5: its published checksum.
        folder: where it is put, and unpacked.
        missing: its files that are absent or not whole.
    """

    urls: tuple[str, ...]
    md5: str
    folder: Path
    missing: Callable[[], list[Path]]

    @property
    def name(self) -> str:
        """File name."""
        return self.urls[0].rsplit("/", 1)[-1]


def default_root(name: str) -> Path:
    """Where a data set is kept that may be downloaded: ``~/.cache/seg_anl/NAME``, or below ``$XDG_CACHE_HOME``."""
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "seg_anl" / name


def fetch(archives: Sequence[Archive], download: bool) -> None:
    """See to it that the files of ``archives`` are there and whole.

    An archive that lies in its folder, with the right checksum, is unpacked; else it is downloaded. Processes that
    start at the same time wait for the one that does so.

    Raises:
        UserError: with the way to get them, where files are missing and ``download`` is off or fails; files or a folder
            that may not be read or written.
    """
    try:
        _fetch(archives, download)
    except OSError as error:
        raise UserError(f"{error.filename or archives[0].folder}: cannot be used: {error.strerror or error}") from error


def _fetch(archives: Sequence[Archive], download: bool) -> None:
    wanting = [archive for archive in archives if archive.missing()]
    if not wanting:
        return
    if not download:
        raise UserError(f"{_state(wanting)}; set data.download=true, or {_by_hand(wanting)}")
    make_directory(wanting[0].folder)
    with FileLock(wanting[0].folder / ".download.lock"):
        for archive in wanting:
            if archive.missing():
                failure = _obtain(archive)
                if archive.missing():
                    still = [other for other in wanting if other.missing()]
                    raise UserError(
                        f"{_state(still)}; download failed ({failure}); without a network {_by_hand(still)}"
                    )


def _obtain(archive: Archive) -> str:
    """Download and unpack; what went wrong, if anything."""
    from torchvision.datasets.utils import download_and_extract_archive

    failure = "its files are not those that were published"
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(_SECONDS)
    try:
        for url in archive.urls:
            try:
                download_and_extract_archive(url, str(archive.folder), filename=archive.name, md5=archive.md5)
                break
            except _FAILURES as error:
                failure = " ".join(str(error).split()) or type(error).__name__
    finally:
        socket.setdefaulttimeout(before)
    return failure


def _state(archives: Sequence[Archive]) -> str:
    missing = [path for archive in archives for path in archive.missing()]
    damaged = [path for path in missing if os.path.exists(path)]
    path = (damaged or missing)[0]
    others = f" (and {len(missing) - 1} more files)" if len(missing) > 1 else ""
    return f"{path}: {'not whole: its checksum or length is wrong' if damaged else 'not there'}{others}"


def _by_hand(archives: Sequence[Archive]) -> str:
    source = archives[0].urls[0].rsplit("/", 1)[0]
    names = ", ".join(archive.name for archive in archives)
    return f"put {names} from {source}/ into {archives[0].folder}, which data.download=true checks and unpacks"
