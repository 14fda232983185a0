"""The ``noise`` group of a classification run: settings refused before data is read."""

from __future__ import annotations

from typing import Any

import pytest

from classification.datasets import load_dataset
from classification.noise import noise_fingerprints, noise_settings
from seg_anl.engine.command import compose
from seg_anl.records import UserError


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (
            ["noise=part_dependent", "+noise.rate_std=a"],
            r"noise\.rate_std must be a number > 0 and <= 1 or null, got 'a'",
        ),
        (["noise=symmetric", "noise.rate=true"], r"noise\.rate must be a number >= 0 and <= 1 or null, got True"),
        (["noise=symmetric", "noise.rate=null"], r"noise=symmetric needs noise\.rate"),
        (["noise=symmetric", "noise.kind=symetric"], "did you mean 'symmetric'"),
        (["noise=symmetric", "+noise.reflip=true"], r"noise\.reflip: symmetric noise has no such setting"),
        (["noise=symmetric", "noise.kind=human"], r"noise=human needs noise\.file"),
        (["noise=asymmetric"], "set data.flips to mnist, cifar10 or cifar100"),
    ],
)
def test_invalid_settings_are_refused(overrides: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        noise_settings(compose("classification", overrides).noise)


@pytest.mark.parametrize("setting", ["matrix", "softmax", "file"])
def test_empty_file_setting_is_refused(setting: str, data_config: Any) -> None:
    kind = {"matrix": "matrix", "softmax": "prediction_error", "file": "human"}[setting]
    noise = compose("classification", [f"noise={kind}", f"noise.{setting}=''"]).noise
    with pytest.raises(UserError, match=rf"noise\.{setting} must be a path, got ''"):
        noise_fingerprints(load_dataset(data_config("digits")), noise)
