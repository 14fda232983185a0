"""In what a run departs from what was published: its settings against the paper's recipe in ``configs/recipes``."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from typing import Any, NamedTuple

import yaml

from seg_anl.losses.declarations import declarations
from seg_anl.records import config_folder
from seg_anl.records.recipes import Recipe, flat, merged, recipes_of

from .names import data_name
from .published import image_counts, paired_loss
from .run_settings import value_text

# fmt: off
_WORDS = {
    "epochs": "epochs", "batch_size": "batch size", "data.classes": "classes", "data.size": "image size",
    "model.patch_size": "patch size", "augmentation.crop": "crop",
    "counts.train": "training images", "counts.test": "test images",
    "evaluation.last_k": "mean over the last epochs", "noise.mode": "noise mode", "noise.counts": "counts of flips",
    "noise.reflip": "flipped labels flipped again", "noise.seed": "noise seed", "model.name": "network",
    "optim.name": "optimizer", "optim.lr": "learning rate", "optim.weight_decay": "weight decay",
    "optim.l1": "L1 penalty", "optim.clip_norm": "clipping norm", "optim.schedule": "schedule",
}
# fmt: on
# The first three say beside which numbers a run stands; the network is compared by its own name.
_NOT_COMPARED = {"noise.kind", "noise.rate", "noise.dataset", "published_model"}
# What a run that does not say otherwise does.
_UNSAID = {"noise.reflip": False, "noise.bidirectional": False, "noise.pairs": False, "noise.superclass": "index"}
_NNUNET_SCHEDULES = {"DecayPerEpoch": "exponential"}  # a run of nnU-Net names the class of its schedule


class Departure(NamedTuple):
    """A setting in which a run is not what was published."""

    what: str
    ours: str
    published: str

    def __str__(self) -> str:
        return f"{self.what} {self.ours} (published: {self.published})"


def departures(
    config: Mapping[str, Any], summary: Mapping[str, Any], paper: str, data: str, model: str = ""
) -> tuple[Departure, ...]:
    """In what a finished run departs from a paper's protocol.

    What the recipe marks as assumed is not compared, nor is what the run's config.yaml and summary.json do not record.
    ``paper``, ``data`` and ``model`` are those of the table; where it names no network, the recipe's counts.
    """
    ours = _recorded(config, summary)
    recipe = recipe_for(paper, data, imbalanced=bool(config["data"].get("imbalance")))
    published = _protocol(recipe, config, data) if recipe else {}
    published |= {f"counts.{split}": count for split, count in image_counts(data).items()}
    if ours.get("data.imbalance"):
        published.pop("counts.train", None)  # what is left of the set; the number beside it is of the same imbalance
    if model:
        published["model.name"] = model
    found = [] if data_name(config) == data else [Departure("data", data_name(config), data)]
    for name in sorted(published, key=lambda name: [*_WORDS, name].index(name)):
        if name in ours and not _alike(name, ours[name], published[name]):
            found.append(Departure(_WORDS.get(name, name), value_text(ours[name]), value_text(published[name])))
    preset = config.get("preset")
    if recipe and preset is not None and preset not in {each.name for each in recipes_of(paper)}:
        found.append(Departure("preset", value_text(preset), recipe.name))
    return tuple(found)


def recipe_for(paper: str, data: str, *, imbalanced: bool = False) -> Recipe | None:
    """The recipe of a paper for a data set: of several, the one for classes as balanced or unequal as a run's."""
    fitting = [recipe for recipe in recipes_of(paper) if data in recipe.data]
    return min(fitting, key=lambda recipe: recipe.imbalanced != imbalanced, default=None)


def _protocol(recipe: Recipe, config: Mapping[str, Any], data: str) -> dict[str, Any]:
    """The published settings for a run's noise and loss, by dotted name, without those that the recipe assumes."""
    loss, noise = paired_loss(config), str((config.get("noise") or {}).get("kind"))
    settings = merged(_defaults(recipe.task, noise, loss), recipe.settings(data, noise, loss))
    published = flat(settings)
    if "published_model" in settings:
        published["model.name"] = settings["published_model"]
    assumed = tuple(f"{name}." for name in recipe.assumed(data, noise, loss))
    published = {name: value for name, value in published.items() if not f"{name}.".startswith(assumed)}
    if recipe.task == "segmentation":
        published["model.patch_size"] = [published["data.size"]] * 2
    for name, value in published.items():  # epsilon: ${noise.rate}
        if isinstance(value, str) and (other := re.fullmatch(r"\$\{(.+)\}", value)):
            published[name] = flat(config).get(other[1])
    return {name: value for name, value in published.items() if name not in _NOT_COMPARED}


@cache
def _defaults(task: str, noise: str, loss: str) -> dict[str, Any]:
    """What holds where a recipe says nothing: declared parameters of the loss, and defaults of class-label training."""

    def read(file: str) -> dict[str, Any]:
        path = config_folder() / f"{file}.yaml"
        return dict(yaml.safe_load(path.read_text(encoding="utf-8"))) if path.is_file() else {}

    found: dict[str, Any] = {"loss": dict(declarations()[loss].parameters) if loss in declarations() else {}}
    if task == "classification":
        written = read("classification")
        found |= {"augmentation": written["augmentation"], "evaluation": {"last_k": written["evaluation"]["last_k"]}}
        found |= {"optim": read("optim/sgd"), "noise": read(f"noise/{noise}")}
        found["noise"].pop("seed", None)
    return found


def _recorded(config: Mapping[str, Any], summary: Mapping[str, Any]) -> dict[str, Any]:
    """A run's settings and counts by dotted name."""
    found = {**flat(config), **flat({"counts": summary.get("counts") or {}})}
    if "k" in summary:
        found["evaluation.last_k"] = summary["k"]
    of_plans = {"batch_size": found["model.batch_size"]} if "model.batch_size" in found else {}  # nnU-Net's
    return {**of_plans, **found}


def _alike(name: str, ours: Any, published: Any) -> bool:
    ours, published = (_UNSAID.get(name) if value is None else value for value in (ours, published))
    return bool((_NNUNET_SCHEDULES.get(ours, ours) if name == "optim.schedule" else ours) == published)
