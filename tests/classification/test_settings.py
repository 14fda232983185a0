"""No setting takes a value of a wrong kind, or meets one with anything but a line that names it."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
from omegaconf import DictConfig, OmegaConf

from classification import train as command
from seg_anl.engine import compose
from seg_anl.records import UserError

SMALL = ["data.limit=40", "data.test_limit=20", "batch_size=4", "epochs=1", "progress=false", "device=cpu"]
NESTED: Any = [[1]]
# Any text is a folder; task and preset are looked at where the command line is; the others act through what they enter.
FREE = {"run_root", "run_dir", "task", "preset", "published_model", "data.flips", "data.imbalance_ratio"}


def names(config: DictConfig, prefix: str = "") -> list[str]:
    return [
        name
        for key in map(str, config)
        for name in (names(config[key], f"{prefix}{key}.") if OmegaConf.is_dict(config[key]) else [prefix + key])
    ]


SETTINGS = names(compose("classification", []))


@pytest.fixture(scope="module")
def composed() -> DictConfig:
    return compose("classification", SMALL)


@pytest.mark.parametrize("value", [math.nan, {"a": 1}, NESTED, "abc", ""], ids=str)
@pytest.mark.parametrize("setting", [name for name in SETTINGS if name not in FREE])
def test_a_value_of_a_wrong_kind_is_refused_by_name(
    composed: DictConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, setting: str, value: Any
) -> None:
    def no_training(*_: object) -> None:
        raise AssertionError("trains")

    monkeypatch.setattr(command, "fit_together", no_training)
    config = composed.copy()
    config.run_dir = str(tmp_path / "run")
    OmegaConf.update(config, setting, value, merge=False, force_add=True)
    with pytest.raises(UserError) as caught:
        command.train(config)
    assert any(word in str(caught.value) for word in setting.split("."))
    assert "\n" not in str(caught.value)
