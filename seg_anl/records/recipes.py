"""The papers' protocols in ``configs/recipes``: one file per paper, with the settings of its presets.

A file holds the paper's settings for each data set, and what differs by kind of noise, by loss, and by loss under a
kind of noise; ``docs/presets.md`` describes the format. An entry may name its ``source`` and list under ``assumed``
what the source leaves out: ``SETTING: why this value``. ``seg_anl.engine.nodes`` turns recipes into Hydra nodes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from .configuration import config_folder
from .errors import UserError, nearest_names, one_line
from .foreign_files import PlainLoader, read_text
from .ranges import is_whole_number

_FACTS = ("title", "runs", "paper", "task", "imbalanced")  # of a paper or preset as a whole


@dataclass(frozen=True)
class Layer:
    """Settings to merge over others.

    Attributes:
        settings: nested groups, as in ``configs/classification.yaml``.
        assumed: settings or whole groups that the source leaves out, by dotted name, with the reason for the value.
        noise: further layers by kind of noise.
        losses: further layers by loss.
    """

    settings: Mapping[str, Any]
    assumed: Mapping[str, str] = field(default_factory=dict)
    noise: Mapping[str, Layer] = field(default_factory=dict)
    losses: Mapping[str, Layer] = field(default_factory=dict)


@dataclass(frozen=True)
class Recipe:
    """One preset.

    Attributes:
        name: the value of ``preset=``.
        paper: the paper whose published tables its runs belong to.
        title: the paper, as reports cite it.
        source: the part of the paper, or its code, that gives the settings.
        runs: number of runs behind the published means; None if the source does not say.
        task: ``classification`` or ``segmentation``.
        imbalanced: whether it is for data sets with unequal classes (``data.imbalance``).
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
        """The merged settings; later layers win: data set, noise, loss, loss under the noise."""
        found: dict[str, Any] = {}
        for layer in self._layers(data, noise, loss):
            found = merged(found, layer.settings)
        return found

    def assumed(self, data: str, noise: str | None = None, loss: str | None = None) -> dict[str, str]:
        """Settings or groups that the source does not give, with the reason for the value here."""
        return {name: why for layer in self._layers(data, noise, loss) for name, why in layer.assumed.items()}

    def _layers(self, data: str, noise: str | None, loss: str | None) -> list[Layer]:
        if data not in self.data:
            raise UserError(
                f"preset={self.name} has no settings for data={data}; it has them for {', '.join(self.data)}"
            )
        section = self.data[data]
        of_loss = section.losses.get(loss or "")
        of_both = of_loss.noise.get(noise or "") if of_loss else None
        layers = (self.common, section, section.noise.get(noise or ""), of_loss, of_both)
        return [layer for layer in layers if layer]


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
    """The presets whose runs belong to the published tables of a paper, the preset of its name first."""
    found = [recipe for recipe in _shipped().values() if recipe.paper == paper]
    return tuple(sorted(found, key=lambda recipe: recipe.name != paper))


@cache
def _shipped() -> dict[str, Recipe]:
    return read_recipes(config_folder() / "recipes")


def read_recipes(folder: Path) -> dict[str, Recipe]:
    """The presets of all files in ``folder``, by name."""
    written: dict[str, tuple[str, dict[str, Any]]] = {}
    for path in sorted(folder.glob("*.yaml")):
        document = _document(path)
        further = _named(document, "presets", f"{path.name}: ")
        document.pop("presets", None)
        facts: dict[str, Any] = {"paper": path.stem, "runs": None, "task": "classification", "imbalanced": False}
        facts |= {name: document[name] for name in ("title", "runs", "paper") if name in document}
        for name, entry in ((path.stem, document), *further.items()):
            if name in written:
                raise UserError(f"{path.name}: there are two presets called {name}")
            written[name] = f"{path.name}: " + (f"{name}: " if name in further else ""), {**facts, **entry}
    return {name: _recipe(name, written) for name in written}


def merged(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """``above`` merged over ``below``: groups are merged, all other values replaced.

    >>> merged({"optim": {"lr": 0.1, "l1": 0.0}}, {"optim": {"lr": 0.5}})
    {'optim': {'lr': 0.5, 'l1': 0.0}}
    """
    result = dict(below)
    for name, value in above.items():
        both = isinstance(value, Mapping) and isinstance(result.get(name), Mapping)
        result[name] = merged(result[name], value) if both else value
    return result


def flat(settings: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested settings by dotted name; lists are values.

    >>> flat({"epochs": 3, "optim": {"lr": 0.1}})
    {'epochs': 3, 'optim.lr': 0.1}
    """
    found: dict[str, Any] = {}
    for name, value in settings.items():
        found.update(flat(value, f"{prefix}{name}.") if isinstance(value, Mapping) else {f"{prefix}{name}": value})
    return found


_Written = Mapping[str, tuple[str, dict[str, Any]]]
"""Presets as their files have them: by name, the beginning of error messages, and the entry."""


def _recipe(name: str, written: _Written) -> Recipe:
    place, entry = written[name]
    for fact in ("title", "source"):
        if not isinstance(entry.get(fact), str):
            raise UserError(f"{place}{fact} is needed, in one line of text")
    runs = entry["runs"]
    if runs is not None and not (is_whole_number(runs) and runs > 0):
        raise UserError(f"{place}runs must be a whole number > 0, got {runs!r}")
    _refuse_unknown(entry, (*_FACTS, "source", "assumed", "settings", "data"), place)
    return Recipe(
        name=name,
        **{fact: entry[fact] for fact in _FACTS},
        source=entry["source"],
        common=Layer(_group(entry, "settings", place), _assumed(entry, place)),
        data={data: _section(name, data, written) for data in _named(entry, "data", place)},
    )


def _section(preset: str, data: str, written: _Written, followed: tuple[str, ...] = ()) -> Layer:
    """The settings of one data set, merged over those of the section that it is ``like``."""
    here = f"{preset}/{data}"
    preset_place, preset_entry = written[preset]
    sections = _named(preset_entry, "data", preset_place)
    place, entry = f"{preset_place}{data}: ", sections[data]
    _refuse_unknown(entry, ("like", "source", "assumed", "settings", "noise", "losses"), place)
    settings, assumed = _group(entry, "settings", place), _assumed(entry, place)
    if "like" in entry:
        like = str(entry["like"])
        other = f"{preset}/{like}" if like in sections else like if "/" in like else f"{like}/{data}"
        if other in (*followed, here):
            raise UserError(f"{place}like: {' is like '.join([*followed, here, other])}")
        its_preset, its_data = other.split("/", 1)
        if its_preset not in written or its_data not in _named(written[its_preset][1], "data", place):
            raise UserError(f"{place}like: there is no {other}; expected DATA, PRESET or PRESET/DATA")
        below = _section(its_preset, its_data, written, (*followed, here))
        own = flat(settings)
        assumed = {**{name: why for name, why in below.assumed.items() if name not in own}, **assumed}
        settings = merged(below.settings, settings)
    return Layer(settings, assumed, _parts(entry, "noise", "noise", place), _parts(entry, "losses", "loss", place))


def _parts(entry: Mapping[str, Any], key: str, group: str, place: str) -> dict[str, Layer]:
    """The layers that the ``key`` of an entry lists by name, with settings of ``group``."""
    return {name: _part(part, group, f"{place}{key}: {name}: ") for name, part in _named(entry, key, place).items()}


def _part(entry: Mapping[str, Any], group: str, place: str) -> Layer:
    """What a loss or a kind of noise changes: settings of its ``group``, and of others under ``settings``."""
    reserved = ("source", "assumed", *(("settings", "noise") if group == "loss" else ()))
    own = {name: value for name, value in entry.items() if name not in reserved}
    settings = merged({group: own} if own else {}, _group(entry, "settings", place) if "settings" in reserved else {})
    assumed = {f"{group}.{name}" if name in own else name: why for name, why in _assumed(entry, place).items()}
    return Layer(settings, assumed, _parts(entry, "noise", group, place) if "noise" in reserved else {})


def _named(entry: Mapping[str, Any], key: str, place: str) -> dict[str, dict[str, Any]]:
    """The entries under ``key`` by name; ``nce_mae nce_rce: ...`` is the entry of both."""
    found: dict[str, dict[str, Any]] = {}
    for names, each in _group(entry, key, place).items():
        if not isinstance(each, dict):
            raise UserError(f"{place}{key}: {names}: expected settings, got {each!r}")
        for name in str(names).split():
            if name in found:
                raise UserError(f"{place}{key}: {name} appears twice")
            found[name] = each
    return found


def _group(entry: Mapping[str, Any], key: str, place: str) -> dict[str, Any]:
    value = entry.get(key, {})
    if not isinstance(value, dict):
        raise UserError(f"{place}{key}: expected names with their values, got {value!r}")
    return value


def _assumed(entry: Mapping[str, Any], place: str) -> dict[str, str]:
    reasons = _group(entry, "assumed", place)
    for names, why in reasons.items():
        if not isinstance(why, str):
            raise UserError(f"{place}assumed: {names}: expected the reason, in words, got {why!r}")
    return {name: why for names, why in reasons.items() for name in str(names).split()}


def _refuse_unknown(entry: Mapping[str, Any], known: tuple[str, ...], place: str) -> None:
    for name in entry:
        if name not in known:
            raise UserError(f"{place}{name}: no such entry; {nearest_names(str(name), known)}")


def _document(path: Path) -> dict[str, Any]:
    try:
        document = yaml.load(read_text(path), PlainLoader)
    except yaml.YAMLError as error:
        raise UserError(f"{path.name}: {one_line(error)}") from error
    if not isinstance(document, dict):
        raise UserError(f"{path.name}: expected a recipe (title, source, data), got {document!r}")
    return document
