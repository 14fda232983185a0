"""The content of a report, independent of file formats: tables of our averages with published numbers, and notices."""

from __future__ import annotations

import itertools
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
from .protocols import departures
from .published import METHOD, PLACE, find_table, is_of_dataset, matching_tables, places_of, published_numbers
from .run_directories import Run
from .run_settings import listed_settings, unlike_rows

SIGNIFICANT = 0.05  # level of p
MINUS = "\N{MINUS SIGN}"


class Best(str):
    """The text of the best number of a column, which each format highlights."""


@dataclass(frozen=True, eq=False)
class Table:
    """One table of one task, data set and metric.

    Attributes:
        name: file name, unique in a report.
        last_k: number of last epochs that each run's value is averaged over; several if runs differ.
        decimals: number of decimals shown.
        columns: labels of the columns: noises, with the evaluation split if there are several.
        entries: one row per method and column, in display order; see :func:`_entries` and :func:`_with_texts`.
        published: the published table to compare with, if any.
        others: other published tables with numbers for these runs, and the number of matches.
        missing: method and noise of published numbers without runs.
        total: number of published numbers.
        marks: letters for sets of departures from the published protocol, shown next to entries.
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
    columns: tuple[str, ...]
    entries: pd.DataFrame
    published: Any
    others: tuple[tuple[str, int], ...]
    missing: tuple[tuple[str, str], ...]
    total: int
    marks: Mapping[tuple[str, ...], str]
    settings: tuple[str, dict[str, str]]
    notices: tuple[Notice, ...]

    def rows(self, column: str | None = None, *, run: bool = False) -> list[Any]:
        """The entries, optionally of one column, or only those with runs."""
        entries = self.entries[self.entries["mean"].notna()] if run else self.entries
        rows = entries.itertuples(index=False, name="Entry")
        return [entry for entry in rows if column in (None, entry.column)]

    def by_label(self) -> dict[str, dict[str, Any]]:
        """The entries by row label and column."""
        rows: dict[str, dict[str, Any]] = {}
        for entry in self.rows():
            rows.setdefault(entry.label, {})[entry.column] = entry
        return rows

    def texts(self, column: str) -> pd.DataFrame:
        """One column as text: one row per method, with published numbers if there are any."""
        entries = self.entries[self.entries["column"] == column]
        entries = entries.assign(
            ours=entries["ours"].where(entries["ours"] != "", "no runs"),
            seeds=entries["seeds"].map(lambda seeds: f"{seeds:.0f}" if seeds else ""),
        )
        heads = {"label": "method", "ours": "ours", "seeds": "seeds"}
        if (entries["published"] != "").any():
            heads |= {"published": "published", "gap": "difference", "errors": "in standard errors", "mark": "differs"}
        return entries[[*heads]].rename(columns=heads)

    def summary(self, columns: Sequence[str], *, published: bool = False) -> pd.DataFrame:
        """Several columns as text: one row per method with runs, optionally with a row of published numbers."""
        rows = []
        for label, entries in self.by_label().items():
            for name, text in ((label, "shown"), (f"{label}, published", "published"))[: 1 + published]:
                cells = [getattr(entries.get(column), text, "") for column in columns]
                rows += [(name, *cells)] if any(cells) else []
        return pd.DataFrame(rows, columns=["ours", *columns], dtype=object)


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
    columns = _columns(groups, numbers, split, complete=complete)
    decimals = 1 if metric == "dice" else 2
    entries, missing = _entries(groups, measured, numbers, columns, published)
    entries["best"] = _is_best(entries, decimals)
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
        columns=tuple(columns["column"]),
        entries=_with_texts(entries.astype(object).where(entries.notna(), None), decimals),
        published=published,
        others=others,
        missing=missing,
        total=len(numbers),
        marks=marks,
        settings=listed_settings(groups),
        notices=(Notice("unlike rows", paths, f"{data}: rows differ in {unlike}"),) if unlike else (),
    )


def _columns(groups: pd.DataFrame, numbers: pd.DataFrame, split: str, *, complete: bool) -> pd.DataFrame:
    """Noise, split and label: the paper's columns in its order (all, or those with runs), then our other noises."""
    ours = {noise: noise_order(config) for noise, config in zip(groups["noise"], groups["config"], strict=True)}
    theirs = numbers[["noise", "split"]].drop_duplicates()
    kept = theirs if complete else theirs[theirs["noise"].isin(ours)]
    own = sorted(ours.keys() - {*kept["noise"]}, key=ours.__getitem__)
    columns = pd.concat([kept, pd.DataFrame({"noise": own, "split": split}, dtype=object)], ignore_index=True)
    has_several = columns["split"].nunique() > 1
    return columns.assign(column=columns["noise"] + (", " + columns["split"] if has_several else ""))


def _entries(
    groups: pd.DataFrame, measured: pd.DataFrame, numbers: pd.DataFrame, columns: pd.DataFrame, published: Any
) -> tuple[pd.DataFrame, tuple[tuple[str, str], ...]]:
    """Our averages merged with the published numbers in display order, and the published numbers without runs.

    Columns: label (of the row), method, published_as, variant, noise, split, column, group (index among groups of
    runs), last_k, seeds, mean, std, published_method, published_mean (NaN if illegible), published_std,
    published_runs, difference, t (the difference in standard errors), p, departures and color; NaN if missing. Numbers
    are in percent.
    """
    ours = places_of(groups, numbers).assign(variant=groups["variant"], config=groups["config"])
    ours = ours.merge(measured, left_index=True, right_on="group").merge(columns[["noise", "split"]])
    merged = ours.merge(numbers.assign(position=range(len(numbers))), on=PLACE, how="outer")
    without_runs = merged["group"].isna()
    merged.loc[without_runs, "variant"] = merged["model"].map(lambda model: f"model.name {model}" if model else "")
    merged["config"] = [
        {"loss": {"name": row.loss}, "method": {"name": row.training}} if pd.isna(row.group) else row.config
        for row in merged.itertuples()
    ]
    merged["method"], merged["color"] = merged["config"].map(method_name), [*map(method_color, merged["config"])]
    unmatched = merged[without_runs].sort_values("position")
    missing = tuple(dict.fromkeys(zip(unmatched["method"], unmatched["noise"], strict=True)))

    # The paper's name of the method if it differs from ours, and its position in the paper.
    of_method = numbers.groupby(METHOD, sort=False)[["published_method"]].last().rename_axis(METHOD).reset_index()
    of_method = of_method.rename(columns={"published_method": "published_as"}).reset_index(names="index")
    merged = merged.merge(columns).merge(of_method, on=METHOD, how="left")
    merged["published_as"] = merged["published_as"].where(merged["published_as"] != merged["method"]).fillna("")
    merged["label"] = [row_label(row.method, row.published_as, row.variant) for row in merged.itertuples()]
    titles = {title: i for i, title in enumerate(loss_titles().values())}
    merged["index"] = merged["index"].fillna(len(of_method)).groupby(merged["label"]).transform("first")
    merged["title"] = merged["method"].map(titles).fillna(len(titles))
    merged["order"] = merged["column"].map({column: i for i, column in enumerate(columns["column"])})
    merged = merged.sort_values(["index", "title", "method", "published_as", "variant", "order"], ignore_index=True)

    runs = load_recipe(published.paper).runs if published else None
    merged["published_runs"] = np.where(merged["published_method"].notna(), runs or math.nan, math.nan)
    merged["difference"] = merged["mean"] - merged["published_mean"]
    merged["departures"] = [_departures(groups, row, published) for row in merged.itertuples()]
    names = ["mean", "std", "seeds", "published_mean", "published_std", "published_runs"]
    merged["t"], merged["p"] = t_test(*(merged[name].to_numpy(float) for name in names))
    merged["p"] = merged["p"].where(~merged["departures"].map(bool))  # otherwise the experiments differ
    return merged, missing


def row_label(method: str, published_as: str, variant: str) -> str:
    """The label of a row, such as ``NCE+RCE (APL), epochs 40``."""
    name = f"{method} ({published_as})" if published_as else method
    return f"{name}, {variant}" if variant else name


def t_test(mean: Any, std: Any, seeds: Any, other: Any, other_std: Any, other_runs: Any) -> tuple[Any, Any]:
    """Welch's t-test: the difference in standard errors, and the two-sided p-value; NaN where there is no spread.

    Where the spread of the other mean or its number of runs is unknown (NaN), that mean is taken as exact, which makes
    it a one-sample t-test.
    """
    from scipy.stats import ttest_ind_from_stats  # slow to import

    is_exact = ~((np.asarray(other_runs) > 1) & (np.asarray(other_std) > 0))
    theirs = np.where(is_exact, 0.0, other_std), np.where(is_exact, 2, other_runs)
    with np.errstate(divide="ignore", invalid="ignore"):
        t, p = ttest_ind_from_stats(mean, std, seeds, other, *theirs, equal_var=False)
    is_defined = np.isfinite(t)
    return np.where(is_defined, t, math.nan), np.where(is_defined, p, math.nan)


def _departures(groups: pd.DataFrame, entry: Any, published: Any) -> tuple[str, ...]:
    """The departures of an entry's runs from the published protocol."""
    if published is None or pd.isna(entry.published_method) or pd.isna(entry.mean):
        return ()
    run = groups["runs"][entry.group][0]
    return departures(run.config, run.summary, published.paper, published.dataset, entry.network)


def _is_best(entries: pd.DataFrame, decimals: int) -> pd.Series:
    """Whether a row has the best average of its column, to the decimals shown; rows with one seed are left out."""
    means = entries["mean"].map(lambda value: round(float(value), decimals))
    column = entries["column"]
    has_seeds = entries["seeds"] > 1
    means = means.where(has_seeds | ~has_seeds.groupby(column).transform("any"))
    has_several = means.groupby(column).transform("count") > 1
    return has_several & (means == means.groupby(column).transform("max"))


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
        return best(ours), best(shown), theirs if entry.published_method else "", gap, errors

    names = ["ours", "shown", "published", "gap", "errors"]
    rows = [*map(texts, entries.itertuples())]
    return entries.assign(**pd.DataFrame(rows, columns=names, dtype=object, index=entries.index))


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
    taken = {"tables", "report"}  # the index and the page
    for i, table in enumerate(tables):
        names = itertools.chain([table.name], (f"{table.name}-{number}" for number in itertools.count(2)))
        tables[i] = replace(table, name=next(name for name in names if name not in taken))
        taken.add(tables[i].name)
    return tables
