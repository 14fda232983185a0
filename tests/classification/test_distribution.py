"""Several torchrun processes train like one process with the same global batch."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from seg_anl.records import read_metrics
from tests.processes import run_groups

PROGRAM = """
import sys
import torch
from classification import accuracies
from classification.networks import MODELS, Architecture
from classification.experiment import train
from seg_anl.engine.command import compose

# Without batch norm, whose statistics are per process.
def network(num_classes, channels, size):
    return torch.nn.Sequential(
        torch.nn.Conv2d(channels, 6, 3), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Linear(6 * 36, num_classes)
    )

predict = accuracies.predict

def counted(model, batches, **options):
    held = list(batches)
    print("evaluates", sum(map(len, held)))
    return predict(model, held, **options)

accuracies.predict = counted
MODELS["unnormalized"] = Architecture(network, 0)
settings = ["model.name=unnormalized", "data.limit=241", "data.test_limit=61", "batch_size=40", "epochs=3"]
settings += ["optim.clip_norm=1.0", "optim.l1=1e-4", "noise.rate=0.4", "progress=false", "device=cpu"]
settings += ["augmentation.crop_padding=1", "augmentation.flip=0.5", "record=[probabilities,features]"]
train(compose("classification", [*settings, "run_dir=" + sys.argv[1], *sys.argv[2:]]))
"""


@pytest.mark.parametrize(
    "settings", [["loss=anl_ce"], ["loss=ce", "method=co_teaching", "record=[]"], ["loss=ce", "method=forward"]]
)
def test_two_processes_train_and_measure_like_one(tmp_path: Path, settings: list[str]) -> None:
    outputs, _ = run_groups(PROGRAM, *((count, [str(tmp_path / str(count)), *settings]) for count in (2, 1)))
    evaluated = [{int(line.split()[1]) for line in output.splitlines() if "evaluates" in line} for output in outputs]
    assert evaluated == [{30, 120}, {31, 121}]  # of 61 test and 241 training samples
    one, two = (torch.load(tmp_path / count / "checkpoints/last.pt", weights_only=True) for count in ("1", "2"))
    for key, value in one["model"].items():
        torch.testing.assert_close(value, two["model"][key], rtol=1e-5, atol=1e-6)
    rows, shared = (read_metrics(tmp_path / count / "metrics.csv") for count in ("1", "2"))
    assert {(row.epoch, row.split) for row in rows} == {(e, split) for e in range(3) for split in ("test", "train")}
    for row, other in zip(rows, shared, strict=True):
        assert (row.epoch, row.split) == (other.epoch, other.split)
        # The training loss is averaged over processes too.
        assert other.values == pytest.approx(row.values, rel=1e-5, abs=1e-6)
    for path in (tmp_path / "1/records").rglob("*.np[yz]"):
        alone, together = (np.load(tmp_path / count / path.relative_to(tmp_path / "1")) for count in ("1", "2"))
        names = alone.files if path.suffix == ".npz" else [...]
        for name in names:
            np.testing.assert_allclose(together[name], alone[name], rtol=1e-3, atol=1e-5)


def test_fewer_test_samples_than_processes_are_refused_before_training(tmp_path: Path) -> None:
    refused = PROGRAM.replace("train(compose", "from seg_anl.records import UserError\ntry:\n    train(compose") + (
        "except UserError as error:\n    print(error)\n"
    )
    (outputs,) = run_groups(refused, (2, [str(tmp_path / "run"), "data.test_limit=1"]))
    for output in outputs:
        assert output.splitlines()[-1] == "1 image(s) to evaluate are too few for 2 processes"
