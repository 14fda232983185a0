"""Every data set through the public command, from a small copy of its real layout to a finished run."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from classification.train import main

NOISY = ("webvision", "animal10n", "clothing1m")  # published labels are noisy
IN_MEMORY = ("arrays", "cifar10", "cifar100", "digits", "fashion_mnist", "mnist")
SPLITS = {"webvision": {"test": 4, "ilsvrc12": 4}, "clothing1m": {"validation": 6, "test": 3}}
TRAIN = {
    "animal10n": 20,
    "arrays": 40,
    "cifar10": 40,
    "cifar100": 100,
    "clothing1m": 12,
    "digits": 60,
    "fashion_mnist": 30,
    "imagefolder": 8,
    "imagenet": 6,
    "mnist": 30,
    "webvision": 8,
}


@pytest.fixture
def classify(tmp_path, monkeypatch) -> Callable[..., Path]:
    """Run ``seg-anl-classify`` for an epoch of a small network; returns the run directory."""

    def run(name: str, settings: dict[str, Any], *overrides: str) -> Path:
        arguments = [f"data={name}", *(f"data.{key}={value}" for key, value in settings.items())]
        arguments += ["noise=none" if name in NOISY else "noise.rate=0.4", "loss=ce", "model=cnn4", "epochs=1"]
        arguments += ["batch_size=4", "workers=0"]
        if name not in IN_MEMORY:
            arguments += ["augmentation.resize=20", "augmentation.crop=16"]
        arguments += ["device=cpu", "progress=false", f"run_dir={tmp_path / 'run'}", *overrides]
        if name == "clothing1m":
            arguments.append("model.weights=null")  # ImageNet weights are not for the small network
        monkeypatch.setattr(sys, "argv", ["seg-anl-classify", *arguments])
        main()
        return tmp_path / "run"

    return run


@pytest.mark.parametrize("name", sorted(TRAIN))
def test_data_set_trains_from_its_real_layout(layout, classify, name):
    settings = layout(name)
    if name == "digits":
        settings |= {"limit": 60, "test_limit": 20}
    run = classify(name, settings)
    summary = json.loads((run / "summary.json").read_text())
    assert summary["status"] == "finished"
    assert summary["data"]["name"] == name
    assert summary["counts"]["train"] == TRAIN[name]
    splits = SPLITS.get(name, {"test": None})
    for split, count in splits.items():
        assert 0 <= summary["metrics"][f"{split}/accuracy"]["last"] <= 1
        assert count in (None, summary["counts"][split])
    assert summary["headline"] == "test/accuracy"
    with (run / "metrics.csv").open() as file:
        assert {row["split"] for row in csv.DictReader(file)} == {"train", *splits}


def test_noise_is_not_added_to_noisy_labels(layout, classify, capsys):
    with pytest.raises(SystemExit) as stopped:
        classify("animal10n", layout("animal10n"), "noise=symmetric")
    assert stopped.value.code == 2
    assert "use noise=none" in capsys.readouterr().err


def test_workers_do_not_change_a_run(layout, classify, tmp_path):
    settings = layout("animal10n") | {"imbalance": "step", "imbalance_ratio": 0.5}
    alone = (classify("animal10n", settings) / "metrics.csv").read_bytes()
    (tmp_path / "run").rename(tmp_path / "first")
    assert (classify("animal10n", settings, "workers=2") / "metrics.csv").read_bytes() == alone
    assert json.loads((tmp_path / "first/summary.json").read_text())["counts"]["train"] == 15


def test_damaged_image_is_one_line(layout, classify, capsys):
    settings = layout("imagefolder")
    damaged = Path(settings["root"]) / "train/benign/2.jpg"
    damaged.write_bytes(damaged.read_bytes()[:300])
    with pytest.raises(SystemExit) as stopped:
        classify("imagefolder", settings, "workers=2")
    assert stopped.value.code == 2
    message = capsys.readouterr().err.strip()
    assert message.startswith(f"seg-anl-classify: error: {damaged}: cannot be read: ")
    assert "\n" not in message
