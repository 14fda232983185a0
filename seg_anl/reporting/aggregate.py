"""Group runs that differ only in their seed, and report why other runs are left out."""

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
from .run_settings import describe, differing, distinguishing, fingerprint, flat_settings

Kind = Literal["unfinished", "damaged", "duplicate", "mixed settings", "one seed", "unlike rows", "elsewhere"]
NOT_AVERAGED: tuple[Kind, ...] = ("unfinished", "damaged", "duplicate", "elsewhere")


class Notice(NamedTuple):
    """A notice to the reader of a report: its kind, the run directories it is about, and a text."""

    kind: Kind
    paths: tuple[str, ...]
    text: str


def gather(runs: Iterable[Run]) -> tuple[pd.DataFrame, list[Notice]]:
    """Group the finished runs that differ only in their seeds, with notices about all other runs.

    Returns one row per group, with its runs sorted by seed. Runs with the same task, data, method and noise that differ
    in another setting become several groups, distinguished by ``variant``. The order of ``runs`` does not matter.
    """
    runs = sorted(runs, key=lambda run: PurePath(run.path))
    notices = [Notice(run.status, (run.path,), run.reason) for run in runs if run.status in NOT_AVERAGED]
    rows: list[tuple[object, ...]] = []
    for (task, data, method), of_method in _run_table(runs).groupby(["task", "data", "method"]):
        by_noise = dict(tuple(of_method.groupby("noise")))
        names = distinguishing({noise: [*some.drop_duplicates("same")["settings"]] for noise, some in by_noise.items()})
        for noise, some in sorted(by_noise.items(), key=lambda item: noise_order(item[1]["run"].iloc[0].config)):
            title = f"{data}, {method}, {noise}"
            if some["same"].nunique() > 1:
                notices.append(_mixed_notice(title, some))
            for _, group in some.groupby("same", sort=False):
                kept, duplicates = _drop_duplicates(group)
                notices += duplicates
                if len(kept) == 1:
                    text = f"{title}: only one seed, so no standard deviation or standard error"
                    notices.append(Notice("one seed", (kept[0].path,), text))
                settings = group["settings"].iloc[0]
                variant, headline = describe(settings, names), group["headline"].iloc[0]
                rows.append((task, data, method, noise, variant, headline, kept, kept[0].config, settings))
    columns = ["task", "data", "method", "noise", "variant", "headline", "runs", "config", "settings"]
    return pd.DataFrame(rows, columns=columns), notices


def _run_table(runs: Iterable[Run]) -> pd.DataFrame:
    """One row per finished run.

    ``same`` is equal for runs with equal settings, ``identity`` for equal seeds (without seeds, for equal values).
    """
    rows = []
    for run in runs:
        if run.status == FINISHED:
            settings, seeds = flat_settings(run.config), (run.seed, (run.config.get("noise") or {}).get("seed"))
            identity = str(seeds if run.seed is not None else (seeds, run.headline.value))
            names = (run.task, run.data_name, run.method_name, run.noise_name, run.summary["headline"])
            rows.append((run, run.path, *names, settings, fingerprint(settings), identity))
    columns = ["run", "path", "task", "data", "method", "noise", "headline", "settings", "same", "identity"]
    return pd.DataFrame(rows, columns=columns)


def _mixed_notice(title: str, runs: pd.DataFrame) -> Notice:
    names = differing(runs.drop_duplicates("same")["settings"])
    more = f" and {len(names) - 6} more" if len(names) > 6 else ""
    text = f"{title}: runs differ in {', '.join(names[:6])}{more}; not averaged together"
    return Notice("mixed settings", tuple(runs["path"]), text)


def _drop_duplicates(runs: pd.DataFrame) -> tuple[list[Run], list[Notice]]:
    """Keep the first run (by path) of each identity, sorted by seed, with a notice for each of the others."""
    first = runs.drop_duplicates("identity").set_index("identity")["run"]
    notices = []
    for run, other in zip(runs["run"], runs["identity"].map(first), strict=True):
        if run is not other:
            value, kept = run.headline.value, other.headline.value
            comparison = "the values agree" if value == kept else f"the values differ: {value:.6g} and {kept:.6g}"
            text = f"same settings and seed {run.seed} as {other.path}, which is used instead; {comparison}"
            notices.append(Notice("duplicate", (run.path,), text))
    return sorted(first, key=lambda run: (run.seed is None, run.seed, PurePath(run.path))), notices


def averages(groups: pd.DataFrame) -> pd.DataFrame:
    """Mean and std over seeds: one row per group (its index), split and metric that all its runs have.

    The value of a run is its mean over the last k epochs. Columns: mean and std (sample standard deviation, NaN for one
    seed) in percent except for losses; seeds; last_k.
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
    table = result.agg(
        mean=("value", statistics.fmean), std=("value", sample_std), seeds=("value", "size"), last_k=("k", "first")
    ).reset_index()
    return table[table["seeds"] == table["group"].map(groups["runs"].map(len))]


def sample_std(values: Iterable[float]) -> float:
    """Sample standard deviation (n - 1), exact for equal values; NaN for fewer than two.

    >>> sample_std([1.0, 3.0]) == math.sqrt(2.0)
    True
    """
    values = [*map(float, values)]
    return statistics.stdev(values) if len(values) > 1 and all(map(math.isfinite, values)) else math.nan
