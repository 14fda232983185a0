"""Masks, labels and folders that several tests use."""

import sys

import numpy as np
import pytest
from PIL import Image


def ellipse(shape, radii, center=None):
    """A filled ellipse or ellipsoid as booleans."""
    center = [(length - 1) / 2 for length in shape] if center is None else center
    grid = np.ogrid[tuple(slice(length) for length in shape)]
    return sum(((g - c) / r) ** 2 for g, c, r in zip(grid, center, radii, strict=True)) <= 1


@pytest.fixture
def mask_folder(tmp_path):
    """Twelve PNG masks of 0 and 255, some in a nested folder."""
    folder = tmp_path / "masks"
    (folder / "nested").mkdir(parents=True)
    for number in range(12):
        mask = ellipse((72, 80), (9 + number, 24 - number), (36, 40 + number % 3))
        name = f"nested/case_{number}.png" if number % 3 == 0 else f"case_{number}_segmentation.png"
        Image.fromarray(mask.astype(np.uint8) * 255).save(folder / name)
    return folder


@pytest.fixture
def command(monkeypatch, capsys):
    """Run a console command in this process: returns exit status, standard output and standard error."""

    def run(main, *arguments):
        monkeypatch.setattr(sys, "argv", ["command", *map(str, arguments)])
        try:
            main()
            status = 0
        except SystemExit as leaving:
            status = leaving.code
        captured = capsys.readouterr()
        return status, captured.out, captured.err

    return run


@pytest.fixture
def labels():
    return np.random.RandomState(0).permutation(np.arange(600) % 10).astype(np.uint8)


@pytest.fixture
def source(tmp_path, labels):
    """An .npz as the classification data sets have it, with test labels that nothing may touch."""
    random = np.random.RandomState(1)
    path = tmp_path / "data.npz"
    pictures = random.randint(0, 256, (600, 6, 6, 3)).astype(np.uint8)
    np.savez(path, x_train=pictures, y_train=labels, x_test=pictures[:50], y_test=labels[:50])
    return path
