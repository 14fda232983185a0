"""The training bundle of docs/python.md, run by MONAI's own command on volumes."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
import yaml
from monai.networks.nets import UNet

from tests.processes import Process, module
from tests.segmentation.volume_files import affine_of, balls, save

from .conftest import blocks

pytest.importorskip("ignite")


def test_monais_trainer_learns_by_our_loss(root: Path, tmp_path: Path) -> None:
    ((_, written),) = blocks(root / "docs" / "python.md", "yaml")
    (tmp_path / "train.yaml").write_text(written, encoding="utf-8")
    for number in range(4):
        image, label = balls((32, 32, 32), affine_of(), number)
        for folder, values in (("imagesTr", image), ("labelsTr", label)):
            save(tmp_path / "DATA" / folder / f"ball_{number}.nii.gz", values, affine_of())
    run = module("monai.bundle", "run", "--config_file", "train.yaml", "--epochs", 6)
    status, output, errors = Process(run, tmp_path).ended()
    assert status == 0, errors
    losses = [float(value) for value in re.findall(r"loss: (\d+\.\d+)", output + errors)]
    assert len(losses) == 12
    assert losses[-1] < 0.9 * losses[0]
    (checkpoint,) = (tmp_path / "model").iterdir()
    network = UNet(**{key: value for key, value in yaml.safe_load(written)["network"].items() if key != "_target_"})
    network.load_state_dict(torch.load(checkpoint, weights_only=True))
