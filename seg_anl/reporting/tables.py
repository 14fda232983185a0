"""The content of a report, independent of file formats: tables of our averages with published numbers, and notices."""

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
from .published import METHOD, PLACE, find_table, is_of_dataset, matching_tables, places_of, published_numbers
from .run_directories import Run
from .run_settings import listed_settings, unlike_rows

SIGNIFICANT = 0.05  # level of p
MINUS = "\N{MINUS SIGN}"


class Best(str):
    """The text of the best number of a column, which each format highlights."""


class Column(NamedTuple):
    """A noise and an evaluation split."""

    noise: str
    split: str


@dataclass(frozen=True, eq=False)
class Table:
    """One table of one task, data set and metric.

    Attributes:
        name: file name, unique in a report.
        last_k: number of last epochs that each run's value is averaged over; several if runs differ.
        decimals: number of decimals shown.
        entries: one row per method and column, in display order; see :func:`_entries` and :func:`_with_texts`.
        published: the published table to compare with, if any.
        others: other published tables with numbers for these runs, and the number of matches.
        missing: method and noise of published numbers without runs.
        total: number of published numbers.
        marks: letters for sets of departures, shown next to entries.
        settings: the settings that all runs share, and those in which they differ.
        notices: notices about this table.
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
        """The noise, with the split if the table has several."""
        several = len({one.split for one in self.columns}) > 1
        return f"{column.noise}, {column.split}" if several else column.noise

    def rows(self, column: Column | None = None, *, run: bool = False) -> list[Any]:
        """The entries, optionally of one column, or only those with runs."""
        entries = self.entries[self.entries["mean"].notna()] if run else self.entries
        rows = entries.itertuples(index=False, name="Entry")
        return [entry for entry in rows if column in (None, (entry.noise, entry.split))]

    def by_method(self, *, run: bool = True) -> dict[str, dict[Column, Any]]:
        """The entries by row label and column; with ``run=False`` including rows without runs."""
        rows: dict[str, dict[Column, Any]] = {entry.label: {} for entry in self.rows(run=run)}
        for entry in self.rows():
            rows.get(entry.label, {})[Column(entry.noise, entry.split)] = entry
        return rows

    def texts(self, column: Column) -> pd.DataFrame:
        """One column as text: one row per method, with published numbers if there are any."""
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
        """Several columns as text: one row per method with runs, optionally with a row of published numbers."""
        rows = []
        for label, entries in self.by_method(run=not published).items():
            in_columns = [entries.get(column) for column in columns]
            ours = [entry.shown if entry else "" for entry in in_columns]
            theirs = [entry.published if entry else "" for entry in in_columns]
            rows += [(label, *ours)] if any(ours) else []
            rows += [(f"{label}, published", *theirs)] if published and any(theirs) else []
        return pd.DataFrame(rows, columns=["ours", *map(self.column_label, columns)], dtype=object)


class Report(NamedTuple):
    """The content of a report.

    Attributes:
        runs: all runs.
        groups: groups of runs that differ only in their seeds, see :mod:`aggregate`.
        tables: the tables.
        not_averaged: notices about runs that are in no table.
        warnings: notices about runs in tables.
    """

    runs: list[Run]
    groups: pd.DataFrame
    tables: list[Table]
    not_averaged: list[Notice]
    warnings: list[Notice]


def make_report(runs: Sequence[Run], table_ids: Iterable[str] = ()) -> Report:
    """Average the runs and make one table per task, data set and headline metric.

    With ``table_ids``, makes only these published tables, complete, from the runs on their data set. Otherwise each
    table is compared with the best matching published one, if any, and has only the noises with runs.

    Raises:
        UserError: for an unknown table, a table without results, or one without runs on its data set.
    """
    requested = [find_table(name) for name in table_ids]
    for table in requested:
        if table.kind != "results":
            raise UserError(f"--table {table.id} has parameters instead of results; see seg-anl-report --list")
    runs = sorted(runs, key=lambda run: PurePath(run.path))
    groups, notices = gather(runs)
    tables: list[Table] = []
    left = groups
    for (_, _, headline), some in groups.groupby(["task", "data", "headline"]):
        matching = matching_tables(some)
        selected = [
            table
            for table in requested
            if headline.endswith(f"/{table.metric}") and is_of_dataset(some, table, requested=True)
        ]
        for published in selected if requested else [matching[0][0] if matching else None]:
            others = tuple((other.id, count) for other, count in matching if other != published)
            tables.append(_make_table(some, headline, published, others, complete=bool(requested)))
            left = left.drop(index=some.index, errors="ignore")
    for table in requested:
        if table not in [made.published for made in tables]:
            available = sorted(set(groups["data"] + " (" + groups["headline"] + ")"))
            raise UserError(
                f"--table {table.id} is about {table.metric} on {table.dataset}, which has no finished runs; "
                f"there are runs on {', '.join(available) or 'nothing'}"
            )
    for group in left.itertuples():
        text = f"{group.data}, {group.method}, {group.noise}: not in the requested tables"
        notices.append(Notice("elsewhere", tuple(run.path for run in group.runs), text))
    notices = [*dict.fromkeys([*notices, *(notice for table in tables for notice in table.notices)])]
    not_averaged = [notice for notice in notices if notice.kind in NOT_AVERAGED]
    warnings = [notice for notice in notices if notice.kind not in NOT_AVERAGED]
    return Report(runs, groups, _with_unique_names(tables), not_averaged, warnings)


def _make_table(
    groups: pd.DataFrame, headline: str, published: Any, others: tuple[tuple[str, int], ...], *, complete: bool
) -> Table:
    split, metric = headline.split("/", 1)
    task, data = groups["task"].iloc[0], groups["data"].iloc[0]
    numbers = published_numbers(published)
    measured = averages(groups)
    measured = measured[measured["metric"] == metric].drop(columns="metric")
    columns = _columns(groups, numbers, split, complete=complete)
    decimals = 1 if metric == "dice" else 2
    entries, missing = _entries(groups, measured, numbers, columns, published)
    entries["best"] = _is_best(entries, decimals, lower=metric == "loss")
    departure_sets = dict.fromkeys(each for each in entries["departures"] if each)
    marks = {each: chr(ord("a") + i) if i < 26 else f"a{i}" for i, each in enumerate(departure_sets)}
    entries["mark"] = [marks.get(each, "") for each in entries["departures"]]
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
        notices=(Notice("unlike rows", paths, f"{data}: rows differ in {unlike}"),) if unlike else (),
    )


def _columns(groups: pd.DataFrame, numbers: pd.DataFrame, split: str, *, complete: bool) -> tuple[Column, ...]:
    """The paper's columns in its order (all, or those with runs), then noises that the paper lacks."""
    ours = {noise: noise_order(config) for noise, config in zip(groups["noise"], groups["config"], strict=True)}
    theirs = [Column(*row) for row in numbers[["noise", "split"]].drop_duplicates().to_numpy()]
    kept = [column for column in theirs if complete or column.noise in ours]
    own = sorted(ours.keys() - {column.noise for column in kept}, key=ours.__getitem__)
    return (*kept, *(Column(noise, split) for noise in own))


def _entries(
    groups: pd.DataFrame, measured: pd.DataFrame, numbers: pd.DataFrame, columns: tuple[Column, ...], published: Any
) -> tuple[pd.DataFrame, tuple[tuple[str, str], ...]]:
    """Our averages merged with the published numbers in display order, and the published numbers without runs.

    Columns: label (of the row), method, published_as, variant, noise, split, group (index among groups of runs),
    last_k, seeds, mean, std, published_method, published_mean, published_std, published_runs, is_published (the paper
    has a number, possibly illegible), difference, t (the difference in standard errors), p, departures and color; NaN
    if missing. Numbers are in percent except for losses.
    """
    shown = pd.DataFrame([(*column, i) for i, column in enumerate(columns)], columns=["noise", "split", "column"])
    ours = places_of(groups, numbers).assign(variant=groups["variant"], method=groups["method"])
    ours = ours.merge(measured, left_index=True, right_on="group").merge(shown[["noise", "split"]])
    numbers = numbers.assign(is_published=True, position=range(len(numbers)))
    merged = ours.merge(numbers, on=PLACE, how="outer")
    without_runs = merged["group"].isna()
    merged.loc[without_runs, "variant"] = merged["model"].map(lambda model: f"model.name {model}" if model else "")
    configs = [
        {"loss": {"name": row.loss}, "method": {"name": row.training}} if is_missing else groups["config"][row.group]
        for row, is_missing in zip(merged.itertuples(), without_runs, strict=True)
    ]
    merged["method"] = [method_name(config) for config in configs]
    merged["color"] = [method_color(config) for config in configs]
    unmatched = merged[without_runs].sort_values("position")
    missing = tuple(dict.fromkeys(zip(unmatched["method"], unmatched["noise"], strict=True)))

    # The paper's name of the method if it differs from ours, and its position in the paper.
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
    merged["t"] = merged["difference"] / errors.where(errors > 0)  # NaN with one seed or without variation
    tested = merged["t"].notna() & ~merged["departures"].map(bool)  # otherwise the experiments differ
    merged["p"] = [
        p_value(*row) if test else math.nan
        for test, *row in zip(tested, *(merged[name] for name in P_VALUE_OF), strict=True)
    ]
    return merged, missing


def row_label(method: str, published_as: str, variant: str) -> str:
    """The label of a row, such as ``NCE+RCE (APL), epochs 40``."""
    name = f"{method} ({published_as})" if published_as else method
    return f"{name}, {variant}" if variant else name


P_VALUE_OF = ("mean", "std", "seeds", "published_mean", "published_std", "published_runs")


def p_value(mean: float, std: float, seeds: int, other: float, other_std: float, other_runs: float) -> float:
    """The two-sided p-value of Welch's t-test.

    If the variation of the other mean is unknown (NaN), the mean is treated as exact (one-sample t-test).
    """
    from scipy.special import stdtr  # much faster to import than scipy.stats

    ours = std**2 / seeds
    theirs = other_std**2 / other_runs if other_runs > 1 and other_std > 0 else 0.0
    freedom = (ours + theirs) ** 2 / (ours**2 / (seeds - 1) + (theirs**2 / (other_runs - 1) if theirs else 0))
    return float(2 * stdtr(freedom, -abs(mean - other) / math.sqrt(ours + theirs)))


def _departures(groups: pd.DataFrame, entry: Any, published: Any) -> tuple[Departure, ...]:
    """The departures of an entry's runs from the published protocol."""
    if published is None or not entry.is_published or math.isnan(entry.mean):
        return ()
    run = groups["runs"][entry.group][0]
    return departures(run.config, run.summary, published.paper, published.dataset, entry.network)


def _is_best(entries: pd.DataFrame, decimals: int, *, lower: bool) -> pd.Series:
    """Whether a row has the best average of its column, to the decimals shown; rows with one seed are left out."""
    means = entries["mean"].map(lambda value: round(float(value), decimals))
    by_column = [entries["noise"], entries["split"]]
    competing = (entries["seeds"] > 1) | ((entries["seeds"] > 1).groupby(by_column).transform("sum") == 0)
    means = means.where(competing)
    has_several = means.groupby(by_column).transform("count") > 1
    return has_several & (means == means.groupby(by_column).transform("min" if lower else "max"))


def _with_texts(entries: pd.DataFrame, decimals: int) -> pd.DataFrame:
    """Add the texts shown in all formats: ours, shown (ours with seeds and marks), published, gap (the difference) and
    errors (the difference in standard errors).
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
    """A mean with its standard deviation, if any.

    >>> spread_text(76.84, 1.24, 1), spread_text(76.84, None, 1), spread_text(None, None, 1)
    ('76.8 ± 1.2', '76.8', '')
    """
    if mean is None:
        return ""
    return f"{mean:.{decimals}f}" if std is None else f"{mean:.{decimals}f} ± {std:.{decimals}f}"


def signed(value: float | None, decimals: int) -> str:
    """A number with its sign, as a typographic minus; zero without sign.

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
    """A file name made from any text; of paths, only the last folder is used."""
    words = [word.rstrip("/").rsplit("/", 1)[-1] for word in text.split()]
    return re.sub(r"[^a-z0-9]+", "-", " ".join(words).lower())[:80].strip("-") or "table"


def _with_unique_names(tables: list[Table]) -> list[Table]:
    seen: list[str] = []
    for i, table in enumerate(tables):
        seen.append(table.name)
        if seen.count(table.name) > 1:
            tables[i] = replace(table, name=f"{table.name}-{seen.count(table.name)}")
    return tables
