"""Run directories as tables and figures see them: what a run was, how far it came, and whether to trust it.

Reads config.yaml, summary.json and metrics.csv, in folders and in archives of studies, and writes nothing. What is
wrong with a run is part of the result, not an error: a report over many runs must name the bad ones and go on.
"""

from __future__ import annotations

import io
import json
import math
import os
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePath
from typing import Any, Literal, NamedTuple

import numpy as np
import pandas as pd
import yaml
from numpy.typing import NDArray
from tqdm import tqdm

from seg_anl.records import METRICS_KEYS, SUMMARY_SCHEMA, UserError, parse_metrics
from seg_anl.records.runs import CONFIG_FILE, ENVIRONMENT_FILE, METRICS_FILE, SUMMARY_FILE

from .archives import SUFFIX, Folder, archive_and_inside, open_archive, read_text
from .names import data_name, method_name, noise_name

Status = Literal["finished", "unfinished", "damaged"]

FINISHED = "finished"
_YAML_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # the C parser is ten times faster, where there is one
# Settings by which runs are distinguished and put beside published ones; those that are there must be of these kinds.
_NUMBER = (int, float)
_KINDS: dict[str, type | tuple[type, ...]] = {
    "task": str,
    "epochs": int,
    "seed": int,
    **dict.fromkeys(("data", "loss", "noise", "method", "model", "optim", "evaluation"), dict),
    **dict.fromkeys(("noise.rate", "noise.alpha", "noise.beta"), _NUMBER),
    "noise.seed": int,
    "noise.kinds": list,
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
    """One run directory.

    Attributes:
        path: where it lies, as the person named it; inside an archive ``STUDY.zip/run``.
        folder: the same, to read files from.
        status: ``finished``; ``unfinished`` (stopped, or training now); ``damaged``.
        reason: why it is not finished, in words; empty for a finished run.
        config, summary: config.yaml and summary.json; empty when missing or damaged.
        metrics: metrics.csv, a row per epoch and split; empty when missing or damaged.
    """

    path: str
    folder: Folder
    status: Status
    reason: str = ""
    config: dict[str, Any] = field(default_factory=dict)
    summary: dict[str, Any] = field(default_factory=dict)
    metrics: pd.DataFrame = field(default_factory=lambda: pd.DataFrame(columns=[*METRICS_KEYS]))

    @property
    def task(self) -> str:
        """``segmentation`` or ``classification``."""
        return str(self.config.get("task", ""))

    @property
    def seed(self) -> int | None:
        """The seed; None for a run without one, as nnU-Net's are."""
        return self.config.get("seed")

    @property
    def epochs(self) -> int:
        """How many epochs the run was to have."""
        return int(self.config.get("epochs", 0))

    @property
    def method_name(self) -> str:
        """Loss and training method under the papers' name: ``ANL-CE``, ``Co-teaching``."""
        return method_name(self.config)

    @property
    def noise_name(self) -> str:
        """``clean``, ``symmetric 0.4``, ``α 0.7, β 0.7``."""
        return noise_name(self.config)

    @property
    def data_name(self) -> str:
        """The data set, and of which kind its folder is where the name does not say."""
        return data_name(self.config)

    @property
    def headline(self) -> Headline:
        """The number that a finished run is quoted with.

        Raises:
            ValueError: for a run that is not finished.
        """
        if self.status != FINISHED:
            raise ValueError(f"{self.path} is {self.status}: {self.reason}")
        return _headline(self.summary)

    def has(self, split: str, metric: str) -> bool:
        """Whether metrics.csv holds this metric of this split."""
        return len(self.curve(split, metric).epochs) > 0

    def curve(self, split: str, metric: str) -> Curve:
        """A metric over the epochs that have it; empty where none has."""
        if metric not in self.metrics:
            return Curve(np.empty(0, np.int64), np.empty(0))
        values = self.metrics[metric].to_numpy(np.float64)
        there = (self.metrics["split"].to_numpy() == split) & ~np.isnan(values)
        return Curve(self.metrics["epoch"].to_numpy(np.int64)[there], values[there])


def tidy_metrics(runs: Iterable[Run], metrics: Collection[str]) -> pd.DataFrame:
    """These metrics of ``runs``: a row per run (its path), split, metric and epoch, with the value."""
    wide = {
        run.path: run.metrics[[name for name in run.metrics if name in metrics or name in METRICS_KEYS]]
        for run in runs
        if len(run.metrics)
    }
    if not wide:
        return pd.DataFrame({name: [] for name in ("run", "split", "epoch", "metric", "value")})
    joined = pd.concat(wide, names=["run", None]).reset_index("run").astype({"run": "category", "split": "category"})
    return joined.melt(["run", "split", "epoch"], var_name="metric").dropna(subset=["value"])


def read_runs(places: Iterable[Path]) -> list[Run]:
    """All runs at or below ``places``, by path, with a progress bar where there is a person to see it.

    Raises:
        UserError: when a place is neither a folder nor an archive, or there is no run directory.
    """
    found = find_runs(places)
    bar = tqdm(found.items(), desc="reading runs", unit="run", leave=False, disable=None)
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
        for path, folder in _runs_at(place):
            real = os.path.realpath(path)
            found[real] = min((path, folder), found.get(real, (path, folder)), key=lambda item: item[0])
    if not found:
        raise UserError(
            f"no run directory in {', '.join(map(str, places))}; one holds {CONFIG_FILE}, {METRICS_FILE} and, when "
            f"finished, {SUMMARY_FILE}"
        )
    return dict(sorted(found.values(), key=lambda item: PurePath(item[0])))


def _runs_at(place: Path) -> Iterator[tuple[str, Folder | UserError]]:
    within = archive_and_inside(place)
    if within:
        return _runs_in_archive(*within)
    if not place.is_dir():
        what = "is a file" if place.exists() else "does not exist"
        raise UserError(f"{place} {what}; give run directories, folders that hold some at any depth, or their archives")
    return _runs_below(place)


def _runs_below(place: Path) -> Iterator[tuple[str, Folder | UserError]]:
    seen: set[str] = set()
    for folder, below, files in os.walk(place, followlinks=True):
        real = os.path.realpath(folder)
        if real in seen:  # a link that leads back up
            below.clear()
        elif _is_run(set(files), alone=folder == str(place)):
            below.clear()
            yield folder, Path(folder)
        else:
            for name in sorted(files):
                if name.lower().endswith(SUFFIX) and not name.startswith("."):
                    yield from _runs_in_archive(Path(folder) / name, "")
        below[:] = sorted(name for name in below if not name.startswith("."))
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
    config: dict[str, Any] = {}
    summary: dict[str, Any] = {}
    metrics = pd.DataFrame(columns=[*METRICS_KEYS])
    status: Status = "damaged"
    reason = ""
    try:
        config = _read_config(folder / CONFIG_FILE)
        # The summary before the metrics: training writes it last, so metrics read after it are whole.
        summary = _read_summary(folder / SUMMARY_FILE)
        metrics = read_metrics_table(folder / METRICS_FILE)
        if summary.get("status") == FINISHED:
            _check_finished(config, summary, metrics)
            status = "finished"
        else:
            status, reason = "unfinished", f"{_epochs_done(metrics)} of {config['epochs']} epochs done"
    except UserError as error:
        reason = str(error).replace(f"{path}{os.sep}", "")
    return Run(path, folder, status, reason, config, summary, metrics)


def read_metrics_table(path: Folder) -> pd.DataFrame:
    """metrics.csv as a frame: epoch, split and a column per metric, NaN where it was not measured.

    Raises:
        UserError: naming the file, when it is damaged, cut off, or its epochs do not rise.
    """
    if not path.exists():
        return pd.DataFrame(columns=[*METRICS_KEYS])
    text = read_text(path)
    if text and not text.endswith("\n"):
        raise UserError(f"{path}: the last line is cut off")
    table = _plain_table(text)
    if table is None:  # the strict reader says what is wrong with the file, and where
        rows = [{"epoch": row.epoch, "split": row.split, **row.values} for row in parse_metrics(text, path)]
        table = pd.DataFrame(rows, columns=None if rows else [*METRICS_KEYS])
    if (table["epoch"] > _LAST_EPOCH).any():
        raise UserError(f"{path}: damaged: epoch {table['epoch'].max()}")
    if taken := {"run", "metric", "value"}.intersection(table):
        raise UserError(f"{path}: a metric is called {min(taken)!r}, which is a column of the report's own table")
    for split, epochs in table.groupby("split", sort=False)["epoch"]:
        if (epochs.diff()[1:] <= 0).any():
            raise UserError(f"{path}: the epochs of {split} do not rise")
    return table


def _plain_table(text: str) -> pd.DataFrame | None:
    """A table of numbers without a flaw; None for any other text."""
    lines = text.splitlines()
    plain = '"' not in text and len({line.count(",") for line in lines}) == 1
    if not plain or tuple(lines[0].split(",")[:2]) != METRICS_KEYS or len(lines) < 2:
        return None
    try:
        table = pd.read_csv(
            io.StringIO(text),
            dtype={"split": str, "epoch": "int64"},
            keep_default_na=False,
            na_values={name: [""] for name in lines[0].split(",")[2:]},
            float_precision="round_trip",
        )
    except (ValueError, OverflowError):
        return None
    numeric = all(pd.api.types.is_numeric_dtype(kind) for kind in table.dtypes.iloc[2:])
    return table if numeric and table.columns.is_unique else None


def _read_config(path: Folder) -> dict[str, Any]:
    if not path.is_file():
        raise UserError(f"{path} is missing")
    try:
        config = yaml.load(read_text(path), _YAML_LOADER)
    except (ValueError, RecursionError, yaml.YAMLError) as error:
        raise UserError(f"{path}: damaged: {' '.join(str(error).split())}") from error
    if not isinstance(config, dict):
        raise UserError(f"{path}: damaged: expected named settings")
    for key in ("task", "epochs", "data", "loss"):
        if config.get(key) is None:
            raise UserError(f"{path}: damaged: no setting {key!r}")
    for key, kind in _KINDS.items():
        group, _, name = key.rpartition(".")
        value = (config.get(group) or {}).get(name) if group else config.get(name)
        if value is not None and not isinstance(value, kind):
            raise UserError(f"{path}: damaged: {key} is {str(value)[:40]!r}, not of its kind")
    kinds = (config.get("noise") or {}).get("kinds") or []
    if not all(isinstance(name, str) for name in kinds):
        raise UserError(f"{path}: damaged: noise.kinds is not a list of names")
    return config


def _read_summary(path: Folder) -> dict[str, Any]:
    """summary.json; empty when there is none, which means that the run has not come to its end."""
    if not path.exists():
        return {}
    try:
        summary = json.loads(read_text(path))
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path}: damaged: {error}") from error
    if not isinstance(summary, dict):
        raise UserError(f"{path}: damaged: expected named values")
    if summary.get("schema") != SUMMARY_SCHEMA:
        raise UserError(f"{path}: has schema {summary.get('schema')!r}, this program reads {SUMMARY_SCHEMA}")
    return summary


def _epochs_done(metrics: pd.DataFrame) -> int:
    return int(metrics["epoch"].max()) + 1 if len(metrics) else 0


def _headline(summary: Mapping[str, Any]) -> Headline:
    split, metric = summary["headline"].split("/", 1)
    values = summary["metrics"][summary["headline"]]
    return Headline(split, metric, int(values["k"]), float(values["last_k_mean"]))


def _check_finished(config: Mapping[str, Any], summary: Mapping[str, Any], metrics: pd.DataFrame) -> None:
    """Check that the three files of a finished run tell the same story.

    Raises:
        UserError: saying what does not fit.
    """
    for key in _AGREE:
        if config.get(key) != summary.get(key):
            raise UserError(f"{CONFIG_FILE} and {SUMMARY_FILE} are of different runs: {key} differs")
    done = _epochs_done(metrics)
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
    values = Run("", Path(), "damaged", metrics=metrics).curve(headline.split, headline.metric).values
    if not 1 <= headline.k <= len(values):
        raise UserError(f"{METRICS_FILE} lacks the {headline.k} values of {name}")
    mean = math.fsum(values[-headline.k :]) / headline.k
    if not math.isclose(mean, headline.value, rel_tol=1e-9, abs_tol=1e-12):
        raise UserError(f"{SUMMARY_FILE} says {name} {headline.value:.6g}, {METRICS_FILE} {mean:.6g}")
