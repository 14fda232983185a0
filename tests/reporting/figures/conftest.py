"""Small run directories with real files in the layout of the trainers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from seg_anl.records import MetricRow, write_json, write_metrics, write_text
from seg_anl.records.runs import summarize
from seg_anl.reporting.run_directories import Run, read_run

Series = Mapping[tuple[str, str], list[float]]

CONFIG: dict[str, Any] = {
    "task": "classification",
    "seed": 1,
    "epochs": 4,
    "data": {"name": "digits", "tuning": 0.0},
    "noise": {"kind": "symmetric", "rate": 0.6, "seed": 1},
    "loss": {"name": "ce"},
    "optim": {"lr": 0.01, "weight_decay": 1e-4, "l1": 0.0, "jacobian": 0.0},
    "method": {"name": "plain"},
}


def merged(config: dict[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """``config`` with settings changed by dotted name; ``loss.name`` takes the loss's other settings away."""
    result = {key: dict(value) if isinstance(value, dict) else value for key, value in config.items()}
    for name, value in changes.items():
        group, _, last = name.rpartition(".")
        (result[group] if group else result)[last] = value
    return result


def accuracies(start: float = 0.1, step: float = 0.2, epochs: int = 4) -> dict[tuple[str, str], list[float]]:
    """Test accuracy that rises, and training accuracies of right and wrong labels."""
    rising = [start + step * epoch for epoch in range(epochs)]
    return {
        ("test", "accuracy"): rising,
        ("train", "accuracy_clean"): [value + 0.05 for value in rising],
        ("train", "accuracy_mislabelled"): [value / 2 for value in rising],
    }


@pytest.fixture
def make_run(tmp_path: Path) -> Callable[..., Run]:
    """Write a finished run and read it as the report does; settings by dotted name."""

    def make(
        name: str, series: Series | None = None, records: Mapping[str, Mapping[str, Any]] | None = None, **settings: Any
    ) -> Run:
        config = merged(CONFIG, {key.replace("__", "."): value for key, value in settings.items()})
        if "seed" in settings:
            config["noise"]["seed"] = settings["seed"]
        folder = tmp_path / name
        series = accuracies(epochs=config["epochs"]) if series is None else series
        splits = list(dict.fromkeys(split for split, _ in series))
        rows = [
            MetricRow(epoch, split, {metric: values[epoch] for (at, metric), values in series.items() if at == split})
            for epoch in range(config["epochs"])
            for split in splits
        ]
        folder.mkdir(parents=True)
        write_text(folder / "config.yaml", yaml.safe_dump(config, sort_keys=False))
        write_metrics(folder / "metrics.csv", rows)
        write_json(
            folder / "summary.json",
            {
                "schema": 1,
                "status": "finished",
                **{key: config[key] for key in ("task", "data", "loss", "noise", "seed")},
                "epochs": config["epochs"],
                "headline": "test/accuracy",
                "k": 1,
                "metrics": summarize(rows, 1),
            },
        )
        for place, arrays in (records or {}).items():
            path = folder / "records" / f"{place}.npz"
            path.parent.mkdir(parents=True, exist_ok=True)
            np.savez_compressed(path, **arrays)
        return read_run(folder)

    return make


@pytest.fixture
def write_confusion() -> Callable[[Run, list[list[int]]], None]:
    """Write RUN/noise/confusion.csv: rows true, columns given labels."""

    def write(run: Run, cells: list[list[int]]) -> None:
        lines = ["clean," + ",".join(str(k) for k in range(len(cells)))]
        lines += [f"{k}," + ",".join(map(str, row)) for k, row in enumerate(cells)]
        (run.folder / "noise").mkdir(exist_ok=True)
        write_text(run.folder / "noise" / "confusion.csv", "\n".join(lines) + "\n")

    return write
