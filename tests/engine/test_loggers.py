"""What TensorBoard, W&B (offline), MLflow (in files) and Trackio keep of a run, read back from their own files."""

from __future__ import annotations

import json
import math
import sqlite3
import struct
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from classification.experiment import train
from seg_anl.engine.command import compose
from seg_anl.engine.loggers import open_loggers
from seg_anl.engine.run_directory import RunDirectory
from seg_anl.records import UserError, read_metrics

Points = dict[tuple[str, int], float]
"""(split/metric, epoch) -> value."""


def of_tensorboard(run: Path, services: Path) -> Points:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(run / "tb")).Reload()
    return {(tag, event.step): event.value for tag in events.Tags()["scalars"] for event in events.Scalars(tag)}


def records_of(file: Path) -> Iterator[bytes]:
    """The records of a .wandb file: LevelDB's log format after a header of 7 bytes."""
    data, position, parts = file.read_bytes(), 7, []
    while position + 7 <= len(data):
        length, kind = struct.unpack_from("<4xHB", data, position)
        if kind == 0:  # the rest of a block of 32 KiB is empty
            position = (position // 32768 + 1) * 32768
            continue
        if position + 7 + length > len(data):  # not yet written to its end
            return
        parts.append(data[position + 7 : position + 7 + length])
        position += 7 + length
        if kind in (1, 4):  # a whole record, or the last part of one
            yield b"".join(parts)
            parts = []


def ended_records_of(file: Path) -> list[Any]:
    """All records, once the service's own process has written the last: ``finish`` does not wait for it offline."""
    from wandb.proto.wandb_internal_pb2 import Record

    deadline = time.monotonic() + 60
    while True:
        records = [Record.FromString(record) for record in records_of(file)]
        if any(record.WhichOneof("record_type") == "exit" for record in records):
            return records
        assert time.monotonic() < deadline, f"{file} does not end"
        time.sleep(0.1)


def of_wandb(run: Path, services: Path) -> Points:
    points: Points = {}
    identities = set()
    for file in (run / "wandb").glob("offline-run-*/*.wandb"):
        for record in ended_records_of(file):
            if record.run.run_id:
                identities.add(record.run.run_id)
            values = {item.key or "/".join(item.nested_key): item.value_json for item in record.history.item}
            step = int(values.get("_step", "-1"))
            points |= {(name, step): json.loads(value) for name, value in values.items() if not name.startswith("_")}
    assert len(identities) == 1
    return points


def of_mlflow(run: Path, services: Path) -> Points:
    (metrics,) = services.glob("mlruns/*/*/metrics")
    assert (metrics.parent / "params/loss.name").read_text() == "gce"
    lines = [(file, line.split()) for file in metrics.rglob("*") if file.is_file() for line in file.open()]
    return {(file.relative_to(metrics).as_posix(), int(step)): float(value) for file, (_, value, step) in lines}


def of_trackio(run: Path, services: Path) -> Points:
    (file,) = services.glob("trackio/*.db")
    with sqlite3.connect(file) as database:
        rows = database.execute("SELECT run_name, step, metrics FROM metrics").fetchall()
    assert {name for name, *_ in rows} == {"/".join(run.resolve().parts[-5:])}
    return {(name, step): value for _, step, metrics in rows for name, value in json.loads(metrics).items()}


READERS: dict[str, Callable[[Path, Path], Points]] = {
    "tensorboard": of_tensorboard,
    "wandb": of_wandb,
    "mlflow": of_mlflow,
    "trackio": of_trackio,
}


@pytest.mark.parametrize("name", READERS)
def test_a_service_gets_what_metrics_csv_holds_and_one_run_of_two_starts(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", (tmp_path / "mlruns").as_uri())
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    monkeypatch.setenv("TRACKIO_DIR", str(tmp_path / "trackio"))  # read when it is imported
    pytest.importorskip(name)
    small = ["data.limit=60", "data.test_limit=20", "batch_size=20", "epochs=2", "device=cpu", "progress=false"]
    config = compose("classification", [*small, "loss=gce", f"run_root={tmp_path / 'runs'}", f"logger=[{name}]"])
    (run,) = train(config)
    assert (run.path / "tb").exists() == (name == "tensorboard")
    expected = {
        (f"{row.split}/{metric}", row.epoch): value
        for row in read_metrics(run.path / "metrics.csv")
        for metric, value in row.values.items()
    }
    # As after a kill: a third epoch by another process.
    (logger,) = open_loggers((name,), RunDirectory(run.path), 2)
    logger.log(2, {"test/accuracy": 0.25})
    logger.close()
    expected["test/accuracy", 2] = 0.25
    assert READERS[name](run.path, tmp_path) == {key: pytest.approx(value) for key, value in expected.items()}
    assert not any(math.isnan(value) for value in expected.values())


def test_a_service_that_is_not_there_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == "mlflow" else object())
    with pytest.raises(UserError, match=r"logger=mlflow needs another package: pip install 'seg-anl\[mlflow\]'"):
        train(compose("classification", ["logger=[wandb,mlflow]", f"run_root={tmp_path}"]))
    with pytest.raises(UserError, match=r"logger=wanbd: .*wandb"):
        train(compose("classification", ["logger=wanbd", f"run_root={tmp_path}"]))


def test_the_logger_does_not_name_a_run(tmp_path: Path) -> None:
    from classification.experiment import ClassificationExperiment

    paths = {
        ClassificationExperiment(compose("classification", [f"logger={names}", f"run_root={tmp_path}"])).run.path
        for names in ("tensorboard", "null", "[tensorboard]")
    }
    assert len(paths) == 1
