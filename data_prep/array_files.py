"""Read arrays from NumPy and text files. Nothing is ever unpickled."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seg_anl.records import UserError
from seg_anl.records.foreign_files import check_regular, read_text


def read_array(path: Path, *names: str) -> NDArray[Any]:
    """The array of an ``.npy`` file, or that of an ``.npz`` file under the first of ``names`` it has (no names: its
    only array). Arrays of Python objects are refused.
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
    except Exception as error:  # NumPy parses headers as Python: a damaged one can raise anything
        reason = f"not a whole {suffix} file: {error}"
        if str(error).startswith("Object arrays"):
            reason = "holds Python objects, which are not unpickled; save plain arrays"
        elif "allow_pickle" in str(error):  # NumPy's answer to any unknown file
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
    """A matrix from ``.npy``, ``.npz`` (one array) or text (``.csv``, ``.txt``: a row per line, commas or blanks)."""
    if path.suffix.lower() not in (".csv", ".txt"):
        return read_array(path)
    lines = read_text(path).removeprefix("\ufeff").replace(",", " ").splitlines()  # Excel writes a byte order mark
    try:
        return np.array([[float(cell) for cell in line.split()] for line in lines if line.strip()], dtype=np.float64)
    except ValueError as error:
        expected = "only numbers, decimal points, rows of one length and no header"
        raise UserError(f"{path}: not a table of numbers ({expected}): {error}") from error


def _numbers(path: Path, array: NDArray[Any] | bytes) -> NDArray[Any]:
    if isinstance(array, bytes):  # a member of the archive that is not an array
        raise UserError(f"{path}: not an archive of NumPy's arrays")
    if array.dtype.kind not in "biuf":
        raise UserError(f"{path}: expected numbers, found {array.dtype}")
    return array
