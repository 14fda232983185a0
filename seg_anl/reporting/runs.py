"""Run directories as the report and the figures see them: what a run was, how far it came, and whether to trust it.

Reads config.yaml, summary.json and metrics.csv and writes nothing. What is wrong with a run is part of the result, not
an error: a report over many runs must name the bad ones and go on.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple

import yaml

from seg_anl.records import SUMMARY_SCHEMA, MetricRow, UserError, read_metrics
from seg_anl.records.runs import CONFIG_FILE, ENVIRONMENT_FILE, METRICS_FILE, SUMMARY_FILE

from .metric_curves import Curve, read_curves
from .names import data_name, method_name, noise_name

Status = Literal["finished", "unfinished", "damaged"]

FINISHED = "finished"
_YAML_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # the C parser is ten times faster, where there is one
# Settings by which runs are told apart and put beside published ones; those that are there must be of these kinds.
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


class Headline(NamedTuple):
    """The number that a run is quoted with: mean of ``metric`` on ``split`` over its last ``k`` epochs."""

    split: str
    metric: str
    k: int
    value: float


@dataclass(frozen=True, eq=False)
class Run:
    """One run directory.

    Attributes:
        path: where it lies, as the person named it.
        status: ``finished``; ``unfinished`` (stopped, or training now); ``damaged``.
        reason: why it is not finished, in words; empty for a finished run.
        config: config.yaml; empty when it cannot be read.
        summary: summary.json; empty when there is none or it cannot be read.
        curves: metrics.csv by (split, metric); empty when it cannot be read.
    """

    path: Path
    status: Status
    reason: str = ""
    config: dict[str, Any] = field(default_factory=dict)
    summary: dict[str, Any] = field(default_factory=dict)
    curves: Mapping[tuple[str, str], Curve] = field(default_factory=dict)

    @property
    def rows(self) -> list[MetricRow]:
        """The rows of metrics.csv, read anew at each call.

        Raises:
            UserError: when it is missing or damaged.
        """
        return read_metrics(self.path / METRICS_FILE)

    @property
    def records(self) -> Path:
        """Where the trainers keep what figures need; absent unless it was asked for."""
        return self.path / "records"

    @property
    def task(self) -> str:
        """``segmentation`` or ``classification``."""
        return str(self.config.get("task", ""))

    @property
    def seed(self) -> int | None:
        """The seed; None for a run without one, as nnU-Net's are."""
        seed = self.config.get("seed")
        return seed if isinstance(seed, int) else None

    @property
    def epochs(self) -> int:
        """How many epochs the run was to have."""
        epochs = self.config.get("epochs", 0)
        return epochs if isinstance(epochs, int) else 0

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

    @property
    def replicate(self) -> tuple[int | None, int | None]:
        """What may differ between runs that are averaged: the seeds of training and of the noise."""
        noise = self.config.get("noise")
        return self.seed, noise.get("seed") if isinstance(noise, dict) else None


def find_runs(places: Iterable[Path]) -> list[Path]:
    """Run directories at or below ``places``, at any depth, each once, sorted.

    Hidden folders and what lies inside a run directory are not searched; links are followed.

    Raises:
        UserError: for a place that is not a folder, or when there is no run directory at all.
    """
    places = sorted(set(places))
    found: dict[str, Path] = {}
    for place in places:
        if not place.is_dir():
            what = "is a file" if place.exists() else "does not exist"
            raise UserError(f"{place} {what}; give run directories, or folders that hold some at any depth")
        for path in _runs_below(place):
            real = os.path.realpath(path)
            found[real] = min(path, found.get(real, path))
    if not found:
        raise UserError(
            f"no run directory in {', '.join(map(str, places))}; one holds {CONFIG_FILE}, {METRICS_FILE} and, when "
            f"finished, {SUMMARY_FILE}"
        )
    return sorted(found.values())


def _runs_below(place: Path) -> Iterator[Path]:
    seen: set[str] = set()
    for folder, below, files in os.walk(place, followlinks=True):
        real = os.path.realpath(folder)
        if real in seen:  # a link that leads back up
            below.clear()
        elif _is_run(set(files), alone=folder == str(place)):
            below.clear()
            yield Path(folder)
        below[:] = sorted(name for name in below if not name.startswith("."))
        seen.add(real)


def _is_run(files: set[str], *, alone: bool) -> bool:
    """Whether these files make a run directory; a place that the person named may be a run that has just begun."""
    if CONFIG_FILE in files:
        return alone or bool(files & {METRICS_FILE, SUMMARY_FILE, ENVIRONMENT_FILE})
    return {METRICS_FILE, SUMMARY_FILE} <= files


def read_run(path: Path) -> Run:
    """Read one run directory; whatever is wrong with it becomes its status and reason."""
    config: dict[str, Any] = {}
    summary: dict[str, Any] = {}
    curves: dict[tuple[str, str], Curve] = {}
    status: Status = "damaged"
    reason = ""
    try:
        config = _read_config(path / CONFIG_FILE)
        # The summary before the metrics: training writes it last, so metrics read after it are whole.
        summary = _read_summary(path / SUMMARY_FILE)
        curves = read_curves(path / METRICS_FILE)
        if summary.get("status") == FINISHED:
            _check_finished(config, summary, curves)
            status = "finished"
        else:
            status, reason = "unfinished", f"{_epochs_done(curves)} of {config['epochs']} epochs done"
    except UserError as error:
        reason = str(error).replace(f"{path}{os.sep}", "")
    return Run(path, status, reason, config, summary, curves)


def _read_config(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise UserError(f"{path} is missing")
    try:
        config = yaml.load(path.read_text(encoding="utf-8"), _YAML_LOADER)
    except (OSError, ValueError, yaml.YAMLError) as error:
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
    return dict(config)


def _read_summary(path: Path) -> dict[str, Any]:
    """summary.json; empty when there is none, which means that the run has not come to its end."""
    if not path.exists():
        return {}
    try:
        summary = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: damaged: {error}") from error
    if not isinstance(summary, dict):
        raise UserError(f"{path}: damaged: expected named values")
    if summary.get("schema") != SUMMARY_SCHEMA:
        raise UserError(f"{path}: has schema {summary.get('schema')!r}, this program reads {SUMMARY_SCHEMA}")
    return summary


def _epochs_done(curves: Mapping[tuple[str, str], Curve]) -> int:
    return max((int(curve.epochs[-1]) + 1 for curve in curves.values()), default=0)


def _headline(summary: Mapping[str, Any]) -> Headline:
    split, metric = summary["headline"].split("/", 1)
    values = summary["metrics"][summary["headline"]]
    return Headline(split, metric, int(values["k"]), float(values["last_k_mean"]))


def _check_finished(config: dict[str, Any], summary: dict[str, Any], curves: Mapping[tuple[str, str], Curve]) -> None:
    """Check that the three files of a finished run tell the same story.

    Raises:
        UserError: saying what does not fit.
    """
    for key in _AGREE:
        if config.get(key) != summary.get(key):
            raise UserError(f"{CONFIG_FILE} and {SUMMARY_FILE} are of different runs: {key} differs")
    done = _epochs_done(curves)
    if done != config["epochs"]:
        raise UserError(f"{METRICS_FILE} ends after {done} epochs, {SUMMARY_FILE} says {config['epochs']}")
    try:
        headline = _headline(summary)
        if not all(isinstance(values, dict) for values in summary["metrics"].values()):
            raise TypeError("a metric that is no group of values")
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise UserError(f"{SUMMARY_FILE}: damaged: no headline value ({type(error).__name__}: {error})") from error
    curve = curves.get((headline.split, headline.metric))
    if curve is None or not 1 <= headline.k <= len(curve.values):
        raise UserError(f"{METRICS_FILE} has not the {headline.k} values of {headline.split}/{headline.metric}")
    mean = math.fsum(curve.values[-headline.k :]) / headline.k
    if not math.isclose(mean, headline.value, rel_tol=1e-9, abs_tol=1e-12):
        if math.isnan(mean) or math.isnan(headline.value):
            raise UserError(f"diverged: {headline.split}/{headline.metric} is not a number")
        raise UserError(
            f"{SUMMARY_FILE} says {headline.split}/{headline.metric} {headline.value:.6g}, {METRICS_FILE} {mean:.6g}"
        )
