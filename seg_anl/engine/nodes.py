"""Hydra nodes without a file: losses from their declarations, presets from their recipes.

``loss=NAME`` is the declared parameters with their defaults. A preset is five groups; later ones override earlier ones:

    preset/PRESET                               settings for any data set
    recipe/PRESET/DATA                          settings for a data set
    recipe_noise/PRESET/DATA-NOISE              settings for a kind of noise
    recipe_loss/PRESET/DATA/LOSS                settings for a loss
    recipe_loss_noise/PRESET/DATA/LOSS-NOISE    settings for a loss under a kind of noise
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any, get_args

from hydra.core.config_store import ConfigStore
from hydra.core.plugins import Plugins
from omegaconf import MISSING

from seg_anl.losses.declarations import Declaration, declarations
from seg_anl.records import config_folder
from seg_anl.records.recipes import load_recipe, recipe_names


def register_nodes() -> None:
    """Add losses and presets to Hydra's ConfigStore, which Hydra's launchers send to other processes.

    A later call adds losses that were declared since.
    """
    store = ConfigStore.instance()
    known = store.list("loss") if "loss" in store.repo else []
    for name, declaration in declarations().items():
        if f"{name}.yaml" not in known:
            store.store(group="loss", name=name, node={"name": name, **_defaults(declaration)})
    _register_recipes()
    _prefer_own_launchers()
    _skip_store_copies()


@cache
def _skip_store_copies() -> None:
    """Hydra copies the whole store for each composition, which takes half of its time; it copies used nodes anyway."""
    ConfigStore.__deepcopy__ = lambda self, memo: self  # type: ignore[attr-defined]


@cache
def _prefer_own_launchers() -> None:
    """Remove the plugins' launchers and sweepers that ``configs/hydra`` replaces; Hydra would merge both."""
    Plugins.instance()  # registers them
    nodes = ConfigStore.instance().repo["hydra"]
    for file in (config_folder() / "hydra").glob("*/*.yaml"):
        nodes.get(file.parent.name, {}).pop(file.name, None)


@cache
def _register_recipes() -> None:
    def store(group: str, name: str, settings: Mapping[str, Any]) -> None:
        if settings:
            ConfigStore.instance().store(group=group, name=name, node=dict(settings), package="_global_")

    for preset in recipe_names():
        recipe = load_recipe(preset)
        store("preset", preset, {"preset": preset, **recipe.common.settings})
        for data, section in recipe.data.items():
            store(f"recipe/{preset}", data, section.settings)
            for noise, layer in section.noise.items():
                store(f"recipe_noise/{preset}", f"{data}-{noise}", layer.settings)
            for loss, layer in section.losses.items():
                store(f"recipe_loss/{preset}/{data}", loss, layer.settings)
                for noise, under in layer.noise.items():
                    store(f"recipe_loss_noise/{preset}/{data}", f"{loss}-{noise}", under.settings)


def _defaults(declaration: Declaration) -> dict[str, Any]:
    """The defaults of a loss; a None that the annotation does not allow is a required setting."""
    return {
        name: MISSING if value is None and type(None) not in get_args(declaration.annotations[name]) else value
        for name, value in declaration.parameters.items()
    }
