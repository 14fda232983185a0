"""No setting of either trainer takes a value of a wrong kind, or meets one with anything but a line that names it."""

from __future__ import annotations

import functools
import math
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from omegaconf import DictConfig, OmegaConf

from classification import train as classification
from seg_anl.engine import compose
from seg_anl.records import UserError
from seg_anl.segmentation import train as segmentation

# The command's module, the function in it that trains, and settings that make a run small.
COMMANDS: dict[str, tuple[ModuleType, str, list[str]]] = {
    "classification": (classification, "fit_together", ["data.limit=40", "data.test_limit=20"]),
    "segmentation": (segmentation, "fit", ["data.size=32", "data.limit=8"]),
}
# Any text is a folder; task and preset are looked at where the command line is; the others act through what they enter.
FREE = {"run_root", "run_dir", "task", "preset", "published_model", "data.flips", "data.imbalance_ratio"}
NESTED: Any = [[1]]


@functools.cache
def composed(name: str) -> DictConfig:
    return compose(name, [*COMMANDS[name][2], "batch_size=4", "epochs=1", "progress=false", "device=cpu"])


def settings(config: DictConfig, prefix: str = "") -> list[str]:
    return [
        name
        for key in map(str, config)
        for name in (settings(config[key], f"{prefix}{key}.") if OmegaConf.is_dict(config[key]) else [prefix + key])
    ]


SETTINGS = [(name, setting) for name in COMMANDS for setting in settings(composed(name)) if setting not in FREE]


@pytest.mark.parametrize("value", [math.nan, {"a": 1}, NESTED, "abc", ""], ids=str)
@pytest.mark.parametrize(("name", "setting"), SETTINGS)
def test_a_value_of_a_wrong_kind_is_refused_by_name(
    name: str, setting: str, value: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_training(*_: object) -> None:
        raise AssertionError("trains")

    command, trains, _ = COMMANDS[name]
    monkeypatch.setattr(command, trains, no_training)
    config = composed(name).copy()
    config.run_dir = str(tmp_path / "run")
    OmegaConf.update(config, setting, value, merge=False, force_add=True)
    with pytest.raises(UserError) as caught:
        command.train(config)
    assert any(word in str(caught.value) for word in setting.split("."))
    assert "\n" not in str(caught.value)
