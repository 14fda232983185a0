"""Reading what a trainer recorded on request: RUN/records/KIND/epoch_NNNN.npz, epochs counted from 0."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seg_anl.records import UserError
from seg_anl.reporting.archives import LARGEST_ARCHIVE, UNREADABLE, Folder, read_bytes
from seg_anl.reporting.run_directories import Run

Arrays = dict[str, NDArray[Any]]
Shapes = Mapping[str, tuple[str, ...]]
"""An archive's arrays and the names of their dimensions; dimensions of one name must be equally long."""


def recorded_epochs(run: Run, kind: str) -> list[int]:
    """The epochs of which ``run`` keeps a record of this kind, rising."""
    folder = run.folder / "records" / kind
    names = [re.fullmatch(r"epoch_(\d+)\.npz", path.name) for path in (folder.iterdir() if folder.is_dir() else ())]
    return sorted(int(name[1]) for name in names if name)


def shared_epochs(runs: Sequence[Run], kind: str) -> list[int]:
    """The epochs of which all ``runs`` keep a record, rising."""
    return sorted(set.intersection(*(set(recorded_epochs(run, kind)) for run in runs)))


def lacks_record(kind: str) -> Callable[[Run], str | None]:
    """Why a run without this record cannot be drawn, and how to get it; None for a run that has one."""
    reason = f"has no records/{kind}: train it with record=[{kind}]"
    return lambda run: None if recorded_epochs(run, kind) else reason


def read_epoch(run: Run, kind: str, epoch: int, shapes: Shapes) -> Arrays:
    """The record of one epoch; raises as :func:`read_arrays`."""
    return read_arrays(run.folder / "records" / kind / f"epoch_{epoch:04d}.npz", kind, shapes)


def read_arrays(path: Folder, kind: str, shapes: Shapes) -> Arrays:
    """The arrays of ``shapes`` from an .npz file, without unpickling.

    Raises:
        UserError: when the file is damaged, lacks an array or holds one of another shape.
    """
    again = f"delete the run's folder and train it again with record=[{kind}]"
    try:
        with np.load(io.BytesIO(read_bytes(path)), allow_pickle=False) as archive:
            if sum(entry.file_size for entry in archive.zip.infolist()) > LARGEST_ARCHIVE:
                raise ValueError(f"more than {LARGEST_ARCHIVE >> 30} GiB of arrays")
            arrays = {name: archive[name] for name in shapes if name in archive.files}
    except UserError as error:
        raise UserError(f"{error}; {again}") from error
    except (AttributeError, KeyError, *UNREADABLE) as error:  # the first: one array, no archive
        raise UserError(f"{path}: damaged ({error}); {again}") from error
    missing = [name for name in shapes if name not in arrays]
    if missing == ["clean"]:
        raise UserError(
            f"{path}: the true labels are not known for this data set, so clean and noisy samples cannot be told "
            "apart; use a data set with clean labels and a noise setting"
        )
    if missing:
        raise UserError(f"{path}: has no array {missing[0]!r}; {again}")
    lengths: dict[str, int] = {}
    for name, dimensions in shapes.items():
        shape = arrays[name].shape
        lengths = {**dict(zip(dimensions, shape, strict=False)), **lengths}
        if shape != tuple(lengths.get(dimension) for dimension in dimensions) or 0 in shape:
            raise UserError(f"{path}: array {name!r} has shape {shape}, expected ({', '.join(dimensions)}); {again}")
        if arrays[name].dtype.kind == "f" and not np.isfinite(arrays[name]).all():
            raise UserError(f"{path}: array {name!r} has values that are no numbers: the run diverged; leave it out")
    return arrays


def wrong_labels(arrays: Arrays) -> NDArray[np.bool_]:
    """Which samples have a wrong given label."""
    return np.asarray(arrays["labels"] != arrays["clean"])
