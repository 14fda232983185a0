"""Whether a run may be continued: with ``--c`` under other settings nnU-Net would quietly begin a new one."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from seg_anl.records import UserError
from seg_anl.records.foreign_files import check_regular

from . import CHECKPOINT_NAMES, TRAIN_VARIABLE
from .environment_settings import LOSS_VARIABLE, SOFT_VARIABLE, WEIGHTS_VARIABLE

AS_THEY_WERE = f"set {LOSS_VARIABLE}, {TRAIN_VARIABLE}, {SOFT_VARIABLE} and {WEIGHTS_VARIABLE} as"


def refuse_other_settings(found: Mapping[str, Any] | None, now: Mapping[str, Any], source: str) -> None:
    """Compare the settings in the checkpoint ``source`` with those of ``now``, both by part.

    Raises:
        UserError: naming what differs, or when the checkpoint has none.
    """
    if found is None:
        raise UserError(f"{source}: holds no record of its loss; it was not written by a seg_anl trainer")
    different = [
        f"{key}={found.get(part, {}).get(key)} there, {now[part].get(key)} now"
        for part in now
        for key in sorted({*found.get(part, {}), *now[part]})
        if found.get(part, {}).get(key) != now[part].get(key)
    ]
    if different:
        raise UserError(
            f"{source} was trained under other settings ({'; '.join(different)}); "
            f"{AS_THEY_WERE} they were, or begin anew without --c"
        )


def refuse_other_variant(results: Path, trainer: str, variant: str, place: str, fold: int | str) -> None:
    """Look for the run to continue among the models of a data set.

    Args:
        results: nnU-Net's folder of the data set's models, whose names are a variant with ``place`` appended.
        trainer: name of the class, with which the names of all its variants begin.
        variant: the one to continue.
        place: ``__PLANS__CONFIGURATION``.
        fold: the fold to continue.

    Raises:
        UserError: when only runs of other settings have begun.
    """

    def begun(model: Path) -> bool:
        return any((model / f"fold_{fold}" / checkpoint).is_file() for checkpoint in CHECKPOINT_NAMES)

    if begun(results / (variant + place)):
        return
    others = sorted(filter(begun, (*results.glob(f"{trainer}{place}"), *results.glob(f"{trainer}-*{place}"))))
    if others:
        raise UserError(
            f"nothing to continue in {results / (variant + place)}; the run there is "
            f"{', '.join(path.name.removesuffix(place) for path in others)}: {AS_THEY_WERE} it has them, "
            "or leave out --c to begin a new one"
        )


def read_nnunet_checkpoint(path: Path, device: torch.device) -> dict[str, Any]:
    """nnU-Net's checkpoint, of tensors, NumPy's numbers and plain values alone: nnU-Net itself would execute it.

    Raises:
        UserError: for a file that is damaged or holds more.
    """
    check_regular(path)
    number = np.float64(0).__reduce__()[0]
    try:
        with torch.serialization.safe_globals([number, np.dtype, type(np.dtype("f4")), type(np.dtype("f8"))]):
            content = torch.load(path, map_location=device, weights_only=True)
    except Exception as error:  # damaged files fail in any way
        raise UserError(f"{path}: damaged, or more than a checkpoint of nnU-Net") from error
    if not isinstance(content, dict):
        raise UserError(f"{path}: not a checkpoint of nnU-Net")
    return content
