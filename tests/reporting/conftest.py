"""Fixtures: run directories in the trainers' layout with given values."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from seg_anl.records import SUMMARY_SCHEMA, MetricRow, write_json, write_metrics, write_text
from seg_anl.records.runs import summarize
from seg_anl.reporting.run_directories import read_runs
from seg_anl.reporting.tables import Report, make_report

WriteRun = Callable[..., Path]


@pytest.fixture
def write_run(tmp_path: Path) -> WriteRun:
    """Write a finished run below ``tmp_path``: ``write_run("name", [0.5, 0.6], loss={"name": "ce"}, seed=2)``.

    ``series``, by split and metric, stands for the values of the headline metric.
    """

    def write(
        name: str,
        values: Sequence[float] = (0.5, 0.6),
        k: int = 1,
        metric: str = "accuracy",
        series: Mapping[tuple[str, str], Sequence[float]] | None = None,
        **settings: Any,
    ) -> Path:
        segmentation = metric == "dice"
        series = series or {
            ("test", metric): values,
            ("train", metric): [value / 2 for value in values],
            ("train", "loss"): [1.0 - value for value in values],
        }
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
        rows = [
            MetricRow(epoch, split, {metric: some[epoch] for (at, metric), some in series.items() if at == split})
            for epoch in range(len(next(iter(series.values()))))
            for split in dict.fromkeys(split for split, _ in series)
        ]
        folder = tmp_path / name
        folder.mkdir(parents=True)
        write_text(folder / "config.yaml", yaml.safe_dump(config, sort_keys=False))
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


@pytest.fixture
def report_of(tmp_path: Path) -> Callable[..., Report]:
    """The report of the runs below ``tmp_path``, or other folders, with the requested tables."""
    return lambda *tables, places=(tmp_path,): make_report(read_runs(places), tables)
