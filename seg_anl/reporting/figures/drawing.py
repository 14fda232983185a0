"""What a figure of the papers is, how every one looks (sizes, type, colors, dashes), and how it is written to a file.

Sizes are those of a two-column paper, type is never below 8 points. Colors are those of Okabe & Ito, which
color-blind readers tell apart; lines differ in dashes and markers besides, so that a print in gray reads as well.
"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure as Drawing
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from seg_anl.records import UserError, written_aside
from seg_anl.reporting.palette import method_color
from seg_anl.reporting.run_directories import Run

COLUMN, PAGE = 3.5, 7.16  # inches: the width of one column, and of both
DPI = 160
SMALL = 8.0  # points

BLACK, BLUE, VERMILLION, GREEN = "#000000", "#0072B2", "#D55E00", "#009E73"
PURPLE, ORANGE, SKY, GRAY = "#CC79A7", "#E69F00", "#56B4E9", "#767676"
COLORS = (BLUE, VERMILLION, GREEN, BLACK, PURPLE, ORANGE, SKY, GRAY)
DASHES: tuple[Any, ...] = ("-", (0, (5, 1.6)), (0, (1.2, 1.2)), (0, (6, 1.5, 1.2, 1.5)), (0, (3, 1, 1, 1, 1, 1)))
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")

STYLE: dict[Any, Any] = {
    "font.size": SMALL,
    "axes.titlesize": SMALL + 0.5,
    "axes.labelsize": SMALL,
    "xtick.labelsize": SMALL,
    "ytick.labelsize": SMALL,
    "legend.fontsize": SMALL,
    "figure.titlesize": SMALL + 1,
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#d9d9d9",
    "grid.linewidth": 0.5,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "xtick.major.size": 2.5,
    "ytick.major.size": 2.5,
    "lines.linewidth": 1.3,
    "lines.markersize": 3.2,
    "hatch.linewidth": 0.6,
    "legend.frameon": False,
    "legend.handlelength": 2.8,
    "legend.columnspacing": 1.4,
    "legend.borderaxespad": 0.2,
    "figure.constrained_layout.h_pad": 0.04,
    "figure.constrained_layout.w_pad": 0.04,
    "pdf.fonttype": 42,
    "svg.hashsalt": "seg-anl",
}
# What keeps dates and, in PNG, versions out of the files: the same runs give the same bytes.
METADATA: dict[str, dict[str, Any]] = {
    ".png": {"Software": None},
    ".pdf": {"CreationDate": None},
    ".svg": {"Date": None},
}


@dataclass(frozen=True)
class Composed:
    """A drawing, and what to say about it: a line for each thing left out."""

    drawing: Drawing
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Figure:
    """A figure of the papers.

    Attributes:
        meaning: one line that names the paper and its figure.
        needs: which files of the run directories it reads, and commands that make a fitting set of runs.
        composed: draws it; raises UserError for runs it cannot be drawn from.
    """

    meaning: str
    needs: str
    composed: Callable[[Sequence[Run]], Composed]

    def compose(self, runs: Sequence[Run]) -> Composed:
        """Draw the figure in the project's style.

        Raises:
            UserError: naming the run and what it lacks, when the figure cannot be drawn from ``runs``.
        """
        with styled():
            return self.composed(sorted(runs, key=lambda run: run.path))

    def draw(self, runs: Sequence[Run], path: Path) -> list[str]:
        """Write the figure to ``path`` (.png, .pdf or .svg); the same runs give the same bytes.

        Returns:
            One line for each thing that was left out.

        Raises:
            UserError: naming the run and what it lacks, when the figure cannot be drawn from ``runs``.
        """
        composed = self.compose(runs)
        with styled():  # some settings are read when the file is written
            save_drawing(composed.drawing, path)
        return composed.notes


@contextmanager
def styled() -> Iterator[None]:
    """The project's style, whatever the person's own matplotlibrc says; put back at the end."""
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(STYLE)
        yield


def panels(
    rows: int,
    columns: int,
    *,
    height: float | None = None,
    extra: float = 0.75,
    width: float | None = None,
    **shared: Any,
) -> tuple[Drawing, NDArray[Any]]:
    """A drawing with a grid of axes ``(rows, columns)``.

    Args:
        rows, columns: of the grid.
        height: of a row, in inches; None: lower for many panels than for one.
        extra: room for legend and caption, in inches.
        width: of the drawing, in inches; None: one column of the paper for a single panel, else both.
        shared: ``sharex``, ``sharey``, ``width_ratios``.
    """
    width = width or (COLUMN if columns == 1 else PAGE)
    height = height or (1.75 if rows * columns > 1 else 2.2)
    drawing = Drawing(figsize=(width, height * rows + extra), layout="constrained", dpi=DPI)
    FigureCanvasAgg(drawing)
    return drawing, drawing.subplots(rows, columns, squeeze=False, **shared)


def legend_above(drawing: Drawing, handles: Sequence[Any], labels: Sequence[str], title: str | None = None) -> None:
    """One legend for all panels, above them, in as many columns as fit."""
    if not handles:
        return
    room = drawing.get_figwidth() - 0.2
    fitting = [columns for columns in range(1, len(labels) + 1) if _legend_width(labels, columns) <= room]
    columns = max(fitting, default=1)
    columns = math.ceil(len(labels) / math.ceil(len(labels) / columns))  # rows of equal length
    drawing.legend(handles, labels, loc="outside upper center", ncols=columns, title=title)


def _legend_width(labels: Sequence[str], columns: int) -> float:
    """About how wide, in inches, a legend is that is filled column by column."""
    rows = math.ceil(len(labels) / columns)
    longest = [max(map(len, labels[start : start + rows])) for start in range(0, len(labels), rows)]
    return sum(0.55 + 0.063 * letters for letters in longest)


def caption(drawing: Drawing, text: str) -> None:
    """What a reader must know besides, in small type below the panels."""
    letters = int(drawing.get_figwidth() * 16.5)
    drawing.supxlabel(textwrap.fill(text, letters), fontsize=SMALL, color="#404040", x=0.01, ha="left")


def finish_panels(grid: NDArray[Any], below: str, *, whole: bool = True) -> None:
    """Take away panels in which nothing was drawn, and label the lowest x axis of each column.

    Args:
        grid: the axes ``(rows, columns)``, which share their x axis.
        below: what the x axis counts.
        whole: whether it counts in whole numbers.
    """
    for column in grid.T:
        used = [axes for axes in column if axes.has_data()]
        for axes in column:
            if axes not in used:
                axes.set_axis_off()
        if used:
            used[-1].set_xlabel(below)
            used[-1].tick_params(labelbottom=True)
        for axes in used:
            axes.xaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10], integer=whole, min_n_ticks=2))


def color_of(runs: Sequence[Run]) -> str:
    """The color of the method of ``runs``, the same as in every other figure and table."""
    return method_color(runs[0].config).light


def line_style(place: int, count: int, color: str | None = None, *, ordered: bool = False) -> dict[str, Any]:
    """Color, dashes and marker of line ``place`` of ``count``.

    Args:
        place: from 0.
        count: how many lines there are.
        color: of the line; None: the next of this project's.
        ordered: whether they stand for amounts of one thing: then from dark to light, else as unlike as can be.
    """
    style: dict[str, Any] = {"marker": MARKERS[place % len(MARKERS)], "linestyle": DASHES[place % len(DASHES)]}
    if ordered and count > 2:
        # The lightest sixth of the map is too faint on white paper.
        style["color"] = tuple(matplotlib.colormaps["viridis"](0.86 * place / (count - 1)))
    else:
        style["color"] = color or COLORS[place % len(COLORS)]
    return style


def marked_every(points: int, place: int, count: int) -> tuple[int, int] | int:
    """About seven markers on a line, shifted against those of the other lines."""
    step = max(1, round(points / 7))
    return (place * step // max(1, count), step) if step > 1 else 1


def save_drawing(drawing: Drawing, path: Path) -> None:
    """Write a drawing as its suffix says (.png, .pdf or .svg), whole or not at all, the same bytes every time.

    Raises:
        UserError: for another suffix, or when the file cannot be written.
    """
    if path.suffix.lower() not in METADATA:
        raise UserError(f"{path}: a figure is written as {', '.join(METADATA)}; got {path.suffix or 'no suffix'}")
    try:
        with written_aside(path) as aside:
            drawing.savefig(aside, dpi=DPI, format=path.suffix.lower()[1:], metadata=METADATA[path.suffix.lower()])
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror or error}") from error


def drawn_band(axes: Axes, x: NDArray[Any], values: NDArray[Any], **style: Any) -> None:
    """The mean of ``values`` (seeds, points) over ``x``; with several seeds a band from the lowest to the highest."""
    axes.plot(x, values.mean(axis=0), **style)
    if len(values) > 1:
        low, high = np.min(values, axis=0), np.max(values, axis=0)
        axes.fill_between(x, low, high, color=style["color"], alpha=0.18, linewidth=0)
