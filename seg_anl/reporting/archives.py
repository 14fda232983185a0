"""Archives of run directories: ``STUDY.zip`` is read like a folder; ``--pack`` writes one.

Archives are not trusted: the names, sizes and types of all entries are checked before anything is read, and nothing is
unpacked to disk. Unreadable files raise a UserError that names them.
"""

from __future__ import annotations

import stat
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path, PurePosixPath

from seg_anl.records import UserError, foreign_files, written_aside

Folder = Path | zipfile.Path
"""A folder on disk or inside an archive; both have the same methods for reading."""

SUFFIX = ".zip"
MAX_ENTRIES = 100_000
MAX_ENTRY_SIZE, MAX_ARCHIVE_SIZE = 512 * 2**20, 4 * 2**30  # bytes, unpacked
NOT_PACKED = ("checkpoints", "tb")  # large, and not read by any table or figure
UNREADABLE = (OSError, EOFError, RuntimeError, NotImplementedError, ValueError, zipfile.BadZipFile, zlib.error)


def open_archive(path: Path) -> zipfile.Path:
    """Open an archive and return its root folder.

    Raises:
        UserError: for a damaged or too large archive, links, encrypted files, duplicate names, or paths that lead out
            of the archive.
    """
    try:
        archive = zipfile.ZipFile(path)
    except UNREADABLE as error:
        raise UserError(f"{path}: damaged: {error}") from error
    entries = archive.infolist()
    if len(entries) > MAX_ENTRIES or sum(entry.file_size for entry in entries) > MAX_ARCHIVE_SIZE:
        raise UserError(f"{path}: holds more than {MAX_ENTRIES} files or {MAX_ARCHIVE_SIZE >> 30} GiB")
    names = [entry.filename for entry in entries]
    if len(set(names)) < len(names):
        raise UserError(f"{path}: holds duplicate names")
    for entry in entries:
        name, kind = PurePosixPath(entry.filename), stat.S_IFMT(entry.external_attr >> 16)
        if name.is_absolute() or ".." in name.parts or "\\" in entry.filename or ":" in entry.filename:
            raise UserError(f"{path}: the name {entry.filename!r} leads out of the archive")
        if kind not in (0, stat.S_IFREG, stat.S_IFDIR) or entry.flag_bits & 1:
            raise UserError(f"{path}: {entry.filename!r} is a link, a device or encrypted; expected plain files")
        if entry.file_size > MAX_ENTRY_SIZE:
            raise UserError(f"{path}: {entry.filename!r} is larger than {MAX_ENTRY_SIZE >> 20} MiB")
    return zipfile.Path(archive)


def split_archive_path(path: Path) -> tuple[Path, str] | None:
    """Split ``STUDY.zip/some/run`` into the archive and the path inside it; None if it is not in an archive."""
    for archive in (path, *path.parents):
        if archive.suffix.lower() == SUFFIX and archive.is_file():
            return archive, path.relative_to(archive).as_posix()
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
    """Write run directories into an archive under the given names; returns the number of files.

    The bytes depend only on the files' content. Hidden files and :data:`NOT_PACKED` are left out.
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
            entry = zipfile.ZipInfo(name)  # with a fixed date, 1980
            entry.create_system, entry.external_attr = 3, (stat.S_IFREG | 0o644) << 16
            archive.writestr(entry, files[name].read_bytes(), zipfile.ZIP_DEFLATED, 9)
    return len(files)
