"""Which published numbers belong beside which runs: by data set, loss, training method and noise."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import PurePath
from typing import Any

import pandas as pd

from seg_anl.records.recipes import recipes_of

from .names import data_place, noise_name
from .published import PublishedCell, PublishedTable, list_tables, read_table

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


def is_of_dataset(groups: pd.DataFrame, table: PublishedTable, *, asked: bool = False) -> bool:
    """Whether ``groups`` of runs, all of one task and data, are of the data set of ``table``, be it a part or a copy.

    Data of one's own whose name speaks of no known data set are taken to be, when the person ``asked`` for the table.
    """
    if groups["task"].iloc[0] != table.task:
        return False
    places = {data_place(config) for config in groups["config"]} - {""}
    known = {dataset for dataset in _DATASETS for name in {*groups["data"], *places} if names_dataset(name, dataset)}
    return table.dataset in known or (asked and bool(places) and not known)


def names_dataset(text: str, dataset: str) -> bool:
    """Whether a name or the end of a path speaks of a data set.

    >>> names_dataset("folder ISIC-2017", "isic2017"), names_dataset("cifar100", "cifar10")
    (True, False)
    """
    end = "/".join(PurePath(text).parts[-2:])
    return re.search(_DATASETS[dataset], end, re.IGNORECASE) is not None


def fitting_tables(groups: pd.DataFrame) -> list[tuple[PublishedTable, int]]:
    """Tables of results that have numbers for some of ``groups``, with how many; the best first.

    The best is the one of the paper whose preset the runs follow, then the one with the most numbers.
    """
    found: list[tuple[int, int, PublishedTable]] = []
    for table in list_tables():
        if table.kind != "results" or not is_of_dataset(groups, table):
            continue
        published = published_numbers(table)
        ours = groups_in_places(groups, published).assign(split=groups["headline"].str.split("/").str[0])
        matched = len(ours.merge(published[PLACE], on=PLACE))
        if matched:
            presets = {recipe.name for recipe in recipes_of(table.paper)}
            followed = sum(config.get("preset") in presets for config in groups["config"])
            found.append((followed, matched, table))
    found.sort(key=lambda item: (-item[0], -item[1]))  # stable: else in the order of the index
    return [(table, matched) for _, matched, table in found]


def published_numbers(table: PublishedTable | None) -> pd.DataFrame:
    """The numbers of a table by where they stand, in its order; without those of a loss that the paper leaves open.

    Columns: :data:`PLACE`, and network, published_method, published_mean and published_std.
    """
    cells = read_table(table.id) if table else ()
    cells = tuple(cell for cell in cells if table and cell.metric == table.metric and cell.loss)
    several = len({cell.model for cell in cells}) > 1
    rows = [
        (
            *(cell.loss, cell.training, cell.model if several else "", published_noise(cell), cell.split),
            *(cell.model, cell.method, cell.mean, cell.std),
        )
        for cell in cells
    ]
    columns = [*PLACE, "network", "published_method", "published_mean", "published_std"]
    numbers = pd.DataFrame(rows, columns=columns).astype({"published_mean": float, "published_std": float})
    return numbers.drop_duplicates(PLACE, ignore_index=True)


def groups_in_places(groups: pd.DataFrame, published: pd.DataFrame) -> pd.DataFrame:
    """Where the runs of each group would stand among ``published`` numbers: the columns :data:`METHOD` and noise."""
    several = (published["model"] != "").any()
    rows = []
    for config in groups["config"]:
        loss = config["loss"]
        name = str(loss.get("name"))
        if name == "active_passive":
            name = f"{loss.get('active')}_{loss.get('passive')}"
        if loss.get("dice_weight"):
            name += " with Dice"
        training = str((config.get("method") or {}).get("name", "plain"))
        model = str((config.get("model") or {}).get("name", "")) if several else ""
        rows.append((name, training, model))
    return pd.DataFrame(rows, columns=METHOD, index=groups.index).assign(noise=groups["noise"])


def published_noise(cell: PublishedCell) -> str:
    """The noise of a published number in the words that :func:`names.noise_name` has for runs."""
    noise: dict[str, Any] = {"kind": cell.noise, "rate": cell.rate}
    data: Mapping[str, Any] = {"name": cell.dataset}
    if cell.noise == "mask":
        noise = {"alpha": cell.alpha, "beta": cell.beta}
    elif cell.noise in ("clean", "real"):
        noise = {"kind": "none"}
    elif cell.noise == "human":
        noise = {"kind": "human", "labels": "worst" if cell.dataset == "cifar10" else "noisy"}
    elif cell.noise.startswith("imbalance_"):
        noise = {"kind": "none"}
        data = {"imbalance": cell.noise.removeprefix("imbalance_"), "imbalance_ratio": cell.rate}
    return noise_name({"noise": noise, "data": data})
