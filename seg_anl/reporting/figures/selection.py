"""Which runs a figure is drawn from, and what they recorded: RUN/records/KIND/epoch_NNNN.npz, epochs counted from 0.

Where there is nothing to draw, a UserError names the run and what it lacks, or the file and what is wrong with it.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seg_anl.records import UserError
from seg_anl.reporting.archives import LARGEST_ARCHIVE, UNREADABLE, Folder, read_bytes
from seg_anl.reporting.run_directories import FINISHED, Run
from seg_anl.reporting.run_settings import flat_settings

NAMED = 3  # runs that one note names before it only counts
Arrays = dict[str, NDArray[Any]]
Shapes = Mapping[str, tuple[str, ...]]
"""An archive's arrays and the names of their dimensions; dimensions of one name must be equally long."""


def select(runs: Iterable[Run], reason_against: Callable[[Run], str | None], needs: str) -> tuple[list[Run], list[str]]:
    """The runs that ``reason_against`` has nothing against, by path, and a line for each reason to leave others out."""
    kept: list[Run] = []
    refused: dict[str, list[str]] = {}
    for run in sorted(runs, key=lambda run: run.path):
        reason = f"is {run.status}: {run.reason}" if run.status != FINISHED else reason_against(run)
        if reason is None:
            kept.append(run)
        else:
            refused.setdefault(reason, []).append(run.path)
    if not kept:
        given = sum(map(len, refused.values()))
        first = next((f"{paths[0]} {reason}" for reason, paths in refused.items()), "no run was given")
        raise UserError(f"nothing to draw: {first}{_more(given, 1)}; needed: {needs}")
    notes = [f"left out: {', '.join(paths[:NAMED])}{_more(len(paths))}: {why}" for why, paths in refused.items()]
    return kept, notes


def _more(count: int, named: int = NAMED) -> str:
    return f" and {count - named} more" if count > named else ""


def seeds_of_one_setting(runs: Sequence[Run], what: str) -> list[Run]:
    """``runs`` by seed; an error where two of them differ in more than it, or are the same run twice."""
    first, settings = runs[0], flat_settings(runs[0].config)
    by_seed: dict[Any, Run] = {}
    for run in runs:
        other = flat_settings(run.config)
        for name in sorted(settings.keys() | other.keys()):
            if settings.get(name) != other.get(name):
                raise UserError(
                    f"{first.path} and {run.path} would share {what} but differ in {name} "
                    f"({settings.get(name)}, {other.get(name)}): give runs that differ there in the seed alone"
                )
        twin = by_seed.setdefault(run.seed, run)
        if twin is not run:
            raise UserError(f"{twin.path} and {run.path} are the same settings and seed twice: give one of them")
    return [by_seed[seed] for seed in sorted(by_seed, key=str)]


def recorded_epochs(runs: Sequence[Run], kind: str) -> list[int]:
    """The epochs of which all ``runs`` keep a record of this kind, rising."""
    shared: set[int] | None = None
    for run in runs:
        folder = run.folder / "records" / kind
        files = [re.fullmatch(r"epoch_(\d+)\.npz", path.name) for path in (folder.iterdir() if folder.is_dir() else ())]
        own = {int(name[1]) for name in files if name}
        shared = own if shared is None else shared & own
    return sorted(shared or ())


def lacks_record(kind: str) -> Callable[[Run], str | None]:
    """Why a run without this record cannot be drawn, and how to get it; None for a run that has one."""
    reason = f"has no records/{kind}: train it with record=[{kind}]"
    return lambda run: None if recorded_epochs([run], kind) else reason


def read_epoch(run: Run, kind: str, epoch: int, shapes: Shapes) -> Arrays:
    """The record of one epoch; raises as :func:`read_arrays`."""
    return read_arrays(run.folder / "records" / kind / f"epoch_{epoch:04d}.npz", kind, shapes)


def read_arrays(path: Folder, kind: str, shapes: Shapes) -> Arrays:
    """The arrays of ``shapes`` from an .npz file, without unpickling."""
    again = f"delete the run's folder and train it again with record=[{kind}]"
    try:
        with np.load(io.BytesIO(read_bytes(path)), allow_pickle=False) as archive:
            if sum(entry.file_size for entry in archive.zip.infolist()) > LARGEST_ARCHIVE:
                raise ValueError(f"more than {LARGEST_ARCHIVE >> 30} GiB of arrays")
            arrays = {name: archive[name] for name in shapes if name in archive.files}
    except (UserError, AttributeError, KeyError, *UNREADABLE) as error:  # the second: one array, no archive
        damage = str(error) if isinstance(error, UserError) else f"{path}: damaged ({error})"
        raise UserError(f"{damage}; {again}") from error
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
