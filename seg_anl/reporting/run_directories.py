"""Run directories as tables and figures see them: what a run was, how far it came, and whether to trust it.

Reads config.yaml, summary.json and metrics.csv, in folders and in archives of studies, and writes nothing. What is
wrong with a run is part of the result, not an error: a report over many runs must name the bad ones and go on.
"""

from __future__ import annotations

import io
import math
import os
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePath, PurePosixPath
from typing import Any, Literal, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from seg_anl.records import METRICS_KEYS, SUMMARY_SCHEMA, UserError, parse_metrics
from seg_anl.records.foreign_files import parse_json, parse_yaml
from seg_anl.records.progress import progress_bar
from seg_anl.records.ranges import Count, Number, WholeNumber, complaint
from seg_anl.records.recipes import flat
from seg_anl.records.runs import CONFIG_FILE, ENVIRONMENT_FILE, METRICS_FILE, SUMMARY_FILE

from .archives import SUFFIX, Folder, archive_and_inside, open_archive, read_text
from .names import data_name, method_name, noise_name

Status = Literal["finished", "unfinished", "damaged"]

FINISHED: Status = "finished"
# Settings by which runs are distinguished and put beside published ones.
_GROUPS = ("data", "loss", "noise", "method", "model", "optim", "evaluation")
_KINDS: dict[str, Any] = {
    "task": str,
    "epochs": Count,
    "seed": WholeNumber,
    **dict.fromkeys(("noise.rate", "noise.alpha", "noise.beta"), Number),
    "noise.seed": WholeNumber,
    "noise.kinds": list[str],
}
_AGREE = ("task", "data", "loss", "noise", "seed", "epochs")  # what config.yaml and summary.json both say
_LAST_EPOCH = 10**9  # a greater number is a damaged cell


class Headline(NamedTuple):
    """The number that a run is quoted with: mean of ``metric`` on ``split`` over its last ``k`` epochs."""

    split: str
    metric: str
    k: int
    value: float


class Curve(NamedTuple):
    """One metric of one split over training; ``epochs`` rise and count from 0."""

    epochs: NDArray[np.int64]
    values: NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Run:
    """One run directory, ``path`` as the person named it (in an archive ``STUDY.zip/run``), ``folder`` to read from.

    An ``unfinished`` run was stopped, or is training now; ``reason`` says why it is not finished. ``config`` and
    ``summary`` are config.yaml and summary.json, ``metrics`` is metrics.csv, a row per epoch and split; empty when
    missing or damaged.
    """

    path: str
    folder: Folder
    status: Status
    reason: str = ""
    config: dict[str, Any] = field(default_factory=dict)
    summary: dict[str, Any] = field(default_factory=dict)
    metrics: pd.DataFrame = field(default_factory=lambda: pd.DataFrame(columns=[*METRICS_KEYS]))

    task = property(lambda self: str(self.config.get("task", "")), doc="``segmentation`` or ``classification``.")
    seed = property(lambda self: self.config.get("seed"), doc="The seed; None for a run without one (nnU-Net).")
    epochs = property(lambda self: int(self.config.get("epochs", 0)), doc="How many epochs the run was to have.")
    method_name = property(lambda self: method_name(self.config), doc="``ANL-CE``, ``Co-teaching``.")
    noise_name = property(lambda self: noise_name(self.config), doc="``clean``, ``symmetric 0.4``, ``α 0.7, β 0.7``.")
    data_name = property(lambda self: data_name(self.config), doc="The data set; of a folder its kind too.")

    @property
    def headline(self) -> Headline:
        """The number that a finished run is quoted with; ValueError for another."""
        if self.status != FINISHED:
            raise ValueError(f"{self.path} is {self.status}: {self.reason}")
        split, metric = self.summary["headline"].split("/", 1)
        values = self.summary["metrics"][self.summary["headline"]]
        return Headline(split, metric, int(values["k"]), float(values["last_k_mean"]))

    def has(self, split: str, metric: str) -> bool:
        """Whether metrics.csv holds this metric of this split."""
        return len(self.curve(split, metric).epochs) > 0

    def curve(self, split: str, metric: str) -> Curve:
        """A metric over the epochs that have it; empty where none has."""
        rows = self.metrics[self.metrics["split"] == split] if metric in self.metrics else self.metrics[:0]
        rows = rows.dropna(subset=[metric]) if len(rows) else rows.assign(**{metric: []})
        return Curve(rows["epoch"].to_numpy(np.int64), rows[metric].to_numpy(np.float64))


def tidy_metrics(runs: Iterable[Run], metrics: Collection[str]) -> pd.DataFrame:
    """These metrics of ``runs``: a row per run (its path), split, metric and epoch, with the value."""
    wide = {run.path: run.metrics.filter([*METRICS_KEYS, *metrics]) for run in runs if len(run.metrics)}
    if not wide:
        return pd.DataFrame({name: [] for name in ("run", "split", "epoch", "metric", "value")})
    joined = pd.concat(wide, names=["run", None]).reset_index("run").astype({"run": "category", "split": "category"})
    return joined.melt(["run", "split", "epoch"], var_name="metric").dropna(subset=["value"])


def read_runs(places: Iterable[Path]) -> list[Run]:
    """All runs at or below ``places``, by path, with a progress bar where there is a person to see it."""
    bar = progress_bar(find_runs(places).items(), "run", title="reading runs")
    return [read_run(path, folder) for path, folder in bar]


def find_runs(places: Iterable[Path]) -> dict[str, Folder | UserError]:
    """Run directories at or below ``places``, at any depth, each once: path to folder, sorted.

    Hidden folders and what lies inside a run directory are not searched; links are followed, except in archives. An
    archive of runs that cannot be read is there under its own path, with the reason.

    Raises:
        UserError: for a place that is neither a folder nor an archive, or when there is no run directory at all.
    """
    found: dict[str, tuple[str, Folder | UserError]] = {}
    places = sorted(set(places))
    for place in places:
        within = archive_and_inside(place)
        if not within and not place.is_dir():
            what = "is a file" if place.exists() else "does not exist"
            raise UserError(
                f"{place} {what}; give run directories, folders that hold some at any depth, or their archives"
            )
        for path, folder in _runs_in_archive(*within) if within else _runs_below(place):
            real = os.path.realpath(path)
            found[real] = min((path, folder), found.get(real, (path, folder)), key=lambda item: item[0])
    if not found:
        raise UserError(
            f"no run directory in {', '.join(map(str, places))}; one holds {CONFIG_FILE}, {METRICS_FILE} "
            f"and, when finished, {SUMMARY_FILE}"
        )
    return dict(sorted(found.values(), key=lambda item: PurePath(item[0])))


def _runs_below(place: Path) -> Iterator[tuple[str, Folder | UserError]]:
    seen: set[str] = set()
    for folder, below, files in os.walk(place, followlinks=True):
        real = os.path.realpath(folder)
        is_run = _is_run(set(files), alone=folder == str(place))
        if is_run and real not in seen:
            yield folder, Path(folder)
        # Neither into runs nor along a link that leads back up.
        below[:] = [] if is_run or real in seen else sorted(name for name in below if not name.startswith("."))
        for name in [] if is_run or real in seen else sorted(files):
            if name.lower().endswith(SUFFIX) and not name.startswith("."):
                yield from _runs_in_archive(Path(folder) / name, "")
        seen.add(real)


def _runs_in_archive(path: Path, inside: str) -> Iterator[tuple[str, Folder | UserError]]:
    try:
        root = open_archive(path)
    except UserError as error:
        yield str(path), error
        return
    files: dict[PurePosixPath, set[str]] = {}
    for name in map(PurePosixPath, root.root.namelist()):
        files.setdefault(name.parent, set()).add(name.name)
    runs: set[PurePosixPath] = set()
    for folder in sorted(files):  # what lies inside a run comes after it
        searched = folder.is_relative_to(inside) and not runs.intersection(folder.parents)
        if searched and _is_run(files[folder], alone=folder == PurePosixPath(inside)):
            runs.add(folder)
            yield (str(path / folder), root / str(folder)) if folder.name else (str(path), root)


def _is_run(files: set[str], *, alone: bool) -> bool:
    """Whether these files make a run directory; a place that the person named may be a run that has just begun."""
    if CONFIG_FILE in files:
        return alone or bool(files & {METRICS_FILE, SUMMARY_FILE, ENVIRONMENT_FILE})
    return {METRICS_FILE, SUMMARY_FILE} <= files


def read_run(path: str | Path, folder: Folder | UserError | None = None) -> Run:
    """Read one run directory; whatever is wrong with it becomes its status and reason."""
    path, folder = str(path), Path(path) if folder is None else folder
    if isinstance(folder, UserError):
        return Run(path, Path(path), "damaged", str(folder).replace(f"{path}: ", ""))
    read: dict[str, Any] = {}
    try:
        config = read["config"] = _read_config(folder / CONFIG_FILE)
        # The summary before the metrics: training writes it last, so metrics read after it are whole.
        summary = read["summary"] = _read_summary(folder / SUMMARY_FILE)
        metrics = read["metrics"] = read_metrics_table(folder / METRICS_FILE)
        done = int(metrics["epoch"].max()) + 1 if len(metrics) else 0
        if summary.get("status") != FINISHED:
            return Run(path, folder, "unfinished", f"{done} of {config['epochs']} epochs done", **read)
        run = Run(path, folder, FINISHED, **read)
        _check_finished(run, done)
        return run
    except UserError as error:
        return Run(path, folder, "damaged", str(error).replace(f"{path}{os.sep}", ""), **read)


def read_metrics_table(path: Folder) -> pd.DataFrame:
    """metrics.csv as a frame: epoch, split and a column per metric, NaN where not measured. UserError for damage."""
    if not path.exists():
        return pd.DataFrame(columns=[*METRICS_KEYS])
    text = read_text(path)
    if text and not text.endswith("\n"):
        raise UserError(f"{path}: the last line is cut off")
    head, *lines = text.splitlines() or [""]
    names = head.split(",")
    if tuple(names[:2]) != METRICS_KEYS:
        raise UserError(f"{path}: expected columns starting with {', '.join(METRICS_KEYS)}")
    try:
        if {line.count(",") for line in lines} - {head.count(",")} or len({*names}) < len(names):
            raise ValueError("rows of different lengths, or two columns of one name")
        kinds = {"epoch": np.int64, "split": object, **dict.fromkeys(names[2:], np.float64)}
        table = pd.read_csv(io.StringIO(text), dtype=kinds, float_precision="round_trip")
    except (ValueError, OverflowError, pd.errors.ParserError) as error:
        parse_metrics(text, path)  # the strict reader says what is wrong with the file, and where
        raise UserError(f"{path}: damaged: {error}") from error
    if (table["epoch"] > _LAST_EPOCH).any():
        raise UserError(f"{path}: damaged: epoch {table['epoch'].max()}")
    if taken := {"run", "metric", "value"}.intersection(table):
        raise UserError(f"{path}: a metric is called {min(taken)!r}, which is a column of the report's own table")
    for split, epochs in table.groupby("split", sort=False)["epoch"]:
        if (epochs.diff()[1:] <= 0).any():
            raise UserError(f"{path}: the epochs of {split} do not rise")
    return table


def _read_config(path: Folder) -> dict[str, Any]:
    if not path.is_file():
        raise UserError(f"{path} is missing")
    config = parse_yaml(read_text(path), path)
    if not isinstance(config, dict):
        raise UserError(f"{path}: damaged: expected named values")
    for key in ("task", "epochs", "data", "loss"):
        if config.get(key) is None:
            raise UserError(f"{path}: damaged: no setting {key!r}")
    for key in _GROUPS:
        if not isinstance(config.get(key) or {}, dict):
            raise UserError(f"{path}: damaged: {key} must be a group of settings, got {config[key]!r:.60}")
    settings = flat(config)
    for key, kind in _KINDS.items():
        if settings.get(key) is not None and (wrong := complaint(key, kind, settings[key])):
            raise UserError(f"{path}: damaged: {wrong:.120}")
    return config


def _read_summary(path: Folder) -> dict[str, Any]:
    """summary.json; empty when there is none, which means that the run has not come to its end."""
    if not path.exists():
        return {}
    summary = parse_json(read_text(path), path)
    if not isinstance(summary, dict):
        raise UserError(f"{path}: damaged: expected named values")
    if summary.get("schema") != SUMMARY_SCHEMA:
        raise UserError(f"{path}: has schema {summary.get('schema')!r}, this program reads {SUMMARY_SCHEMA}")
    return summary


def _given(group: Any) -> Any:
    """A group without settings that are null: a run may have been finished by a version that has more of them."""
    return {key: value for key, value in group.items() if value is not None} if isinstance(group, dict) else group


def _check_finished(run: Run, done: int) -> None:
    """Check that the three files of a finished run tell the same story."""
    for key in _AGREE:
        if _given(run.config.get(key)) != _given(run.summary.get(key)):
            raise UserError(f"{CONFIG_FILE} and {SUMMARY_FILE} are of different runs: {key} differs")
    if done != run.epochs:
        raise UserError(f"{METRICS_FILE} ends after {done} epochs, {SUMMARY_FILE} says {run.epochs}")
    try:
        split, metric, k, value = run.headline
        if not all(isinstance(values, dict) for values in run.summary["metrics"].values()):
            raise TypeError("a metric that is no group of values")
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise UserError(f"{SUMMARY_FILE}: damaged: no headline value ({type(error).__name__}: {error})") from error
    name = f"{split}/{metric}"
    if math.isnan(value):
        raise UserError(f"diverged: {name} is not a number")
    values = run.curve(split, metric).values
    if not 1 <= k <= len(values):
        raise UserError(f"{METRICS_FILE} lacks the {k} values of {name}")
    mean = math.fsum(values[-k:]) / k
    if not math.isclose(mean, value, rel_tol=1e-9, abs_tol=1e-12):
        raise UserError(f"{SUMMARY_FILE} says {name} {value:.6g}, {METRICS_FILE} {mean:.6g}")
