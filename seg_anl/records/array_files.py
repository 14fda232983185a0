"""Read arrays and matrices from files that a user names. Nothing is unpickled."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .errors import UserError
from .foreign_files import check_regular, read_text


def read_array(path: Path, *names: str) -> NDArray[Any]:
    """The array in an ``.npy`` file, or the first of ``names`` in an ``.npz`` file.

    Without names, an ``.npz`` file must have exactly one array.
    """
    suffix = path.suffix.lower()
    if suffix not in (".npy", ".npz"):
        raise UserError(f"{path}: expected an .npy or .npz file")
    check_regular(path)
    try:
        loaded = np.load(path, allow_pickle=False)
        if isinstance(loaded, np.ndarray):
            return _numbers(path, loaded)
        with loaded:
            known = [name for name in names if name in loaded.files]
            if not known and (names or len(loaded.files) != 1):
                wanted = f"no array {' or '.join(names)}" if names else "more than one array"
                raise UserError(f"{path}: {wanted}; it holds {', '.join(loaded.files) or 'nothing'}")
            return _numbers(path, loaded[known[0] if known else loaded.files[0]])
    except UserError:
        raise
    except Exception as error:  # damaged headers raise errors of any type
        reason = f"not a whole {suffix} file: {error}"
        if str(error).startswith("Object arrays"):
            reason = "holds Python objects, which are not unpickled; save plain arrays"
        elif "allow_pickle" in str(error):  # NumPy's message for any unknown file
            reason = "not a NumPy file"
        raise UserError(f"{path}: {reason}") from error


def has_array(path: Path, name: str) -> bool:
    """Whether ``path`` is an ``.npz`` file with an array of this name."""
    try:
        check_regular(path)
        with zipfile.ZipFile(path) as archive:
            return path.suffix.lower() == ".npz" and f"{name}.npy" in archive.namelist()
    except Exception:  # read_array says what is wrong with it
        return False


def read_matrix(path: Path) -> NDArray[Any]:
    """A matrix from an ``.npy`` file, an ``.npz`` file with one array, or text with one row per line."""
    if path.suffix.lower() in (".npy", ".npz"):
        return read_array(path)
    lines = read_text(path).removeprefix("\ufeff").replace(",", " ").splitlines()  # Excel's byte order mark
    try:
        return np.array([[float(cell) for cell in line.split()] for line in lines if line.strip()], dtype=np.float64)
    except ValueError as error:
        expected = "only numbers, decimal points, rows of one length and no header"
        raise UserError(f"{path}: not a table of numbers ({expected}): {error}") from error


def _numbers(path: Path, array: NDArray[Any] | bytes) -> NDArray[Any]:
    if isinstance(array, bytes):  # an unknown member of the archive
        raise UserError(f"{path}: not an archive of NumPy arrays")
    if array.dtype.kind not in "biuf":
        raise UserError(f"{path}: expected numbers, found {array.dtype}")
    return array
