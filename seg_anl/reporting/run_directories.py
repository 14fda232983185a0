"""Read run directories: config.yaml, summary.json and metrics.csv, in folders and archives.

A problem with a run is part of the result rather than an error, because a report over many runs has to name the bad
ones and continue.
"""

from __future__ import annotations

import io
import math
import os
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path, PurePath, PurePosixPath
from typing import Any, Literal, NamedTuple

import numpy as np
import pandas as pd

from seg_anl.records import METRICS_KEYS, SUMMARY_SCHEMA, UserError, parse_metrics
from seg_anl.records.foreign_files import parse_json, parse_yaml
from seg_anl.records.progress import progress_bar
from seg_anl.records.ranges import Count, Number, WholeNumber, complaint
from seg_anl.records.recipes import flat
from seg_anl.records.runs import CONFIG_FILE, ENVIRONMENT_FILE, INPUTS_FILE, METRICS_FILE, SUMMARY_FILE

from .archives import SUFFIX, Folder, open_archive, read_text, split_archive_path
from .names import data_name, method_name, noise_name
from .run_settings import flat_settings

Status = Literal["finished", "unfinished", "damaged"]

FINISHED: Status = "finished"
# Groups of settings that distinguish runs and match them with published numbers.
_GROUPS = ("data", "loss", "noise", "method", "model", "optim", "evaluation")
_TYPES: dict[str, Any] = {
    "task": str,
    "epochs": Count,
    "seed": WholeNumber,
    **dict.fromkeys(("noise.rate", "noise.alpha", "noise.beta"), Number),
    "noise.seed": WholeNumber,
    "noise.kinds": list[str],
}
_SHARED_KEYS = ("task", "data", "loss", "noise", "seed", "epochs")  # in both config.yaml and summary.json
_MAX_EPOCH = 10**9  # larger numbers mean a damaged file


class Headline(NamedTuple):
    """The main result of a run: the mean of ``metric`` on ``split`` over its last ``k`` epochs."""

    split: str
    metric: str
    k: int
    value: float


@dataclass(frozen=True, eq=False)
class Run:
    """One run directory.

    Attributes:
        path: the path given by the user; in an archive, ``STUDY.zip/run``.
        folder: the folder to read from.
        status: ``"unfinished"`` means interrupted or still training.
        reason: why the run is not finished.
        config, summary: config.yaml and summary.json; empty if missing or damaged.
        metrics: metrics.csv, one row per epoch and split; empty if missing or damaged.
        inputs: inputs.json, the digests of the data by name; empty for runs without (nnU-Net, older ones).
    """

    path: str
    folder: Folder
    status: Status
    reason: str = ""
    config: dict[str, Any] = field(default_factory=dict)
    summary: dict[str, Any] = field(default_factory=dict)
    metrics: pd.DataFrame = field(default_factory=lambda: pd.DataFrame(columns=[*METRICS_KEYS]))
    inputs: dict[str, Any] = field(default_factory=dict)

    task = property(lambda self: str(self.config.get("task", "")), doc="``segmentation`` or ``classification``.")
    seed = property(lambda self: self.config.get("seed"), doc="The seed; None for a run without one (nnU-Net).")
    epochs = property(lambda self: int(self.config.get("epochs", 0)), doc="The configured number of epochs.")
    method_name = property(lambda self: method_name(self.config), doc="``ANL-CE``, ``Co-teaching``.")
    noise_name = property(lambda self: noise_name(self.config), doc="``clean``, ``symmetric 0.4``, ``α 0.7, β 0.7``.")
    data_name = property(lambda self: data_name(self.config), doc="The data set; for a folder with its kind.")

    @property
    def headline(self) -> Headline:
        """The main result of a finished run; raises a ValueError for other runs."""
        if self.status != FINISHED:
            raise ValueError(f"{self.path} is {self.status}: {self.reason}")
        split, metric = self.summary["headline"].split("/", 1)
        values = self.summary["metrics"][self.summary["headline"]]
        return Headline(split, metric, int(values["k"]), float(values["last_k_mean"]))

    @cached_property
    def settings(self) -> dict[str, Any]:
        """The settings that determine the results; see :func:`flat_settings`."""
        return flat_settings(self.config)

    def curve(self, split: str, metric: str) -> pd.Series:
        """A metric by epoch, from 0, without the epochs that lack it; may be empty."""
        if metric not in self.metrics:
            return pd.Series(dtype=float)
        is_split = (self.metrics["split"] == split).to_numpy()
        values, epochs = (self.metrics[name].to_numpy()[is_split] for name in (metric, "epoch"))
        return pd.Series(values, epochs).dropna()


def tidy_metrics(runs: Iterable[Run], metrics: Collection[str]) -> pd.DataFrame:
    """Metrics of ``runs`` in long format: one row per run (its path), split, metric and epoch, with the value."""
    wide = {run.path: run.metrics.filter([*METRICS_KEYS, *metrics]) for run in runs if len(run.metrics)}
    if not wide:
        return pd.DataFrame(columns=["run", "split", "epoch", "metric", "value"])
    joined = pd.concat(wide, names=["run", None]).reset_index("run").astype({"run": "category", "split": "category"})
    return joined.melt(["run", "split", "epoch"], var_name="metric").dropna(subset=["value"])


def read_runs(paths: Iterable[Path]) -> list[Run]:
    """All runs at or below ``paths``, sorted by path, with a progress bar on a terminal."""
    bar = progress_bar(find_runs(paths).items(), "run", title="reading runs")
    return [read_run(path, folder) for path, folder in bar]


def find_runs(paths: Iterable[Path]) -> dict[str, Folder | UserError]:
    """Find run directories at or below ``paths``, at any depth; returns a sorted mapping of path to folder.

    Hidden folders and subfolders of run directories are not searched; links are followed, except in archives. An
    unreadable folder or archive is mapped to its error.

    Raises:
        UserError: if a path is neither a folder nor an archive, or there are no run directories.
    """
    runs: dict[str, tuple[str, Folder | UserError]] = {}
    roots = sorted(set(paths))
    for root in roots:
        archive = split_archive_path(root)
        if not archive and not root.is_dir():
            problem = "is a file" if root.exists() else "does not exist"
            raise UserError(f"{root} {problem}; expected run directories, or folders or archives that contain some")
        for path, folder in _runs_in_archive(*archive) if archive else _runs_below(root):
            runs.setdefault(os.path.realpath(path), (path, folder))
    if not runs:
        raise UserError(
            f"no run directory in {', '.join(map(str, roots))}; a run directory holds {CONFIG_FILE}, {METRICS_FILE} "
            f"and, if finished, {SUMMARY_FILE}"
        )
    return dict(sorted(runs.values(), key=lambda item: PurePath(item[0])))


def _runs_below(root: Path) -> Iterator[tuple[str, Folder | UserError]]:
    seen: set[str] = set()
    unreadable: list[OSError] = []
    for folder, subfolders, files in os.walk(root, onerror=unreadable.append, followlinks=True):
        visible = sorted(name for name in subfolders if not name.startswith("."))
        subfolders.clear()  # do not descend into runs, or follow a link cycle
        if (real := os.path.realpath(folder)) in seen:
            continue
        seen.add(real)
        if _is_run({*files}, is_root=folder == str(root)):
            yield folder, Path(folder)
            continue
        subfolders[:] = visible
        for name in sorted(files):
            if name.lower().endswith(SUFFIX) and not name.startswith("."):
                yield from _runs_in_archive(Path(folder, name), "")
    for error in unreadable:
        yield error.filename, UserError(f"{error.filename}: cannot list the folder: {error.strerror}")


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
    for folder in sorted(files):  # subfolders of a run come after it
        is_searched = folder.is_relative_to(inside) and not runs.intersection(folder.parents)
        if is_searched and _is_run(files[folder], is_root=folder == PurePosixPath(inside)):
            runs.add(folder)
            yield (str(path / folder), root / str(folder)) if folder.name else (str(path), root)


def _is_run(files: set[str], *, is_root: bool) -> bool:
    """Whether these files make a run directory; a folder given by the user may be a run that has just started."""
    if CONFIG_FILE in files:
        return is_root or bool(files & {METRICS_FILE, SUMMARY_FILE, ENVIRONMENT_FILE})
    return {METRICS_FILE, SUMMARY_FILE} <= files


def read_run(path: str | Path, folder: Folder | UserError | None = None) -> Run:
    """Read one run directory; any problem is reported in its status and reason."""
    path, folder = str(path), Path(path) if folder is None else folder
    if isinstance(folder, UserError):
        return Run(path, Path(path), "damaged", str(folder).replace(f"{path}: ", ""))
    content: dict[str, Any] = {}
    try:
        config = content["config"] = _read_config(folder / CONFIG_FILE)
        # Training writes the summary last, so metrics read after the summary are complete.
        summary = content["summary"] = _read_summary(folder / SUMMARY_FILE)
        metrics = content["metrics"] = read_metrics_table(folder / METRICS_FILE)
        content["inputs"] = _read_json(folder / INPUTS_FILE)
        done = int(metrics["epoch"].max()) + 1 if len(metrics) else 0
        if summary.get("status") != FINISHED:
            return Run(path, folder, "unfinished", f"{done} of {config['epochs']} epochs done", **content)
        run = Run(path, folder, FINISHED, **content)
        _check_finished(run, done)
        return run
    except UserError as error:
        return Run(path, folder, "damaged", str(error).replace(f"{path}{os.sep}", ""), **content)


def read_metrics_table(path: Folder) -> pd.DataFrame:
    """Read metrics.csv: epoch, split and one column per metric, NaN if not measured.

    Raises:
        UserError: for a damaged file.
    """
    if not path.exists():
        return pd.DataFrame(columns=[*METRICS_KEYS])
    text = read_text(path)
    if text and not text.endswith("\n"):
        raise UserError(f"{path}: the last line is cut off")
    head, *lines = text.splitlines() or [""]
    names = head.split(",")
    try:
        if {line.count(",") for line in lines} - {head.count(",")} or len({*names}) < len(names):
            raise ValueError("rows of different lengths, or duplicate columns")
        kinds = {"epoch": np.int64, "split": object, **dict.fromkeys(names[2:], np.float64)}
        table = pd.read_csv(io.StringIO(text), dtype=kinds, float_precision="round_trip")
    except (ValueError, OverflowError, pd.errors.ParserError) as error:
        parse_metrics(text, path)  # the strict parser raises a more precise error
        raise UserError(f"{path}: damaged: {error}") from error
    if tuple(names[:2]) != METRICS_KEYS:
        raise UserError(f"{path}: expected columns starting with {', '.join(METRICS_KEYS)}")
    if (table["epoch"] > _MAX_EPOCH).any():
        raise UserError(f"{path}: damaged: epoch {table['epoch'].max()}")
    if taken := {"run", "metric", "value"}.intersection(table):
        raise UserError(f"{path}: a metric is named {min(taken)!r}, which is reserved for the report")
    is_late = table.groupby("split")["epoch"].diff() <= 0
    if is_late.any():
        raise UserError(f"{path}: the epochs of {table['split'][is_late.idxmax()]} are not ascending")
    return table


def _read_config(path: Folder) -> dict[str, Any]:
    if not path.is_file():
        raise UserError(f"{path} is missing")
    config = _named_values(parse_yaml(read_text(path), path), path)
    for key in ("task", "epochs", "data", "loss"):
        if config.get(key) is None:
            raise UserError(f"{path}: damaged: no setting {key!r}")
    for key in _GROUPS:
        if not isinstance(config.get(key) or {}, dict):
            raise UserError(f"{path}: damaged: {key} must be a group of settings, got {config[key]!r:.60}")
    settings = flat(config)
    for key, kind in _TYPES.items():
        if settings.get(key) is not None and (wrong := complaint(key, kind, settings[key])):
            raise UserError(f"{path}: damaged: {wrong:.120}")
    return config


def _read_summary(path: Folder) -> dict[str, Any]:
    """summary.json; empty if it does not exist, because the run has not finished."""
    summary = _read_json(path)
    if path.exists() and summary.get("schema") != SUMMARY_SCHEMA:
        raise UserError(f"{path}: has schema {summary.get('schema')!r}; expected {SUMMARY_SCHEMA}")
    return summary


def _read_json(path: Folder) -> dict[str, Any]:
    """Named values; empty if the file does not exist."""
    return _named_values(parse_json(read_text(path), path), path) if path.exists() else {}


def _named_values(content: Any, path: Folder) -> dict[str, Any]:
    if not isinstance(content, dict):
        raise UserError(f"{path}: damaged: expected named values")
    return content


def _without_null(group: Any) -> Any:
    """A group without null settings, because a run may have been finished by a version with more settings."""
    return {key: value for key, value in group.items() if value is not None} if isinstance(group, dict) else group


def _check_finished(run: Run, done: int) -> None:
    """Check that the three files of a finished run agree."""
    for key in _SHARED_KEYS:
        if _without_null(run.config.get(key)) != _without_null(run.summary.get(key)):
            raise UserError(f"{CONFIG_FILE} and {SUMMARY_FILE} are from different runs: {key} differs")
    if done != run.epochs:
        raise UserError(f"{METRICS_FILE} ends after {done} epochs, {SUMMARY_FILE} says {run.epochs}")
    try:
        split, metric, k, value = run.headline
        if not all(isinstance(values, dict) for values in run.summary["metrics"].values()):
            raise TypeError("a metric is not a group of values")
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise UserError(f"{SUMMARY_FILE}: damaged: no headline value ({type(error).__name__}: {error})") from error
    if math.isnan(value):
        raise UserError(f"diverged: {split}/{metric} is not a number")
    values = run.curve(split, metric)
    if not 1 <= k <= len(values):
        raise UserError(f"{METRICS_FILE} lacks the {k} values of {split}/{metric}")
    mean = math.fsum(values.iloc[-k:]) / k
    if not math.isclose(mean, value, rel_tol=1e-9, abs_tol=1e-12):
        raise UserError(f"{SUMMARY_FILE} says {split}/{metric} {value:.6g}, {METRICS_FILE} {mean:.6g}")
