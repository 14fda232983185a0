"""Pictures that the commands leave beside their tables: drawn without a display, and with the same bytes each time."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seg_anl.records import written_aside


def panels(lines: int, columns: int, width: float, height: float) -> tuple[Any, NDArray[Any]]:
    """A figure of so many inches, and its axes ``(lines, columns)`` without frames."""
    from matplotlib.figure import Figure  # no display, no global state

    figure = Figure(figsize=(width, height), layout="constrained")
    axes = figure.subplots(lines, columns, squeeze=False)
    for axis in axes.flat:
        axis.set_axis_off()
    return figure, axes


def save_picture(figure: Any, path: Path) -> None:
    """Write a figure as PNG, without the version of the program that drew it."""
    with written_aside(path) as aside:
        figure.savefig(aside, dpi=110, metadata={"Software": None})


def fullest_slice(amount: NDArray[Any], *arrays: NDArray[Any]) -> list[NDArray[Any]]:
    """Of ``arrays`` in space the slice, across their shortest axis, with most of ``amount``; pictures as they are."""
    shown = [amount, *arrays]
    while shown[0].ndim > 2:
        shortest = int(np.argmin(shown[0].shape))
        slices = np.moveaxis(shown[0], shortest, 0)
        number = int(slices.reshape(len(slices), -1).sum(axis=1).argmax())
        shown = [np.moveaxis(each, shortest, 0)[number] for each in shown]
    return shown[1:]
