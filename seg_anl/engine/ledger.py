"""What a run saves while it trains: metric rows, checkpoints, and curves for TensorBoard and other services."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from seg_anl.records import MetricRow, write_metrics
from seg_anl.records.runs import METRICS_FILE

from .checkpoint import load_checkpoint, save_checkpoint
from .distribution import Process
from .loggers import Logger, open_loggers
from .run_directory import RunDirectory

Metrics = dict[str, dict[str, float]]
"""Split -> metric -> value."""


class Ledger:
    """Saves the progress of one run. The constructor restores ``parts`` from the last checkpoint.

    Only the main process writes.

    Args:
        headline: split and metric that choose ``best.pt``; higher is better.
        parts: the parts of a checkpoint, by name.
        loggers: names of logging services.

    Attributes:
        first_epoch: the epoch (from 0) to train next.
        rows: metrics of all finished epochs.
    """

    def __init__(
        self,
        run: RunDirectory,
        headline: tuple[str, str],
        parts: Mapping[str, Any],
        process: Process,
        loggers: tuple[str, ...],
    ) -> None:
        self.run, self.parts = run, parts
        self.split, self.metric = headline
        self.first_epoch = 0
        self.rows: list[MetricRow] = []
        if run.last.exists():
            self.first_epoch, self.rows = load_checkpoint(run.last, device=process.device, parts=parts)
        headlines = [row.values.get(self.metric, math.nan) for row in self.rows if row.split == self.split]
        self.best = max((value for value in headlines if not math.isnan(value)), default=-math.inf)
        self.loggers: list[Logger] = []
        if process.is_main:
            run.write_environment(process.machine, resumed_at=self.first_epoch)
            write_metrics(run.path / METRICS_FILE, self.rows)
            self.loggers = open_loggers(loggers, run, self.first_epoch)

    def close_epoch(self, epoch: int, metrics: Metrics, *, checkpoint: bool) -> float:
        """Save a finished epoch, with a ``checkpoint`` to resume from if requested; returns the headline.

        It is NaN in an epoch without that metric.
        """
        self.rows.extend(MetricRow(epoch, split, values) for split, values in metrics.items())
        flat = {f"{split}/{name}": value for split, values in metrics.items() for name, value in values.items()}
        for logger in self.loggers:
            logger.log(epoch, flat)
        headline = metrics.get(self.split, {}).get(self.metric, math.nan)
        if headline > self.best:
            self.best = headline
            save_checkpoint(self.run.best, epoch=epoch + 1, rows=self.rows, parts=self.parts)
        if checkpoint:
            save_checkpoint(self.run.last, epoch=epoch + 1, rows=self.rows, parts=self.parts)
        write_metrics(self.run.path / METRICS_FILE, self.rows)
        return headline

    def close(self) -> None:
        """Flush and close the loggers."""
        for logger in self.loggers:
            logger.close()
