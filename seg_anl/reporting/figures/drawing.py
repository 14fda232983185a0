"""What a figure of the papers is, how every one looks (sizes, type, colors, dashes), and how it is written to a file.

Sizes are those of a two-column paper, type is never below 8 points. Lines differ in dashes and markers besides their
colors, so that a print in gray reads as well.
"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure as Drawing
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from seg_anl.records import UserError, written_aside
from seg_anl.reporting.palette import method_color
from seg_anl.reporting.run_directories import Run

from .selection import select

COLUMN, PAGE = 3.5, 7.16  # inches: the width of one column, and of both
DPI = 160
SMALL = 8.0  # points
# Of Okabe & Ito, which color-blind readers tell apart: for lines that stand for no loss.
BLACK, BLUE, VERMILLION, GREEN = "#000000", "#0072B2", "#D55E00", "#009E73"
COLORS = (BLUE, VERMILLION, GREEN, BLACK, "#CC79A7", "#E69F00", "#56B4E9", "#767676")
DASHES: tuple[Any, ...] = ("-", (0, (5, 1.6)), (0, (1.2, 1.2)), (0, (6, 1.5, 1.2, 1.5)), (0, (3, 1, 1, 1, 1, 1)))
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
STYLE: dict[Any, Any] = {
    **dict.fromkeys(("font.size", "axes.labelsize", "xtick.labelsize", "ytick.labelsize", "legend.fontsize"), SMALL),
    **{"axes.titlesize": SMALL + 0.5, "figure.titlesize": SMALL + 1},
    **dict.fromkeys(("axes.linewidth", "xtick.major.width", "ytick.major.width", "hatch.linewidth"), 0.6),
    **dict.fromkeys(("axes.spines.top", "axes.spines.right", "legend.frameon"), False),
    **dict.fromkeys(("axes.grid", "axes.axisbelow"), True),
    **{"grid.color": "#d9d9d9", "grid.linewidth": 0.5, "xtick.major.size": 2.5, "ytick.major.size": 2.5},
    **{"lines.linewidth": 1.3, "lines.markersize": 3.2},
    **{"legend.handlelength": 2.8, "legend.columnspacing": 1.4, "legend.borderaxespad": 0.2},
    **{"figure.constrained_layout.h_pad": 0.04, "figure.constrained_layout.w_pad": 0.04},
    **{"pdf.fonttype": 42, "svg.hashsalt": "seg-anl"},
}
# What keeps dates and, in PNG, versions out of the files: the same runs give the same bytes.
METADATA: dict[str, Any] = {".png": {"Software": None}, ".pdf": {"CreationDate": None}, ".svg": {"Date": None}}


class Composed(NamedTuple):
    """A drawing, and a line for each thing left out, for the person who asked for it."""

    drawing: Drawing
    notes: list[str]


class Figure(NamedTuple):
    """A figure of the papers.

    ``meaning`` names the paper and its figure. ``needs`` says which files of which runs it reads, and commands that
    make a fitting set of runs. ``drawn`` draws the runs that fit and adds to the notes; None where all of them are for
    comparison only. ``reason_against`` says why a run cannot be drawn; figures without it need no runs. What cannot be
    drawn or written is a UserError that names the run and what it lacks, or the file.
    """

    meaning: str
    needs: str
    drawn: Callable[[list[Run], list[str]], Drawing | None]
    reason_against: Callable[[Run], str | None] | None = None

    def compose(self, runs: Sequence[Run]) -> Composed:
        """Draw the figure in the project's style, whatever the person's own matplotlibrc says."""
        kept, notes = select(runs, self.reason_against, self.needs) if self.reason_against else ([], [])
        with styled():
            drawing = self.drawn(kept, notes)
        if drawing is None:
            raise UserError(f"{kept[0].path} and all other runs are for comparison only; needed: {self.needs}")
        return Composed(drawing, notes)

    def draw(self, runs: Sequence[Run], path: Path) -> list[str]:
        """Write the figure to ``path`` (.png, .pdf or .svg), the same bytes for the same runs; returns the notes."""
        suffix = path.suffix.lower()
        if suffix not in METADATA:
            raise UserError(f"{path}: a figure is written as {', '.join(METADATA)}; got {path.suffix or 'no suffix'}")
        drawing, notes = self.compose(runs)
        try:
            with styled(), written_aside(path) as aside:  # some settings are read when the file is written
                drawing.savefig(aside, dpi=DPI, format=suffix[1:], metadata=METADATA[suffix])
        except OSError as error:
            raise UserError(f"cannot write {path}: {error.strerror or error}") from error
        return notes


@contextmanager
def styled() -> Iterator[None]:
    """The project's style, put back at the end."""
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(STYLE)
        yield


def panels(
    rows: int, columns: int, *, height: float | None = None, extra: float = 0.75, width: float | None = None, **kw: Any
) -> tuple[Drawing, NDArray[Any]]:
    """A drawing with a grid of axes ``(rows, columns)``.

    Rows are ``height`` inches high (lower for many panels than for one), with ``extra`` inches for legend and caption;
    a single column of panels is as wide as one column of the paper, else both. ``kw``: as of ``subplots``.
    """
    width = width or (COLUMN if columns == 1 else PAGE)
    height = height or (1.75 if rows * columns > 1 else 2.2)
    drawing = Drawing(figsize=(width, height * rows + extra), layout="constrained", dpi=DPI)
    FigureCanvasAgg(drawing)
    return drawing, drawing.subplots(rows, columns, squeeze=False, **kw)


def annotate(drawing: Drawing, legend: Mapping[str, Any], caption: str = "") -> Drawing:
    """Put one legend above all panels, in as many columns as fit, and what a reader must know besides below them.

    ``legend``: text to artist, or to the looks of a line.
    """

    def width(columns: int) -> float:  # in inches, about; a legend is filled column by column
        rows = math.ceil(len(legend) / columns)
        longest = [max(map(len, [*legend][start : start + rows])) for start in range(0, len(legend), rows)]
        return sum(0.55 + 0.063 * letters for letters in longest)

    if legend:
        fitting = [n for n in range(1, len(legend) + 1) if width(n) <= drawing.get_figwidth() - 0.2]
        lines = math.ceil(len(legend) / max(fitting, default=1))
        handles = [Line2D([], [], **looks) if isinstance(looks, dict) else looks for looks in legend.values()]
        drawing.legend(handles, [*legend], loc="outside upper center", ncols=math.ceil(len(legend) / lines))
    if caption:
        text = textwrap.fill(caption, int(drawing.get_figwidth() * 16.5))
        drawing.supxlabel(text, fontsize=SMALL, color="#404040", x=0.01, ha="left")
    return drawing


def finish_panels(grid: NDArray[Any], below: str, *, whole: bool = True) -> None:
    """Take away panels in which nothing was drawn, and label the lowest x axis of each column.

    The axes of ``grid`` share their x axis, which counts ``below``, in whole numbers unless told otherwise.
    """
    for column in grid.T:
        used = [axes for axes in column if axes.has_data()]
        for axes in {*column} - {*used}:
            axes.set_axis_off()
        for axes in used:
            axes.xaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10], integer=whole, min_n_ticks=2))
        if used:
            used[-1].set_xlabel(below)
            used[-1].tick_params(labelbottom=True)


def seeds_text(counts: Iterable[int], one: str = "line", spread: str = "bands") -> str:
    """What a caption says of seeds: how many runs stand behind a line, and what the band is."""
    found = sorted(set(counts))
    if found == [1]:
        return f"One run for each {one}."
    count = str(found[0]) if len(found) == 1 else f"{found[0]} to {found[-1]}"
    return f"Mean over {count} seeds; {spread} from the lowest to the highest seed."


def color_of(runs: Sequence[Run]) -> str:
    """The color of the method of ``runs``, the same as in every other figure and table."""
    return method_color(runs[0].config).light


def line_style(place: int, count: int, color: str | None = None, *, ordered: bool = False) -> dict[str, Any]:
    """Color, dashes and marker of line ``place`` of ``count``.

    Lines that are ``ordered`` stand for amounts of one thing and go from dark to light.
    """
    if ordered and count > 2:  # the lightest sixth of the map is too faint on white paper
        color = matplotlib.colors.to_hex(matplotlib.colormaps["viridis"](0.86 * place / (count - 1)))
    looks = {"marker": MARKERS[place % len(MARKERS)], "linestyle": DASHES[place % len(DASHES)]}
    return {**looks, "color": color or COLORS[place % len(COLORS)]}


def draw_band(axes: Axes, epochs: NDArray[Any], values: NDArray[Any], place: int, count: int, **style: Any) -> None:
    """The mean of ``values`` (seeds, epochs) in percent; with several seeds a band from the lowest to the highest.

    Line ``place`` of ``count`` has about seven markers, shifted against those of the other lines.
    """
    step = max(1, round(len(epochs) / 7))
    every = (place * step // max(1, count), step) if step > 1 else 1
    axes.plot(epochs + 1, 100 * values.mean(axis=0), **style, markevery=every)
    if len(values) > 1:
        low, high = 100 * np.min(values, axis=0), 100 * np.max(values, axis=0)
        axes.fill_between(epochs + 1, low, high, color=style["color"], alpha=0.18, linewidth=0)
