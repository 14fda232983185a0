"""Small real NIfTI files: a bright ball and a dim one, with headers as scanners write them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import nibabel
import numpy as np


def affine_of(spacing: Sequence[float] = (1, 1, 1), axes: str = "RAS", angle: float = 0.0) -> np.ndarray:
    """Voxels of ``spacing`` (mm), stored along ``axes``, turned by ``angle`` (degrees) about the last of them."""
    turn = np.eye(3)
    c, s = np.cos(np.radians(angle)), np.sin(np.radians(angle))
    turn[:2, :2] = [[c, -s], [s, c]]
    stored = np.zeros((3, 3))
    for column, letter in enumerate(axes):
        row = next(i for i, pair in enumerate(("RL", "AP", "SI")) if letter in pair)
        stored[row, column] = 1 if letter in "RAS" else -1
    affine = np.eye(4)
    affine[:3, :3] = turn @ stored @ np.diag(spacing)
    affine[:3, 3] = (-20.5, 7.25, 3.0)
    return affine


def balls(
    shape: Sequence[int], affine: np.ndarray, seed: int, *, ignore: int | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """An image and its labels 0, 1, 2: balls of 6 and 4 mm; with ``ignore`` a slab of that value at one end."""
    generator = np.random.default_rng(seed)
    steps = np.linalg.norm(affine[:3, :3], axis=0)
    places = np.stack(np.meshgrid(*(np.arange(n) * d for n, d in zip(shape, steps, strict=True)), indexing="ij"), -1)
    middle = np.array(shape) * steps / 2 + generator.uniform(-2, 2, 3)
    labels = np.zeros(shape, np.uint8)
    labels[np.linalg.norm(places - middle, axis=-1) < 6] = 1
    labels[np.linalg.norm(places - middle - (7, 0, 0), axis=-1) < 4] = 2
    image = generator.normal(100, 10, shape) + 80 * (labels == 1) + 40 * (labels == 2)
    if ignore is not None:
        labels[..., :3] = ignore
    return image.astype(np.float32), labels


def save(path: Path, values: np.ndarray, affine: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = nibabel.Nifti1Image(values, affine)
    image.set_sform(affine, 2)
    image.set_qform(affine, 1)
    nibabel.save(image, path)
    return path


def nnunet_dataset(
    root: Path, count: int = 6, *, labels: dict | None = None, ignore: int | None = None, **more: object
) -> Path:
    """A raw dataset of oblique, anisotropic volumes, each stored along other axes."""
    for number in range(count):
        affine = affine_of((1, 1, 2), ("RAS", "LPS", "PRS")[number % 3], angle=12)
        image, mask = balls((24 + number % 2, 24, 14), affine, number, ignore=ignore)
        save(root / f"imagesTr/case {number}_0000.nii.gz", image, affine)
        save(root / f"labelsTr/case {number}.nii.gz", mask, affine)
    given = labels or {"background": 0, "ball": 1, "moon": 2}
    if ignore is not None:
        given = {**given, "ignore": ignore}
    description = {
        "channel_names": {"0": "MRI"},
        "labels": given,
        "file_ending": ".nii.gz",
        "numTraining": count,
        **more,
    }
    (root / "dataset.json").write_text(json.dumps(description))
    return root
