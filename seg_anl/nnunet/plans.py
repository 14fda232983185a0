"""Add a configuration with a given batch and patch size to nnU-Net's plans, without importing nnU-Net."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from seg_anl.records import UserError, write_json
from seg_anl.records.foreign_files import read_json


def dataset_folder(root: Path, dataset: str) -> Path:
    """The folder of a dataset, ``501`` or ``Dataset501_NAME``, below ``root``.

    Raises:
        UserError: if there is none, or more than one with that number.
    """
    pattern = f"Dataset{int(dataset):03d}_*" if dataset.isdecimal() else dataset
    candidates = sorted(root.glob(pattern)) if dataset.isdecimal() else [root / dataset]
    folders = [path for path in candidates if path.is_dir()]
    if len(folders) != 1:
        names = ", ".join(path.name for path in folders) or "none"
        raise UserError(f"{root}: expected one folder {pattern}, found {names}; run nnUNetv2_plan_and_preprocess first")
    return folders[0]


def add_configuration(
    plans: dict[str, Any], name: str, base: str, batch_size: int, patch_size: Sequence[int]
) -> dict[str, Any]:
    """The plans with a configuration ``name`` that inherits everything but batch and patch size from ``base``.

    Raises:
        UserError: if ``base`` is unknown, ``name`` is taken, or the patch size is not a multiple of the network's
            total stride.
    """
    configurations = plans["configurations"]
    added = {"inherits_from": base, "batch_size": batch_size, "patch_size": list(patch_size)}
    inherited = _resolve(configurations, base)
    if configurations.get(name, added) != added:
        raise UserError(f"the plans already have a configuration {name!r} with other values; choose another --name")
    if len(inherited["patch_size"]) != len(patch_size):
        raise UserError(
            f"configuration {base!r} has patches of {len(inherited['patch_size'])} dimensions, got {len(patch_size)}"
        )
    strides = inherited.get("architecture", {}).get("arch_kwargs", {}).get("strides")
    if strides is not None:
        factors = [math.prod(stage[axis] for stage in strides) for axis in range(len(patch_size))]
        if any(size % factor for size, factor in zip(patch_size, factors, strict=True)):
            raise UserError(
                f"the network of {base!r} needs a patch size divisible by {factors}, got {list(patch_size)}"
            )
        if list(patch_size) == factors:  # instance norm needs more than one pixel
            smallest = [*factors[:-1], 2 * factors[-1]]
            raise UserError(
                f"the network of {base!r} reduces a patch of {list(patch_size)} to a single pixel; "
                f"the smallest patch size is {' '.join(map(str, smallest))}"
            )
    return {**plans, "configurations": {**configurations, name: added}}


def check_configuration(path: Path, name: str) -> None:
    """Check that a plans file has the configuration ``name``.

    Raises:
        UserError: if not, or if the file is missing or damaged.
    """
    with _read(path) as plans:
        _resolve(plans["configurations"], name)


def add_to_plans_file(path: Path, name: str, base: str, batch_size: int, patch_size: Sequence[int]) -> list[float]:
    """Apply :func:`add_configuration` to a plans file, and return the median image size of ``base`` in pixels.

    Raises:
        UserError: as :func:`add_configuration`, or if the file is missing or damaged.
    """
    with _read(path) as plans:
        changed = add_configuration(plans, name, base, batch_size, patch_size)
    if changed != plans:
        write_json(path, changed)
    median: list[float] = _resolve(changed["configurations"], base).get("median_image_size_in_voxels", [])
    return median


@contextmanager
def _read(path: Path) -> Iterator[Any]:
    """A plans file; errors of values that are missing or of another type name it."""
    if not path.exists():
        raise UserError(f"{path}: no such plans; run nnUNetv2_plan_and_preprocess first")
    try:
        yield read_json(path)
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise UserError(f"{path}: not a plans file of nnU-Net: {error!r}") from error


def _resolve(configurations: dict[str, Any], name: str) -> dict[str, Any]:
    """A configuration with its inherited values."""
    if name not in configurations:
        raise UserError(f"the plans have no configuration {name!r}; known: {', '.join(sorted(configurations))}")
    configuration = configurations[name]
    parent = configuration.get("inherits_from")
    others = {key: value for key, value in configurations.items() if key != name}
    return {**_resolve(others, parent), **configuration} if parent else dict(configuration)
