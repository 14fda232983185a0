"""Prepared volumes: in memory up to a budget, beyond it in files that are mapped into memory.

A patch cut from a mapped file reads that patch alone, and the system keeps in its own cache what is read often. Files
are named by what they are made from, written aside and renamed; a later run finds them, whatever ended the one before.
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

FORMAT = 1  # of what is prepared: another number makes all files anew


class Shelf:
    """Keeps arrays while ``budget`` bytes of memory last, then in ``folder``."""

    def __init__(self, budget: int, folder: Path) -> None:
        self.left, self.folder = budget, folder

    def kept(self, array: NDArray[Any], key: str) -> NDArray[Any]:
        """``array``, or the same in a file under ``key``; a mapped one is read into memory while that lasts."""
        mapped = isinstance(array, np.memmap)
        if array.nbytes <= self.left:
            self.left -= array.nbytes
            return np.array(array) if mapped else array
        self.left = 0  # what comes later goes to files, too: which does not depend on sizes that happen to fit
        if mapped:
            return array
        path = make_directory(self.folder) / f"{key}.npy"
        with written_aside(path) as aside, open(aside, "wb") as file:
            np.save(file, array, allow_pickle=False)
        return self._mapped(path)

    def stored(self, *keys: str) -> list[NDArray[Any]] | None:
        """What an earlier run has written under these keys, or None where one is missing."""
        paths = [self.folder / f"{key}.npy" for key in keys]
        return list(map(self._mapped, paths)) if all(path.is_file() for path in paths) else None

    def _mapped(self, path: Path) -> NDArray[Any]:
        try:
            return np.load(path, mmap_mode="r", allow_pickle=False)
        except (OSError, ValueError) as error:
            raise UserError(f"{path}: damaged; delete it, it will be made anew ({error})") from error


def load_volumes(
    cases: Sequence[Case], preparation: Preparation, shelf: Shelf, *, workers: int, progress: bool
) -> list[Volume]:
    """All cases prepared, in their order, by ``workers`` threads, which change nothing but the time."""

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
