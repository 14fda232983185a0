"""What a figure of the papers is, how every one looks (sizes, type, colors, dashes), and how it is written to a file.

Sizes are those of a two-column paper, type is never below 8 points. Lines differ in dashes and markers besides their
colors, so that a print in gray reads as well.
"""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib
import numpy as np
import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.figure import Figure as Drawing
from seaborn import FacetGrid

from seg_anl.records import UserError, written_aside
from seg_anl.reporting.palette import method_color
from seg_anl.reporting.run_directories import Run

from .facets import CELL, Placing, place_runs
from .records import select

COLUMN, PAGE = 3.5, 7.16  # inches: the width of one column, and of both
WIDEST = 5  # panels beside each other
SMALL = 8.0  # points
LOW_TO_HIGH: Any = ("pi", 100)  # seaborn's name of a band or whisker from the lowest to the highest seed
# Of Okabe & Ito, which color-blind readers tell apart: for lines that stand for no loss.
BLACK, BLUE, VERMILLION, GREEN = "#000000", "#0072B2", "#D55E00", "#009E73"
COLORS = (BLUE, VERMILLION, GREEN, BLACK, "#CC79A7", "#E69F00", "#56B4E9", "#767676")
DASHES: tuple[Any, ...] = ("", (5, 1.6), (1.2, 1.2), (6, 1.5, 1.2, 1.5), (3, 1, 1, 1, 1, 1))
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
STYLE: dict[Any, Any] = {
    **dict.fromkeys(("font.size", "axes.labelsize", "xtick.labelsize", "ytick.labelsize", "legend.fontsize"), SMALL),
    **{"axes.titlesize": SMALL + 0.5, "figure.titlesize": SMALL + 1},
    **dict.fromkeys(("axes.linewidth", "xtick.major.width", "ytick.major.width", "hatch.linewidth"), 0.6),
    **dict.fromkeys(("axes.spines.top", "axes.spines.right", "legend.frameon"), False),
    **dict.fromkeys(("axes.grid", "axes.axisbelow"), True),
    **{"grid.color": "#d9d9d9", "grid.linewidth": 0.5, "xtick.major.size": 2.5, "ytick.major.size": 2.5},
    **{"lines.linewidth": 1.3, "lines.markersize": 3.2, "legend.handlelength": 2.8},
    **{"pdf.fonttype": 42, "svg.hashsalt": "seg-anl"},
}
# What keeps dates and, in PNG, versions out of the files: the same runs give the same bytes.
METADATA: dict[str, Any] = {".png": {"Software": None}, ".pdf": {"CreationDate": None}, ".svg": {"Date": None}}


class Composed(NamedTuple):
    """A drawing, and a line for each thing left out, for the person who asked for it."""

    drawing: Drawing
    notes: list[str]


class Figure(NamedTuple):
    """A figure of the papers: which one, which files of which runs it needs, and how it is drawn.

    ``drawn`` draws runs where :func:`place_runs` has put them, and adds to the notes; ``lacking`` says why a run cannot
    be drawn, ``placing`` where it stands.
    """

    meaning: str
    needs: str
    drawn: Callable[[pd.DataFrame, list[str]], Drawing]
    placing: Placing | None = None
    lacking: Callable[[Run], str | None] = lambda _: None

    def compose(self, runs: Sequence[Run]) -> Composed:
        """Draw the figure; what cannot be drawn is a UserError that names a run and what it lacks."""
        placed, notes = pd.DataFrame(), list[str]()
        if placing := self.placing:
            reason = "has no place in this figure"
            kept, notes = select(runs, lambda run: self.lacking(run) or (None if placing(run) else reason), self.needs)
            placed = place_runs(kept, placing)
            alone = [run.path for run in kept if run.path not in {*placed["path"]}]
            if placed.empty:
                raise UserError(f"{alone[0]} and all other runs are for comparison only; needed: {self.needs}")
            why = "for comparison, and nothing of its data set and noise is there"
            notes += [f"left out: {path}: {why}" for path in alone]
        with styled():
            return Composed(self.drawn(placed, notes), notes)

    def draw(self, runs: Sequence[Run], path: Path) -> list[str]:
        """Write the figure to ``path`` (.png, .pdf or .svg), the same bytes for the same runs; returns the notes."""
        suffix = path.suffix.lower()
        if suffix not in METADATA:
            raise UserError(f"{path}: a figure is written as {', '.join(METADATA)}; got {path.suffix or 'no suffix'}")
        drawing, notes = self.compose(runs)
        try:
            with styled(), written_aside(path) as aside:  # some settings are read when the file is written
                drawing.savefig(aside, dpi=160, format=suffix[1:], metadata=METADATA[suffix])
        except OSError as error:
            raise UserError(f"cannot write {path}: {error.strerror or error}") from error
        return notes


@contextmanager
def styled() -> Iterator[None]:
    """The project's style, whatever the person's own matplotlibrc says; put back at the end."""
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(STYLE)
        yield


def layout(frame: pd.DataFrame, height: float = 0.0, width: float = 0.0) -> dict[str, Any]:
    """Arguments of seaborn for a panel of each row and column; one long row becomes several.

    ``height`` (inches) is that of a panel, ``width`` that of all beside each other: by default one column of the paper
    for a lone panel, else both.
    """
    rows, columns = (len(frame[name].cat.categories) for name in ("row", "column"))
    across = min(columns, WIDEST) if rows == 1 else columns
    width = width or (COLUMN if rows == columns == 1 else PAGE)
    height = height or (2.2 if rows == columns == 1 else 1.75)
    panels = {"row": "row"} if rows > 1 else {"col_wrap": across}
    return {"col": "column", **panels, "height": height, "aspect": width / across / height}


def finished(grid: FacetGrid, caption: str, x: str, y: str, width: float = 0.0) -> Drawing:
    """Name panels and axes, take away panels with nothing in them, and put legend and caption around the others."""
    grid.set_titles(template="{col_name}", col_template="{col_name}", row_template="").set_ylabels(y)
    for row, axes in zip(grid.row_names, grid.axes, strict=False):
        axes[0].set_ylabel(f"{row}\n{y}")
    for column in np.atleast_2d(grid.axes).T:
        used = [axes for axes in column if axes.has_data()]
        for axes in {*column} - {*used}:
            axes.set_axis_off()
        for axes in used[-1:]:
            axes.set_xlabel(x)
            axes.tick_params(labelbottom=True)
    grid.figure.set_figwidth(width or (COLUMN if grid.axes.size == 1 else PAGE))  # seaborn has added the legend's
    legend = {}
    if shown := grid.legend:
        shown.remove()
        legend = {text.get_text(): handle for text, handle in zip(shown.texts, shown.legend_handles, strict=True)}
    return annotate(grid.figure, caption, legend)


def annotate(drawing: Drawing, caption: str, legend: Mapping[str, Any] | None = None) -> Drawing:
    """Put one legend above all panels, in as many columns as fit, and what a reader must know besides below them."""
    drawing.set_layout_engine("constrained", h_pad=0.04, w_pad=0.04)
    if legend:
        columns = int((drawing.get_figwidth() - 0.2) / (0.55 + 0.063 * max(map(len, legend))))  # inches, of a column
        columns = min(max(1, columns), len(legend))
        drawing.legend([*legend.values()], [*legend], loc="outside upper center", ncols=columns)
    text = textwrap.fill(caption, int(drawing.get_figwidth() * 16.5))
    drawing.supxlabel(text, fontsize=SMALL, color="#404040", x=0.01, ha="left")
    drawing.set_figheight(drawing.get_figheight() + 0.3 * bool(legend) + 0.15 * (1 + text.count("\n")))
    plt.close(drawing)  # seaborn's figures are pyplot's, which keeps them
    return drawing


def seeds_text(placed: pd.DataFrame, one: str = "line", spread: str = "bands") -> str:
    """What a caption says of seeds: how many runs stand behind a line, and what the band is."""
    counts = placed.groupby(CELL, observed=True)["path"].nunique()
    low, high = counts.min(), counts.max()
    if high == 1:
        return f"One run for each {one}."
    return (
        f"Mean over {low if low == high else f'{low} to {high}'} seeds; {spread} from the lowest to the highest seed."
    )


def color_of(run: Run) -> str:
    """The color of the method of a run, the same as in every other figure and table."""
    return method_color(run.config).light
