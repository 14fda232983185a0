"""The numbers of the papers, from ``configs/published``: which tables there are, their cells, and the papers' errata.

What lives here reads; ``configs/published/README.md`` says what the columns mean and where the numbers are from.
Comparing them with runs is the report's work.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from seg_anl.records import UserError, config_folder, nearest_names


@dataclass(frozen=True)
class PublishedTable:
    """One data set of one table of a paper.

    Attributes:
        id: what ``seg-anl-report --table`` takes, for instance ``CIFAR10-II``.
        file: name of the CSV file, which may hold further data sets of the same table.
        paper, table: citation key and the table's number in the paper.
        title: a line for headings.
        dataset: our name of the data set; the table's cells are those rows of the file.
        metric: ``accuracy`` or ``dice``; ``parameters`` for a table of settings.
        task: ``classification`` or ``segmentation``.
        kind: ``results`` or ``parameters``.
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


@dataclass(frozen=True)
class PublishedCell:
    """One number of a table.

    Attributes:
        paper, table, dataset: where it stands.
        model: our name of the network; empty where the text does not say.
        method: the paper's name of the method.
        loss: our ``loss=`` name; empty where the text does not say which loss was meant.
        training: our ``method=`` name; ``plain`` when the method is the loss alone.
        noise: ``clean``, ``symmetric``, ``asymmetric``, ``part_dependent``, ``human``, ``real``, ``mask``,
            ``imbalance_long_tailed`` or ``imbalance_step``; empty in tables of parameters.
        rate: noise rate, or the imbalance ratio; None where there is none.
        alpha, beta: share and strength of mask noise, None elsewhere.
        split: the evaluation set.
        metric: what was measured, or the parameter's name.
        mean, std: in percent (a parameter: its value); None where the paper gives none or the text is damaged.
        note: what a reader should know.
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


@dataclass(frozen=True)
class Erratum:
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
