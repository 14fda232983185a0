"""metrics.csv by columns: a curve for each metric of each split."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from seg_anl.records import METRICS_KEYS, UserError, read_metrics

_LAST_EPOCH = 10**9  # a greater number is a damaged cell

Curves = dict[tuple[str, str], "Curve"]


class Curve(NamedTuple):
    """One metric of one split over training; ``epochs`` rise and count from 0."""

    epochs: NDArray[np.int64]
    values: NDArray[np.float64]


def read_curves(path: Path) -> Curves:
    """Read metrics.csv into curves by (split, metric); none where there is no such file yet.

    Raises:
        UserError: naming the file, when it is damaged, cut off, or its epochs do not rise.
    """
    if not path.exists():
        return {}
    try:
        text = path.read_text(encoding="utf-8")
        if text and not text.endswith("\n"):
            raise UserError(f"{path}: the last line is cut off")
        curves = _regular(text)
    except (OSError, UnicodeDecodeError, ValueError, OverflowError):
        curves = _strict(path)  # says what is wrong with the file, and where
    for (split, name), curve in curves.items():
        if (np.diff(curve.epochs) <= 0).any():
            raise UserError(f"{path}: the epochs of {split}/{name} do not rise")
    return curves


def _regular(text: str) -> Curves:
    """Curves from the text of a table without a flaw, several times faster than row by row.

    Raises:
        ValueError: for anything else, without saying more.
    """
    lines = text.splitlines()
    names = lines[0].split(",") if lines else []
    if '"' in text or tuple(names[:2]) != METRICS_KEYS:
        raise ValueError("not a plain table of metrics")
    by_split: dict[str, list[list[str]]] = {}
    for line in lines[1:]:
        cells = line.split(",")
        if len(cells) != len(names):
            raise ValueError("a line of another length")
        by_split.setdefault(cells[1], []).append(cells)
    curves: Curves = {}
    for split, rows in by_split.items():
        columns = list(zip(*rows, strict=True))
        epochs = np.array(list(map(int, columns[0])), np.int64)
        for name, column in zip(names[2:], columns[2:], strict=True):
            if all(column):
                curves[split, name] = Curve(epochs, np.array(list(map(float, column))))
            elif any(column):
                there = [i for i, cell in enumerate(column) if cell]
                curves[split, name] = Curve(epochs[there], np.array([float(column[i]) for i in there]))
    return curves


def _strict(path: Path) -> Curves:
    points: dict[tuple[str, str], list[tuple[int, float]]] = {}
    for row in read_metrics(path):
        if row.epoch > _LAST_EPOCH:
            raise UserError(f"{path}: damaged: epoch {row.epoch}")
        for name, value in row.values.items():
            points.setdefault((row.split, name), []).append((row.epoch, value))
    return {
        key: Curve(np.array([epoch for epoch, _ in some], np.int64), np.array([value for _, value in some]))
        for key, some in points.items()
    }
