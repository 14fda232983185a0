"""Predict whole volumes in sliding windows, and write masks in the geometry of their files."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import torch
from monai.inferers import sliding_window_inference
from omegaconf import DictConfig, OmegaConf
from torch import Tensor, nn

from seg_anl.engine.checkpoint import load_model
from seg_anl.engine.distribution import started
from seg_anl.engine.run_directory import RunDirectory
from seg_anl.engine.settings import plain
from seg_anl.records import UserError
from seg_anl.records.progress import progress_bar
from seg_anl.records.ranges import checked

from .cases import Case, image_cases, listed_images
from .files import target_name, write_labels
from .planning import Plan
from .preparation import SAME, Preparation, by_axes
from .settings import VolumeDataSettings

PLAN_FILE = "plan.json"
OVERLAP = 0.5  # of neighboring windows, as nnU-Net's
AT_ONCE = 2  # windows


def predicted_logits(model: nn.Module, image: Tensor, patch: Sequence[int], device: torch.device) -> Tensor:
    """Logits ``(heads, *S)``, on ``device``, of an image ``(C, *S)``: windows of ``patch``, weighted by a Gaussian."""
    windows: Tensor = sliding_window_inference(
        image[None].to(device), tuple(patch), AT_ONCE, model, overlap=OVERLAP, mode="gaussian"
    )
    return windows[0].float()


def predict_volumes(
    run: RunDirectory, config: DictConfig, images: Path, out: Path, *, weights: Path, device: str, overwrite: bool
) -> bool:
    """Predict every case of ``images``: a folder, a list, or a file with its channels; returns whether all were
    read.
    """
    plan = Plan.read(run.path / PLAN_FILE)
    cases = _cases(images, plan.suffixed)
    targets = {case.item: out / target_name(case.images[0], case.item) for case in cases}
    refuse_replaced(targets.values(), (path for case in cases for path in case.images), overwrite=overwrite)
    data = checked(VolumeDataSettings, plain(config.data), "data")
    preparation = Preparation(plan.frame, plan.labels, data.intensity, data.window)
    failures = []
    with started(device) as process:
        model = plan.model(config.get("model") or OmegaConf.create())
        load_model(weights, model, process.device)
        model.to(process.device).eval()
        for case in progress_bar(cases, "case"):
            try:
                stored = predicted_values(model, case, preparation, plan, process.device)
            except UserError as error:
                failures.append(str(error))
            else:
                write_labels(case.images[0], stored, targets[case.item])
    print_failures(failures)
    print(f"{len(cases) - len(failures)} mask(s) in {out}")
    return not failures


def refuse_replaced(targets: Iterable[Path], sources: Iterable[Path], *, overwrite: bool) -> None:
    """Refuse to write over an image or, unless ``overwrite``, over any file."""
    images = {os.path.realpath(source) for source in sources}  # Path.resolve fails for loops of links
    for target in targets:
        if os.path.realpath(target) in images:
            raise UserError(f"{target} is an image to predict and would be replaced; choose another folder")
        if target.exists() and not overwrite:
            raise UserError(f"{target} exists already; give --overwrite or another folder")


def print_failures(failures: Iterable[str]) -> None:
    """Print an error line for each file without a mask."""
    for failure in failures:
        print(f"seg-anl-predict: error: {' '.join(failure.split())}", file=sys.stderr)


@torch.inference_mode()
def predicted_values(
    model: nn.Module, case: Case, preparation: Preparation, plan: Plan, device: torch.device
) -> np.ndarray[tuple[int, ...], np.dtype[np.int64]]:
    """The label values ``(X, Y, Z)`` in a case's geometry; probabilities are resampled before a class is chosen."""
    if not np.allclose(own := preparation.spacing(case), plan.spacing, rtol=SAME):
        raise UserError(
            f"{case.images[0]}: voxels of {by_axes(own)} mm, but the run was trained on {by_axes(plan.spacing)} mm "
            "with data.spacing=null; resample it"
        )
    prepared = preparation.image(case)
    logits = predicted_logits(model, prepared.image, plan.patch, device)
    if not logits.isfinite().all():
        raise UserError("the network's output is not finite: the run diverged, or its checkpoint is damaged")
    indices = plan.labels.decided(prepared.restored(plan.labels.probabilities(logits).cpu()))
    return np.array(plan.labels.values)[indices.numpy()]


def _cases(images: Path, suffixed: bool) -> list[Case]:
    if images.name.lower().endswith(".json"):
        return listed_images(images)
    if not images.exists():
        raise UserError(f"{images}: no such file or folder")
    return [Case(item, tuple(paths)) for item, paths in image_cases(images, suffixed=suffixed).items()]
