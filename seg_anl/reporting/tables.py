"""A table of results as rows and columns, before any file format: our averages, the published numbers, the marks."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from seg_anl.records.recipes import load_recipe

from .cells import Average, Cell, DataKey, Notice, average
from .matching import Place, fitting_tables, is_of_dataset, place_of, published_places, table_models
from .names import LOSS_NAMES, method_name, noise_order
from .protocols import Departure, departures
from .published import PublishedCell, PublishedTable
from .statistics import standard_error
from .table_settings import SettingsOfTable, settings_of_table, unlike_rows


class Column(NamedTuple):
    """A noise, measured on one evaluation split."""

    noise: str
    split: str


class RowKey(NamedTuple):
    """What a row is: method under our name, the paper's name where it is another, what tells variants apart."""

    method: str
    published_as: str
    variant: str

    def __str__(self) -> str:
        name = f"{self.method} ({self.published_as})" if self.published_as else self.method
        return f"{name}, {self.variant}" if self.variant else name


@dataclass(frozen=True)
class Entry:
    """One cell of a table; numbers in percent (of a loss: as they are).

    Attributes:
        cell, average: our runs and their average; None where there are none.
        published: the paper's number; None where it has none.
        published_runs: over how many runs the paper took it; None where it does not say.
        departures: in what our runs are not what was published.
        best: whether no other row of the column has a better average, to the decimals shown; one seed does not compete
            with averages.
    """

    cell: Cell | None = None
    average: Average | None = None
    published: PublishedCell | None = None
    published_runs: int | None = None
    departures: tuple[Departure, ...] = ()
    best: bool = False

    @property
    def published_mean(self) -> float | None:
        """The paper's mean; None where it has none or it is damaged."""
        return self.published.mean if self.published else None

    @property
    def difference(self) -> float | None:
        """Ours less published."""
        if self.average is None or self.published_mean is None:
            return None
        return self.average.mean - self.published_mean

    @property
    def difference_in_errors(self) -> float | None:
        """The difference over its standard error; None with one seed, or where nothing varies at all."""
        if self.average is None or self.published is None or self.difference is None:
            return None
        error = standard_error(self.average.std, self.average.seeds, self.published.std, self.published_runs)
        return self.difference / error if error else None


@dataclass(frozen=True)
class Table:
    """One table.

    Attributes:
        name: for files; unique in a report.
        title: for headings.
        key: the task and data of all runs in it.
        metric: ``accuracy``, ``dice``, ...
        last_k: over how many epochs at the end each run's number is the mean; several where runs differ.
        decimals: how many are shown.
        columns, rows: in the order shown.
        published: the table that stands beside the runs, if any.
        others: further published tables that have numbers for these runs, and how many.
        missing: published cells that have no runs.
        marks: letters for sets of departures, as they stand beside entries.
        settings: what the runs share and in what they differ.
        notices: about this table alone.
    """

    name: str
    title: str
    key: DataKey
    metric: str
    last_k: tuple[int, ...]
    decimals: int
    columns: tuple[Column, ...]
    rows: Mapping[RowKey, Mapping[Column, Entry]]
    published: PublishedTable | None
    others: tuple[tuple[str, int], ...]
    missing: tuple[tuple[str, str], ...]
    marks: Mapping[tuple[Departure, ...], str]
    settings: SettingsOfTable
    notices: tuple[Notice, ...]

    @property
    def published_cells(self) -> int:
        """How many numbers the published table has that could stand beside runs."""
        return len(published_places(self.published)) if self.published else 0

    def column_label(self, column: Column) -> str:
        """The noise, and the split where the table has several."""
        several = len({one.split for one in self.columns}) > 1
        return f"{column.noise}, {column.split}" if several else column.noise

    def mark(self, entry: Entry) -> str:
        """The letter for what an entry's runs depart in; empty where they depart in nothing."""
        return self.marks.get(entry.departures, "")


def build_tables(cells: Sequence[Cell], wanted: Sequence[PublishedTable]) -> tuple[list[Table], list[Cell]]:
    """Tables of ``cells``: one for each task, data and headline metric; and the cells that are in none.

    With ``wanted`` only these published tables, whole, filled with the runs that are of their data set; else each table
    stands beside the published one that fits best, where one does, and has only the noises that were run.
    """
    groups: dict[tuple[DataKey, str], list[Cell]] = {}
    for cell in cells:
        groups.setdefault((cell.key, cell.headline), []).append(cell)
    tables: list[Table] = []
    used: set[int] = set()
    for (key, headline), some in sorted(groups.items()):
        fitting = fitting_tables(key, some)
        chosen: list[PublishedTable | None] = [
            table
            for table in wanted
            if is_of_dataset(key, some, table, asked=True) and headline.endswith(f"/{table.metric}")
        ]
        if not wanted:
            chosen = [fitting[0][0] if fitting else None]
        for table in chosen:
            others = tuple((other.id, count) for other, count in fitting if other != table)
            tables.append(_table(key, headline, some, table, whole=bool(wanted), others=others))
            used.update(map(id, some))
    return _named_apart(tables), [cell for cell in cells if id(cell) not in used]


def _table(
    key: DataKey,
    headline: str,
    cells: list[Cell],
    published: PublishedTable | None,
    *,
    whole: bool,
    others: tuple[tuple[str, int], ...],
) -> Table:
    split, metric = headline.split("/", 1)
    places = published_places(published) if published else {}
    columns = _columns(cells, places, split, whole=whole)
    rows, covered = _rows(cells, places, columns, published, metric)
    missing = dict.fromkeys(  # in the order of the paper, each once
        (_row_key_of_published(place, number).method, place.noise)
        for place, number in places.items()
        if place not in covered
    )
    entries = [entry for row in rows.values() for entry in row.values()]
    sets = list(dict.fromkeys(entry.departures for entry in entries if entry.departures))
    title = published.title if published else f"{key.task.capitalize()} on {key.data}"
    decimals = 1 if metric == "dice" else 2
    return Table(
        name=_slug(f"{published.id} {key.data}" if published else f"{key.task} {key.data}"),
        title=title,
        key=key,
        metric=metric,
        last_k=tuple(sorted({cell.k(headline) for cell in cells})),
        decimals=decimals,
        columns=columns,
        rows=_with_best(rows, columns, decimals, lower=metric == "loss"),
        published=published,
        others=others,
        missing=tuple(missing),
        marks={departed: chr(ord("a") + i) if i < 26 else f"a{i}" for i, departed in enumerate(sets)},
        settings=settings_of_table(cells),
        notices=unlike_rows(key, cells),
    )


def _columns(
    cells: list[Cell], places: Mapping[Place, PublishedCell], split: str, *, whole: bool
) -> tuple[Column, ...]:
    ours = {cell.noise: noise_order(cell.config) for cell in cells}
    published = dict.fromkeys(Column(place.noise, place.split) for place in places)
    kept = [column for column in published if whole or column.noise in ours]
    known = {column.noise for column in kept}
    own = sorted((noise for noise in ours if noise not in known), key=ours.__getitem__)
    return (*kept, *(Column(noise, split) for noise in own))


def _rows(
    cells: list[Cell],
    places: Mapping[Place, PublishedCell],
    columns: tuple[Column, ...],
    published: PublishedTable | None,
    metric: str,
) -> tuple[dict[RowKey, dict[Column, Entry]], set[Place]]:
    """The rows, in the published order and then by method; and the published places that have runs."""
    models = table_models(places)
    runs = load_recipe(published.paper).runs if published else None
    scale = 1.0 if metric == "loss" else 100.0
    order: dict[RowKey, int] = {}
    ours: dict[RowKey, dict[Column, Entry]] = {}
    covered: set[Place] = set()
    names = {(place.loss, place.training, place.model): number for place, number in places.items()}
    for cell in cells:
        place = place_of(cell, "", models)
        named = names.get((place.loss, place.training, place.model))
        key = RowKey(cell.method, _other_name(named, cell.method), cell.variant)
        order[key] = list(names).index((place.loss, place.training, place.model)) if named else len(names)
        for column in columns:
            values = cell.values(f"{column.split}/{metric}") if column.noise == cell.noise else None
            if values is None:
                continue
            here = place._replace(split=column.split)
            number = places.get(here)
            covered.update({here} if number else ())
            departed: tuple[Departure, ...] = ()
            if published and number:
                run = cell.runs[0]
                departed = departures(run.config, run.summary, published.paper, published.dataset, number.model)
            averaged = average([scale * value for value in values])
            ours.setdefault(key, {})[column] = Entry(cell, averaged, number, runs if number else None, departed)
    for place, number in places.items():
        column = Column(place.noise, place.split)
        if place not in covered and column in columns:
            key = _row_key_of_published(place, number)
            order.setdefault(key, list(names).index((place.loss, place.training, place.model)))
            ours.setdefault(key, {})[column] = Entry(published=number, published_runs=runs)
    losses = [*LOSS_NAMES.values()]
    ranked = sorted(
        ours, key=lambda key: (order[key], losses.index(key.method) if key.method in losses else len(losses), key)
    )
    return {key: ours[key] for key in ranked}, covered


def _row_key_of_published(place: Place, number: PublishedCell) -> RowKey:
    """The row of a published number, the same that runs of this method would have."""
    method = method_name({"loss": {"name": place.loss}, "method": {"name": place.training}})
    return RowKey(method, _other_name(number, method), f"model.name {place.model}" if place.model else "")


def _other_name(number: PublishedCell | None, ours: str) -> str:
    return number.method if number and number.method != ours else ""


def _with_best(
    rows: dict[RowKey, dict[Column, Entry]], columns: Iterable[Column], decimals: int, *, lower: bool
) -> dict[RowKey, dict[Column, Entry]]:
    for column in columns:
        averages = {key: row[column].average for key, row in rows.items() if column in row}
        several = any(average.seeds > 1 for average in averages.values() if average)
        shown = {
            key: round(average.mean, decimals)
            for key, average in averages.items()
            if average and (average.seeds > 1 or not several)
        }
        best = (min if lower else max)(shown.values(), default=None)
        for key, value in shown.items():
            if value == best and len(shown) > 1:
                rows[key][column] = replace(rows[key][column], best=True)
    return rows


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
