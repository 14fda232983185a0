"""Small real-looking data sets on the disk."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image


@pytest.fixture(autouse=True, scope="module")
def _quick_runs(_no_pictures_of_runs: None) -> None:
    """For all tests of this folder."""


def write_discs(root: Path, count: int = 12, foreground: int = 255) -> Path:
    """A folder of ``images/`` and ``masks/``: bright discs on noise, sizes from 40 to 51 pixels."""
    (root / "images").mkdir(parents=True)
    (root / "masks").mkdir()
    generator = np.random.default_rng(0)
    for i in range(count):
        height, width = 40 + i % 12, 48
        rows, columns = np.mgrid[:height, :width]
        disc = (rows - 15 - i % 9) ** 2 + (columns - 20) ** 2 < (6 + i % 5) ** 2
        image = generator.integers(0, 120, (height, width, 3), dtype=np.uint8)
        image[disc] += 120
        Image.fromarray(image).save(root / f"images/a{i:02d}.png")
        Image.fromarray(disc.astype(np.uint8) * foreground).save(root / f"masks/a{i:02d}.png")
    return root


@pytest.fixture
def make_folder(tmp_path: Path) -> Callable[..., Path]:
    """``write_discs`` in a folder of the test."""
    return lambda *options, **more: write_discs(tmp_path / "data", *options, **more)
