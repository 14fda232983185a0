"""Run directories as tables and figures see them: what a run was, how far it came, and whether to trust it.

Reads config.yaml, summary.json and metrics.csv, in folders and in archives of studies, and writes nothing. What is
wrong with a run is part of the result, not an error: a report over many runs must name the bad ones and go on.
"""

from __future__ import annotations

import csv
import io
import math
import os
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePath
from typing import Any, Literal, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from tqdm import tqdm

from seg_anl.records import METRICS_KEYS, SUMMARY_SCHEMA, UserError, parse_metrics
from seg_anl.records.foreign_files import parse_json, parse_yaml
from seg_anl.records.ranges import Count, Number, WholeNumber, complaint
from seg_anl.records.runs import CONFIG_FILE, ENVIRONMENT_FILE, METRICS_FILE, SUMMARY_FILE

from .archives import SUFFIX, Folder, archive_and_inside, open_archive, read_text
from .names import data_name, method_name, noise_name

Status = Literal["finished", "unfinished", "damaged"]

FINISHED = "finished"
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
        return _headline(self.summary)

    def has(self, split: str, metric: str) -> bool:
        """Whether metrics.csv holds this metric of this split."""
        return len(self.curve(split, metric).epochs) > 0

    def curve(self, split: str, metric: str) -> Curve:
        """A metric over the epochs that have it; empty where none has."""
        return _curve(self.metrics, split, metric)


def _curve(metrics: pd.DataFrame, split: str, metric: str) -> Curve:
    rows = metrics[metrics["split"] == split].dropna(subset=[metric]) if metric in metrics else metrics[:0]
    return Curve(rows["epoch"].to_numpy(np.int64), rows.get(metric, rows["epoch"]).to_numpy(np.float64))


def tidy_metrics(runs: Iterable[Run], metrics: Collection[str]) -> pd.DataFrame:
    """These metrics of ``runs``: a row per run (its path), split, metric and epoch, with the value."""
    wide = {run.path: run.metrics.filter([*METRICS_KEYS, *metrics]) for run in runs if len(run.metrics)}
    if not wide:
        return pd.DataFrame({name: [] for name in ("run", "split", "epoch", "metric", "value")})
    joined = pd.concat(wide, names=["run", None]).reset_index("run").astype({"run": "category", "split": "category"})
    return joined.melt(["run", "split", "epoch"], var_name="metric").dropna(subset=["value"])


def read_runs(places: Iterable[Path]) -> list[Run]:
    """All runs at or below ``places``, by path, with a progress bar where there is a person to see it."""
    bar = tqdm(find_runs(places).items(), desc="reading runs", unit="run", leave=False, disable=None)
    return [read_run(path, folder) for path, folder in bar]


def find_runs(places: Iterable[Path]) -> dict[str, Folder | UserError]:
    """Run directories at or below ``places``, at any depth, each once: path to folder, sorted.

    Hidden folders and what lies inside a run directory are not searched; links are followed, except in archives. An
    archive of runs that cannot be read is there under its own path, with the reason.

    Raises:
        UserError: for a place that is neither a folder nor an archive, or when there is no run directory at all.
    """
    places = sorted(set(places))
    found: dict[str, tuple[str, Folder | UserError]] = {}
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
            f"no run directory in {', '.join(map(str, places))}; one holds {CONFIG_FILE}, {METRICS_FILE} and, when "
            f"finished, {SUMMARY_FILE}"
        )
    return dict(sorted(found.values(), key=lambda item: PurePath(item[0])))


def _runs_below(place: Path) -> Iterator[tuple[str, Folder | UserError]]:
    seen: set[str] = set()
    for folder, below, files in os.walk(place, followlinks=True):
        real = os.path.realpath(folder)
        below[:] = sorted(name for name in below if not name.startswith("."))
        if real in seen:  # a link that leads back up
            below.clear()
        elif _is_run(set(files), alone=folder == str(place)):
            below.clear()
            yield folder, Path(folder)
        else:
            for name in sorted(files):
                if name.lower().endswith(SUFFIX) and not name.startswith("."):
                    yield from _runs_in_archive(Path(folder) / name, "")
        seen.add(real)


def _runs_in_archive(path: Path, inside: str) -> Iterator[tuple[str, Folder | UserError]]:
    try:
        root = open_archive(path)
    except UserError as error:
        yield str(path), error
        return
    files: dict[str, set[str]] = {}
    for name in root.root.namelist():
        folder, _, file = name.rpartition("/")
        files.setdefault(folder, set()).add(file)
    inside = inside.strip("./")
    runs: list[str] = []
    for folder in sorted(files, key=lambda name: name.split("/")):  # what lies inside a run comes after it
        within = not inside or folder == inside or folder.startswith(f"{inside}/")
        nested = any(folder.startswith(f"{run}/" if run else "") for run in runs)
        if within and not nested and _is_run(files[folder], alone=folder == inside):
            runs.append(folder)
            yield (f"{path}/{folder}" if folder else str(path)), root / folder if folder else root


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
    status: Status = "damaged"
    reason = ""
    try:
        config = read["config"] = _read_config(folder / CONFIG_FILE)
        # The summary before the metrics: training writes it last, so metrics read after it are whole.
        summary = read["summary"] = _read_summary(folder / SUMMARY_FILE)
        metrics = read["metrics"] = read_metrics_table(folder / METRICS_FILE)
        done = int(metrics["epoch"].max()) + 1 if len(metrics) else 0
        if summary.get("status") == FINISHED:
            _check_finished(config, summary, metrics, done)
            status = "finished"
        else:
            status, reason = "unfinished", f"{done} of {config['epochs']} epochs done"
    except UserError as error:
        reason = str(error).replace(f"{path}{os.sep}", "")
    return Run(path, folder, status, reason, **read)


def read_metrics_table(path: Folder) -> pd.DataFrame:
    """metrics.csv as a frame: epoch, split and a column per metric, NaN where not measured. UserError for damage."""
    if not path.exists():
        return pd.DataFrame(columns=[*METRICS_KEYS])
    text = read_text(path)
    if text and not text.endswith("\n"):
        raise UserError(f"{path}: the last line is cut off")
    try:
        head, *rows = filter(None, csv.reader(io.StringIO(text, newline="")))
        if {len(row) for row in rows} - {len(head)}:
            raise ValueError("rows of different lengths")
        cells = np.array(rows, dtype=object).reshape(-1, len(head))  # text of its own length: one may be huge
        values = np.where(cells[:, 2:] == "", "nan", cells[:, 2:]).astype(np.float64)
        table = pd.DataFrame(values, columns=head[2:])
        table.insert(0, "epoch", cells[:, 0].astype(np.int64))
        table.insert(1, "split", cells[:, 1].astype(object))  # a name that is there already is a ValueError
        if not table.columns.is_unique:
            raise ValueError("two columns of one name")
    except (ValueError, OverflowError, csv.Error) as error:
        parse_metrics(text, path)  # the strict reader says what is wrong with the file, and where
        raise UserError(f"{path}: damaged: {error}") from error
    if tuple(head[:2]) != METRICS_KEYS:
        raise UserError(f"{path}: expected columns starting with {', '.join(METRICS_KEYS)}")
    if (table["epoch"] > _LAST_EPOCH).any():
        raise UserError(f"{path}: damaged: epoch {table['epoch'].max()}")
    if taken := {"run", "metric", "value"}.intersection(table):
        raise UserError(f"{path}: a metric is called {min(taken)!r}, which is a column of the report's own table")
    for split, epochs in table.groupby("split", sort=False)["epoch"]:
        if (epochs.diff()[1:] <= 0).any():
            raise UserError(f"{path}: the epochs of {split} do not rise")
    return table


def _read_named(path: Folder, parse: Callable[[str, object], Any]) -> dict[str, Any]:
    """A file of named values."""
    values = parse(read_text(path), path)
    if not isinstance(values, dict):
        raise UserError(f"{path}: damaged: expected named values")
    return values


def _read_config(path: Folder) -> dict[str, Any]:
    if not path.is_file():
        raise UserError(f"{path} is missing")
    config = _read_named(path, parse_yaml)
    for key in ("task", "epochs", "data", "loss"):
        if config.get(key) is None:
            raise UserError(f"{path}: damaged: no setting {key!r}")
    for key in _GROUPS:
        if not isinstance(config.get(key) or {}, dict):
            raise UserError(f"{path}: damaged: {key} must be a group of settings, got {config[key]!r:.60}")
    for key, kind in _KINDS.items():
        group, _, name = key.rpartition(".")
        value = (config.get(group) or {}).get(name) if group else config.get(name)
        if value is not None and (wrong := complaint(key, kind, value)):
            raise UserError(f"{path}: damaged: {wrong:.120}")
    return config


def _read_summary(path: Folder) -> dict[str, Any]:
    """summary.json; empty when there is none, which means that the run has not come to its end."""
    if not path.exists():
        return {}
    summary = _read_named(path, parse_json)
    if summary.get("schema") != SUMMARY_SCHEMA:
        raise UserError(f"{path}: has schema {summary.get('schema')!r}, this program reads {SUMMARY_SCHEMA}")
    return summary


def _headline(summary: dict[str, Any]) -> Headline:
    split, metric = summary["headline"].split("/", 1)
    values = summary["metrics"][summary["headline"]]
    return Headline(split, metric, int(values["k"]), float(values["last_k_mean"]))


def _check_finished(config: dict[str, Any], summary: dict[str, Any], metrics: pd.DataFrame, done: int) -> None:
    """Check that the three files of a finished run tell the same story."""
    for key in _AGREE:
        if config.get(key) != summary.get(key):
            raise UserError(f"{CONFIG_FILE} and {SUMMARY_FILE} are of different runs: {key} differs")
    if done != config["epochs"]:
        raise UserError(f"{METRICS_FILE} ends after {done} epochs, {SUMMARY_FILE} says {config['epochs']}")
    try:
        headline = _headline(summary)
        if not all(isinstance(values, dict) for values in summary["metrics"].values()):
            raise TypeError("a metric that is no group of values")
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise UserError(f"{SUMMARY_FILE}: damaged: no headline value ({type(error).__name__}: {error})") from error
    name = f"{headline.split}/{headline.metric}"
    if math.isnan(headline.value):
        raise UserError(f"diverged: {name} is not a number")
    values = _curve(metrics, headline.split, headline.metric).values
    if not 1 <= headline.k <= len(values):
        raise UserError(f"{METRICS_FILE} lacks the {headline.k} values of {name}")
    mean = math.fsum(values[-headline.k :]) / headline.k
    if not math.isclose(mean, headline.value, rel_tol=1e-9, abs_tol=1e-12):
        raise UserError(f"{SUMMARY_FILE} says {name} {headline.value:.6g}, {METRICS_FILE} {mean:.6g}")
