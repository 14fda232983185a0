"""Check whether a run can be continued; ``--c`` with other settings would make nnU-Net silently start a new run."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from seg_anl.records import UserError
from seg_anl.records.foreign_files import check_regular

from . import CHECKPOINT_NAMES, TEST_VARIABLE, TRAIN_VARIABLE
from .environment_settings import LOSS_VARIABLE, SOFT_VARIABLE, WEIGHTS_VARIABLE

# NumPy scalars, which the checkpoint's log contains, under the old and new name of NumPy's unpickling function.
NUMPY_NUMBERS: list[Any] = [
    *((np.float64(0).__reduce__()[0], f"numpy.{core}.multiarray.scalar") for core in ("core", "_core")),
    *(np.dtype, type(np.dtype("f4")), type(np.dtype("f8")), type(np.dtype("i8"))),
]
SET_VARIABLES = f"set {LOSS_VARIABLE}, {TRAIN_VARIABLE}, {SOFT_VARIABLE} and {WEIGHTS_VARIABLE}"


def refuse_other_settings(saved: Mapping[str, Any] | None, current: Mapping[str, Any], source: str) -> None:
    """Compare the settings saved in the checkpoint ``source`` with the current ones, part by part.

    Raises:
        UserError: naming what differs, or if the checkpoint has no settings.
    """
    if saved is None:
        raise UserError(f"{source}: has no record of its loss; it was not written by a seg_anl trainer")
    different = [
        f"{key}={saved.get(part, {}).get(key)} in the checkpoint, {current[part].get(key)} now"
        for part in current
        for key in sorted({*saved.get(part, {}), *current[part]})
        if saved.get(part, {}).get(key) != current[part].get(key)
    ]
    if different:
        raise UserError(
            f"{source} was trained with other settings ({'; '.join(different)}); "
            f"{SET_VARIABLES} as before, or start a new run without --c"
        )


def refuse_other_test(saved: str | None, current: str, source: str) -> None:
    """Check that the Dice in the checkpoint ``source`` was measured on the current test folder.

    Raises:
        UserError: if not; the mean over the last epochs would mix two test sets.
    """
    if saved not in (None, current):
        raise UserError(f"{source} was tested on {saved}; set {TEST_VARIABLE} to that folder instead of {current}")


def refuse_other_variant(results: Path, trainer: str, variant: str, suffix: str, fold: int | str) -> None:
    """Check that the run to continue exists.

    Args:
        results: nnU-Net's result folder of the data set; model folders are named ``variant + suffix``.
        trainer: name of the trainer class, the prefix of all its variants.
        variant: the variant to continue.
        suffix: ``__PLANS__CONFIGURATION``.
        fold: the fold to continue.

    Raises:
        UserError: if only runs with other settings exist.
    """

    def has_checkpoint(model: Path) -> bool:
        return any((model / f"fold_{fold}" / checkpoint).is_file() for checkpoint in CHECKPOINT_NAMES)

    if has_checkpoint(results / (variant + suffix)):
        return
    models = (*results.glob(f"{trainer}{suffix}"), *results.glob(f"{trainer}-*{suffix}"))
    others = sorted(filter(has_checkpoint, models))
    if others:
        raise UserError(
            f"nothing to continue in {results / (variant + suffix)}; found "
            f"{', '.join(path.name.removesuffix(suffix) for path in others)}: {SET_VARIABLES} as for that run, "
            "or leave out --c to start a new one"
        )


def read_nnunet_checkpoint(path: Path) -> dict[str, Any]:
    """Load a checkpoint of tensors, NumPy numbers and plain values only; nnU-Net itself would unpickle anything.

    Raises:
        UserError: for a file that is damaged or holds other objects.
    """
    check_regular(path)
    try:
        with torch.serialization.safe_globals(NUMPY_NUMBERS):
            content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # damaged files raise errors of any type
        raise UserError(f"{path}: damaged, or holds other objects than a checkpoint of nnU-Net") from error
    if not isinstance(content, dict):
        raise UserError(f"{path}: not a checkpoint of nnU-Net")
    return content
