"""The numbers of the papers, from ``configs/published``: which tables there are, their cells, and the papers' errata.

What lives here reads; ``configs/published/README.md`` says what the columns mean and where the numbers are from.
Comparing them with runs is the report's work.
"""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any, NamedTuple

from seg_anl.records import UserError, config_folder, nearest_names


class PublishedTable(NamedTuple):
    """One data set of one table of a paper; the columns of tables.csv.

    ``id`` is what ``--table`` takes; ``paper`` and ``table`` are citation key and number; ``dataset`` picks the rows of
    ``file``; ``metric`` is accuracy, dice or, for a table of settings, parameters; ``kind`` is results or parameters.
    """

    id: str
    file: str
    paper: str
    table: str
    title: str
    dataset: str
    metric: str
    task: str
    kind: str


class PublishedCell(NamedTuple):
    """One number of a table, with mean and std in percent; None where the paper gives none or its text is damaged.

    ``method`` is the paper's name; ``loss`` and ``training`` are ours, empty and ``plain`` where there is none to name.
    """

    paper: str
    table: str
    dataset: str
    model: str
    method: str
    loss: str
    training: str
    noise: str
    rate: float | None
    alpha: float | None
    beta: float | None
    split: str
    metric: str
    mean: float | None
    std: float | None
    note: str


class Erratum(NamedTuple):
    """A place where the prose of a paper (``where``, ``prose``) and its own table (``table_says``) disagree."""

    paper: str
    table: str
    where: str
    prose: str
    table_says: str


NUMBERS = ("rate", "alpha", "beta", "mean", "std")


def list_tables() -> tuple[PublishedTable, ...]:
    """All tables, in the order of the index.

    Raises:
        UserError: when the files of the published numbers are missing, which means a broken installation.
    """
    return tuple(PublishedTable(**row) for row in _rows("tables.csv"))


def find_table(table_id: str) -> PublishedTable:
    """The table called ``table_id``; capitals do not matter.

    Raises:
        UserError: for an unknown id, with the nearest known ones.
    """
    tables = {table.id: table for table in list_tables()}
    name = table_id.upper()
    if name not in tables:
        raise UserError(f"unknown published table {table_id!r}; {nearest_names(name, tables)}")
    return tables[name]


def read_table(table_id: str) -> tuple[PublishedCell, ...]:
    """The cells of one table, in the paper's order: method by method, from left to right.

    Raises:
        UserError: for an unknown id, with the nearest known ones.
    """
    table = find_table(table_id)
    return tuple(_cell(row) for row in _rows(table.file) if row["dataset"] == table.dataset)


def list_errata(paper: str | None = None) -> tuple[Erratum, ...]:
    """Where a paper contradicts its own tables; all papers, or the one with this citation key."""
    return tuple(Erratum(**row) for row in _rows("errata.csv") if paper in (None, row["paper"]))


def image_counts(dataset: str) -> dict[str, int]:
    """How many images an official data set has, by split (``train``, ``test``); empty where nothing is fixed."""
    rows = {row["dataset"]: row for row in _rows("data_sets.csv")}
    return {split: int(rows[dataset][split]) for split in ("train", "test")} if dataset in rows else {}


def _cell(row: dict[str, str]) -> PublishedCell:
    values: dict[str, Any] = dict(row)
    values.update((key, float(row[key]) if row[key] else None) for key in NUMBERS)
    return PublishedCell(**values)


def _rows(name: str) -> list[dict[str, str]]:
    path: Path = config_folder() / "published" / name
    if not path.is_file():
        raise UserError(f"{path}: the published numbers are missing; reinstall seg-anl")
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))
