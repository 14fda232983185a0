"""Read the records of runs for figures: RUN/records/KIND/epoch_NNNN.npz, with epochs from 0.

A UserError names the file and its problem, or the runs and what they lack.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seg_anl.records import UserError
from seg_anl.reporting.archives import MAX_ARCHIVE_SIZE, UNREADABLE, Folder, read_bytes
from seg_anl.reporting.run_directories import Run

MASKS_FILE = "records/masks.npz"
# The arrays of each kind and their dimensions; dimensions with the same name have the same size.
SHAPES: dict[str, dict[str, str]] = {
    "probabilities": {"softmax": "N K", "p_label": "N", "labels": "N", "clean": "N"},
    "gradients": {"nnce": "N", "labels": "N", "clean": "N"},
    "features": {"features": "n D", "labels": "n"},
    # RGB training images (uint8) with wrong masks, and their masks as class indices.
    "masks": {"images": "n H W channels", **dict.fromkeys(("truth", "noisy", "predicted"), "n H W"), "kinds": "n"},
}
Arrays = dict[str, NDArray[Any]]


def recorded_epochs(runs: Sequence[Run], kind: str) -> list[int]:
    """The epochs for which all ``runs`` have a record of this kind, ascending."""
    folders = [run.folder / "records" / kind for run in runs]
    names = [{path.name for path in folder.iterdir()} if folder.is_dir() else set() for folder in folders]
    files = (re.fullmatch(r"epoch_(\d+)\.npz", name) for name in set.intersection(*names))
    return sorted(int(file[1]) for file in files if file)


def shared_epochs(runs: Sequence[Run], kind: str) -> list[int]:
    """As :func:`recorded_epochs`, but raises a UserError if the runs have no epoch in common."""
    if epochs := recorded_epochs(runs, kind):
        return epochs
    raise UserError(
        f"{runs[0].path} and {runs[-1].path} have no recorded epoch of records/{kind} in common: give one of them"
    )


def lacks_record(kind: str) -> Callable[[Run], str | None]:
    """A function that says why a run without this record cannot be drawn; it returns None for a run that has one."""

    def lacking(run: Run) -> str | None:
        has = (run.folder / MASKS_FILE).is_file() if kind == "masks" else recorded_epochs([run], kind)
        return None if has else f"has no records/{kind}: train it with record=[{kind}]"

    return lacking


def read_epoch(run: Run, kind: str, epoch: int, *names: str) -> Arrays:
    """The record of one epoch; see :func:`read_arrays`."""
    return read_arrays(run.folder / "records" / kind / f"epoch_{epoch:04d}.npz", kind, *names)


def read_arrays(path: Folder, kind: str, *names: str) -> Arrays:
    """The arrays of a record, or only those with these ``names``, from an .npz file, without unpickling."""
    remedy = f"delete the run's folder and train it again with record=[{kind}]"
    shapes = {name: SHAPES[kind][name].split() for name in names or SHAPES[kind]}
    try:
        with np.load(io.BytesIO(read_bytes(path)), allow_pickle=False) as archive:
            if sum(entry.file_size for entry in archive.zip.infolist()) > MAX_ARCHIVE_SIZE:
                raise ValueError(f"more than {MAX_ARCHIVE_SIZE >> 30} GiB of arrays")
            arrays = {name: archive[name] for name in shapes if name in archive.files}
    except UserError as error:
        raise UserError(f"{error}; {remedy}") from error
    except (AttributeError, KeyError, *UNREADABLE) as error:  # AttributeError: a single array, not an archive
        raise UserError(f"{path}: damaged ({error}); {remedy}") from error
    if missing := [name for name in shapes if name not in arrays]:
        if missing == ["clean"]:
            raise UserError(
                f"{path}: the true labels of this data set are unknown, so clean and noisy samples cannot be "
                "distinguished; use a data set with clean labels and a noise setting"
            )
        raise UserError(f"{path}: has no array {missing[0]!r}; {remedy}")
    lengths: dict[str, int] = {}
    for name, dimensions in shapes.items():
        shape = arrays[name].shape
        lengths = {**dict(zip(dimensions, shape, strict=False)), **lengths}
        if shape != tuple(lengths.get(dimension) for dimension in dimensions) or 0 in shape:
            raise UserError(f"{path}: array {name!r} has shape {shape}, expected ({', '.join(dimensions)}); {remedy}")
        if arrays[name].dtype.kind == "f" and not np.isfinite(arrays[name]).all():
            raise UserError(f"{path}: array {name!r} has NaN or infinite values: the run diverged; leave it out")
    return arrays


def pooled(runs: Sequence[Run], kind: str, epoch: int) -> Arrays:
    """The concatenated records of several seeds for one epoch; ``wrong`` marks samples with a wrong label."""
    records = [read_epoch(run, kind, epoch) for run in runs]
    arrays = {name: np.concatenate([record[name] for record in records]) for name in records[0]}
    return {**arrays, "wrong": arrays["labels"] != arrays["clean"]}
