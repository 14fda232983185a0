"""The numbers of the papers, from ``configs/published``, and which of them belong beside which runs.

``configs/published/README.md`` says what the columns of the files mean and where the numbers are from; a table or cell
is a named tuple of them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from pathlib import PurePath
from typing import Any

import pandas as pd

from seg_anl.records import UserError, config_folder, nearest_names
from seg_anl.records.recipes import recipes_of

from .names import data_place, noise_name, training_name

# How a data set is recognized in the name of a run's data or the last folders of its place.
_DATASETS = {
    "mnist": r"(?<!fashion.)mnist",
    "cifar10": r"cifar.?10(?!0)",
    "cifar100": r"cifar.?100",
    "webvision": r"webvision",
    "animal10n": r"animal.?10n",
    "clothing1m": r"clothing.?1m",
    "imagenet": r"imagenet",
    "isic2017": r"isic(?!.?20(1[689]|20))|^embedded$",  # the challenge of another year is other data
}
METHOD = ["loss", "training", "model"]
PLACE = [*METHOD, "noise", "split"]
"""Columns that say where a number stands in a table; ``model`` is empty unless the table has several networks."""


@cache
def _rows(name: str) -> tuple[Any, ...]:
    """The rows of a file; in columns of numbers None where there is none."""
    path = config_folder() / "published" / name
    if not path.is_file():
        raise UserError(f"{path}: the published numbers are missing; reinstall seg-anl")
    table = pd.read_csv(path, dtype=str, keep_default_na=False).astype(object)
    for column in table.columns.intersection(["rate", "alpha", "beta", "mean", "std"]):
        table[column] = pd.Series([float(cell) if cell else None for cell in table[column]], dtype=object)
    return tuple(table.itertuples(index=False, name="Row"))


def list_tables() -> tuple[Any, ...]:
    """All tables, in the order of the index: one data set of one table of a paper each."""
    return _rows("tables.csv")


def find_table(table_id: str) -> Any:
    """The table called ``table_id``; capitals do not matter. UserError for an unknown one, with the nearest known."""
    tables = {table.id: table for table in list_tables()}
    if table_id.upper() not in tables:
        raise UserError(f"unknown published table {table_id!r}; {nearest_names(table_id.upper(), tables)}")
    return tables[table_id.upper()]


def read_table(table_id: str) -> tuple[Any, ...]:
    """The cells of a table in the paper's order, method by method; mean and std in percent, None where unknown.

    ``method`` is the paper's name; ``loss`` and ``training`` are ours, empty and ``plain`` where there is none to name.
    """
    table = find_table(table_id)
    return tuple(row for row in _rows(table.file) if row.dataset == table.dataset)


def image_counts(dataset: str) -> dict[str, int]:
    """How many images an official data set has, by split (``train``, ``test``), where it is fixed."""
    rows = [row for row in _rows("data_sets.csv") if row.dataset == dataset]
    return {split: int(count) for row in rows for split in ("train", "test") if (count := getattr(row, split))}


def is_of_dataset(groups: pd.DataFrame, table: Any, *, asked: bool = False) -> bool:
    """Whether ``groups`` of runs, all of one task and data, are of the data set of ``table``, be it a part or a copy.

    Data of one's own whose name speaks of no known data set are taken to be, when the person ``asked`` for the table.
    """
    places = {data_place(config) for config in groups["config"]} - {""}
    known = {dataset for dataset in _DATASETS for name in {*groups["data"], *places} if names_dataset(name, dataset)}
    fits = table.dataset in known or (asked and bool(places) and not known)
    return fits and groups["task"].iloc[0] == table.task


def names_dataset(text: str, dataset: str) -> bool:
    """Whether a name or the end of a path speaks of a data set.

    >>> names_dataset("folder ISIC-2017", "isic2017"), names_dataset("cifar100", "cifar10")
    (True, False)
    """
    return re.search(_DATASETS[dataset], "/".join(PurePath(text).parts[-2:]), re.IGNORECASE) is not None


def fitting_tables(groups: pd.DataFrame) -> list[tuple[Any, int]]:
    """Tables of results that have numbers for some of ``groups``, with how many; the best first.

    The best is the one of the paper whose preset the runs follow, then the one with the most numbers.
    """
    found = []
    for table in list_tables():
        if table.kind == "results" and is_of_dataset(groups, table):
            published = published_numbers(table)
            ours = places_of(groups, published).assign(split=groups["headline"].str.split("/").str[0])
            presets = {recipe.name for recipe in recipes_of(table.paper)}
            followed = sum(config.get("preset") in presets for config in groups["config"])
            found.append((followed, len(ours.merge(published[PLACE], on=PLACE)), table))
    found.sort(key=lambda item: item[:2], reverse=True)  # stable: else in the order of the index
    return [(table, matched) for _, matched, table in found if matched]


def published_numbers(table: Any) -> pd.DataFrame:
    """The numbers of a table (or None) by where they stand; without those of a loss that the paper leaves open.

    Columns: :data:`PLACE`, and network, published_method, published_mean and published_std.
    """
    cells = [cell for cell in (read_table(table.id) if table else ()) if cell.metric == table.metric and cell.loss]
    several = len({cell.model for cell in cells}) > 1
    rows = [
        (
            *(cell.loss, cell.training, cell.model if several else "", _noise_of(cell), cell.split),
            *(cell.model, cell.method, cell.mean, cell.std),
        )
        for cell in cells
    ]
    columns = [*PLACE, "network", "published_method", "published_mean", "published_std"]
    numbers = pd.DataFrame(rows, columns=columns).astype({"published_mean": float, "published_std": float})
    return numbers.drop_duplicates(PLACE, ignore_index=True)


def places_of(groups: pd.DataFrame, published: pd.DataFrame) -> pd.DataFrame:
    """Where the runs of each group would stand among ``published`` numbers: the columns :data:`METHOD` and noise."""
    rows = []
    for config in groups["config"]:
        loss, model = paired_loss(config), str((config.get("model") or {}).get("name", ""))
        loss += " with Dice" if config["loss"].get("dice_weight") else ""
        rows.append((loss, training_name(config), model if (published["model"] != "").any() else ""))
    return pd.DataFrame(rows, columns=METHOD, index=groups.index).assign(noise=groups["noise"])


def paired_loss(config: Mapping[str, Any]) -> str:
    """The loss of a run; a pair that is named by its parts has a name of its own in the papers."""
    loss = config["loss"]
    pair = loss.get("name") == "active_passive"
    return f"{loss.get('active')}_{loss.get('passive')}" if pair else str(loss.get("name"))


def _noise_of(cell: Any) -> str:
    """The noise of a published number in the words that :func:`names.noise_name` has for runs."""
    noise: dict[str, Any] = {"kind": cell.noise, "rate": cell.rate}
    data: dict[str, Any] = {"name": cell.dataset}
    if cell.noise == "mask":
        noise = {"alpha": cell.alpha, "beta": cell.beta}
    elif cell.noise == "human":
        noise["labels"] = "worst" if cell.dataset == "cifar10" else "noisy"
    elif cell.noise in ("clean", "real"):
        noise = {"kind": "none"}
    elif cell.noise.startswith("imbalance_"):
        noise, data = {"kind": "none"}, {"imbalance": cell.noise.removeprefix("imbalance_")}
        data["imbalance_ratio"] = cell.rate
    return noise_name({"noise": noise, "data": data})
