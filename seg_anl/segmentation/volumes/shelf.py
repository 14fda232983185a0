"""Prepared volumes: in memory up to a budget, beyond it in memory-mapped files.

A patch of a mapped file is read alone. Files are named by their sources and written atomically, so later runs use them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seg_anl.records import UserError, make_directory, written_aside
from seg_anl.records.progress import progress_bar
from seg_anl.records.workers import in_threads

from .cases import Case
from .files import files_of
from .preparation import Preparation, Volume

FORMAT = 2  # version of the files; a new number makes all anew


class Shelf:
    """Keeps arrays while ``budget`` bytes of memory last, then in ``folder``."""

    def __init__(self, budget: int, folder: Path) -> None:
        self.left, self.folder = budget, folder

    def kept(self, array: NDArray[Any], key: str) -> NDArray[Any]:
        """``array`` in memory while the budget lasts, then mapped from a file named ``key``."""
        mapped = isinstance(array, np.memmap)
        if array.nbytes <= self.left:
            self.left -= array.nbytes
            return np.array(array) if mapped else array
        self.left = 0  # later ones go to files too, even if they would fit
        if mapped:
            return array
        path = make_directory(self.folder) / f"{key}.npy"
        with written_aside(path) as aside, open(aside, "wb") as file:
            np.save(file, array, allow_pickle=False)
        return self._mapped(path)

    def stored(self, *keys: str) -> list[NDArray[Any]] | None:
        """The files of an earlier run under these keys, or None if one is missing."""
        paths = [self.folder / f"{key}.npy" for key in keys]
        return list(map(self._mapped, paths)) if all(path.is_file() for path in paths) else None

    def _mapped(self, path: Path) -> NDArray[Any]:
        try:
            return np.load(path, mmap_mode="r", allow_pickle=False)
        except (OSError, ValueError) as error:
            raise UserError(f"{path}: damaged; delete it to make it anew ({error})") from error


def load_volumes(
    cases: Sequence[Case], preparation: Preparation, shelf: Shelf, *, workers: int, progress: bool
) -> list[Volume]:
    """All cases in order, prepared by ``workers`` threads."""

    def prepared(case: Case) -> Volume:
        stored = shelf.stored(*_keys(case, preparation))
        if stored is None:
            return preparation.volume(case)
        image, mask = stored
        return Volume(case.item, image, mask, preparation.spacing(case))

    volumes = []
    made = in_threads(prepared, cases, workers)
    shown = progress_bar(made, "case", total=len(cases), shown=progress)
    for case, found in zip(cases, shown, strict=True):
        pairs = zip((found.image, found.mask), _keys(case, preparation), strict=True)
        image, mask = (shelf.kept(each, key) for each, key in pairs)
        volumes.append(replace(found, image=image, mask=mask))
    return volumes


def _keys(case: Case, preparation: Preparation) -> tuple[str, str]:
    files = [path for image in (*case.images, case.mask) if image is not None for path in files_of(image)]
    stats = [(str(path.resolve()), path.stat().st_size, path.stat().st_mtime_ns) for path in files]
    digest = hashlib.sha256(repr((FORMAT, stats, preparation)).encode()).hexdigest()[:24]
    return f"{digest}-image", f"{digest}-mask"
