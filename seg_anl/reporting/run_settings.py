"""Settings of runs side by side: which of them make two runs different, and how few words tell them apart."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pandas as pd

from seg_anl.records.recipes import flat

from .names import data_place, number

# fmt: off
# Where, how fast, and what is kept: none of it decides a run's numbers. Seeds are what averages run over.
_IGNORED = {
    "seed", "noise.seed", "noise.file", "run_root", "run_dir", "device", "workers", "progress", "compile", "graph",
    "channels_last", "checkpoint_every", "record", "record_every", "evaluation.train_every", "evaluation.batch_size",
    "data.root", "data.file", "data.download", "published_model", "test_folder",
}
# In what order settings are tried to name a variant: first what people compare on purpose.
_SPOKEN_FIRST = ("preset", "epochs", "data.", "model.", "loss.", "method.", "optim.", "batch_size", "evaluation.")
# Named where they are the same in all runs; the full list stands in each run's config.yaml.
_COMMON = [
    "preset", "model.name", "model.patch_size", "epochs", "iterations", "batch_size", "model.batch_size", "optim.name",
    "optim.lr", "optim.schedule", "optim.weight_decay", "optim.l1", "precision", "data.size", "data.limit",
    "data.tuning", "noise.mode", "noise.counts", "evaluation.last_k",
]
# fmt: on
# Rows of one table that differ here cannot be compared. Regularizers and rates belong to a method, as losses do.
_MUST_AGREE = ("epochs", "iterations", "data.", "model.", "evaluation.", "noise.", "batch_size", "precision")
_NAMES_THE_LOSS = "model.trainer"  # of nnU-Net: has to differ between rows
# Follows from the kind of noise, or is named in the column.
_OF_THE_NOISE = ("noise.rate", "noise.alpha", "noise.beta", "noise.kind", "noise.kinds", "noise.dataset")


def flat_settings(config: Mapping[str, Any]) -> dict[str, Any]:
    """The settings that decide a run's numbers, by dotted name; lists stay whole.

    A setting of null counts as one that is not there: settings that a later version adds, off, set no old runs apart.

    >>> flat_settings({"seed": 1, "data": {"name": "digits", "limit": None}, "device": "cpu"})
    {'data.name': 'digits'}
    """
    settings = {name: value for name, value in flat(config).items() if name not in _IGNORED and value is not None}
    place = data_place(config)
    return {**settings, "data.place": place} if place else settings


def fingerprint(settings: Any) -> str:
    """One string for equal settings."""
    return json.dumps(settings, sort_keys=True, default=str)


def _side_by_side(several: Iterable[Mapping[str, Any]]) -> pd.DataFrame:
    """A row for each configuration and a column for each setting, as JSON text; NaN where one lacks it."""
    rows = [{name: fingerprint(value) for name, value in settings.items()} for settings in several]
    return pd.DataFrame(rows, dtype=object)


def differing(several: Iterable[Mapping[str, Any]]) -> list[str]:
    """Names of the settings that are not the same in all, sorted; one that is missing differs from every value."""
    table = _side_by_side(several)
    return sorted(table.columns[table.nunique(dropna=False) > 1])


def telling(groups: Mapping[Any, Sequence[Mapping[str, Any]]]) -> list[str]:
    """The fewest settings, tried in the order people speak of them, that tell apart all members of each group."""
    candidates = {name for group in groups.values() if len(group) > 1 for name in differing(group)}
    table = _side_by_side(settings for group in groups.values() for settings in group)
    table["_group"] = [place for place, group in enumerate(groups.values()) for _ in group]
    chosen = ["_group"]

    def spoken(name: str) -> tuple[int, str]:
        return next((i for i, start in enumerate(_SPOKEN_FIRST) if name.startswith(start)), len(_SPOKEN_FIRST)), name

    for name in sorted(candidates, key=spoken):
        if len(table[[*chosen, name]].drop_duplicates()) > len(table[chosen].drop_duplicates()):
            chosen.append(name)
    return chosen[1:]


def value_text(value: Any) -> str:
    """A setting's value as a reader sees it.

    >>> value_text(None), value_text(True), value_text([0.7, 1.5]), value_text(1e-5)
    ('none', 'yes', '0.7, 1.5', '1e-5')
    """
    if value is None or isinstance(value, bool):
        return {None: "none", True: "yes", False: "no"}[value]
    if isinstance(value, (list, tuple)):
        return ", ".join(map(value_text, value)) or "none"
    return number(value)


def described(settings: Mapping[str, Any], names: Iterable[str]) -> str:
    """``epochs 40, optim.lr 0.01``."""
    return ", ".join(f"{name} {value_text(settings.get(name))}" for name in names)


def listed_settings(groups: pd.DataFrame) -> tuple[str, dict[str, str]]:
    """Of a table's groups of runs: the settings that all share, and by name those in which rows differ.

    Of a loss's parameters the rows are named that have them.
    """
    names = differing(groups["settings"])
    first = groups["settings"].iloc[0]
    losses = [name for name in first if name.startswith("loss.") and name != "loss.name"]
    common = described(first, [name for name in (*_COMMON, *losses) if name in first and name not in names])
    own = {}
    for name in names:
        if name != "loss.name" and name not in _OF_THE_NOISE and not _said(name, groups, everywhere=True):
            having = groups["settings"].map(lambda settings, name=name: name in settings)
            own[name] = _by_value(name, groups[having] if name.startswith("loss.") else groups)
    return common, own


def unlike_rows(groups: pd.DataFrame) -> str:
    """In what rows under the same noise differ that should be alike; empty for nothing. Variants say so themselves."""
    names = {
        name: None
        for _, some in groups.groupby("noise", sort=False)
        for name in differing(some["settings"])
        if name.startswith(_MUST_AGREE) and name != _NAMES_THE_LOSS and not _said(name, some)
    }
    return "; ".join(f"{name} {_by_value(name, groups, ', ')}" for name in names)


def _said(name: str, groups: pd.DataFrame, *, everywhere: bool = False) -> bool:
    """Whether the variants of the groups name a setting."""
    return (all if everywhere else any)(f"{name} " in variant for variant in groups["variant"])


def _labels(groups: pd.DataFrame) -> pd.Series:
    return groups["method"] + ("," + " " + groups["variant"]).where(groups["variant"] != "", "")


def _by_value(name: str, groups: pd.DataFrame, separator: str = "; ") -> str:
    """Each value with the methods that have it; with their noises where a method has several values."""
    values = groups["settings"].map(lambda settings: value_text(settings.get(name)))
    frame = pd.DataFrame({"value": values, "label": _labels(groups), "noise": groups["noise"]})
    several = frame.groupby("label")["value"].nunique() > 1
    texts = []
    for value, some in frame.groupby("value", sort=False):
        noises = some.groupby("label", sort=False)["noise"].agg("; ".join)
        methods = [f"{label} under {noise}" if several[label] else str(label) for label, noise in noises.items()]
        texts.append(f"{value} ({', '.join(methods)})")
    return separator.join(texts)
