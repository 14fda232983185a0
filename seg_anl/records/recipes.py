"""The papers' protocols, from ``configs/recipes``: one file per paper, with the settings of its presets.

A file holds, for each data set, the settings of the paper; then what differs by kind of noise, by loss, and by loss
under a kind of noise. ``docs/presets.md`` describes the form. Every entry may name its ``source``, and mark under
``assumed`` what the source leaves out: ``SETTING: why this value``. What lives here reads and merges;
``seg_anl.engine.nodes`` makes Hydra's nodes of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from .configuration import config_folder
from .errors import UserError, nearest_names
from .foreign_files import PlainLoader
from .values import is_whole_number

_FACTS = ("title", "runs", "paper", "task", "imbalanced")  # of a paper or preset as a whole


@dataclass(frozen=True)
class Layer:
    """Settings that are laid over others, where they are from, and what depends on noise and loss.

    Attributes:
        settings: nested groups, as in ``configs/classification.yaml``.
        source: where they are written.
        assumed: settings, or whole groups, that the source leaves out, by dotted name, with the reason for the value.
        noise: by kind of noise, what is laid over these settings.
        losses: by loss, the same.
    """

    settings: Mapping[str, Any]
    source: str = ""
    assumed: Mapping[str, str] = field(default_factory=dict)
    noise: Mapping[str, Layer] = field(default_factory=dict)
    losses: Mapping[str, Layer] = field(default_factory=dict)


@dataclass(frozen=True)
class Recipe:
    """One preset.

    Attributes:
        name: what ``preset=`` takes.
        paper: name of the paper whose published tables its runs belong to.
        title: the paper.
        source: where in the paper, or in its code, the settings stand.
        runs: how many runs the published means are over; None where the source does not say.
        task: ``classification`` or ``segmentation``.
        imbalanced: whether it is for data sets whose classes are made unequal (``data.imbalance``).
        common: settings for any data set.
        data: settings of each data set.
    """

    name: str
    paper: str
    title: str
    source: str
    runs: int | None
    task: str
    imbalanced: bool
    common: Layer
    data: Mapping[str, Layer]

    def settings(self, data: str, noise: str | None = None, loss: str | None = None) -> dict[str, Any]:
        """The preset's settings, merged: data set, noise on it, loss on it, loss under the noise; the last prevails."""
        found: dict[str, Any] = {}
        for layer in self._layers(data, noise, loss):
            found = merged(found, layer.settings)
        return found

    def assumed(self, data: str, noise: str | None = None, loss: str | None = None) -> dict[str, str]:
        """Settings, or groups of them, that the source does not give, with the reason for the value they have here."""
        return {name: why for layer in self._layers(data, noise, loss) for name, why in layer.assumed.items()}

    def _layers(self, data: str, noise: str | None, loss: str | None) -> list[Layer]:
        section = self._section(data)
        of_loss = section.losses.get(loss or "")
        layers = [
            self.common,
            section,
            section.noise.get(noise or ""),
            of_loss,
            of_loss and of_loss.noise.get(noise or ""),
        ]
        return [layer for layer in layers if layer]

    def _section(self, data: str) -> Layer:
        if data not in self.data:
            raise UserError(
                f"preset={self.name} has no settings for data={data}; it has them for {', '.join(self.data)}"
            )
        return self.data[data]


def recipe_names() -> list[str]:
    """Names of all presets, sorted."""
    return sorted(_shipped())


def load_recipe(name: str) -> Recipe:
    """The preset called ``name``."""
    recipes = _shipped()
    if name not in recipes:
        raise UserError(f"unknown preset {name!r}; {nearest_names(name, recipes)}")
    return recipes[name]


def recipes_of(paper: str) -> tuple[Recipe, ...]:
    """The presets whose runs belong to the published tables of a paper, the paper's own first."""
    found = [recipe for recipe in _shipped().values() if recipe.paper == paper]
    return tuple(sorted(found, key=lambda recipe: recipe.name != paper))


@cache
def _shipped() -> dict[str, Recipe]:
    return read_recipes(config_folder() / "recipes")


def read_recipes(folder: Path) -> dict[str, Recipe]:
    """The presets of all files in ``folder``, by name."""
    written: dict[str, _Written] = {}
    for path in sorted(folder.glob("*.yaml")):
        document = _document(path)
        further = _names(document.pop("presets", {}), f"{path.name}: presets")
        facts: dict[str, Any] = {"paper": path.stem, "runs": None, "task": "classification", "imbalanced": False}
        facts |= {name: document[name] for name in ("title", "runs", "paper") if name in document}
        for name, entry in ((path.stem, document), *further.items()):
            if name in written:
                raise UserError(f"{path.name}: there are two presets called {name}")
            written[name] = _Written(f"{path.name}: " + (f"{name}: " if name in further else ""), {**facts, **entry})
    return {name: _recipe(name, written) for name in written}


def merged(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """``above`` laid over ``below``: groups are merged, everything else is replaced.

    >>> merged({"optim": {"lr": 0.1, "l1": 0.0}}, {"optim": {"lr": 0.5}})
    {'optim': {'lr': 0.5, 'l1': 0.0}}
    """
    result = dict(below)
    for name, value in above.items():
        both = isinstance(value, Mapping) and isinstance(result.get(name), Mapping)
        result[name] = merged(result[name], value) if both else value
    return result


def flat(settings: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested settings by dotted name; lists stay whole.

    >>> flat({"epochs": 3, "optim": {"lr": 0.1}})
    {'epochs': 3, 'optim.lr': 0.1}
    """
    found: dict[str, Any] = {}
    for name, value in settings.items():
        found.update(flat(value, f"{prefix}{name}.") if isinstance(value, Mapping) else {f"{prefix}{name}": value})
    return found


@dataclass(frozen=True)
class _Written:
    """A preset as it stands in its file; ``place`` begins messages about it."""

    place: str
    entry: dict[str, Any]


def _recipe(name: str, written: Mapping[str, _Written]) -> Recipe:
    place, entry = written[name].place, written[name].entry
    for fact in ("title", "source"):
        if not isinstance(entry.get(fact), str):
            raise UserError(f"{place}{fact} is needed, in one line of text")
    runs = entry["runs"]
    if runs is not None and not (is_whole_number(runs) and runs > 0):
        raise UserError(f"{place}runs must be a whole number > 0, got {runs!r}")
    _refuse_unknown(entry, (*_FACTS, "source", "assumed", "settings", "data"), place)
    data = _names(entry.get("data", {}), f"{place}data")
    return Recipe(
        name=name,
        **{fact: entry[fact] for fact in _FACTS},
        source=entry["source"],
        common=Layer(_group(entry, "settings", place), assumed=_assumed(entry, place)),
        data={each: _section(name, each, written, ()) for each in data},
    )


def _section(preset: str, data: str, written: Mapping[str, _Written], followed: tuple[str, ...]) -> Layer:
    """The settings of one data set, laid over those of the section that it is like."""
    here = f"{preset}/{data}"
    sections = _names(written[preset].entry.get("data", {}), f"{written[preset].place}data")
    place, entry = f"{written[preset].place}{data}: ", sections[data]
    _refuse_unknown(entry, ("like", "source", "assumed", "settings", "noise", "losses"), place)
    settings, assumed = _group(entry, "settings", place), _assumed(entry, place)
    if "like" in entry:
        like = str(entry["like"])
        other = f"{preset}/{like}" if like in sections else like if "/" in like else f"{like}/{data}"
        if other in (*followed, here):
            raise UserError(f"{place}like: {' is like '.join([*followed, here, other])}")
        its_preset, its_data = other.split("/", 1)
        if its_preset not in written or its_data not in _names(written[its_preset].entry.get("data", {}), place):
            raise UserError(f"{place}like: there is no {other}; expected DATA, PRESET or PRESET/DATA")
        below = _section(its_preset, its_data, written, (*followed, here))
        own = flat(settings)
        assumed = {**{name: why for name, why in below.assumed.items() if name not in own}, **assumed}
        settings = merged(below.settings, settings)
    noise = {kind: _part(part, "noise", f"{place}noise: {kind}: ") for kind, part in _within(entry, "noise", place)}
    losses = {loss: _part(part, "loss", f"{place}losses: {loss}: ") for loss, part in _within(entry, "losses", place)}
    return Layer(settings, _source(entry, place), assumed, noise, losses)


def _part(entry: Mapping[str, Any], group: str, place: str) -> Layer:
    """What a loss or a kind of noise changes: settings of its own group unless they stand under ``settings``."""
    rest = ("source", "assumed", *(("settings", "noise") if group == "loss" else ()))
    own = {name: value for name, value in entry.items() if name not in rest}
    settings = merged({group: own} if own else {}, _group(entry, "settings", place) if "settings" in rest else {})
    assumed = {f"{group}.{name}" if name in own else name: why for name, why in _assumed(entry, place).items()}
    under = _within(entry, "noise", place) if "noise" in rest else []
    noise = {kind: _part(part, group, f"{place}noise: {kind}: ") for kind, part in under}
    return Layer(settings, _source(entry, place), assumed, noise)


def _within(entry: Mapping[str, Any], name: str, place: str) -> list[tuple[str, dict[str, Any]]]:
    return list(_names(entry.get(name, {}), f"{place}{name}").items())


def _names(entries: Any, place: str) -> dict[str, dict[str, Any]]:
    """Entries by name; ``nce_mae nce_rce: ...`` stands for both."""
    if not isinstance(entries, dict):
        raise UserError(f"{place}: expected names with their settings, got {entries!r}")
    found: dict[str, dict[str, Any]] = {}
    for names, entry in entries.items():
        if not isinstance(entry, dict):
            raise UserError(f"{place}: {names}: expected settings, got {entry!r}")
        for name in str(names).split():
            if name in found:
                raise UserError(f"{place}: {name} stands there twice")
            found[name] = entry
    return found


def _group(entry: Mapping[str, Any], name: str, place: str) -> dict[str, Any]:
    value = entry.get(name, {})
    if not isinstance(value, dict):
        raise UserError(f"{place}{name}: expected settings, got {value!r}")
    return value


def _assumed(entry: Mapping[str, Any], place: str) -> dict[str, str]:
    reasons = _group(entry, "assumed", place)
    for names, why in reasons.items():
        if not isinstance(why, str):
            raise UserError(f"{place}assumed: {names}: expected the reason, in words, got {why!r}")
    return {name: why for names, why in reasons.items() for name in str(names).split()}


def _source(entry: Mapping[str, Any], place: str) -> str:
    source = entry.get("source", "")
    if not isinstance(source, str):
        raise UserError(f"{place}source: expected text, got {source!r}")
    return source


def _refuse_unknown(entry: Mapping[str, Any], known: tuple[str, ...], place: str) -> None:
    for name in entry:
        if name not in known:
            raise UserError(f"{place}{name}: no such entry; {nearest_names(str(name), known)}")


def _document(path: Path) -> dict[str, Any]:
    try:
        document = yaml.load(path.read_text(encoding="utf-8"), PlainLoader)
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read: {error}") from error
    except yaml.YAMLError as error:
        raise UserError(f"{path.name}: {' '.join(str(error).split())}") from error
    if not isinstance(document, dict):
        raise UserError(f"{path.name}: expected a recipe (title, source, data), got {document!r}")
    return document
