"""What a resumed run knows of its earlier epochs."""

from __future__ import annotations

import math
from pathlib import Path

import torch

from seg_anl.engine.checkpoint import read_checkpoint
from seg_anl.engine.distribution import Process
from seg_anl.engine.ledger import Ledger
from seg_anl.engine.run_directory import RunDirectory

CPU = torch.device("cpu")


def test_an_epoch_without_a_headline_does_not_hide_the_best_one_after_a_resume(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path)
    (tmp_path / "checkpoints").mkdir()

    def resumed() -> Ledger:
        return Ledger(run, ("test", "dice"), {}, Process(CPU), ())

    first = resumed()
    first.close_epoch(0, {"test": {"dice": math.nan}}, checkpoint=True)
    first.close_epoch(1, {"test": {"dice": 0.5}}, checkpoint=True)
    second = resumed()
    assert second.best == first.best == 0.5
    second.close_epoch(2, {"test": {"dice": 0.6}}, checkpoint=True)
    assert read_checkpoint(run.best, CPU)["epoch"] == 3
