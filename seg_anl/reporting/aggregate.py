"""Runs that differ in their seed alone, brought together; everything that keeps a run from that is a notice."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable
from pathlib import PurePath
from typing import Literal, NamedTuple

import numpy as np
import pandas as pd

from .names import noise_order
from .run_directories import FINISHED, Run
from .run_settings import described, differing, fingerprint, flat_settings, telling

Kind = Literal["unfinished", "damaged", "duplicate", "mixed settings", "one seed", "unlike rows", "elsewhere"]
NOT_AVERAGED: tuple[Kind, ...] = ("unfinished", "damaged", "duplicate", "elsewhere")


class Notice(NamedTuple):
    """Something a reader of the numbers must know: of what kind, about which run directories, in words."""

    kind: Kind
    paths: tuple[str, ...]
    text: str


def gather(runs: Iterable[Run]) -> tuple[pd.DataFrame, list[Notice]]:
    """Bring the finished runs together that differ in their seeds alone, and say of every other run why it is in none.

    Runs that share task, data, method and noise but differ in another setting become several groups, each with a
    ``variant`` that tells it apart; a row per group has also headline, and as objects runs (by seed), config, settings.
    The result does not depend on the order of ``runs``.
    """
    runs = sorted(runs, key=lambda run: PurePath(run.path))
    notices = [Notice(run.status, (run.path,), run.reason) for run in runs if run.status in NOT_AVERAGED]
    rows: list[tuple[object, ...]] = []
    for (task, data, method), of_method in _run_table(runs).groupby(["task", "data", "method"]):
        by_noise = dict(tuple(of_method.groupby("noise")))
        names = telling({noise: [*some.drop_duplicates("same")["settings"]] for noise, some in by_noise.items()})
        for noise, some in sorted(by_noise.items(), key=lambda item: noise_order(item[1]["run"].iloc[0].config)):
            where = f"{data}, {method}, {noise}"
            if some["same"].nunique() > 1:
                notices.append(_mixed(where, some))
            for _, group in some.groupby("same", sort=False):
                kept, again = _without_duplicates(group)
                notices += again
                if len(kept) == 1:
                    text = f"{where}: one seed, so neither a spread nor a standard error"
                    notices.append(Notice("one seed", (kept[0].path,), text))
                settings = group["settings"].iloc[0]
                variant, headline = described(settings, names), group["headline"].iloc[0]
                rows.append((task, data, method, noise, variant, headline, kept, kept[0].config, settings))
    columns = ["task", "data", "method", "noise", "variant", "headline", "runs", "config", "settings"]
    return pd.DataFrame(rows, columns=columns), notices


def _run_table(runs: Iterable[Run]) -> pd.DataFrame:
    """The finished runs, a row each: what they were, and what tells them apart.

    ``same`` is equal for equal settings, ``identity`` for equal seeds (without seeds, for the very same value).
    """
    rows = []
    for run in runs:
        if run.status == FINISHED:
            settings, seeds = flat_settings(run.config), (run.seed, (run.config.get("noise") or {}).get("seed"))
            identity = str(seeds if run.seed is not None else (seeds, run.headline.value))
            what = (run.task, run.data_name, run.method_name, run.noise_name, run.summary["headline"])
            rows.append((run, run.path, *what, settings, fingerprint(settings), identity))
    columns = ["run", "path", "task", "data", "method", "noise", "headline", "settings", "same", "identity"]
    return pd.DataFrame(rows, columns=columns)


def _mixed(where: str, runs: pd.DataFrame) -> Notice:
    names = differing(runs.drop_duplicates("same")["settings"])
    more = f" and {len(names) - 6} more" if len(names) > 6 else ""
    text = f"{where}: runs differ in {', '.join(names[:6])}{more}; not averaged with each other"
    return Notice("mixed settings", tuple(runs["path"]), text)


def _without_duplicates(runs: pd.DataFrame) -> tuple[list[Run], list[Notice]]:
    """Of runs of one identity the first by path, sorted by seed; and a notice for each of the others."""
    first = runs.drop_duplicates("identity").set_index("identity")["run"]
    notices = []
    for run, other in zip(runs["run"], runs["identity"].map(first), strict=True):
        if run is not other:
            here, there = run.headline.value, other.headline.value
            same = "the values agree" if here == there else f"the values differ: {here:.6g} here, {there:.6g} there"
            text = f"same settings and seed {run.seed} as {other.path}, which alone is counted; {same}"
            notices.append(Notice("duplicate", (run.path,), text))
    return sorted(first, key=lambda run: (run.seed is None, run.seed, PurePath(run.path))), notices


def averages(groups: pd.DataFrame) -> pd.DataFrame:
    """Mean and spread over seeds: a row per group (its index), split and metric that all its runs have.

    Each run counts with the mean over its last k epochs. Columns: mean and std (sample standard deviation, NaN for one
    seed) in percent, a loss as it is; seeds, last_k.
    """
    rows = [
        (group, *name.split("/", 1), values.get("last_k_mean"), values.get("k"))
        for group, runs in groups["runs"].items()
        for run in runs
        for name, values in run.summary["metrics"].items()
        if "/" in name
    ]
    tidy = pd.DataFrame(rows, columns=["group", "split", "metric", "value", "k"])
    tidy["value"] = pd.to_numeric(tidy["value"], errors="coerce")
    tidy["value"] *= np.where(tidy["metric"] == "loss", 1.0, 100.0)
    result = tidy.dropna(subset=["value"]).groupby(["group", "split", "metric"], sort=False)
    found = result.agg(
        mean=("value", statistics.fmean), std=("value", sample_std), seeds=("value", "size"), last_k=("k", "first")
    ).reset_index()
    return found[found["seeds"] == found["group"].map(groups["runs"].map(len))]


def sample_std(values: Iterable[float]) -> float:
    """Sample standard deviation (n - 1), exact for equal values; NaN for fewer than two.

    >>> sample_std([1.0, 3.0]) == math.sqrt(2.0)
    True
    """
    values = [*map(float, values)]
    return statistics.stdev(values) if len(values) > 1 and all(map(math.isfinite, values)) else math.nan
