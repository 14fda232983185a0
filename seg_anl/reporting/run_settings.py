"""Settings of runs side by side: which of them make two runs different, and how few words tell them apart."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pandas as pd

from .names import data_place, number

# Where, how fast, and what is kept: none of it decides a run's numbers. Seeds are what averages run over.
_IGNORED = frozenset(
    [
        "seed",
        "noise.seed",
        "noise.file",
        "run_root",
        "run_dir",
        "device",
        "workers",
        "progress",
        "compile",
        "channels_last",
        "checkpoint_every",
        "record",
        "record_every",
        "evaluation.train_every",
        "evaluation.batch_size",
        "data.root",
        "data.file",
        "data.download",
        "published_model",
        "test_folder",
    ]
)
# In what order settings are tried to name a variant: first what people compare on purpose.
_SPOKEN_FIRST = ("preset", "epochs", "data.", "model.", "loss.", "method.", "optim.", "batch_size", "evaluation.")
# Named where they are the same in all runs; the full list stands in each run's config.yaml.
_COMMON = [
    "preset",
    "model.name",
    "model.patch_size",
    "epochs",
    "iterations",
    "batch_size",
    "model.batch_size",
    "optim.name",
    "optim.lr",
    "optim.schedule",
    "optim.weight_decay",
    "optim.l1",
    "precision",
    "data.size",
    "data.limit",
    "data.tuning",
    "noise.mode",
    "noise.counts",
    "evaluation.last_k",
]
# Rows of one table that differ here cannot be compared. Regularizers and rates belong to a method, as losses do.
_MUST_AGREE = ("epochs", "iterations", "data.", "model.", "evaluation.", "noise.", "batch_size", "precision")
_NAMES_THE_LOSS = "model.trainer"  # of nnU-Net: has to differ between rows
# Follows from the kind of noise, or is named in the column.
_OF_THE_NOISE = ("noise.rate", "noise.alpha", "noise.beta", "noise.kind", "noise.kinds", "noise.dataset")

Listed = list[tuple[str, str]]


def flat_settings(config: Mapping[str, Any]) -> dict[str, Any]:
    """The settings that decide a run's numbers, by dotted name; lists stay whole.

    A setting of null counts as one that is not there: settings that a later version adds, off, set no old runs apart.

    >>> flat_settings({"seed": 1, "data": {"name": "digits", "limit": None}, "device": "cpu"})
    {'data.name': 'digits'}
    """
    flat: dict[str, Any] = {}

    def add(group: Mapping[str, Any], prefix: str) -> None:
        for key, value in group.items():
            name = f"{prefix}{key}"
            if isinstance(value, Mapping):
                add(value, f"{name}.")
            elif name not in _IGNORED and value is not None:
                flat[name] = value

    add(config, "")
    place = data_place(config)
    return {**flat, "data.place": place} if place else flat


def fingerprint(settings: Mapping[str, Any]) -> str:
    """One string for equal settings."""
    return json.dumps(settings, sort_keys=True, default=str)


def setting_table(several: Iterable[Mapping[str, Any]]) -> pd.DataFrame:
    """A row for each configuration and a column for each setting, as JSON text; NaN where one lacks it."""
    rows = [{name: fingerprint(value) for name, value in settings.items()} for settings in several]
    return pd.DataFrame(rows, dtype=object)


def differing(several: Iterable[Mapping[str, Any]]) -> list[str]:
    """Names of the settings that are not the same in all, sorted; one that is missing differs from every value."""
    table = setting_table(several)
    return sorted(table.columns[table.nunique(dropna=False) > 1])


def telling(groups: Mapping[Any, Sequence[Mapping[str, Any]]]) -> list[str]:
    """The fewest settings, tried in the order people speak of them, that tell apart all members of each group."""
    candidates = {name for group in groups.values() if len(group) > 1 for name in differing(group)}
    if not candidates:
        return []
    table = setting_table(settings for group in groups.values() for settings in group)
    group_of = [place for place, group in enumerate(groups.values()) for _ in group]
    chosen: list[str] = []

    def told_apart(names: list[str]) -> int:
        return len(table[names].assign(_group=group_of).drop_duplicates())

    for name in sorted(candidates, key=_spoken_order):
        if told_apart([*chosen, name]) > told_apart(chosen):
            chosen.append(name)
    return chosen


def _spoken_order(name: str) -> tuple[int, str]:
    return next((i for i, start in enumerate(_SPOKEN_FIRST) if name.startswith(start)), len(_SPOKEN_FIRST)), name


def value_text(value: Any) -> str:
    """A setting's value as a reader sees it.

    >>> value_text(None), value_text(True), value_text([0.7, 1.5]), value_text(1e-5)
    ('none', 'yes', '0.7, 1.5', '1e-5')
    """
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, (list, tuple)):
        return ", ".join(map(value_text, value)) or "none"
    return number(value)


def described(settings: Mapping[str, Any], names: Iterable[str]) -> str:
    """``epochs 40, optim.lr 0.01``."""
    return ", ".join(f"{name} {value_text(settings.get(name))}" for name in names)


def listed_settings(groups: pd.DataFrame) -> tuple[Listed, Listed, Listed]:
    """Of the runs of a table: settings that all share, settings in which rows differ, and the parameters of each loss.

    Args:
        groups: of runs, see :mod:`aggregate`.
    """
    first = groups["settings"].iloc[0]
    names = differing(groups["settings"])
    common = [(name, value_text(first[name])) for name in _COMMON if name in first and name not in names]
    own = [
        (name, _by_value(name, groups))
        for name in names
        if not (name.startswith("loss.") or name in _OF_THE_NOISE)
        and not all(f"{name} " in variant for variant in groups["variant"])
    ]
    parameters: dict[str, dict[str, dict[str, None]]] = {}
    for group in groups.itertuples():
        for name, value in group.config["loss"].items():
            if name != "name" and not (name == "dice_weight" and not value):
                parameters.setdefault(_label(group), {}).setdefault(name, {})[value_text(value)] = None
    texts = [
        (
            label,
            ", ".join(f"{name} {next(iter(found)) if len(found) == 1 else 'by noise'}" for name, found in by.items()),
        )
        for label, by in parameters.items()
    ]
    return common, own, texts


def unlike_rows(groups: pd.DataFrame) -> str:
    """In what rows under the same noise differ that should be alike; empty for nothing. Variants say so themselves."""
    names: dict[str, None] = {}
    for _, some in groups.groupby("noise", sort=False):
        for name in differing(some["settings"]):
            said = any(f"{name} " in variant for variant in some["variant"])
            if name.startswith(_MUST_AGREE) and name != _NAMES_THE_LOSS and not said:
                names[name] = None
    return "; ".join(f"{name} {_by_value(name, groups, ', ')}" for name in names)


def _label(group: Any) -> str:
    return f"{group.method}, {group.variant}" if group.variant else str(group.method)


def _by_value(name: str, groups: pd.DataFrame, separator: str = "; ") -> str:
    """Each value with the methods that have it; with their noises where a method has several values."""
    values: dict[str, dict[str, list[str]]] = {}
    for group in groups.itertuples():
        value = value_text(group.settings.get(name))
        values.setdefault(value, {}).setdefault(_label(group), []).append(group.noise)

    def methods(by: dict[str, list[str]]) -> str:
        several = {label for label in by if sum(label in other for other in values.values()) > 1}
        return ", ".join(
            f"{label} under {'; '.join(noises)}" if label in several else label for label, noises in by.items()
        )

    return separator.join(f"{value} ({methods(by)})" for value, by in values.items())
