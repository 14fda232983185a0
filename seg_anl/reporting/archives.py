"""A study's run directories in one archive: docs/results/STUDY.zip is read like a folder, ``--pack`` writes one.

An archive may come from anybody: before anything of it is read, its names, sizes and kinds of entries are checked, and
nothing is unpacked to the disk. What cannot be read is a UserError that names the file.
"""

from __future__ import annotations

import stat
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path, PurePosixPath

from seg_anl.records import UserError, foreign_files, written_aside

Folder = Path | zipfile.Path
"""A folder on the disk or inside an archive; both have the same methods for reading."""

SUFFIX = ".zip"
MOST_ENTRIES = 100_000
LARGEST_ENTRY, LARGEST_ARCHIVE = 512 * 2**20, 4 * 2**30  # bytes, unpacked
NOT_PACKED = ("checkpoints", "tb")  # networks and TensorBoard's events: large, and no table or figure reads them
UNREADABLE = (OSError, EOFError, RuntimeError, NotImplementedError, ValueError, zipfile.BadZipFile, zlib.error)


def open_archive(path: Path) -> zipfile.Path:
    """The root folder of an archive whose entries are harmless.

    Refused are a damaged or too large archive, a link, an encrypted file, a name twice, a name that leads out of it.
    """
    try:
        archive = zipfile.ZipFile(path)
    except UNREADABLE as error:
        raise UserError(f"{path}: damaged: {error}") from error
    entries = archive.infolist()
    if len(entries) > MOST_ENTRIES or sum(entry.file_size for entry in entries) > LARGEST_ARCHIVE:
        raise UserError(f"{path}: holds more than {MOST_ENTRIES} files or {LARGEST_ARCHIVE >> 30} GiB")
    names = [entry.filename for entry in entries]
    if len(set(names)) < len(names):
        raise UserError(f"{path}: holds a name twice")
    for entry in entries:
        name, kind = PurePosixPath(entry.filename), stat.S_IFMT(entry.external_attr >> 16)
        if name.is_absolute() or ".." in name.parts or "\\" in entry.filename or ":" in entry.filename:
            raise UserError(f"{path}: the name {entry.filename!r} leads out of the archive")
        if kind not in (0, stat.S_IFREG, stat.S_IFDIR) or entry.flag_bits & 1:
            raise UserError(f"{path}: {entry.filename!r} is a link, a device or encrypted; expected plain files")
        if entry.file_size > LARGEST_ENTRY:
            raise UserError(f"{path}: {entry.filename!r} is larger than {LARGEST_ENTRY >> 20} MiB")
    return zipfile.Path(archive)


def archive_and_inside(place: Path) -> tuple[Path, str] | None:
    """``STUDY.zip/some/run`` as the archive and the path inside it; None for a place that is in no archive."""
    for path in (place, *place.parents):
        if path.suffix.lower() == SUFFIX and path.is_file():
            return path, place.relative_to(path).as_posix()
    return None


def read_bytes(path: Folder) -> bytes:
    """The content of a file."""
    if isinstance(path, Path):
        return foreign_files.read_bytes(path)
    try:
        return path.read_bytes()
    except UNREADABLE as error:
        raise UserError(f"{path}: damaged: {error}") from error


def read_text(path: Folder) -> str:
    """The content of a UTF-8 text file."""
    try:
        return read_bytes(path).decode("utf-8")
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: damaged: {error}") from error


def pack(target: Path, folders: Mapping[str, Path]) -> int:
    """Write run directories, by their names inside it, into one archive; returns the number of files.

    Equal files give equal bytes, whatever their dates and order. Hidden files and :data:`NOT_PACKED` are left out.
    """
    files = {
        f"{name}/{inside.as_posix()}": path
        for name, folder in folders.items()
        for path in folder.rglob("*")
        if path.is_file()
        and (inside := path.relative_to(folder)).parts[0] not in NOT_PACKED
        and not any(part.startswith(".") for part in inside.parts)
    }
    with written_aside(target) as aside, zipfile.ZipFile(aside, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for name in sorted(files):
            entry = zipfile.ZipInfo(name)  # dated 1980, as all entries are
            entry.create_system, entry.external_attr = 3, (stat.S_IFREG | 0o644) << 16
            archive.writestr(entry, files[name].read_bytes(), zipfile.ZIP_DEFLATED, 9)
    return len(files)
