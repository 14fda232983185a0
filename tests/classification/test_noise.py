"""The ``noise`` group of a classification run: what is refused before any data are read."""

from __future__ import annotations

from typing import Any

import pytest

from classification.datasets import load_dataset
from classification.noise import check_noise_settings, noise_fingerprints
from seg_anl.engine.command import compose
from seg_anl.records import UserError


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["noise=part_dependent", "+noise.rate_std=a"], "noise.rate_std must be from 0 to 1, got 'a'"),
        (["noise=part_dependent", "+noise.rate_std=nan"], "noise.rate_std must be from 0 to 1, got nan"),
        (["noise=symmetric", "noise.rate=true"], "noise.rate must be from 0 to 1, got True"),
        (["noise=symmetric", "noise.kind=nope"], "noise.kind=nope"),
    ],
)
def test_settings_of_the_wrong_kind(overrides: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        check_noise_settings(compose("classification", overrides).noise)


@pytest.mark.parametrize("setting", ["matrix", "softmax", "file"])
def test_a_file_of_no_name_is_told_by_its_setting(setting: str, data_config: Any) -> None:
    kind = {"matrix": "matrix", "softmax": "prediction_error", "file": "human"}[setting]
    noise = compose("classification", [f"noise={kind}", f"noise.{setting}=''"]).noise
    with pytest.raises(UserError, match=rf"noise\.{setting} must be a path, got ''"):
        noise_fingerprints(load_dataset(data_config("digits")), noise)
