"""Differences between a run's settings and the paper's protocol, given by the recipes in ``configs/recipes``."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from typing import Any

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
# The noise determines which published numbers a run is compared with, and the network is compared by name.
_NOT_COMPARED = {"noise.kind", "noise.rate", "noise.dataset", "published_model"}
# Values of settings that a run does not record.
_DEFAULTS = {"noise.reflip": False, "noise.bidirectional": False, "noise.pairs": False, "noise.superclass": "index"}
_NNUNET_SCHEDULES = {"DecayPerEpoch": "exponential"}  # runs of nnU-Net record the class name


def departures(
    config: Mapping[str, Any], summary: Mapping[str, Any], paper: str, data: str, model: str = ""
) -> tuple[str, ...]:
    """The settings in which a finished run differs from a paper's protocol, each with both values.

    Settings that the recipe marks as assumed, or that the run does not record, are not compared. ``paper``, ``data``
    and ``model`` are those of the table; without a network there, the recipe's network applies.
    """
    ours = _recorded(config, summary)
    recipe = recipe_for(paper, data, imbalanced=bool(config["data"].get("imbalance")))
    published = _protocol(recipe, config, data) if recipe else {}
    published |= {f"counts.{split}": count for split, count in image_counts(data).items()}
    if ours.get("data.imbalance"):
        published.pop("counts.train", None)  # depends on the imbalance, which is the same
    if model:
        published["model.name"] = model
    differences = [] if data_name(config) == data else [("data", data_name(config), data)]
    for name in sorted(published, key=lambda name: [*_WORDS, name].index(name)):
        if name in ours and not _is_equal(name, ours[name], published[name]):
            differences.append((_WORDS.get(name, name), value_text(ours[name]), value_text(published[name])))
    preset = config.get("preset")
    if recipe and preset is not None and preset not in {each.name for each in recipes_of(paper)}:
        differences.append(("preset", value_text(preset), recipe.name))
    return tuple(f"{setting} {mine} (published: {theirs})" for setting, mine, theirs in differences)


def recipe_for(paper: str, data: str, *, imbalanced: bool = False) -> Recipe | None:
    """The recipe of a paper for a data set, preferably for balanced or imbalanced classes as requested."""
    candidates = [recipe for recipe in recipes_of(paper) if data in recipe.data]
    return min(candidates, key=lambda recipe: recipe.imbalanced != imbalanced, default=None)


def _protocol(recipe: Recipe, config: Mapping[str, Any], data: str) -> dict[str, Any]:
    """The published settings for a run's noise and loss by dotted name, without assumed ones."""
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


def _defaults(task: str, noise: str, loss: str) -> dict[str, Any]:
    """Settings that a recipe leaves out: declared parameters of the loss, and defaults of ``seg-anl-classify``."""
    defaults: dict[str, Any] = {"loss": dict(declarations()[loss].parameters) if loss in declarations() else {}}
    if task == "classification":
        top = _read("classification")
        defaults |= {"augmentation": top["augmentation"], "evaluation": {"last_k": top["evaluation"]["last_k"]}}
        of_noise = {name: value for name, value in _read(f"noise/{noise}").items() if name != "seed"}
        defaults |= {"optim": _read("optim/sgd"), "noise": of_noise}
    return defaults


@cache
def _read(file: str) -> dict[str, Any]:
    """A file of ``configs``; empty if there is none."""
    path = config_folder() / f"{file}.yaml"
    return dict(yaml.safe_load(path.read_text(encoding="utf-8"))) if path.is_file() else {}


def _recorded(config: Mapping[str, Any], summary: Mapping[str, Any]) -> dict[str, Any]:
    """A run's settings and counts by dotted name."""
    settings = {**flat(config), **flat({"counts": summary.get("counts") or {}})}
    if "k" in summary:
        settings["evaluation.last_k"] = summary["k"]
    from_plans = {"batch_size": settings["model.batch_size"]} if "model.batch_size" in settings else {}  # nnU-Net
    return {**from_plans, **settings}


def _is_equal(name: str, ours: Any, published: Any) -> bool:
    ours, published = (_DEFAULTS.get(name) if value is None else value for value in (ours, published))
    return bool((_NNUNET_SCHEDULES.get(ours, ours) if name == "optim.schedule" else ours) == published)
