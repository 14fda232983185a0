"""Log metrics to TensorBoard, Weights & Biases, MLflow or Trackio (``logger=NAME``), beside metrics.csv.

Packages other than TensorBoard are imported on use. Each service reads its own environment variables (``WANDB_MODE``,
``MLFLOW_TRACKING_URI``, ``TRACKIO_DIR``, ...). A resumed run continues under the same name.
"""

from __future__ import annotations

import hashlib
import os
import platform
import time
from collections.abc import Callable, Mapping
from typing import Protocol

from tensorboard.compat.proto.event_pb2 import Event, SessionLog
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.summary.writer.record_writer import RecordWriter

from seg_anl.records import UserError, make_directory
from seg_anl.records.errors import cannot_write, reason_of

from .run_directory import RunDirectory, identifying_settings

PROJECT = "seg_anl"  # the name of the project or experiment, unless an environment variable names another


class Logger(Protocol):
    """A service that logs one run. The constructor takes the run and the epoch (from 0) to train next."""

    def log(self, epoch: int, values: Mapping[str, float]) -> None:
        """Log the values after ``epoch`` by ``split/metric``."""

    def close(self) -> None:
        """Flush and close."""


class TensorBoard:
    """Event files in ``RUN/tb``. TensorBoard's own writer is not used: nobody could catch the errors of its thread.

    Events of earlier files from ``first_epoch`` on are superseded.

    Raises:
        UserError: here and in ``log``, if the file cannot be written.
    """

    def __init__(self, run: RunDirectory, first_epoch: int) -> None:
        # TensorBoard reads files in name order; a process may start two within one second.
        name = f"events.out.tfevents.{time.time():.0f}.{platform.node()}.{os.getpid()}"
        folder = make_directory(run.path / "tb")
        self.path = folder / f"{name}.{len(list(folder.glob(f'{name}.*')))}"
        self._write(Event(file_version="brain.Event:2"))
        self._write(Event(step=first_epoch, session_log=SessionLog(status=SessionLog.START)))

    def log(self, epoch: int, values: Mapping[str, float]) -> None:
        """One scalar each."""
        points = [Summary.Value(tag=name, simple_value=value) for name, value in values.items()]
        self._write(Event(step=epoch, summary=Summary(value=points)))

    def close(self) -> None:
        """Nothing is open between writes."""

    def _write(self, event: Event) -> None:
        event.wall_time = time.time()
        try:
            with open(self.path, "ab") as file:
                RecordWriter(file).write(event.SerializeToString())
        except OSError as error:
            raise cannot_write(self.path, error) from error


class WeightsAndBiases:
    """A W&B run, with its files in ``RUN/wandb``; ``wandb sync`` uploads those of ``WANDB_MODE=offline``."""

    def __init__(self, run: RunDirectory, first_epoch: int) -> None:
        import wandb

        self.run = wandb.init(
            project=os.environ.get("WANDB_PROJECT", PROJECT),
            name=_name(run),
            id=hashlib.sha256(str(run.path.resolve()).encode()).hexdigest()[:16],
            resume="allow",
            reinit="create_new",  # with runs_per_device, several runs train at once
            dir=run.path,
            config=identifying_settings(run.config()),
            settings=wandb.Settings(console="off", silent=True),
        )

    def log(self, epoch: int, values: Mapping[str, float]) -> None:
        """One step."""
        self.run.log(dict(values), step=epoch)

    def close(self) -> None:
        """Wait for the upload."""
        self.run.finish()


class MLflow:
    """An MLflow run; a resumed run finds it by a digest of the folder."""

    def __init__(self, run: RunDirectory, first_epoch: int) -> None:
        from mlflow import MlflowClient
        from mlflow.entities import Metric, Param

        self.client, self.metric = MlflowClient(), Metric
        group = os.environ.get("MLFLOW_EXPERIMENT_NAME", PROJECT)
        known = self.client.get_experiment_by_name(group)
        experiment = self.client.create_experiment(group) if known is None else known.experiment_id
        folder = str(run.path.resolve())
        digest = hashlib.sha256(folder.encode()).hexdigest()  # a path may contain quotes
        found = self.client.search_runs([experiment], f"tags.run_folder_digest = '{digest}'")
        if found:
            self.id = found[0].info.run_id
            self.client.update_run(self.id, status="RUNNING")
        else:
            tags = {"run_folder": folder, "run_folder_digest": digest}
            self.id = self.client.create_run(experiment, run_name=_name(run), tags=tags).info.run_id
            parameters = [Param(name, str(value)) for name, value in identifying_settings(run.config()).items()]
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
    """A run in Trackio's local database."""

    def __init__(self, run: RunDirectory, first_epoch: int) -> None:
        import trackio

        quiet = {"auto_log_gpu": False, "auto_log_cpu": False, "embed": False}
        settings = identifying_settings(run.config())
        self.run = trackio.init(PROJECT, name=_name(run), resume="allow", config=settings, **quiet)

    def log(self, epoch: int, values: Mapping[str, float]) -> None:
        """One step."""
        self.run.log(dict(values), step=epoch)

    def close(self) -> None:
        """Wait until all is written."""
        self.run.finish()


# By name in settings.LOGGERS.
CLASSES: dict[str, Callable[[RunDirectory, int], Logger]] = {
    "tensorboard": TensorBoard,
    "wandb": WeightsAndBiases,
    "mlflow": MLflow,
    "trackio": Trackio,
}


def open_loggers(names: tuple[str, ...], run: RunDirectory, first_epoch: int) -> list[Logger]:
    """The loggers of the setting ``logger``."""
    loggers = []
    for name in names:
        try:
            loggers.append(CLASSES[name](run, first_epoch))
        except UserError:
            raise
        except Exception as error:  # errors of a service, for example about its login
            raise UserError(f"logger={name}: {reason_of(error)}") from error
    return loggers


def _name(run: RunDirectory) -> str:
    """Data, noise, loss, preset and seed, from the path of the run."""
    return "/".join(run.path.resolve().parts[-5:])
