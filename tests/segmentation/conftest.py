"""Small real-looking data sets on the disk."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image


@pytest.fixture
def make_folder(tmp_path: Path) -> Callable[..., Path]:
    """A folder of ``images/`` and ``masks/``: bright discs on noise, sizes from 40 to 51 pixels."""

    def make(count: int = 12, foreground: int = 255) -> Path:
        root = tmp_path / "data"
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

    return make
