"""Download missing files of a data set, or say how to get them."""

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

_TIMEOUT = 30.0  # seconds
_FAILURES = (OSError, RuntimeError, HTTPException, EOFError, ValueError, tarfile.TarError)


@dataclass(frozen=True)
class Archive:
    """A published archive.

    Attributes:
        urls: mirrors, tried in order.
        md5: published checksum.
        folder: folder to download it to and unpack it in.
        missing: returns the files that are missing or incomplete.
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
    """Default folder of a downloadable data set: ``~/.cache/seg_anl/NAME``, or below ``$XDG_CACHE_HOME``."""
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "seg_anl" / name


def fetch(archives: Sequence[Archive], download: bool) -> None:
    """Make sure that the files of ``archives`` exist and are complete.

    An archive in its folder with the right checksum is unpacked, otherwise it is downloaded. Concurrent processes wait
    for each other.

    Raises:
        UserError: if files are missing and ``download`` is off or fails, with instructions to get them; or if files or
            folders cannot be read or written.
    """
    try:
        _fetch(archives, download)
    except OSError as error:
        raise UserError(f"{error.filename or archives[0].folder}: cannot be used: {error.strerror or error}") from error


def _fetch(archives: Sequence[Archive], download: bool) -> None:
    incomplete = [archive for archive in archives if archive.missing()]
    if not incomplete:
        return
    if not download:
        raise UserError(f"{_describe(incomplete)}; set data.download=true, or {_instructions(incomplete)}")
    make_directory(incomplete[0].folder)
    with FileLock(incomplete[0].folder / ".download.lock"):
        for archive in incomplete:
            if archive.missing():
                failure = _download(archive)
                if archive.missing():
                    failed = [other for other in incomplete if other.missing()]
                    raise UserError(
                        f"{_describe(failed)}; download failed ({failure}); without a network {_instructions(failed)}"
                    )


def _download(archive: Archive) -> str:
    """Download and unpack an archive; returns the reason if it fails."""
    from torchvision.datasets.utils import download_and_extract_archive

    failure = "its files differ from the published ones"
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(_TIMEOUT)
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


def _describe(archives: Sequence[Archive]) -> str:
    missing = [path for archive in archives for path in archive.missing()]
    damaged = [path for path in missing if os.path.exists(path)]
    path = (damaged or missing)[0]
    others = f" (and {len(missing) - 1} more files)" if len(missing) > 1 else ""
    return f"{path}: {'incomplete: its checksum or length is wrong' if damaged else 'missing'}{others}"


def _instructions(archives: Sequence[Archive]) -> str:
    source = archives[0].urls[0].rsplit("/", 1)[0]
    names = ", ".join(archive.name for archive in archives)
    return f"put {names} from {source}/ into {archives[0].folder} and set data.download=true to check and unpack"
