"""Pictures that commands write beside their tables: no display needed, the same bytes each time."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seg_anl.records import written_aside

# Blue, orange and yellow of Okabe & Ito: distinct for color-blind readers and in gray.
CLEAN_COLOR, NOISY_COLOR, PREDICTED_COLOR = "#0072B2", "#D55E00", "#F0E442"


def panels(lines: int, columns: int, width: float, height: float) -> tuple[Any, NDArray[Any]]:
    """A figure of ``width`` x ``height`` inches, and its axes ``(lines, columns)`` without frames."""
    from matplotlib.figure import Figure  # no display, no global state

    figure = Figure(figsize=(width, height), layout="constrained")
    axes = figure.subplots(lines, columns, squeeze=False)
    for axis in axes.flat:
        axis.set_axis_off()
    return figure, axes


def save_picture(figure: Any, path: Path) -> None:
    """Write a figure as PNG, without matplotlib's version in it."""
    with written_aside(path) as aside:
        figure.savefig(aside, dpi=110, metadata={"Software": None})


def fullest_slice(amount: NDArray[Any], *arrays: NDArray[Any]) -> list[NDArray[Any]]:
    """The slice of volumes, across their shortest axis, with most of ``amount``; 2-D arrays unchanged."""
    shown = [amount, *arrays]
    while shown[0].ndim > 2:
        shortest = int(np.argmin(shown[0].shape))
        slices = np.moveaxis(shown[0], shortest, 0)
        number = int(slices.reshape(len(slices), -1).sum(axis=1).argmax())
        shown = [np.moveaxis(each, shortest, 0)[number] for each in shown]
    return shown[1:]
