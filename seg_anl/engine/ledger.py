"""What is kept of a run while it trains: metric rows, checkpoints and TensorBoard's events."""

from __future__ import annotations

import math
import os
import platform
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tensorboard.compat.proto.event_pb2 import Event, SessionLog
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.summary.writer.record_writer import RecordWriter

from seg_anl.records import MetricRow, UserError, make_directory
from seg_anl.records.errors import refusal

from .checkpoint import load_checkpoint, save_checkpoint
from .distribution import Process
from .run_directory import RunDirectory

Metrics = dict[str, dict[str, float]]
"""Split -> metric -> value."""


class Board:
    """A file of events for TensorBoard, written here: its own writer has a thread, whose errors nobody could catch.

    Args:
        folder: RUN/tb, made where it is missing.
        first_epoch: what earlier files say of this epoch and later ones no longer holds.

    Raises:
        UserError: here and in every method, when it cannot be written.
    """

    def __init__(self, folder: Path, first_epoch: int) -> None:
        name = f"events.out.tfevents.{time.time():.0f}.{platform.node()}.{os.getpid()}"
        self.path = make_directory(folder) / name
        with self._refusals():
            self.file = open(self.path, "wb")  # noqa: SIM115
        self._write(Event(file_version="brain.Event:2"))
        self._write(Event(step=first_epoch, session_log=SessionLog(status=SessionLog.START)))

    def add(self, epoch: int, values: Mapping[str, float]) -> None:
        """Write the values of an epoch, by name."""
        points = [Summary.Value(tag=name, simple_value=value) for name, value in values.items()]
        self._write(Event(step=epoch, summary=Summary(value=points)))

    def close(self) -> None:
        """Close the file."""
        with self._refusals():
            self.file.close()

    def _write(self, event: Event) -> None:
        event.wall_time = time.time()
        with self._refusals():
            RecordWriter(self.file).write(event.SerializeToString())
            self.file.flush()

    @contextmanager
    def _refusals(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise UserError(f"cannot write {refusal(OSError(error.errno, error.strerror, str(self.path)))}") from error


class Ledger:
    """The books of one run. Made before training, it restores ``parts`` from the last checkpoint.

    Only the main process writes.

    Args:
        headline: split and metric that ``best.pt`` goes by; higher is better.
        parts: what a checkpoint holds, by name.

    Attributes:
        first_epoch: the epoch (from 0) to train next.
        rows: of all finished epochs.
    """

    def __init__(
        self, run: RunDirectory, headline: tuple[str, str], parts: Mapping[str, Any], process: Process
    ) -> None:
        self.run, self.parts = run, parts
        self.split, self.metric = headline
        self.first_epoch = 0
        self.rows: list[MetricRow] = []
        if run.last.exists():
            self.first_epoch, self.rows = load_checkpoint(run.last, device=process.device, parts=parts)
        self.best = max(
            (row.values.get(self.metric, -math.inf) for row in self.rows if row.split == self.split), default=-math.inf
        )
        self.board = None
        if process.is_main:
            run.write_environment(process.machine, resumed_at=self.first_epoch)
            run.write_metrics(self.rows)
            self.board = Board(run.path / "tb", self.first_epoch)

    def close_epoch(self, epoch: int, metrics: Metrics, *, checkpoint: bool) -> float:
        """Write down a finished epoch, with a ``checkpoint`` to resume from where it is due; returns the headline."""
        assert self.board is not None
        self.rows.extend(MetricRow(epoch, split, values) for split, values in metrics.items())
        self.board.add(
            epoch, {f"{split}/{name}": value for split, values in metrics.items() for name, value in values.items()}
        )
        headline = metrics.get(self.split, {}).get(self.metric, -math.inf)
        if headline > self.best:
            self.best = headline
            save_checkpoint(self.run.best, epoch=epoch + 1, rows=self.rows, parts=self.parts)
        if checkpoint:
            save_checkpoint(self.run.last, epoch=epoch + 1, rows=self.rows, parts=self.parts)
        self.run.write_metrics(self.rows)
        return headline

    def close(self) -> None:
        """Write out what TensorBoard still holds back."""
        if self.board is not None:
            self.board.close()
