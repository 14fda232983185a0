"""A run's report.png: its worst and best cases with their masks, and Dice over the epochs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure  # no display, no global state
from matplotlib.gridspec import GridSpec
from matplotlib.ticker import MaxNLocator
from torch import Tensor

from data_prep.drawing import CLEAN_COLOR, NOISY_COLOR, PREDICTED_COLOR, save_picture
from data_prep.pictures import IGNORED
from seg_anl.records import MetricRow

from .datasets import ImageSet
from .dice import dice_per_image

CASES = 3


@dataclass(frozen=True)
class Cases:
    """Some images of one split and their predictions."""

    title: str
    clean: ImageSet
    noisy: ImageSet | None  # None for test images
    predicted: Tensor
    dice: Tensor


def worst_and_best(
    title: str,
    clean: ImageSet,
    noisy: ImageSet | None,
    predicted: Tensor,
    classes: int,
    among: Sequence[int] | None = None,
) -> Cases:
    """The three worst and the three best cases, by Dice against the clean masks, ``among`` some indices (default:
    all).
    """
    candidates = torch.tensor(list(among) if among else range(len(clean)))
    dice = dice_per_image(predicted[candidates].cpu(), clean.masks[candidates], classes)
    order = dice.argsort(stable=True)
    count = min(CASES, max(1, len(order) // 2))
    chosen = torch.cat((order[:count], order[-count:])) if len(order) > 1 else order
    index = candidates[chosen]

    def take(data: ImageSet) -> ImageSet:
        return ImageSet([data.items[i] for i in index.tolist()], data.images[index], data.masks[index], {})

    return Cases(title, take(clean), None if noisy is None else take(noisy), predicted[index].cpu(), dice[chosen])


def save_report(path: Path, title: str, groups: Sequence[Cases], rows: Sequence[MetricRow]) -> None:
    """Draw the image, clean mask, noisy mask (if any) and prediction of every case, and Dice over the epochs."""
    columns = max(len(group.dice) for group in groups)
    heights = [row for group in groups for row in [1.0] * (4 if group.noisy is not None else 3)]
    figure = Figure(figsize=(1.55 * columns + 1.2, 1.55 * len(heights) + 3.4), layout="constrained")
    figure.suptitle(title, fontsize=12)
    grid = figure.add_gridspec(len(heights) + 1, columns, height_ratios=[*heights, 2.0])
    line = 0
    for group in groups:
        line = _draw_cases(figure, grid, line, group)
    curves = (
        ("test", "dice", "test images, clean masks", CLEAN_COLOR, "-"),
        ("train", "dice", "training images, the noisy masks", NOISY_COLOR, "--"),
        ("train", "dice_clean", "training images, clean masks", "#009E73", ":"),
    )
    axes = figure.add_subplot(grid[len(heights), :])
    for split, name, label, color, style in curves:
        draw_curve(axes, rows, split, name, label=label, color=color, linestyle=style)
    save_picture(figure, path)


def draw_panel(
    axes: Axes, image: Tensor, filled: tuple[Tensor, str] | None = None, outline: Tensor | None = None
) -> None:
    """Draw an image ``(3, H, W)``, a mask ``(H, W)`` over it in a color, and the outline of another in blue."""
    axes.set_xticks([])
    axes.set_yticks([])
    axes.imshow(image.permute(1, 2, 0).numpy())
    if filled is not None and filled[0].any():
        mask, color = ((filled[0] > 0) & (filled[0] != IGNORED)).numpy(), filled[1]
        axes.contourf(mask, levels=[0.5, 1.5], colors=[color], alpha=0.35)
        axes.contour(mask, levels=[0.5], colors=[color], linewidths=1.4)
    if outline is not None and outline.any():
        axes.contour(outline.numpy() > 0, levels=[0.5], colors=[CLEAN_COLOR], linewidths=1.0)


def draw_curve(axes: Axes, rows: Sequence[MetricRow], split: str, name: str, **style: Any) -> None:
    """Plot one metric over the epochs, counted from 1, if there is any."""
    points = [(row.epoch + 1, row.values[name]) for row in rows if row.split == split and name in row.values]
    if points:
        axes.plot(*zip(*points, strict=True), marker="." if len(points) < 30 else None, linewidth=1.6, **style)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_xlabel("epoch")
    axes.set_ylabel("Dice")
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)


def _draw_cases(figure: Figure, grid: GridSpec, line: int, group: Cases) -> int:
    panels: list[tuple[str, tuple[Tensor, str] | None]] = [
        ("image", None),
        ("clean mask", (group.clean.masks, CLEAN_COLOR)),
    ]
    if group.noisy is not None:
        panels.append(("noisy mask\n(trained on)", (group.noisy.masks, NOISY_COLOR)))
    panels.append(("prediction", (group.predicted, PREDICTED_COLOR)))
    for row, (name, layer) in enumerate(panels):
        for column in range(len(group.dice)):
            axes = figure.add_subplot(grid[line + row, column])
            filled = None if layer is None else (layer[0][column], layer[1])
            outline = group.clean.masks[column] if name == "prediction" else None
            draw_panel(axes, group.clean.images[column], filled, outline)
            if row == 0:
                which = "worst" if column < len(group.dice) / 2 else "best"
                axes.set_title(f"{which}: {group.dice[column]:.2f}\n{group.clean.items[column]}", fontsize=7)
            if column == 0:
                axes.set_ylabel(f"{group.title}\n{name}" if row == 0 else name, fontsize=8)
    return line + len(panels)
