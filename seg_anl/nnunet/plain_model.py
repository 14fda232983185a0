"""Export a trained model for plain nnU-Net, which then loads it without this package."""

from __future__ import annotations

import os
import shutil
import zipfile
from pathlib import Path

import torch

from seg_anl.records import UserError, make_directory, written_aside
from seg_anl.records.atomic import remove_partial, scratch_folder
from seg_anl.records.errors import reason_of

from .continuation import read_nnunet_checkpoint
from .lookup import quiet

PLAIN = "nnUNetTrainer"
FILES = ("plans.json", "dataset.json", "dataset_fingerprint.json")  # the last is optional for prediction
CHECKPOINTS = ("checkpoint_final.pth", "checkpoint_best.pth")
# The keys that nnU-Net's predictor reads; the states of the optimizer and the loss are dropped.
KEYS = ("network_weights", "init_args", "inference_allowed_mirroring_axes")


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
    with scratch_folder(out.parent) as scratch:
        plain = scratch / "__".join([PLAIN, *parts[1:]])
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
                checkpoint = read_nnunet_checkpoint(fold / name)
                if missing := {*KEYS[:2], "trainer_name"} - checkpoint.keys():
                    raise UserError(
                        f"{fold / name}: not a checkpoint of nnU-Net: it lacks {', '.join(sorted(missing))}"
                    )
                kept = {key: checkpoint[key] for key in KEYS if key in checkpoint}
                torch.save({**kept, "trainer_name": PLAIN}, plain / fold.name / name)


def _check_weights(plain: Path, folds: list[str]) -> None:
    """Check that plain nnU-Net builds the network and loads the weights of every fold."""
    with quiet():
        from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor

        for fold in folds:
            predictor = nnUNetPredictor(device=torch.device("cpu"), perform_everything_on_device=False)
            try:
                predictor.initialize_from_trained_model_folder(str(plain), [fold])
            except RuntimeError as error:
                raise UserError(
                    f"{PLAIN} builds a different network than this model's trainer: {reason_of(error)}"
                ) from error


def _zip(folder: Path, target: Path, prefix: str) -> None:
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in sorted(folder.rglob("*")):
            if file.is_file():
                archive.write(file, f"{prefix}/{file.relative_to(folder).as_posix()}")
