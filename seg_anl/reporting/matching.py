"""Which published numbers belong beside which runs: by data set, loss, training method and noise."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import PurePath
from typing import Any, NamedTuple

from seg_anl.records.recipes import recipes_of

from .cells import Cell, DataKey
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

Noise = str


class Place(NamedTuple):
    """Where a number stands in a table; ``model`` is empty unless the table has several networks."""

    loss: str
    training: str
    model: str
    noise: Noise
    split: str


def is_of_dataset(key: DataKey, cells: Sequence[Cell], table: PublishedTable, *, asked: bool = False) -> bool:
    """Whether ``cells``, which are all of ``key``, are of the data set of ``table``, be it a part or a copy of it.

    Data of one's own whose name speaks of no known data set are taken to be, when the person ``asked`` for the table.
    """
    if key.task != table.task:
        return False
    places = {data_place(cell.config) for cell in cells} - {""}
    known = {dataset for dataset in _DATASETS for name in (key.data, *places) if names_dataset(name, dataset)}
    return table.dataset in known or (asked and bool(places) and not known)


def names_dataset(text: str, dataset: str) -> bool:
    """Whether a name or the end of a path speaks of a data set.

    >>> names_dataset("folder ISIC-2017", "isic2017"), names_dataset("cifar100", "cifar10")
    (True, False)
    """
    end = "/".join(PurePath(text).parts[-2:])
    return re.search(_DATASETS[dataset], end, re.IGNORECASE) is not None


def fitting_tables(key: DataKey, cells: Sequence[Cell]) -> list[tuple[PublishedTable, int]]:
    """Tables of results that have numbers for some of ``cells`` (all of ``key``), with how many; the best first.

    The best is the one of the paper whose preset the runs follow, then the one with the most numbers.
    """
    found: list[tuple[int, int, PublishedTable]] = []
    for table in list_tables():
        if table.kind != "results" or not is_of_dataset(key, cells, table):
            continue
        published = published_places(table)
        models = table_models(published)
        matched = sum(place_of(cell, cell.headline.split("/")[0], models) in published for cell in cells)
        if matched:
            presets = {recipe.name for recipe in recipes_of(table.paper)}
            followed = sum(cell.config.get("preset") in presets for cell in cells)
            found.append((followed, matched, table))
    found.sort(key=lambda item: (-item[0], -item[1]))  # stable: else in the order of the index
    return [(table, matched) for _, matched, table in found]


def published_places(table: PublishedTable) -> dict[Place, PublishedCell]:
    """The numbers of a table by where they stand, in its order; without those of a loss that the paper leaves open."""
    cells = [cell for cell in read_table(table.id) if cell.metric == table.metric and cell.loss]
    several = len({cell.model for cell in cells}) > 1
    places: dict[Place, PublishedCell] = {}
    for cell in cells:
        model = cell.model if several else ""
        places.setdefault(Place(cell.loss, cell.training, model, published_noise(cell), cell.split), cell)
    return places


def table_models(places: Iterable[Place]) -> set[str]:
    """The networks that tell the numbers of a table apart; none where the table has one."""
    return {place.model for place in places} - {""}


def place_of(cell: Cell, split: str, models: Collection[str]) -> Place:
    """Where the runs of ``cell`` would stand in a published table that has several ``models``, or one (empty)."""
    loss = cell.config["loss"]
    name = str(loss.get("name"))
    if name == "active_passive":
        name = f"{loss.get('active')}_{loss.get('passive')}"
    if loss.get("dice_weight"):
        name += " with Dice"
    training = str((cell.config.get("method") or {}).get("name", "plain"))
    model = str((cell.config.get("model") or {}).get("name", "")) if models else ""
    return Place(name, training, model, cell.noise, split)


def published_noise(cell: PublishedCell) -> Noise:
    """The noise of a published number in the words that :func:`seg_anl.reporting.names.noise_name` has for runs."""
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
