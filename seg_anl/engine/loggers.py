"""Where the curves of a run go beside metrics.csv: TensorBoard, Weights & Biases, MLflow, Trackio (``logger=NAME``).

A service's package, TensorBoard's apart, is imported when it is used. Each follows its own environment variables
(``WANDB_MODE``, ``MLFLOW_TRACKING_URI``, ``TRACKIO_DIR``, ...). A run that resumes goes on under its name there.
"""

from __future__ import annotations

import hashlib
import os
import platform
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Protocol

from tensorboard.compat.proto.event_pb2 import Event, SessionLog
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.summary.writer.record_writer import RecordWriter

from seg_anl.records import UserError, make_directory
from seg_anl.records.errors import cannot_write, reason_of

from .run_directory import RunDirectory, flat_settings

PROJECT = "seg_anl"  # the runs' group in services that have groups, unless their variable names another


class Logger(Protocol):
    """One service, following one run. Made with the run and the epoch (from 0) that it trains next."""

    def log(self, epoch: int, values: Mapping[str, float]) -> None:
        """Hand on the values of ``split/metric`` after ``epoch``."""

    def close(self) -> None:
        """Write out what is still held back."""


class TensorBoard:
    """Event files in ``RUN/tb``, written here: TensorBoard's own writer has a thread, whose errors nobody could catch.

    What earlier files say of ``first_epoch`` and later ones no longer holds.

    Raises:
        UserError: here and in every method, when the file cannot be written.
    """

    def __init__(self, run: RunDirectory, first_epoch: int) -> None:
        # TensorBoard reads files in the order of their names; two of one process may begin in one second.
        name = f"events.out.tfevents.{time.time():.0f}.{platform.node()}.{os.getpid()}"
        folder = make_directory(run.path / "tb")
        self.path = folder / f"{name}.{len(list(folder.glob(f'{name}.*')))}"
        with self._refusals():
            self.file = open(self.path, "xb")  # noqa: SIM115
        self._write(Event(file_version="brain.Event:2"))
        self._write(Event(step=first_epoch, session_log=SessionLog(status=SessionLog.START)))

    def log(self, epoch: int, values: Mapping[str, float]) -> None:
        """One scalar each."""
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
            raise cannot_write(self.path, error) from error


class WeightsAndBiases:
    """A W&B run; its files are in ``RUN/wandb``, where ``wandb sync`` finds those of ``WANDB_MODE=offline``."""

    def __init__(self, run: RunDirectory, first_epoch: int) -> None:
        import wandb

        self.run = wandb.init(
            project=os.environ.get("WANDB_PROJECT", PROJECT),
            name=_name(run),
            id=hashlib.sha256(str(run.path.resolve()).encode()).hexdigest()[:16],
            resume="allow",
            reinit="create_new",  # several runs train at once with runs_per_device
            dir=run.path,
            config=flat_settings(run.config()),
            settings=wandb.Settings(console="off", silent=True),
        )

    def log(self, epoch: int, values: Mapping[str, float]) -> None:
        """One step."""
        self.run.log(dict(values), step=epoch)

    def close(self) -> None:
        """Wait for the upload."""
        self.run.finish()


class MLflow:
    """An MLflow run, which a resumed run finds again by its folder."""

    def __init__(self, run: RunDirectory, first_epoch: int) -> None:
        from mlflow import MlflowClient
        from mlflow.entities import Metric, Param

        self.client, self.metric = MlflowClient(), Metric
        group = os.environ.get("MLFLOW_EXPERIMENT_NAME", PROJECT)
        known = self.client.get_experiment_by_name(group)
        experiment = self.client.create_experiment(group) if known is None else known.experiment_id
        folder = str(run.path.resolve())
        digest = hashlib.sha256(folder.encode()).hexdigest()  # a path may hold what a query would stumble over
        found = self.client.search_runs([experiment], f"tags.run_folder_digest = '{digest}'")
        if found:
            self.id = found[0].info.run_id
            self.client.update_run(self.id, status="RUNNING")
        else:
            tags = {"run_folder": folder, "run_folder_digest": digest}
            self.id = self.client.create_run(experiment, run_name=_name(run), tags=tags).info.run_id
            parameters = [Param(name, str(value)) for name, value in flat_settings(run.config()).items()]
            for start in range(0, len(parameters), 100):  # MLflow's limit
                self.client.log_batch(self.id, params=parameters[start : start + 100])

    def log(self, epoch: int, values: Mapping[str, float]) -> None:
        """One point of each curve."""
        now = int(time.time() * 1000)
        self.client.log_batch(self.id, [self.metric(name, value, now, epoch) for name, value in values.items()])

    def close(self) -> None:
        """Mark the run as ended."""
        self.client.set_terminated(self.id)


class Trackio:
    """A run of Trackio's local data base."""

    def __init__(self, run: RunDirectory, first_epoch: int) -> None:
        import trackio

        settings = {"config": flat_settings(run.config()), "auto_log_gpu": False, "auto_log_cpu": False, "embed": False}
        self.run = trackio.init(PROJECT, name=_name(run), resume="allow", **settings)

    def log(self, epoch: int, values: Mapping[str, float]) -> None:
        """One step."""
        self.run.log(dict(values), step=epoch)

    def close(self) -> None:
        """Wait until all is written."""
        self.run.finish()


# By the setting's words, which are in settings.LOGGERS.
CLASSES: dict[str, Callable[[RunDirectory, int], Logger]] = {
    "tensorboard": TensorBoard,
    "wandb": WeightsAndBiases,
    "mlflow": MLflow,
    "trackio": Trackio,
}


def open_loggers(names: tuple[str, ...], run: RunDirectory, first_epoch: int) -> list[Logger]:
    """The services of the setting ``logger``."""
    loggers = []
    for name in names:
        try:
            loggers.append(CLASSES[name](run, first_epoch))
        except UserError:
            raise
        except Exception as error:  # a foreign package's, about its own log-in or server
            raise UserError(f"logger={name}: {reason_of(error)}") from error
    return loggers


def _name(run: RunDirectory) -> str:
    """Data, noise, loss, preset and seed, of the folders that a run lies in."""
    return "/".join(run.path.resolve().parts[-5:])
