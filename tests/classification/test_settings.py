"""Settings of a classification run: error messages, and validation without torch."""

from __future__ import annotations

import re
import subprocess
import sys
from typing import Any

import pytest
from omegaconf import OmegaConf

from classification.datasets import DATASETS
from classification.networks import MODELS
from classification.settings import (
    METHODS,
    RECORDS,
    Augmentation,
    ForwardEstimated,
    method_settings,
    read_settings,
)
from classification.train import HELP
from data_prep.label_noise import label_kinds
from seg_anl.engine.command import compose
from seg_anl.engine.settings import plain
from seg_anl.records import UserError, config_folder
from seg_anl.records.ranges import checked


def augmentation(**changes: Any) -> Augmentation:
    return checked(Augmentation, changes, "augmentation")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"rotation": float("nan")}, "augmentation.rotation must be a number >= 0 and <= 180, got nan"),
        ({"resize": [24, 16], "crop": 20}, "augmentation.crop=20 is larger than augmentation.resize"),
        ({"crop_scale": [1, 0.1]}, "smallest and largest share"),
        ({"crop_scale": [0.1, 1], "crop": None}, "needs augmentation.crop"),
        ({"crop_scale": [0.1, 1], "random_crop": False}, "cannot be used with random_crop=false"),
        ({"crop_padding": 4, "crop_scale": [0.1, 1]}, "augmentation.crop_padding=4 is for random crops"),
        ({"crop_padding": 4, "crop": None}, "augmentation.crop_padding=4 is for random crops"),
        ({"crop_padding": 4, "random_crop": False}, "augmentation.crop_padding=4 is for random crops"),
        ({"jitter": [0.4, 0.4, 0.4, 0.6]}, "at most 0.5"),
    ],
)
def test_augmentation_out_of_range(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError) as caught:
        augmentation(**changes)
    assert message in str(caught.value)


def test_help_lists_every_choice() -> None:
    presets = (path.stem for path in (config_folder() / "recipes").iterdir())
    choices = {*presets, *DATASETS, *METHODS, *MODELS, *label_kinds(), *RECORDS}
    assert choices <= set(re.findall(r"\w+", HELP))


def test_defaults_match_the_configuration() -> None:
    group = OmegaConf.load(config_folder() / "classification.yaml").augmentation
    assert checked(Augmentation, plain(group), "augmentation") == Augmentation()


def test_images_in_memory_support_only_geometric_settings() -> None:
    augmentation(flip=0.5, rotation=20, crop_padding=7).check_in_memory("digits", 8)
    with pytest.raises(UserError, match="crop_padding=8 must be smaller than the 8 pixels"):
        augmentation(crop_padding=8).check_in_memory("digits", 8)
    with pytest.raises(UserError, match=r"augmentation\.crop is for images in files; those of data=digits"):
        augmentation(crop=20).check_in_memory("digits", 8)


def test_input_size_of_images_in_files() -> None:
    assert augmentation().size_in_files() == (224, 224)
    assert augmentation(crop=None, resize=[20, 30]).size_in_files() == (20, 30)
    with pytest.raises(UserError, match="images must have the same size"):
        augmentation(crop=None).size_in_files()


@pytest.mark.parametrize(
    ("given", "loss", "message"),
    [
        ({"name": "co_taeching"}, "ce", "did you mean 'co_teaching'"),
        ({"name": "co_teaching", "forget_rate": 1.0, "gradual_epochs": 1}, "ce", "method.forget_rate must be"),
        ({"name": "forward", "percentile": 0}, "ce", "method.percentile must be a number > 0 and <= 100, got 0"),
        ({"name": "forward", "percentile": 97}, "anl_ce", "defined for loss=ce, got loss=anl_ce"),
        ({"name": "d2l", "init_epochs": 5, "window": 1}, "ce", "method.window must be a whole number >= 2"),
        ({"name": "plain", "speed": 1}, "ce", "method.speed: no such setting"),
    ],
)
def test_methods_out_of_range(given: dict[str, Any], loss: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        method_settings(given, loss, METHODS)


def test_read_settings_reads_all_groups() -> None:
    overrides = ["method=forward", "data.limit=50", "data.tuning=0.25", "augmentation.flip=0.5", "record=features"]
    settings = read_settings(compose("classification", overrides))
    assert settings.method == ForwardEstimated(97)
    assert (settings.data.limit, settings.data.tuning, settings.augmentation.flip) == (50, 0.25, 0.5)
    assert settings.records == {"features"}


def test_settings_import_no_heavy_library() -> None:
    """Invalid settings of data, augmentation or method are refused without importing them."""
    program = "import sys, classification.settings, classification.datasets; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=120)
    assert not {"torch", "torchvision", "monai", "sklearn"} & set(done.stdout.split())
