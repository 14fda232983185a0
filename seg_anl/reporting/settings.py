"""Settings of runs side by side: which of them make two runs different, and how few words tell them apart."""

from __future__ import annotations

import json
from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import Any

from .names import data_place, number

# Where, how fast, and what is kept: none of it decides a run's numbers. Seeds are what averages run over.
_IGNORED = frozenset(
    {
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
    }
)
# In what order settings are tried to name a variant: first what people compare on purpose.
_SPOKEN_FIRST = ("preset", "epochs", "data.", "model.", "loss.", "method.", "optim.", "batch_size", "evaluation.")


def flat_settings(config: Mapping[str, Any]) -> dict[str, Any]:
    """The settings that decide a run's numbers, by dotted name; lists stay whole.

    A setting of null counts as one that is not there: settings that a later version adds, off, set no old runs apart.

    >>> flat_settings({"seed": 1, "data": {"name": "digits", "limit": None}, "device": "cpu"})
    {'data.name': 'digits'}
    """
    flat: dict[str, Any] = {}
    _flatten(config, "", flat)
    place = data_place(config)
    return {**flat, "data.place": place} if place else flat


def _flatten(group: Mapping[str, Any], prefix: str, flat: dict[str, Any]) -> None:
    for key, value in group.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping):
            _flatten(value, f"{name}.", flat)
        elif name not in _IGNORED and value is not None:
            flat[name] = value


def fingerprint(settings: Mapping[str, Any]) -> str:
    """One string for equal settings."""
    return json.dumps(settings, sort_keys=True, default=str)


def differing(several: Sequence[Mapping[str, Any]]) -> list[str]:
    """Names of the settings that are not the same in all, sorted; one that is missing differs from every value."""
    names = sorted({name for settings in several for name in settings})
    return [name for name in names if len({_comparable(settings, name) for settings in several}) > 1]


def telling(groups: Mapping[Any, Sequence[Mapping[str, Any]]]) -> list[str]:
    """The fewest settings, tried in the order people speak of them, that tell apart all members of each group."""
    candidates = sorted({name for group in groups.values() for name in differing(group)}, key=_spoken_order)
    chosen: list[str] = []
    for name in candidates:
        if _distinct(groups, [*chosen, name]) > _distinct(groups, chosen):
            chosen.append(name)
    return chosen


def _distinct(groups: Mapping[Any, Sequence[Mapping[str, Any]]], names: Sequence[str]) -> int:
    """How many members can be told apart by ``names``, over all groups."""
    return sum(
        len({tuple(_comparable(settings, name) for name in names) for settings in group}) for group in groups.values()
    )


def _comparable(settings: Mapping[str, Any], name: str) -> Hashable:
    return json.dumps(settings[name], sort_keys=True, default=str) if name in settings else None


def _spoken_order(name: str) -> tuple[int, str]:
    for place, start in enumerate(_SPOKEN_FIRST):
        if name.startswith(start):
            return place, name
    return len(_SPOKEN_FIRST), name


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
