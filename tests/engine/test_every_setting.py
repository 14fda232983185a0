"""No setting of either trainer takes a value of a wrong kind, or meets one with anything but a line that names it."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from omegaconf import DictConfig, OmegaConf

from classification.experiment import train as classify
from seg_anl.engine.command import compose
from seg_anl.records import UserError
from seg_anl.segmentation.experiment import train as segment

# The trainer, and settings that make a run small.
TRAINERS: dict[str, tuple[Callable[[DictConfig], Any], list[str]]] = {
    "classification": (classify, ["data.limit=40", "data.test_limit=20"]),
    "segmentation": (segment, ["data.size=32", "data.limit=8"]),
}
# Any text is a folder; task and preset are looked at where the command line is; the others act through what they enter.
FREE = {"run_root", "run_dir", "task", "preset", "published_model", "data.flips", "data.imbalance_ratio"}
WRONG: list[Any] = [math.nan, {"a": 1}, [[1]], "abc", ""]


def settings(config: DictConfig, prefix: str = "") -> list[str]:
    return [
        name
        for key in map(str, config)
        for name in (settings(config[key], f"{prefix}{key}.") if OmegaConf.is_dict(config[key]) else [prefix + key])
    ]


@pytest.mark.parametrize("name", TRAINERS)
def test_values_of_a_wrong_kind_are_refused_by_name(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_training(*_: object) -> None:
        raise AssertionError("goes on")

    monkeypatch.setattr("seg_anl.engine.experiment.fit", no_training)
    monkeypatch.setattr("seg_anl.segmentation.experiment.load_images", no_training)  # minutes, for many images
    train, small = TRAINERS[name]
    composed = compose(name, [*small, "batch_size=4", "epochs=1", "progress=false", "device=cpu"])
    for setting in sorted(set(settings(composed)) - FREE):
        for value in WRONG:
            config = composed.copy()
            config.run_dir = str(tmp_path / "run")
            OmegaConf.update(config, setting, value, merge=False, force_add=True)
            try:
                train(config)
            except UserError as error:
                message = str(error)
            else:
                message = "nothing refused"
            assert any(word in message for word in setting.split(".")), (setting, value, message)
            assert "\n" not in message, (setting, value)
    assert not (tmp_path / "run").exists()
