"""A report before any file format: tables of our averages beside the published numbers, and what a reader must know."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import PurePath
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from seg_anl.records import UserError
from seg_anl.records.recipes import load_recipe

from .aggregate import NOT_AVERAGED, Notice, averages, gather
from .names import loss_titles, method_name, noise_order
from .palette import method_color
from .protocols import Departure, departures
from .published import METHOD, PLACE, find_table, fitting_tables, is_of_dataset, places_of, published_numbers
from .run_directories import Run
from .run_settings import listed_settings, unlike_rows

SIGNIFICANT = 0.05  # p below which a difference stands out
MINUS = "\N{MINUS SIGN}"


class Best(str):
    """The text of the best number of a column, which every format shows in its way."""


class Column(NamedTuple):
    """A noise, measured on one evaluation split."""

    noise: str
    split: str


@dataclass(frozen=True, eq=False)
class Table:
    """One table of one task, data and metric; ``name`` is for files, unique in a report.

    Attributes:
        last_k: over how many epochs at the end each run's number is the mean; several where runs differ.
        decimals: how many are shown.
        entries: a row per method and column, in the order shown; see :func:`_entries` and :func:`_with_texts`.
        published: the table that stands beside the runs, if any; ``total``: how many numbers of it could.
        others: further published tables that have numbers for these runs, and how many.
        missing: method and noise of published numbers that have no runs.
        marks: letters for sets of departures, as they stand beside entries.
        settings: what the runs share; in what they differ, with the losses' parameters.
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
    published: Any
    others: tuple[tuple[str, int], ...]
    missing: tuple[tuple[str, str], ...]
    total: int
    marks: Mapping[tuple[Departure, ...], str]
    settings: tuple[str, dict[str, str]]
    notices: tuple[Notice, ...]

    def column_label(self, column: Column) -> str:
        """The noise, and the split where the table has several."""
        several = len({one.split for one in self.columns}) > 1
        return f"{column.noise}, {column.split}" if several else column.noise

    def rows(self, column: Column | None = None, *, run: bool = False) -> list[Any]:
        """The entries, of one column perhaps, and perhaps only those with runs."""
        entries = self.entries[self.entries["mean"].notna()] if run else self.entries
        rows = entries.itertuples(index=False, name="Entry")
        return [entry for entry in rows if column in (None, (entry.noise, entry.split))]

    def by_method(self, *, run: bool = True) -> dict[str, dict[Column, Any]]:
        """Each row's entries by column; without ``run`` also of rows that have no runs."""
        rows: dict[str, dict[Column, Any]] = {entry.label: {} for entry in self.rows(run=run)}
        for entry in self.rows():
            rows.get(entry.label, {})[Column(entry.noise, entry.split)] = entry
        return rows

    def texts(self, column: Column) -> pd.DataFrame:
        """One column as text: a row per method; what is published, if anything is."""
        entries = self.entries[(self.entries["noise"] == column.noise) & (self.entries["split"] == column.split)]
        entries = entries.assign(
            ours=entries["ours"].where(entries["ours"] != "", "no runs"),
            seeds=entries["seeds"].map(lambda seeds: f"{seeds:.0f}" if seeds else ""),
        )
        heads = {"label": "method", "ours": "ours", "seeds": "seeds"}
        if entries["is_published"].any():
            heads |= {"published": "published", "gap": "difference", "errors": "in standard errors", "mark": "differs"}
        return entries[[*heads]].rename(columns=heads)

    def summary(self, columns: Sequence[Column], *, published: bool = False) -> pd.DataFrame:
        """Ours under several noises as text: a row per method that was run, and perhaps one of published numbers."""
        rows = []
        for label, entries in self.by_method(run=not published).items():
            there = [entries.get(column) for column in columns]
            ours = [entry.shown if entry else "" for entry in there]
            theirs = [entry.published if entry else "" for entry in there]
            rows += [(label, *ours)] if any(ours) else []
            rows += [(f"{label}, published", *theirs)] if published and any(theirs) else []
        return pd.DataFrame(rows, columns=["ours", *map(self.column_label, columns)], dtype=object)


class Report(NamedTuple):
    """Everything that is written; ``groups`` of runs that differ in their seeds alone, see :mod:`aggregate`.

    ``not_averaged`` is about runs that are in no table, ``warnings`` about those in one with a reservation.
    """

    runs: list[Run]
    groups: pd.DataFrame
    tables: list[Table]
    not_averaged: list[Notice]
    warnings: list[Notice]


def make_report(runs: Sequence[Run], table_ids: Iterable[str] = ()) -> Report:
    """Average the runs and put them into tables: one for each task, data and headline metric.

    With ``table_ids`` only these published tables, whole, filled with the runs that are of their data set; else each
    table stands beside the published one that fits best, where one does, and has only the noises that were run.

    Raises:
        UserError: for an unknown table, one that holds no results, or one that no run is of the data set of.
    """
    wanted = [find_table(name) for name in table_ids]
    for table in wanted:
        if table.kind != "results":
            raise UserError(f"--table {table.id} holds parameters of methods, no results; see seg-anl-report --list")
    runs = sorted(runs, key=lambda run: PurePath(run.path))
    groups, notices = gather(runs)
    tables: list[Table] = []
    left = groups
    for (_, _, headline), some in groups.groupby(["task", "data", "headline"]):
        fitting = fitting_tables(some)
        asked = [t for t in wanted if headline.endswith(f"/{t.metric}") and is_of_dataset(some, t, asked=True)]
        for published in asked if wanted else [fitting[0][0] if fitting else None]:
            others = tuple((other.id, count) for other, count in fitting if other != published)
            tables.append(_table(some, headline, published, others, whole=bool(wanted)))
            left = left.drop(index=some.index, errors="ignore")
    for table in wanted:
        if table not in [built.published for built in tables]:
            there = sorted(set(groups["data"] + " (" + groups["headline"] + ")"))
            raise UserError(
                f"--table {table.id} is about {table.metric} on {table.dataset}, of which there is no finished run; "
                f"there are runs on {', '.join(there) or 'nothing'}"
            )
    for group in left.itertuples():
        text = f"{group.data}, {group.method}, {group.noise}: not of the tables asked for"
        notices.append(Notice("elsewhere", tuple(run.path for run in group.runs), text))
    notices = [*dict.fromkeys([*notices, *(notice for table in tables for notice in table.notices)])]
    out, kept = ([note for note in notices if (note.kind in NOT_AVERAGED) == out] for out in (True, False))
    return Report(runs, groups, _named_apart(tables), out, kept)


def _table(
    groups: pd.DataFrame, headline: str, published: Any, others: tuple[tuple[str, int], ...], *, whole: bool
) -> Table:
    split, metric = headline.split("/", 1)
    task, data = groups["task"].iloc[0], groups["data"].iloc[0]
    numbers = published_numbers(published)
    measured = averages(groups)
    measured = measured[measured["metric"] == metric].drop(columns="metric")
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
        entries=_with_texts(entries.astype(object).where(entries.notna(), None), decimals),
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
    theirs = [Column(*place) for place in numbers[["noise", "split"]].drop_duplicates().to_numpy()]
    kept = [column for column in theirs if whole or column.noise in ours]
    own = sorted(ours.keys() - {column.noise for column in kept}, key=ours.__getitem__)
    return (*kept, *(Column(noise, split) for noise in own))


def _entries(
    groups: pd.DataFrame, measured: pd.DataFrame, numbers: pd.DataFrame, columns: tuple[Column, ...], published: Any
) -> tuple[pd.DataFrame, tuple[tuple[str, str], ...]]:
    """Our averages merged with the published numbers, in the order of a table; and what is published but not run.

    Columns: label (of the row), method, published_as, variant, noise, split, group (index among groups of runs),
    last_k, seeds, mean, std, published_method, published_mean, published_std, published_runs, is_published (the paper
    has a number, which its text may have lost), difference, t (the difference in standard errors) and its p,
    departures, color; NaN where there is nothing. Numbers are in percent (of a loss: as they are).
    """
    shown = pd.DataFrame([(*column, i) for i, column in enumerate(columns)], columns=["noise", "split", "column"])
    ours = places_of(groups, numbers).assign(variant=groups["variant"], method=groups["method"])
    ours = ours.merge(measured, left_index=True, right_on="group").merge(shown[["noise", "split"]])
    numbers = numbers.assign(is_published=True, place=range(len(numbers)))
    merged = ours.merge(numbers, on=PLACE, how="outer")
    alone = merged["group"].isna()
    merged.loc[alone, "variant"] = merged["model"].map(lambda model: f"model.name {model}" if model else "")
    configs = [
        {"loss": {"name": row.loss}, "method": {"name": row.training}} if missed else groups["config"][row.group]
        for row, missed in zip(merged.itertuples(), alone, strict=True)
    ]
    merged["method"] = [method_name(config) for config in configs]
    merged["color"] = [method_color(config) for config in configs]
    lacking = merged[alone].sort_values("place")
    missing = tuple(dict.fromkeys(zip(lacking["method"], lacking["noise"], strict=True)))

    # The paper's name of the method, where it differs from ours, and its place in the paper.
    of_method = numbers.groupby(METHOD, sort=False).agg(published_as=("published_method", "last"))
    of_method = of_method.assign(index=range(len(of_method))).reset_index()
    merged = merged.merge(shown, on=["noise", "split"]).merge(of_method, on=METHOD, how="left")
    merged["published_as"] = merged["published_method"].where(merged["group"].isna(), merged["published_as"])
    merged["published_as"] = merged["published_as"].where(merged["published_as"] != merged["method"]).fillna("")
    merged["label"] = [row_label(row.method, row.published_as, row.variant) for row in merged.itertuples()]
    titles = {title: i for i, title in enumerate(loss_titles().values())}
    merged["index"] = merged["index"].fillna(len(of_method)).groupby(merged["label"]).transform("first")
    merged["title"] = merged["method"].map(titles).fillna(len(titles))
    merged = merged.sort_values(["index", "title", "method", "published_as", "variant", "column"], ignore_index=True)

    merged["is_published"] = merged["is_published"].notna()
    runs = load_recipe(published.paper).runs if published else None
    merged["published_runs"] = np.where(merged["is_published"], runs or math.nan, math.nan)
    merged["difference"] = merged["mean"] - merged["published_mean"]
    merged["departures"] = [_departures(groups, row, published) for row in merged.itertuples()]
    theirs = (merged["published_std"] ** 2 / merged["published_runs"]).fillna(0)
    errors = np.sqrt(merged["std"] ** 2 / merged["seeds"] + theirs)
    merged["t"] = merged["difference"] / errors.where(errors > 0)  # NaN with one seed, or where nothing varies at all
    tested = merged["t"].notna() & ~merged["departures"].map(bool)  # else known to be different experiments
    merged["p"] = [
        p_value(*row) if test else math.nan
        for test, *row in zip(tested, *(merged[name] for name in P_VALUE_OF), strict=True)
    ]
    return merged, missing


def row_label(method: str, published_as: str, variant: str) -> str:
    """``NCE+RCE (APL), epochs 40``."""
    name = f"{method} ({published_as})" if published_as else method
    return f"{name}, {variant}" if variant else name


P_VALUE_OF = ("mean", "std", "seeds", "published_mean", "published_std", "published_runs")


def p_value(mean: float, std: float, seeds: int, other: float, other_std: float, other_runs: float) -> float:
    """How likely a difference at least as large is by chance: Welch's t-test, two-sided.

    Where nothing is known of how the other mean varies (NaN), it is taken as exact (Student's test of one sample).
    """
    from scipy.special import stdtr  # the distribution of t alone: scipy.stats takes most of a second to import

    ours = std**2 / seeds
    theirs = other_std**2 / other_runs if other_runs > 1 and other_std > 0 else 0.0
    freedom = (ours + theirs) ** 2 / (ours**2 / (seeds - 1) + (theirs**2 / (other_runs - 1) if theirs else 0))
    return float(2 * stdtr(freedom, -abs(mean - other) / math.sqrt(ours + theirs)))


def _departures(groups: pd.DataFrame, entry: Any, published: Any) -> tuple[Departure, ...]:
    """In what the runs of an entry are not what was published; the one place that asks for it."""
    if published is None or not entry.is_published or math.isnan(entry.mean):
        return ()
    run = groups["runs"][entry.group][0]
    return departures(run.config, run.summary, published.paper, published.dataset, entry.network)


def _best(entries: pd.DataFrame, decimals: int, *, lower: bool) -> pd.Series:
    """Whether no other row of the column has a better average, to the decimals shown; one seed does not compete."""
    means = entries["mean"].map(lambda value: round(float(value), decimals))
    by_column = [entries["noise"], entries["split"]]
    competing = (entries["seeds"] > 1) | ((entries["seeds"] > 1).groupby(by_column).transform("sum") == 0)
    means = means.where(competing)
    several = means.groupby(by_column).transform("count") > 1
    return several & (means == means.groupby(by_column).transform("min" if lower else "max"))


def _with_texts(entries: pd.DataFrame, decimals: int) -> pd.DataFrame:
    """The entries with what all formats show: ours, alone and (``shown``) with its seeds and marks, published, gap (the
    difference) and errors (in standard errors).
    """

    def texts(entry: Any) -> tuple[str, ...]:
        ours = spread_text(entry.mean, entry.std, decimals)
        remarks = ["one seed"] * (entry.seeds == 1) + [entry.mark] * bool(entry.mark)
        shown = f"{ours} ({', '.join(remarks)})" if ours and remarks else ours
        theirs = spread_text(entry.published_mean, entry.published_std, decimals) or "unreadable"
        if entry.difference is None:
            errors = ""
        elif entry.departures or entry.t is None:
            errors = "other protocol" if entry.departures else "one seed" if entry.seeds == 1 else "no spread"
        else:
            errors = f"{signed(entry.t, 1)} ({p_text(entry.p)})"
        best = Best if entry.best else str
        gap = signed(entry.difference, decimals)
        return best(ours), best(shown), theirs if entry.is_published else "", gap, errors

    names = ["ours", "shown", "published", "gap", "errors"]
    return entries.assign(
        **pd.DataFrame(map(texts, entries.itertuples()), columns=names, dtype=object, index=entries.index)
    )


def spread_text(mean: float | None, std: float | None, decimals: int) -> str:
    """A mean with its deviation, if it has one.

    >>> spread_text(76.84, 1.24, 1), spread_text(76.84, None, 1), spread_text(None, None, 1)
    ('76.8 ± 1.2', '76.8', '')
    """
    if mean is None:
        return ""
    return f"{mean:.{decimals}f}" if std is None else f"{mean:.{decimals}f} ± {std:.{decimals}f}"


def signed(value: float | None, decimals: int) -> str:
    """With its sign, a true minus; zero without one.

    >>> signed(-0.46, 1), signed(1.0, 1), signed(0.01, 1), signed(None, 1)
    ('−0.5', '+1.0', '0.0', '')
    """
    if value is None:
        return ""
    text = f"{value:+.{decimals}f}"
    return text[1:] if float(text) == 0 else text.replace("-", MINUS)


def p_text(p: float) -> str:
    """A p-value as papers print it.

    >>> p_text(0.0312), p_text(0.44), p_text(1e-5)
    ('p = 0.031', 'p = 0.44', 'p < 0.001')
    """
    return "p < 0.001" if p < 0.001 else f"p = {p:.3f}" if p < 0.1 else f"p = {p:.2f}"


def _slug(text: str) -> str:
    """A file name out of any text: the last folder of a path stands for it."""
    words = [word.rstrip("/").rsplit("/", 1)[-1] for word in text.split()]
    return re.sub(r"[^a-z0-9]+", "-", " ".join(words).lower())[:80].strip("-") or "table"


def _named_apart(tables: list[Table]) -> list[Table]:
    seen: list[str] = []
    for i, table in enumerate(tables):
        seen.append(table.name)
        if seen.count(table.name) > 1:
            tables[i] = replace(table, name=f"{table.name}-{seen.count(table.name)}")
    return tables
