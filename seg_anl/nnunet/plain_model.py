"""Export a trained model for plain nnU-Net, which then loads it without this package."""

from __future__ import annotations

import os
import shutil
import tempfile
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import torch

from seg_anl.records import UserError, make_directory, written_aside
from seg_anl.records.atomic import remove_partial

from .lookup import quiet

PLAIN = "nnUNetTrainer"
FILES = ("plans.json", "dataset.json", "dataset_fingerprint.json")  # the last is optional for prediction
CHECKPOINTS = ("checkpoint_final.pth", "checkpoint_best.pth")
# The keys that nnU-Net's predictor reads; the states of the optimizer and the loss are dropped.
KEYS = ("network_weights", "init_args", "inference_allowed_mirroring_axes")
# NumPy scalars, which the checkpoint's log contains, under the old and new name of NumPy's unpickling function.
NUMPY_NUMBERS: list[Any] = [
    *((np.float64(0).__reduce__()[0], f"numpy.{core}.multiarray.scalar") for core in ("core", "_core")),
    *(np.dtype, type(np.dtype("f4")), type(np.dtype("f8")), type(np.dtype("i8"))),
]


def export_plain(model: Path, out: Path) -> list[str]:
    """Export a trained model, ``Dataset/TRAINER__PLANS__CONFIGURATION``, for plain nnU-Net.

    Args:
        model: a folder with plans.json, dataset.json and finished ``fold_*`` folders.
        out: a new folder (for ``nnUNetv2_predict_from_modelfolder``) or, with the suffix ``.zip``, an archive for
            ``nnUNetv2_install_pretrained_model_from_zip``.

    Returns:
        The names of the exported folds.

    Raises:
        UserError: if ``model`` is not a trained model, ``out`` exists, or plain nnU-Net builds another network. Nothing
            is left behind then.
    """
    if os.path.lexists(out):
        raise UserError(f"{out} already exists; choose another path")
    folds = sorted(path.parent for path in model.glob(f"fold_*/{CHECKPOINTS[0]}"))
    parts = model.resolve().name.split("__")
    if len(parts) != 3 or not folds or not all((model / name).is_file() for name in FILES[:2]):
        raise UserError(
            f"{model}: not a trained model; expected TRAINER__PLANS__CONFIGURATION with {FILES[0]}, {FILES[1]} and "
            f"a fold_N/{CHECKPOINTS[0]}"
        )
    remove_partial(make_directory(out.parent), below=False)
    with tempfile.TemporaryDirectory(prefix=".partial-", dir=out.parent) as scratch:
        plain = Path(scratch) / "__".join([PLAIN, *parts[1:]])
        _write_model(model, folds, plain)
        _check_weights(plain, [fold.name.removeprefix("fold_") for fold in folds])
        if out.suffix == ".zip":
            with written_aside(out) as aside:
                _zip(plain, aside, f"{model.resolve().parent.name}/{plain.name}")
        else:
            os.replace(plain, out)
    return [fold.name for fold in folds]


def _write_model(model: Path, folds: list[Path], plain: Path) -> None:
    plain.mkdir()
    for name in FILES:
        if (model / name).is_file():
            shutil.copyfile(model / name, plain / name)
    for fold in folds:
        (plain / fold.name).mkdir()
        for name in CHECKPOINTS:
            if (fold / name).is_file():
                checkpoint = _read_checkpoint(fold / name)
                kept = {key: checkpoint[key] for key in KEYS if key in checkpoint}
                torch.save({**kept, "trainer_name": PLAIN}, plain / fold.name / name)


def _read_checkpoint(path: Path) -> dict[str, Any]:
    try:
        with torch.serialization.safe_globals(NUMPY_NUMBERS):
            checkpoint = torch.load(path, map_location="cpu", weights_only=True)
        if not checkpoint.keys() >= {*KEYS[:2], "trainer_name"}:
            raise ValueError("keys are missing")
    except Exception as error:  # damaged files raise errors of any type
        raise UserError(f"{path}: not a checkpoint of nnU-Net: {str(error).strip().splitlines()[0]}") from error
    return dict(checkpoint)


def _check_weights(plain: Path, folds: list[str]) -> None:
    """Check that plain nnU-Net builds the network and loads the weights of every fold."""
    with quiet():
        from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor

        for fold in folds:
            predictor = nnUNetPredictor(device=torch.device("cpu"), perform_everything_on_device=False)
            try:
                predictor.initialize_from_trained_model_folder(str(plain), [fold])
            except RuntimeError as error:
                reason = str(error).strip().splitlines()[0]
                raise UserError(f"{PLAIN} builds a different network than this model's trainer: {reason}") from error


def _zip(folder: Path, target: Path, prefix: str) -> None:
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in sorted(folder.rglob("*")):
            if file.is_file():
                archive.write(file, f"{prefix}/{file.relative_to(folder).as_posix()}")
