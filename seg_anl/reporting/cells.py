"""Runs that differ in their seed alone, brought together; everything that keeps a run from that is a notice."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, NamedTuple

from .names import noise_order
from .runs import Run
from .settings import described, differing, fingerprint, flat_settings, telling
from .statistics import mean, sample_std

Kind = Literal["unfinished", "damaged", "duplicate", "mixed settings", "one seed", "unlike rows", "elsewhere"]
NOT_AVERAGED: tuple[Kind, ...] = ("unfinished", "damaged", "duplicate", "elsewhere")


class Notice(NamedTuple):
    """Something a reader of the numbers must know: of what kind, about which run directories, in words."""

    kind: Kind
    paths: tuple[str, ...]
    text: str


class DataKey(NamedTuple):
    """What a table is about: runs of different tasks or data are never in one table."""

    task: str
    data: str


@dataclass(frozen=True, eq=False)
class Cell:
    """Runs of one method under one noise that differ in their seeds alone.

    Attributes:
        key: task and data.
        method, noise: the papers' names.
        variant: what tells these runs from others of the same method and noise; empty where there are none.
        runs: at least one, sorted by seed.
    """

    key: DataKey
    method: str
    noise: str
    variant: str
    runs: tuple[Run, ...]

    @property
    def config(self) -> Mapping[str, Any]:
        """The settings, but for the seeds."""
        return self.runs[0].config

    @cached_property
    def settings(self) -> dict[str, Any]:
        """The settings that decide the numbers, by dotted name."""
        return flat_settings(self.config)

    @property
    def headline(self) -> str:
        """``split/metric`` that the runs are quoted with."""
        return str(self.runs[0].summary["headline"])

    def values(self, measure: str) -> tuple[float, ...] | None:
        """The mean over the last k epochs of ``split/metric``, one value per run; None where a run has it not."""
        found = [run.summary["metrics"].get(measure, {}).get("last_k_mean") for run in self.runs]
        return None if None in found else tuple(found)

    def k(self, measure: str) -> int:
        """Over how many epochs at the end each run's value is the mean."""
        return int(self.runs[0].summary["metrics"][measure]["k"])


class Average(NamedTuple):
    """Mean and sample standard deviation (None for one run) over ``seeds`` runs."""

    mean: float
    std: float | None
    seeds: int


def average(values: Sequence[float]) -> Average:
    """The average of one value per run."""
    return Average(mean(values), sample_std(values), len(values))


def gather(runs: Iterable[Run]) -> tuple[list[Cell], list[Notice]]:
    """Bring the finished runs together into cells, and say of every other run why it is in none.

    Runs that share task, data, method and noise but differ in another setting become several cells, each with a
    ``variant``. The result does not depend on the order of ``runs``.
    """
    notices: list[Notice] = []
    methods: dict[tuple[DataKey, str], list[Run]] = defaultdict(list)
    for run in sorted(runs, key=lambda run: run.path):
        if run.status == "unfinished" or run.status == "damaged":
            notices.append(Notice(run.status, (str(run.path),), run.reason))
            continue
        methods[DataKey(run.task, run.data_name), run.method_name].append(run)
    cells: list[Cell] = []
    for (key, method), some in sorted(methods.items(), key=lambda item: item[0]):
        cells += _cells_of_method(key, method, some, notices)
    return cells, notices


def _cells_of_method(key: DataKey, method: str, runs: list[Run], notices: list[Notice]) -> list[Cell]:
    by_noise: dict[str, dict[str, list[Run]]] = defaultdict(lambda: defaultdict(list))
    for run in runs:
        by_noise[run.noise_name][fingerprint(flat_settings(run.config))].append(run)
    groups = {noise: [flat_settings(some[0].config) for some in alike.values()] for noise, alike in by_noise.items()}
    names = telling(groups)
    cells = []
    for noise, alike in sorted(by_noise.items(), key=lambda item: noise_order(next(iter(item[1].values()))[0].config)):
        if len(alike) > 1:
            notices.append(_mixed(key, method, noise, list(alike.values())))
        for some in alike.values():
            kept = _without_duplicates(some, notices)
            if len(kept) == 1:
                text = f"{key.data}, {method}, {noise}: one seed, so neither a spread nor a standard error"
                notices.append(Notice("one seed", (str(kept[0].path),), text))
            cells.append(Cell(key, method, noise, described(flat_settings(some[0].config), names), tuple(kept)))
    return cells


def _mixed(key: DataKey, method: str, noise: str, groups: list[list[Run]]) -> Notice:
    names = differing([flat_settings(some[0].config) for some in groups])
    more = f" and {len(names) - 6} more" if len(names) > 6 else ""
    text = f"{key.data}, {method}, {noise}: runs differ in {', '.join(names[:6])}{more}; not averaged with each other"
    return Notice("mixed settings", tuple(sorted(str(run.path) for some in groups for run in some)), text)


def _without_duplicates(runs: list[Run], notices: list[Notice]) -> list[Run]:
    """Of runs with the same seeds only the first by path; without seeds, of runs with the very same value."""
    kept: dict[Any, Run] = {}
    for run in runs:
        value = run.headline.value
        identity = run.replicate if run.seed is not None else (run.replicate, value)
        first = kept.setdefault(identity, run)
        if first is run:
            continue
        text = f"same settings and seed {run.seed} as {first.path}, which alone is counted; "
        other = first.headline.value
        text += "the values agree" if other == value else f"the values differ: {value:.6g} here, {other:.6g} there"
        notices.append(Notice("duplicate", (str(run.path),), text))
    return sorted(kept.values(), key=lambda run: (run.seed is None, run.seed, run.path))
