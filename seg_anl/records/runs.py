"""The files of a run directory that training writes and reporting reads: metrics.csv and summary.json.

metrics.csv has the columns ``epoch``, ``split`` and one per metric, and a row per finished epoch and split.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .atomic import write_csv
from .errors import UserError
from .foreign_files import read_text

METRICS_KEYS = ("epoch", "split")
SUMMARY_SCHEMA = 1
_LOWER_IS_BETTER = ("loss", "hd95")  # beginnings of metric names
# Parts of the configuration that the summary repeats.
DESCRIBED = ("task", "preset", "data", "model", "loss", "noise", "method", "optim", "seed", "epochs")

CONFIG_FILE = "config.yaml"
ENVIRONMENT_FILE = "environment.json"
INPUTS_FILE = "inputs.json"
METRICS_FILE = "metrics.csv"
SUMMARY_FILE = "summary.json"


@dataclass(frozen=True)
class MetricRow:
    """The metrics of one split after one epoch (counted from 0)."""

    epoch: int
    split: str
    values: dict[str, float]


def write_metrics(path: Path, rows: Sequence[MetricRow]) -> None:
    """Write metrics.csv; metrics are in order of first appearance."""
    names = list(dict.fromkeys(name for row in rows for name in row.values))
    table = [{"epoch": row.epoch, "split": row.split, **row.values} for row in rows]
    write_csv(path, [*METRICS_KEYS, *names], table)


def read_metrics(path: Path) -> list[MetricRow]:
    """Read metrics.csv.

    Raises:
        UserError: naming the file and the damaged line.
    """
    return parse_metrics(read_text(path), path)


def parse_metrics(text: str, path: object) -> list[MetricRow]:
    """The rows in the ``text`` of a metrics.csv; error messages name ``path``."""
    rows = []
    reader = csv.DictReader(io.StringIO(text, newline=""))
    try:
        if reader.fieldnames is None or tuple(reader.fieldnames[:2]) != METRICS_KEYS:
            raise UserError(f"{path}: expected columns starting with {', '.join(METRICS_KEYS)}")
        for cells in reader:
            if None in cells or None in cells.values():
                raise ValueError(f"expected {len(reader.fieldnames)} cells")
            values = {name: float(cell) for name, cell in cells.items() if name not in METRICS_KEYS and cell}
            rows.append(MetricRow(int(cells["epoch"]), cells["split"], values))
    except (ValueError, csv.Error) as error:
        raise UserError(f"{path}: line {reader.line_num} is damaged: {error}") from error
    return rows


def metric_summary(
    rows: Sequence[MetricRow], split: str, name: str, k: int, *, lower_is_better: bool = False
) -> dict[str, Any]:
    """``last``, ``best`` (with its epoch), and mean and sample standard deviation over the last ``k`` epochs.

    ``k`` of the result counts those of these epochs that have the metric; with one, the standard deviation is None.
    ``best`` is chosen on ``split`` itself, which makes it optimistic on a test set.
    """
    series = [(row.epoch, row.values[name]) for row in rows if row.split == split and name in row.values]
    if not series:
        raise ValueError(f"no rows of split {split!r} with metric {name!r}")
    if k < 1:
        raise ValueError(f"k must be at least 1, got {k}")
    tail = [value for epoch, value in series if epoch > series[-1][0] - k]
    mean = math.fsum(tail) / len(tail)
    spread = math.sqrt(math.fsum((value - mean) ** 2 for value in tail) / (len(tail) - 1)) if len(tail) > 1 else None
    pick = min if lower_is_better else max
    # NaN compares as neither better nor worse, so diverged epochs must be excluded.
    best_epoch, best = pick([pair for pair in series if not math.isnan(pair[1])] or series, key=lambda pair: pair[1])
    return {
        "last": series[-1][1],
        "best": best,
        "best_epoch": best_epoch,
        "best_chosen_on": split,
        "last_k_mean": mean,
        "last_k_std": spread,
        "k": len(tail),
    }


def finished_summary(
    config: Mapping[str, Any],
    rows: Sequence[MetricRow],
    *,
    headline: str,
    k: int,
    counts: Mapping[str, int | None],
    loss_state: Mapping[str, float],
) -> dict[str, Any]:
    """The content of summary.json of a finished run.

    Args:
        config: the run's configuration; the summary repeats the parts in :data:`DESCRIBED`.
        headline: the ``split/metric`` that runs are compared by.
        k: number of last epochs to average over.
        counts: numbers of samples per split and of wrong annotations (None if unknown).
        loss_state: learned parameters of the loss.
    """
    return {
        "schema": SUMMARY_SCHEMA,
        "status": "finished",
        **{name: config[name] for name in DESCRIBED if name in config},
        "loss_state": dict(loss_state),
        "headline": headline,
        "k": k,
        "counts": dict(counts),
        "metrics": summarize(rows, k),
    }


def summarize(rows: Sequence[MetricRow], k: int) -> dict[str, dict[str, Any]]:
    """:func:`metric_summary` of every ``split/metric`` in ``rows`` except learning rates."""
    series = dict.fromkeys((row.split, name) for row in rows for name in row.values if name != "lr")
    return {
        f"{split}/{name}": metric_summary(rows, split, name, k, lower_is_better=name.startswith(_LOWER_IS_BETTER))
        for split, name in series
    }
