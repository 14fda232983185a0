"""A table of results before any file format: our averages, the published numbers, their difference, the marks."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, NamedTuple

import pandas as pd

from seg_anl.records.recipes import load_recipe

from .aggregate import Notice, averages
from .matching import METHOD, PLACE, fitting_tables, groups_in_places, is_of_dataset, published_numbers
from .names import loss_titles, method_name, noise_order
from .palette import method_color
from .protocols import Departure, departures
from .published import PublishedTable
from .run_settings import Listed, listed_settings, unlike_rows

SIGNIFICANT = 0.05  # p below which a difference stands out


class Column(NamedTuple):
    """A noise, measured on one evaluation split."""

    noise: str
    split: str


@dataclass(frozen=True, eq=False)
class Table:
    """One table.

    Attributes:
        name: for files; unique in a report.
        title: for headings.
        task, data: of all runs in it.
        metric: ``accuracy``, ``dice``, ...
        last_k: over how many epochs at the end each run's number is the mean; several where runs differ.
        decimals: how many are shown.
        columns: in the order shown.
        entries: a row per method and column, in the order shown; numbers in percent (of a loss: as they are). Columns:
            label (of the row), method, published_as, variant, noise, split, group (index among groups of runs), last_k,
            seeds, mean, std, best, published_method, published_mean, published_std, published_runs, difference, t (the
            difference in standard errors), departures, mark, color; None where there is nothing. ``is_published`` says
            whether the paper has a number, which its text may have lost.
        published: the table that stands beside the runs, if any.
        others: further published tables that have numbers for these runs, and how many.
        missing: method and noise of published numbers that have no runs.
        total: how many numbers the published table has that could stand beside runs.
        marks: letters for sets of departures, as they stand beside entries.
        settings: what the runs share, in what they differ, and the losses' parameters.
        notices: about this table alone.
    """

    name: str
    title: str
    task: str
    data: str
    metric: str
    last_k: tuple[int, ...]
    decimals: int
    columns: tuple[Column, ...]
    entries: pd.DataFrame
    published: PublishedTable | None
    others: tuple[tuple[str, int], ...]
    missing: tuple[tuple[str, str], ...]
    total: int
    marks: Mapping[tuple[Departure, ...], str]
    settings: tuple[Listed, Listed, Listed]
    notices: tuple[Notice, ...]

    def column_label(self, column: Column) -> str:
        """The noise, and the split where the table has several."""
        several = len({one.split for one in self.columns}) > 1
        return f"{column.noise}, {column.split}" if several else column.noise

    @cached_property
    def _rows(self) -> list[Any]:
        return list(self.entries.itertuples(index=False, name="Entry"))

    def rows(self, column: Column | None = None, *, run: bool | None = None) -> list[Any]:
        """The entries, of one column perhaps, and only those with or without runs."""
        return [
            entry
            for entry in self._rows
            if (column is None or column == (entry.noise, entry.split)) and run in (None, entry.mean is not None)
        ]

    def by_method(self, *, run: bool = True) -> dict[str, dict[Column, Any]]:
        """Each row's entries by column; without ``run`` also of rows that have no runs."""
        rows: dict[str, dict[Column, Any]] = {}
        for entry in self.rows():
            rows.setdefault(entry.label, {})[Column(entry.noise, entry.split)] = entry
        there = {entry.label for entry in self.rows(run=True)} if run else set(rows)
        return {label: entries for label, entries in rows.items() if label in there}


def row_label(method: str, published_as: str, variant: str) -> str:
    """``NCE+RCE (APL), epochs 40``."""
    name = f"{method} ({published_as})" if published_as else method
    return f"{name}, {variant}" if variant else name


def build_tables(groups: pd.DataFrame, wanted: Sequence[PublishedTable]) -> tuple[list[Table], pd.DataFrame]:
    """Tables of ``groups`` of runs, one for each task, data and headline metric; and the groups that are in none.

    With ``wanted`` only these published tables, whole, filled with the runs that are of their data set; else each table
    stands beside the published one that fits best, where one does, and has only the noises that were run.
    """
    tables: list[Table] = []
    used: list[Any] = []
    for (_, _, headline), some in groups.groupby(["task", "data", "headline"]):
        fitting = fitting_tables(some)
        chosen: list[PublishedTable | None] = [
            table
            for table in wanted
            if headline.endswith(f"/{table.metric}") and is_of_dataset(some, table, asked=True)
        ]
        if not wanted:
            chosen = [fitting[0][0] if fitting else None]
        for published in chosen:
            others = tuple((other.id, count) for other, count in fitting if other != published)
            tables.append(_table(some, headline, published, others, whole=bool(wanted)))
            used += [*some.index]
    return _named_apart(tables), groups.drop(index=used)


def _table(
    groups: pd.DataFrame,
    headline: str,
    published: PublishedTable | None,
    others: tuple[tuple[str, int], ...],
    *,
    whole: bool,
) -> Table:
    split, metric = headline.split("/", 1)
    task, data = groups["task"].iloc[0], groups["data"].iloc[0]
    numbers = published_numbers(published)
    measured = averages(groups)
    measured = measured[measured["metric"] == metric].rename(columns={"k": "last_k"})
    columns = _columns(groups, numbers, split, whole=whole)
    decimals = 1 if metric == "dice" else 2
    entries, missing = _entries(groups, measured, numbers, columns, published)
    entries["best"] = _best(entries, decimals, lower=metric == "loss")
    sets = dict.fromkeys(departed for departed in entries["departures"] if departed)
    marks = {departed: chr(ord("a") + i) if i < 26 else f"a{i}" for i, departed in enumerate(sets)}
    entries["mark"] = [marks.get(departed, "") for departed in entries["departures"]]
    unlike = unlike_rows(groups)
    paths = tuple(run.path for runs in groups["runs"] for run in runs)
    return Table(
        name=_slug(f"{published.id} {data}" if published else f"{task} {data}"),
        title=published.title if published else f"{task.capitalize()} on {data}",
        task=task,
        data=data,
        metric=metric,
        last_k=tuple(sorted({int(k) for k in measured.loc[measured["split"] == split, "last_k"]})),
        decimals=decimals,
        columns=columns,
        entries=entries.astype(object).where(entries.notna(), None),
        published=published,
        others=others,
        missing=missing,
        total=len(numbers),
        marks=marks,
        settings=listed_settings(groups),
        notices=(Notice("unlike rows", paths, f"{data}: rows are not alike in {unlike}"),) if unlike else (),
    )


def _columns(groups: pd.DataFrame, numbers: pd.DataFrame, split: str, *, whole: bool) -> tuple[Column, ...]:
    """The paper's columns in its order, those that were run or all; then noises that the paper lacks."""
    ours = {noise: noise_order(config) for noise, config in zip(groups["noise"], groups["config"], strict=True)}
    theirs = dict.fromkeys(Column(*place) for place in zip(numbers["noise"], numbers["split"], strict=True))
    kept = [column for column in theirs if whole or column.noise in ours]
    own = sorted(ours.keys() - {column.noise for column in kept}, key=ours.__getitem__)
    return (*kept, *(Column(noise, split) for noise in own))


def _entries(
    groups: pd.DataFrame,
    measured: pd.DataFrame,
    numbers: pd.DataFrame,
    columns: tuple[Column, ...],
    published: PublishedTable | None,
) -> tuple[pd.DataFrame, tuple[tuple[str, str], ...]]:
    """Our averages merged with the published numbers, in the order of a table; and what is published but not run."""
    shown = pd.DataFrame([(*column, i) for i, column in enumerate(columns)], columns=["noise", "split", "column"])
    ours = groups_in_places(groups, numbers).assign(variant=groups["variant"], method=groups["method"])
    ours = ours.merge(measured, left_index=True, right_on="group").merge(shown, on=["noise", "split"])
    numbers = numbers.assign(is_published=True, place=range(len(numbers)))
    merged = ours.merge(numbers, on=PLACE, how="outer")
    alone = merged["group"].isna()
    merged.loc[alone, "variant"] = merged["model"].map(lambda model: f"model.name {model}" if model else "")
    merged.loc[alone, "method"] = [_published_method(row) for row in merged[alone].itertuples()]
    lacking = merged[alone].sort_values("place")
    missing = tuple(dict.fromkeys(zip(lacking["method"], lacking["noise"], strict=True)))

    merged = merged.drop(columns="column").merge(shown, on=["noise", "split"])
    named = numbers.drop_duplicates(METHOD, keep="last")[[*METHOD, "published_method"]]
    named = named.rename(columns={"published_method": "published_as"})
    order = numbers.drop_duplicates(METHOD, ignore_index=True).reset_index()[[*METHOD, "index"]]
    merged = merged.merge(named, on=METHOD, how="left").merge(order, on=METHOD, how="left")
    alone = merged["group"].isna()
    merged.loc[alone, "published_as"] = merged["published_method"]
    merged["published_as"] = merged["published_as"].where(merged["published_as"] != merged["method"], None).fillna("")
    merged["label"] = [
        row_label(*names) for names in zip(merged["method"], merged["published_as"], merged["variant"], strict=True)
    ]
    titles = {title: i for i, title in enumerate(loss_titles().values())}
    merged["index"] = merged["index"].fillna(len(order)).groupby(merged["label"]).transform("first")
    merged["title"] = merged["method"].map(titles).fillna(len(titles))
    merged = merged.sort_values(["index", "title", "method", "published_as", "variant", "column"], ignore_index=True)

    runs = load_recipe(published.paper).runs if published else None
    merged["published_runs"] = runs if runs else math.nan
    merged.loc[merged["is_published"].isna(), "published_runs"] = math.nan
    merged["difference"] = merged["mean"] - merged["published_mean"]
    merged["t"] = [_standard_errors(row) for row in merged.itertuples()]
    merged["is_published"] = merged["is_published"].notna()
    merged["departures"] = [_departures(groups, row, published) for row in merged.itertuples()]
    merged["color"] = [
        method_color(_config(row) if math.isnan(row.mean) else groups["config"][row.group])
        for row in merged.itertuples()
    ]
    return merged, missing


def _config(place: Any) -> dict[str, Any]:
    return {"loss": {"name": place.loss}, "method": {"name": place.training}}


def _published_method(place: Any) -> str:
    """What we call the method of a published number, the same that runs of this method are called."""
    return method_name(_config(place))


def _departures(groups: pd.DataFrame, entry: Any, published: PublishedTable | None) -> tuple[Departure, ...]:
    """In what the runs of an entry are not what was published; the one place that asks for it."""
    if published is None or not entry.is_published or math.isnan(entry.mean):
        return ()
    run = groups["runs"][entry.group][0]
    return departures(run.config, run.summary, published.paper, published.dataset, entry.network)


def _standard_errors(entry: Any) -> float:
    """The difference over its standard error; NaN with one seed, or where nothing varies at all.

    The error is the square root of ``std**2 / seeds + published_std**2 / published_runs`` (Welch); the second term is
    left out where the paper gives no spread or no number of runs.
    """
    variance = entry.std**2 / entry.seeds
    if not math.isnan(entry.published_std) and not math.isnan(entry.published_runs):
        variance += entry.published_std**2 / entry.published_runs
    return entry.difference / math.sqrt(variance) if variance > 0 else math.nan


def p_value(
    mean: float, std: float, seeds: int, other: float, other_std: float | None, other_runs: float | None
) -> float:
    """How likely a difference at least as large is by chance: Welch's t-test, two-sided.

    Where nothing is known of how the other mean varies, it is taken as exact (Student's test of one sample).
    """
    from scipy.special import stdtr  # the distribution of t alone: scipy.stats takes most of a second to import

    ours = std**2 / seeds
    theirs = other_std**2 / other_runs if other_std is not None and other_runs and other_runs > 1 else 0.0
    freedom = (ours + theirs) ** 2 / (
        ours**2 / (seeds - 1) + (theirs**2 / (other_runs - 1) if theirs and other_runs else 0)
    )
    return float(2 * stdtr(freedom, -abs(mean - other) / math.sqrt(ours + theirs)))


def entry_p_value(entry: Any) -> float | None:
    """The p-value of an entry's difference to the paper; None where it is not tested.

    It is not where the runs are of another protocol, for then the two are known to be different experiments.
    """
    if entry.departures or entry.t is None:
        return None
    return p_value(entry.mean, entry.std, entry.seeds, entry.published_mean, entry.published_std, entry.published_runs)


def _best(entries: pd.DataFrame, decimals: int, *, lower: bool) -> list[bool]:
    """Whether no other row of the column has a better average, to the decimals shown; one seed does not compete."""
    rounded = entries["mean"].map(lambda value: round(float(value), decimals))
    best = pd.Series(False, index=entries.index)
    for _, column in entries.assign(rounded=rounded).groupby(["noise", "split"]):
        there = column[column["mean"].notna()]
        competing = there[there["seeds"] > 1] if (there["seeds"] > 1).any() else there
        if len(competing) > 1:
            winner = competing["rounded"].min() if lower else competing["rounded"].max()
            best[competing.index[competing["rounded"] == winner]] = True
    return best.tolist()


def _slug(text: str) -> str:
    """A file name out of any text: the last folder of a path stands for it."""
    words = [word.rstrip("/").rsplit("/", 1)[-1] for word in text.split()]
    return re.sub(r"[^a-z0-9]+", "-", " ".join(words).lower())[:80].strip("-") or "table"


def _named_apart(tables: list[Table]) -> list[Table]:
    taken: dict[str, int] = {}
    for i, table in enumerate(tables):
        taken[table.name] = taken.get(table.name, 0) + 1
        if taken[table.name] > 1:
            tables[i] = replace(table, name=f"{table.name}-{taken[table.name]}")
    return tables
