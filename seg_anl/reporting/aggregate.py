"""Group runs that differ only in their seed, and report why other runs are left out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import PurePath
from typing import Literal, NamedTuple

import pandas as pd

from .names import noise_order
from .run_directories import FINISHED, Run
from .run_settings import describe, differing, distinguishing, fingerprint

Kind = Literal[
    "unfinished", "damaged", "duplicate", "mixed settings", "one seed", "unlike rows", "unlike inputs", "elsewhere"
]
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
    table = _run_table(run for run in runs if run.status == FINISHED)
    table["first"] = table.groupby(["same", "identity"])["run"].transform("first")
    copies = table[table["run"] != table["first"]]
    notices += [_duplicate(run, first) for run, first in zip(copies["run"], copies["first"], strict=True)]
    columns = ["task", "data", "method", "noise", "headline", "settings", "config"]
    kept = table.drop(copies.index).sort_values("seed", kind="stable").groupby("same", sort=False)
    groups = kept.agg(**{name: (name, "first") for name in columns}, runs=("run", list), position=("position", "min"))
    groups["order"] = [noise_order(config) for config in groups["config"]]
    groups = groups.reset_index().sort_values(["task", "data", "method", "order", "position"], ignore_index=True)
    groups["variant"] = ""
    for _, some in groups.groupby(["task", "data", "method"]):
        names = distinguishing(some["settings"], some["noise"])
        groups.loc[some.index, "variant"] = [describe(settings, names) for settings in some["settings"]]
    for (_, data, method, noise), some in groups.groupby(["task", "data", "method", "noise"], sort=False):
        if len(some) > 1:
            names = differing(some["settings"])
            more = f" and {len(names) - 6} more" if len(names) > 6 else ""
            text = f"{data}, {method}, {noise}: runs differ in {', '.join(names[:6])}{more}; not averaged together"
            notices.append(Notice("mixed settings", tuple(table.loc[table["same"].isin(some["same"]), "path"]), text))
    for group in groups[groups["runs"].map(len) == 1].itertuples():
        text = f"{group.data}, {group.method}, {group.noise}: only one seed, so no standard deviation or standard error"
        notices.append(Notice("one seed", (group.runs[0].path,), text))
    return groups, [*notices, *_unlike_inputs(groups)]


def _unlike_inputs(groups: pd.DataFrame) -> Iterator[Notice]:
    """Runs with the same settings of their data that began from different files, by the digests they recorded.

    Their place was given relative to another working folder, or a file has changed.
    """
    alike: dict[tuple[str, str, str], list[Run]] = {}
    for group in groups.itertuples():
        settings = {name: value for name, value in group.settings.items() if name.startswith("data.")}
        for run in group.runs:
            noise = run.config.get("noise") or {}  # its seed also splits the data
            alike.setdefault((group.task, group.data, fingerprint([settings, noise.get("seed")])), []).append(run)
    for (_, data, _), runs in alike.items():
        by_input: dict[str, dict[str, list[str]]] = {}
        for run in runs:
            for name, digest in run.inputs.items():
                if name.startswith(("training ", "test ")):
                    by_input.setdefault(name, {}).setdefault(str(digest), []).append(run.path)
        changed = [name for name, by_digest in by_input.items() if len(by_digest) > 1]
        if changed:
            one, other, *_ = (paths[0] for paths in by_input[changed[0]].values())
            text = f"{data}: different {', '.join(changed)} under the same name, for instance in {one} and {other}"
            yield Notice("unlike inputs", tuple(run.path for run in runs), text)


def _run_table(runs: Iterable[Run]) -> pd.DataFrame:
    """One row per finished run.

    ``same`` is equal for runs with equal settings, ``identity`` for equal seeds (without seeds, for equal values).
    """
    rows = []
    for position, run in enumerate(runs):
        seeds = (run.seed, (run.config.get("noise") or {}).get("seed"))
        identity = str(seeds if run.seed is not None else (seeds, run.headline.value))
        names = (run.task, run.data_name, run.method_name, run.noise_name, run.summary["headline"])
        keys = (fingerprint(run.settings), identity, run.seed)
        rows.append((position, run, run.path, run.config, run.settings, *names, *keys))
    columns = ["position", "run", "path", "config", "settings", "task", "data", "method", "noise", "headline"]
    return pd.DataFrame(rows, columns=[*columns, "same", "identity", "seed"])


def _duplicate(run: Run, other: Run) -> Notice:
    value, kept = run.headline.value, other.headline.value
    comparison = "the values agree" if value == kept else f"the values differ: {value:.6g} and {kept:.6g}"
    text = f"same settings and seed {run.seed} as {other.path}, which is used instead; {comparison}"
    return Notice("duplicate", (run.path,), text)


def averages(groups: pd.DataFrame) -> pd.DataFrame:
    """Mean and std over seeds of the headline metric: one row per group (its index) and split that all its runs have.

    The value of a run is its mean over the last k epochs. Columns: mean and std (sample standard deviation, NaN for one
    seed) in percent; seeds; last_k.
    """
    rows = [
        (group, name.split("/", 1)[0], values.get("last_k_mean"), values.get("k"))
        for group, runs in groups["runs"].items()
        for run in runs
        for name, values in run.summary["metrics"].items()
        if name.endswith(f"/{run.headline.metric}")
    ]
    tidy = pd.DataFrame(rows, columns=["group", "split", "value", "last_k"])
    tidy["value"] = 100 * pd.to_numeric(tidy["value"], errors="coerce")
    by_split = tidy.dropna(subset=["value"]).groupby(["group", "split"], sort=False)
    table = by_split.agg(
        **{
            "mean": ("value", "mean"),
            "std": ("value", "std"),
            "seeds": ("value", "size"),
            "last_k": ("last_k", "first"),
        }
    ).reset_index()
    return table[table["seeds"] == table["group"].map(groups["runs"].map(len))]
