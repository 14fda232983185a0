"""Scores of predicted volumes: Dice of each structure, and on request surface distances in mm."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from monai.metrics import compute_hausdorff_distance, compute_surface_dice
from torch import Tensor

from seg_anl.records import write_csv

from .labels import IGNORED, Labels

COMMON, PREDICTED, TRUE, HD95, NSD = range(5)


def case_scores(
    predicted: Tensor, truth: Tensor, labels: Labels, spacing: Sequence[float], tolerance: float | None
) -> Tensor:
    """``(structures, 5)`` float64 of one case: voxels in common, predicted and true; HD95 in mm; surface Dice.

    Unlabeled voxels do not count. HD95 is NaN for a structure missing in either mask; the surface Dice is 1 if it is
    missing in both and 0 if in one.

    Args:
        predicted, truth: class indices ``(*S)``.
        labels: with the structures.
        spacing: mm along each axis.
        tolerance: of the surface Dice in mm; None: no distances (NaN).
    """
    labeled = truth != IGNORED
    rows = []
    for number in range(len(labels.names)):
        p, t = (labels.structure(each, number) & labeled for each in (predicted, truth))
        counts = [float((p & t).sum()), float(p.sum()), float(t.sum())]
        rows.append([*counts, *((math.nan, math.nan) if tolerance is None else _distances(p, t, spacing, tolerance))])
    return torch.tensor(rows, dtype=torch.float64)


def dice_of(scores: Tensor) -> Tensor:
    """Dice of :func:`case_scores` ``(..., 5)``: 1 for a structure missing in both masks, 0 if in one."""
    total = scores[..., PREDICTED] + scores[..., TRUE]
    return torch.where(total > 0, 2 * scores[..., COMMON] / total.clamp(min=1), 1.0)


def mean_scores(scores: Tensor, labels: Labels) -> dict[str, float]:
    """The metrics of the cases ``(N, structures, 5)``.

    ``dice``: mean over cases and structures; ``dice_pooled``: one ratio over all voxels, mean over structures;
    ``dice_NAME`` of each of several structures; ``hd95`` (mean where defined) and ``nsd``.
    """
    dice = dice_of(scores)
    found = {"dice": dice.mean().item(), "dice_pooled": dice_of(scores.sum(dim=0)).mean().item()}
    if len(labels.names) > 1:
        by_name = zip(labels.names, dice.mean(dim=0).tolist(), strict=True)
        found |= {f"dice_{name}": value for name, value in by_name if name != "pooled"}  # whose key is taken
    for name, column in (("hd95", HD95), ("nsd", NSD)):
        if not scores[..., column].isnan().all():
            found[name] = scores[..., column].nanmean().item()
    return found


def write_cases(path: Path, items: Sequence[str], scores: Tensor, labels: Labels) -> None:
    """Write a CSV table with a row for each case and structure."""
    dice = dice_of(scores)
    rows = [
        {
            "item": item,
            "structure": name,
            "dice": dice[i, k].item(),
            "hd95": _blank(scores[i, k, HD95].item()),
            "nsd": _blank(scores[i, k, NSD].item()),
            "predicted_voxels": int(scores[i, k, PREDICTED]),
            "true_voxels": int(scores[i, k, TRUE]),
        }
        for i, item in enumerate(items)
        for k, name in enumerate(labels.names)
    ]
    write_csv(path, list(rows[0]), rows)


def _distances(predicted: Tensor, truth: Tensor, spacing: Sequence[float], tolerance: float) -> tuple[float, float]:
    """HD95 and surface Dice of masks ``(*S)``."""
    if not predicted.any() or not truth.any():
        return math.nan, float(not predicted.any() and not truth.any())
    p, t = (each[None, None].cpu() for each in _cropped(predicted, truth))
    steps = list(map(float, spacing))  # MONAI needs one type
    hd95 = compute_hausdorff_distance(p, t, include_background=True, percentile=95, spacing=steps)
    nsd = compute_surface_dice(p, t, class_thresholds=[tolerance], include_background=True, spacing=steps)
    return hd95.item(), nsd.item()


def _cropped(*masks: Tensor) -> list[Tensor]:
    """Masks cropped to their common box with a margin, enough for surfaces."""
    corners = torch.stack(masks).any(dim=0).nonzero()
    low, high = (corners.amin(dim=0) - 1).clamp(min=0).tolist(), (corners.amax(dim=0) + 2).tolist()
    return [mask[tuple(slice(a, b) for a, b in zip(low, high, strict=True))] for mask in masks]


def _blank(value: float) -> float | str:
    return "" if np.isnan(value) else value
