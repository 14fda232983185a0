"""Run directories in the layout that the trainers write, with values that the tests choose."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf

from seg_anl.records import SUMMARY_SCHEMA, MetricRow, write_json, write_metrics, write_text
from seg_anl.records.runs import summarize

WriteRun = Callable[..., Path]


@pytest.fixture
def write_run(tmp_path: Path) -> WriteRun:
    """Write a finished run below ``tmp_path``: ``write_run("name", [0.5, 0.6], loss={"name": "ce"}, seed=2)``."""

    def write(
        name: str, values: Sequence[float] = (0.5, 0.6), k: int = 1, metric: str = "accuracy", **settings: Any
    ) -> Path:
        segmentation = metric == "dice"
        config: dict[str, Any] = {
            "task": "segmentation" if segmentation else "classification",
            "seed": 1,
            "epochs": len(values),
            "batch_size": 128,
            "evaluation": {"last_k": k, "train_every": 1},
            "loss": {"name": "ce"},
            "data": {"name": "isic2017" if segmentation else "cifar10", "root": "anywhere", "limit": None},
            "noise": {"alpha": 0.7, "beta": 0.7, "mode": "official", "seed": 0}
            if segmentation
            else {"kind": "symmetric", "rate": 0.4, "counts": "cell", "seed": 1},
            "model": {"name": "dynunet" if segmentation else "cnn8"},
            "optim": {"name": "sgd", "lr": 0.01},
            "preset": "default",
            **settings,
        }
        rows = []
        for epoch, value in enumerate(values):
            rows.append(MetricRow(epoch, "test", {metric: value}))
            rows.append(MetricRow(epoch, "train", {metric: value / 2, "loss": 1.0 - value, "lr": 0.01}))
        folder = tmp_path / name
        folder.mkdir(parents=True)
        write_text(folder / "config.yaml", OmegaConf.to_yaml(OmegaConf.create(config)))
        write_metrics(folder / "metrics.csv", rows)
        kept = ("task", "data", "model", "preset", "loss", "noise", "seed", "epochs")
        summary = {
            "schema": SUMMARY_SCHEMA,
            "status": "finished",
            **{key: config[key] for key in kept},
            "headline": f"test/{metric}",
            "k": k,
            "counts": {"train": 50000, "test": 10000},
            "metrics": summarize(rows, k),
        }
        write_json(folder / "summary.json", summary)
        return folder

    return write
