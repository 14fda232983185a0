"""The training bundle of docs/python.md, run by MONAI's own command on volumes."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml
from monai.networks.nets import UNet

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
    command = [sys.executable, "-m", "monai.bundle", "run", "--config_file", "train.yaml", "--epochs", "12"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    losses = [float(value) for value in re.findall(r"loss: (\d+\.\d+)", done.stdout + done.stderr)]
    assert len(losses) == 24
    assert losses[-1] < 0.9 * losses[0]
    (checkpoint,) = (tmp_path / "model").iterdir()
    network = UNet(**{key: value for key, value in yaml.safe_load(written)["network"].items() if key != "_target_"})
    network.load_state_dict(torch.load(checkpoint, weights_only=True))
