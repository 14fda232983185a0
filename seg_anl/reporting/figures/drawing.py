"""The :class:`Figure` type, the style shared by all figures, and writing them to files.

Sizes are for a two-column paper, with text of at least 8 points. Lines also differ in dashes and markers, so that
figures can be read in grayscale.
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
from seg_anl.reporting.run_directories import FINISHED, Run

from .facets import CELL, Placing, place_runs

COLUMN, PAGE = 3.5, 7.16  # width of one column and of both, in inches
MAX_COLUMNS = 5  # panels side by side
FONT_SIZE = 8.0  # points
LOW_TO_HIGH: Any = ("pi", 100)  # seaborn's error bar from the lowest to the highest seed
# Color-blind safe (Okabe & Ito), for lines that are not a method.
BLACK, BLUE, VERMILLION, GREEN = "#000000", "#0072B2", "#D55E00", "#009E73"
COLORS = (BLUE, VERMILLION, GREEN, BLACK, "#CC79A7", "#E69F00", "#56B4E9", "#767676")
DASHES: tuple[Any, ...] = ("", (5, 1.6), (1.2, 1.2), (6, 1.5, 1.2, 1.5), (3, 1, 1, 1, 1, 1))
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
STYLE: dict[Any, Any] = {
    **dict.fromkeys(
        ("font.size", "axes.labelsize", "xtick.labelsize", "ytick.labelsize", "legend.fontsize"), FONT_SIZE
    ),
    **{"axes.titlesize": FONT_SIZE + 0.5, "figure.titlesize": FONT_SIZE + 1},
    **dict.fromkeys(("axes.linewidth", "xtick.major.width", "ytick.major.width", "hatch.linewidth"), 0.6),
    **dict.fromkeys(("axes.spines.top", "axes.spines.right", "legend.frameon"), False),
    **dict.fromkeys(("axes.grid", "axes.axisbelow"), True),
    **{"grid.color": "#d9d9d9", "grid.linewidth": 0.5, "xtick.major.size": 2.5, "ytick.major.size": 2.5},
    **{"lines.linewidth": 1.3, "lines.markersize": 3.2, "legend.handlelength": 2.8},
    **{"pdf.fonttype": 42, "svg.hashsalt": "seg-anl"},
}
# Removes dates and versions, so that the same runs give the same bytes.
METADATA: dict[str, Any] = {".png": {"Software": None}, ".pdf": {"CreationDate": None}, ".svg": {"Date": None}}


class Composed(NamedTuple):
    """A drawing, and notes for the user about what was left out."""

    drawing: Drawing
    notes: list[str]


class Figure(NamedTuple):
    """A figure of the papers.

    Attributes:
        meaning: what it shows, and the paper's figure.
        needs: the runs and files it needs.
        draw_panels: draws the runs placed by :func:`place_runs`, and appends to a list of notes.
        placings: the column, row and line of a run; None for figures without runs.
        lacking: why a run cannot be drawn; None if it can.
    """

    meaning: str
    needs: str
    draw_panels: Callable[[pd.DataFrame, list[str]], Drawing]
    placings: Mapping[str, Placing] | None = None
    lacking: Callable[[Run], str | None] = lambda _: None

    def compose(self, runs: Sequence[Run]) -> Composed:
        """Draw the figure.

        Raises:
            UserError: if nothing can be drawn, naming a run and what it lacks.
        """
        placed, notes = (pd.DataFrame(), list[str]()) if self.placings is None else self._placed(runs, self.placings)
        with figure_style():
            return Composed(self.draw_panels(placed, notes), notes)

    def _placed(self, runs: Sequence[Run], placings: Mapping[str, Placing]) -> tuple[pd.DataFrame, list[str]]:
        """The runs of the figure (see :func:`place_runs`), and a note for each reason to leave out others."""
        kept: list[Run] = []
        refused: dict[str, list[str]] = {}
        for run in sorted(runs, key=lambda run: run.path):
            reason = f"is {run.status}: {run.reason}" if run.status != FINISHED else self.lacking(run)
            if not reason and all(place(run) for place in placings.values()):
                kept.append(run)
            else:
                refused.setdefault(reason or "has no place in this figure", []).append(run.path)
        if not kept:
            first = next((f"{paths[0]} {reason}" for reason, paths in refused.items()), "no run was given")
            more = f" and {count} more" if (count := sum(map(len, refused.values())) - 1) > 0 else ""
            raise UserError(f"nothing to draw: {first}{more}; needed: {self.needs}")
        placed = place_runs(kept, placings)
        unplaced = [run.path for run in kept if run.path not in {*placed["path"]}]
        if placed.empty:
            raise UserError(f"{unplaced[0]} and all other runs are for comparison only; needed: {self.needs}")
        if unplaced:
            refused["for comparison only, without other runs of its data set and noise"] = unplaced
        return placed, [f"left out: {_first(paths)}: {reason}" for reason, paths in refused.items()]

    def draw(self, runs: Sequence[Run], path: Path) -> list[str]:
        """Write the figure to ``path`` (.png, .pdf or .svg) reproducibly; returns the notes."""
        drawing, notes = self.compose(runs)
        with figure_style(), written_aside(path) as aside:  # some settings apply when the file is written
            drawing.savefig(aside, dpi=160, metadata=METADATA[path.suffix])
        return notes


def _first(names: Sequence[str], count: int = 3) -> str:
    """The first names, and the number of the others."""
    return ", ".join(names[:count]) + (f" and {len(names) - count} more" if len(names) > count else "")


@contextmanager
def figure_style() -> Iterator[None]:
    """Use the style of this package, regardless of the user's matplotlibrc, and restore the settings afterwards."""
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(STYLE)
        yield


def layout(frame: pd.DataFrame, height: float = 0.0, width: float = 0.0) -> dict[str, Any]:
    """Arguments of seaborn for a grid of panels; a single long row is wrapped.

    ``height`` is that of a panel and ``width`` that of the figure, in inches. By default a single panel is one column
    wide, and several are two columns wide.
    """
    rows, columns = (len(frame[name].cat.categories) for name in ("row", "column"))
    across = min(columns, MAX_COLUMNS) if rows == 1 else columns
    width = width or (COLUMN if rows == columns == 1 else PAGE)
    height = height or (2.2 if rows == columns == 1 else 1.75)
    panels = {"row": "row"} if rows > 1 else {"col_wrap": across}
    return {"col": "column", **panels, "height": height, "aspect": width / across / height}


def finish(grid: FacetGrid, caption: str, x: str, y: str, width: float = 0.0) -> Drawing:
    """Label panels and axes, hide empty panels, and add legend and caption."""
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
    grid.figure.set_figwidth(width or (COLUMN if grid.axes.size == 1 else PAGE))  # seaborn adds some for the legend
    legend = {}
    if shown := grid.legend:
        shown.remove()
        legend = {text.get_text(): handle for text, handle in zip(shown.texts, shown.legend_handles, strict=True)}
    return annotate(grid.figure, caption, legend)


def annotate(drawing: Drawing, caption: str, legend: Mapping[str, Any] | None = None) -> Drawing:
    """Add a legend above all panels, in as many columns as fit, and a caption below."""
    drawing.set_layout_engine("constrained", h_pad=0.04, w_pad=0.04)
    if legend:
        columns = int((drawing.get_figwidth() - 0.2) / (0.55 + 0.063 * max(map(len, legend))))  # inches per column
        columns = min(max(1, columns), len(legend))
        drawing.legend([*legend.values()], [*legend], loc="outside upper center", ncols=columns)
    text = textwrap.fill(caption, int(drawing.get_figwidth() * 16.5))
    drawing.supxlabel(text, fontsize=FONT_SIZE, color="#404040", x=0.01, ha="left")
    drawing.set_figheight(drawing.get_figheight() + 0.3 * bool(legend) + 0.15 * (1 + text.count("\n")))
    plt.close(drawing)  # otherwise pyplot would keep it
    return drawing


def seeds_text(placed: pd.DataFrame, one: str = "line", spread: str = "bands") -> str:
    """The caption's sentence about seeds: the number of runs per line, and the meaning of the bands."""
    counts = placed.groupby(CELL, observed=True)["path"].nunique()
    low, high = counts.min(), counts.max()
    if high == 1:
        return f"One run per {one}."
    seeds = low if low == high else f"{low} to {high}"
    return f"Mean over {seeds} seeds; {spread} from the lowest to the highest seed."


def colors_of(placed: pd.DataFrame, name: str) -> dict[str, str]:
    """The color of the method of each line, column or row (``name``), as in all figures and tables."""
    first = placed.sort_values(name).drop_duplicates(name)
    return {label: method_color(run.config).light for label, run in zip(first[name], first["run"], strict=True)}
