"""Compare the settings of runs: which settings differ, and which are needed to distinguish runs."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

import pandas as pd

from seg_anl.records.recipes import flat

from .names import data_place, number

# fmt: off
# Settings without influence on the results, and seeds, which are averaged over.
_IGNORED = {
    "seed", "noise.seed", "noise.file", "run_root", "run_dir", "device", "workers", "progress", "compile", "graph",
    "channels_last", "checkpoint_every", "record", "record_every", "evaluation.test_every", "evaluation.train_every",
    "evaluation.batch_size", "data.root", "data.file", "data.download", "data.memory", "data.cache", "published_model",
    "test_folder",
}
# The order in which settings are used to name a variant: first those that are usually compared.
_NAMING_ORDER = ("preset", "epochs", "data.", "model.", "loss.", "method.", "optim.", "batch_size", "evaluation.")
# Listed if they are the same in all runs; each run's config.yaml has all settings.
_COMMON = [
    "preset", "model.name", "model.patch_size", "epochs", "iterations", "batch_size", "model.batch_size", "optim.name",
    "optim.lr", "optim.schedule", "optim.weight_decay", "optim.l1", "precision", "data.size", "data.limit",
    "data.tuning", "noise.mode", "noise.counts", "evaluation.last_k",
]
# fmt: on
# Rows of a table should agree in these. Regularizers and learning rates are part of a method, like losses.
_MUST_AGREE = ("epochs", "iterations", "data.", "model.", "evaluation.", "noise.", "batch_size", "precision")
_NNUNET_TRAINER = "model.trainer"  # names the loss, so it differs between rows
# Determined by the noise, which is named in the column.
_NOISE_SETTINGS = ("noise.rate", "noise.alpha", "noise.beta", "noise.kind", "noise.kinds", "noise.dataset")


def flat_settings(config: Mapping[str, Any]) -> dict[str, Any]:
    """The settings that determine a run's results, by dotted name; lists are kept.

    Null settings count as absent, so that settings added by a later version do not distinguish older runs.

    >>> flat_settings({"seed": 1, "data": {"name": "digits", "limit": None}, "device": "cpu"})
    {'data.name': 'digits'}
    """
    settings = {name: value for name, value in flat(config).items() if name not in _IGNORED and value is not None}
    place = data_place(config)
    return {**settings, "data.place": place} if place else settings


def fingerprint(settings: Any) -> str:
    """A string that is equal for equal settings."""
    return json.dumps(settings, sort_keys=True, default=str)


def _settings_table(settings: Iterable[Mapping[str, Any]]) -> pd.DataFrame:
    """One row per run and one column per setting in which they differ, as JSON text; a missing one is NaN."""
    rows = [{name: fingerprint(value) for name, value in some.items()} for some in settings]
    table = pd.DataFrame(rows, dtype=object)
    return table[sorted(table.columns[table.nunique(dropna=False) > 1])]


def differing(settings: Iterable[Mapping[str, Any]]) -> list[str]:
    """Sorted names of the settings that differ between runs; a missing setting differs from any value."""
    return [*_settings_table(settings)]


def distinguishing(settings: Iterable[Mapping[str, Any]], noises: Iterable[str]) -> list[str]:
    """A small set of settings that distinguishes all runs with the same noise, chosen greedily in naming order."""
    table = _settings_table(settings)

    def naming_order(name: str) -> tuple[int, str]:
        return next((i for i, start in enumerate(_NAMING_ORDER) if name.startswith(start)), len(_NAMING_ORDER)), name

    names = sorted(table, key=naming_order)
    table["noise"] = [*noises]
    chosen = ["noise"]
    for name in names:
        if len(table[[*chosen, name]].drop_duplicates()) > len(table[chosen].drop_duplicates()):
            chosen.append(name)
    return chosen[1:]


def value_text(value: Any) -> str:
    """The value of a setting as text.

    >>> value_text(None), value_text(True), value_text([0.7, 1.5]), value_text(1e-5)
    ('none', 'yes', '0.7, 1.5', '1e-5')
    """
    if value is None or isinstance(value, bool):
        return {None: "none", True: "yes", False: "no"}[value]
    if isinstance(value, (list, tuple)):
        return ", ".join(map(value_text, value)) or "none"
    return number(value)


def describe(settings: Mapping[str, Any], names: Iterable[str]) -> str:
    """Names and values of settings, such as ``epochs 40, optim.lr 0.01``."""
    return ", ".join(f"{name} {value_text(settings.get(name))}" for name in names)


def listed_settings(groups: pd.DataFrame) -> tuple[str, dict[str, str]]:
    """The settings that all rows of a table share, and by name the values of those that differ."""
    names = differing(groups["settings"])
    first = groups["settings"].iloc[0]
    losses = [name for name in first if name.startswith("loss.") and name != "loss.name"]
    own = {}
    for name in names:
        in_variants = groups["variant"].str.contains(f"{name} ", regex=False).all()
        if name not in ("loss.name", *_NOISE_SETTINGS) and not in_variants:
            has_setting = groups["settings"].map(lambda settings, name=name: name in settings)
            own[name] = _by_value(name, groups[has_setting] if name.startswith("loss.") else groups)
    return describe(first, [name for name in (*_COMMON, *losses) if name in first and name not in names]), own


def unlike_rows(groups: pd.DataFrame) -> str:
    """Settings in which rows with the same noise differ but should agree, unless their variants name them."""
    names = {
        name: None
        for _, some in groups.groupby("noise", sort=False)
        for name in differing(some["settings"])
        if name.startswith(_MUST_AGREE)
        and name != _NNUNET_TRAINER
        and not some["variant"].str.contains(f"{name} ", regex=False).any()
    }
    return "; ".join(f"{name} {_by_value(name, groups, ', ')}" for name in names)


def _by_value(name: str, groups: pd.DataFrame, separator: str = "; ") -> str:
    """Each value with its methods, and their noises if a method has several values."""
    values = groups["settings"].map(lambda settings: value_text(settings.get(name)))
    labels = groups["method"].str.cat(groups["variant"], sep=", ").str.removesuffix(", ")
    has_several = values.groupby(labels).nunique() > 1
    texts = []
    for value, some in groups["noise"].groupby(values, sort=False):
        noises = some.groupby(labels, sort=False).agg("; ".join)
        methods = [f"{label} with {noise}" if has_several[label] else str(label) for label, noise in noises.items()]
        texts.append(f"{value} ({', '.join(methods)})")
    return separator.join(texts)
