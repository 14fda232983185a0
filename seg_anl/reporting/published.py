"""The numbers of the papers, from ``configs/published``, and matching them to runs.

``configs/published/README.md`` describes the columns of the files and the sources of the numbers. Tables and cells are
named tuples of these columns.
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

# Patterns of data set names in a run's data name, or in the last folders of its path.
_DATASETS = {
    "mnist": r"(?<!fashion.)mnist",
    "cifar10": r"cifar.?10(?!0)",
    "cifar100": r"cifar.?100",
    "webvision": r"webvision",
    "animal10n": r"animal.?10n",
    "clothing1m": r"clothing.?1m",
    "imagenet": r"imagenet",
    "isic2017": r"isic(?!.?20(1[689]|20))|^embedded$",  # other years of the challenge have other data
}
METHOD = ["loss", "training", "model"]
PLACE = [*METHOD, "noise", "split"]
"""Columns that identify a number in a table; ``model`` is empty unless the table has several networks."""


@cache
def _rows(name: str) -> tuple[Any, ...]:
    """The rows of a file; missing numbers are None."""
    path = config_folder() / "published" / name
    if not path.is_file():
        raise UserError(f"{path}: the published numbers are missing; reinstall seg-anl")
    table = pd.read_csv(path, dtype=str, keep_default_na=False).astype(object)
    for column in table.columns.intersection(["rate", "alpha", "beta", "mean", "std"]):
        table[column] = pd.Series([float(cell) if cell else None for cell in table[column]], dtype=object)
    return tuple(table.itertuples(index=False, name="Row"))


def list_tables() -> tuple[Any, ...]:
    """All tables in the order of the index; each is one data set of one table of a paper."""
    return _rows("tables.csv")


def find_table(table_id: str) -> Any:
    """The table named ``table_id``, ignoring case. Raises a UserError with suggestions for an unknown name."""
    tables = {table.id: table for table in list_tables()}
    if table_id.upper() not in tables:
        raise UserError(f"unknown published table {table_id!r}; {nearest_names(table_id.upper(), tables)}")
    return tables[table_id.upper()]


def read_table(table_id: str) -> tuple[Any, ...]:
    """The cells of a table in the paper's order; mean and std are in percent, None if unknown.

    ``method`` is the paper's name; ``loss`` and ``training`` are ours, or empty and ``plain`` without such a method.
    """
    table = find_table(table_id)
    return tuple(row for row in _rows(table.file) if row.dataset == table.dataset)


def image_counts(dataset: str) -> dict[str, int]:
    """The number of images of an official data set by split (``train``, ``test``), if it is fixed."""
    rows = [row for row in _rows("data_sets.csv") if row.dataset == dataset]
    return {split: int(count) for row in rows for split in ("train", "test") if (count := getattr(row, split))}


def is_of_dataset(groups: pd.DataFrame, table: Any, *, requested: bool = False) -> bool:
    """Whether ``groups`` of runs, all of one task and data, use the data set of ``table``, or a part or copy of it.

    The user's own data without a known name also qualifies if the table was ``requested``.
    """
    paths = {data_place(config) for config in groups["config"]} - {""}
    known = {dataset for dataset in _DATASETS for name in {*groups["data"], *paths} if names_dataset(name, dataset)}
    matches = table.dataset in known or (requested and bool(paths) and not known)
    return matches and groups["task"].iloc[0] == table.task


def names_dataset(text: str, dataset: str) -> bool:
    """Whether a name, or the end of a path, contains the name of a data set.

    >>> names_dataset("folder ISIC-2017", "isic2017"), names_dataset("cifar100", "cifar10")
    (True, False)
    """
    return re.search(_DATASETS[dataset], "/".join(PurePath(text).parts[-2:]), re.IGNORECASE) is not None


def matching_tables(groups: pd.DataFrame) -> list[tuple[Any, int]]:
    """Tables of results with numbers for some of ``groups``, and the number of matches, best first.

    The best table is from the paper whose preset the runs use, then the one with the most matches.
    """
    candidates = []
    for table in list_tables():
        if table.kind == "results" and is_of_dataset(groups, table):
            published = published_numbers(table)
            ours = places_of(groups, published).assign(split=groups["headline"].str.split("/").str[0])
            presets = {recipe.name for recipe in recipes_of(table.paper)}
            same_preset = sum(config.get("preset") in presets for config in groups["config"])
            candidates.append((same_preset, len(ours.merge(published[PLACE], on=PLACE)), table))
    candidates.sort(key=lambda item: item[:2], reverse=True)  # stable, so ties keep the order of the index
    return [(table, matches) for _, matches, table in candidates if matches]


def published_numbers(table: Any) -> pd.DataFrame:
    """The numbers of a table (empty for None), without those whose loss is unknown.

    Columns: :data:`PLACE`, network, published_method, published_mean and published_std.
    """
    cells = [cell for cell in (read_table(table.id) if table else ()) if cell.metric == table.metric and cell.loss]
    has_several_models = len({cell.model for cell in cells}) > 1
    rows = [
        (
            *(cell.loss, cell.training, cell.model if has_several_models else "", _noise_of(cell), cell.split),
            *(cell.model, cell.method, cell.mean, cell.std),
        )
        for cell in cells
    ]
    columns = [*PLACE, "network", "published_method", "published_mean", "published_std"]
    numbers = pd.DataFrame(rows, columns=columns).astype({"published_mean": float, "published_std": float})
    return numbers.drop_duplicates(PLACE, ignore_index=True)


def places_of(groups: pd.DataFrame, published: pd.DataFrame) -> pd.DataFrame:
    """The columns :data:`METHOD` and noise of each group, to match it with ``published`` numbers."""
    rows = []
    for config in groups["config"]:
        loss, model = paired_loss(config), str((config.get("model") or {}).get("name", ""))
        loss += " with Dice" if config["loss"].get("dice_weight") else ""
        rows.append((loss, training_name(config), model if (published["model"] != "").any() else ""))
    return pd.DataFrame(rows, columns=METHOD, index=groups.index).assign(noise=groups["noise"])


def paired_loss(config: Mapping[str, Any]) -> str:
    """The loss of a run; ``active_passive`` has the name of its pair, as in the papers."""
    loss = config["loss"]
    is_pair = loss.get("name") == "active_passive"
    return f"{loss.get('active')}_{loss.get('passive')}" if is_pair else str(loss.get("name"))


def _noise_of(cell: Any) -> str:
    """The noise of a published number, named as by :func:`names.noise_name`."""
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
