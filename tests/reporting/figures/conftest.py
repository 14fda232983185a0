"""Fixtures: small run directories with the files that figures need."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest

from seg_anl.records import write_text
from seg_anl.reporting.run_directories import Run, read_run

Series = Mapping[tuple[str, str], list[float]]

CONFIG: dict[str, Any] = {
    "epochs": 4,
    "data": {"name": "digits", "tuning": 0.0},
    "noise": {"kind": "symmetric", "rate": 0.6, "seed": 1},
    "loss": {"name": "ce"},
    "optim": {"lr": 0.01, "weight_decay": 1e-4, "l1": 0.0, "jacobian": 0.0},
    "method": {"name": "plain"},
}


def accuracies(start: float = 0.1, step: float = 0.2, epochs: int = 4) -> dict[tuple[str, str], list[float]]:
    """Increasing test accuracy, and training accuracies on correct and wrong labels."""
    rising = [start + step * epoch for epoch in range(epochs)]
    return {
        ("test", "accuracy"): rising,
        ("train", "accuracy_clean"): [value + 0.05 for value in rising],
        ("train", "accuracy_mislabelled"): [value / 2 for value in rising],
    }


@pytest.fixture
def make_run(write_run: Callable[..., Any]) -> Callable[..., Run]:
    """Write a finished run and read it; settings by dotted name, with ``__`` for the dot."""

    def make(
        name: str, series: Series | None = None, records: Mapping[str, Mapping[str, Any]] | None = None, **settings: Any
    ) -> Run:
        config = {key: dict(value) if isinstance(value, dict) else value for key, value in CONFIG.items()}
        for setting, value in settings.items():
            group, _, last = setting.rpartition("__")
            (config[group] if group else config)[last] = value
        config["noise"]["seed"] = settings.get("seed", 1)
        folder = write_run(name, series=series or accuracies(epochs=config["epochs"]), **config)
        for place, arrays in (records or {}).items():
            path = folder / "records" / f"{place}.npz"
            path.parent.mkdir(parents=True, exist_ok=True)
            np.savez_compressed(path, **arrays)
        return read_run(folder)

    return make


@pytest.fixture
def write_confusion() -> Callable[[Run, list[list[int]]], None]:
    """Write RUN/noise/confusion.csv, with true labels as rows and given labels as columns."""

    def write(run: Run, cells: list[list[int]]) -> None:
        lines = ["clean," + ",".join(map(str, range(len(cells))))]
        lines += [f"{k}," + ",".join(map(str, row)) for k, row in enumerate(cells)]
        (run.folder / "noise").mkdir(exist_ok=True)
        write_text(run.folder / "noise" / "confusion.csv", "\n".join(lines) + "\n")

    return write
