"""Metrics over the epochs: panels by one setting, lines by another. Most figures of the papers are such."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from seg_anl.records import UserError
from seg_anl.reporting.palette import method_color
from seg_anl.reporting.run_directories import Run, tidy_metrics

from .drawing import (
    BLACK,
    BLUE,
    DASHES,
    VERMILLION,
    Composed,
    caption,
    drawn_band,
    finish_panels,
    legend_above,
    line_style,
    marked_every,
    panels,
)
from .run_selection import Axis, Place, by_condition, seeds_of_one_setting, seeds_text, select, split_by, unexplained

WIDEST = 5  # panels beside each other
EVERYWHERE = Place(0, "")
REFERENCES = ({"color": BLUE, "linestyle": "-"}, {"color": BLACK, "linestyle": DASHES[2]})
LOSS_SETTINGS = ("loss", "optim.l1", "optim.weight_decay", "optim.jacobian", "method")

Cell = dict[Place, list[Run]]
"""The runs of one panel: those of each line."""


@dataclass(frozen=True)
class Metric:
    """A column of metrics.csv, and its looks where a panel shows several of them.

    Attributes:
        split, name: of the column, whose values are fractions.
        text: for the legend.
        style: color, dashes and marker.
    """

    split: str
    name: str
    text: str
    style: dict[str, Any] = field(default_factory=dict)


TEST = Metric("test", "accuracy", "test", {"color": BLACK, "linestyle": DASHES[0], "marker": "o"})
CLEAN = Metric(
    "train", "accuracy_clean", "training, right labels", {"color": BLUE, "linestyle": DASHES[3], "marker": "^"}
)
MISLABELED = Metric(
    "train",
    "accuracy_mislabelled",
    "training, wrong labels (memorized)",
    {"color": VERMILLION, "linestyle": DASHES[1], "marker": "s"},
)
VALIDATION = Metric("tuning", "accuracy", "validation")


@dataclass(frozen=True)
class Curves:
    """A figure of accuracies over epochs; called with runs, it draws them.

    Each data set and noise has rows of panels of its own. What runs share a line is averaged over their seeds.

    Attributes:
        wanted: in words, which runs belong in the figure.
        metrics: the columns to draw; with several, a panel holds a line for each of them and ``lines`` is None.
        columns, rows, lines: a run's place; a run without one is not drawn. Without ``columns``, the data sets and
            noises stand beside each other.
        ordered: whether the lines stand for amounts of one thing.
        reference: the line, of negative order, of a run that is drawn in every panel of its data set and noise; None
            for a run whose place is asked of the other axes.
        varied: settings (or groups of them) in which the lines of a panel are meant to differ.
    """

    wanted: str
    metrics: tuple[Metric, ...] = (TEST,)
    columns: Axis | None = None
    lines: Axis | None = None
    rows: Axis | None = None
    ordered: bool = False
    reference: Axis | None = None
    varied: tuple[str, ...] = LOSS_SETTINGS

    def __call__(self, runs: Sequence[Run]) -> Composed:
        """Draw ``runs``.

        Raises:
            UserError: when none fits, or runs that would share a line differ in more than their seed.
        """
        selection = select(runs, self._reason_against, self.wanted)
        rows = self._rows(selection.runs)
        if not rows:
            first = selection.runs[0].path
            raise UserError(f"{first} and whatever else was given serve for comparison only; needed: {self.wanted}")
        columns = sorted({place for row in rows.values() for place in row})
        high = math.ceil(len(columns) / WIDEST) if len(rows) == 1 else 1
        width = math.ceil(len(columns) / high)
        drawing, grid = panels(len(rows) * high, width, sharex=True, sharey=True)
        styles = self._styles(rows)
        notes, counts = list(selection.notes), set[int]()
        for down, (row, cells) in enumerate(rows.items()):
            for across, column in enumerate(columns):
                if column not in cells:
                    continue
                axes = grid[down * high + across // width, across % width]
                axes.set_title(column.text)
                counts |= self._draw(axes, cells[column], styles)
                if across % width == 0:
                    axes.set_ylabel(f"{row.text}\n{self._quantity}" if len(rows) > 1 else self._quantity)
                different = unexplained([run for some in cells[column].values() for run in some], self.varied)
                if different:
                    notes.append(f"panel {f'{row.text} {column.text}'.strip()!r}: its lines also differ in {different}")
        finish_panels(grid, "epoch")
        legend_above(drawing, *self._legend(styles))
        conditions = "; ".join(dict.fromkeys(place.text for place in split_by(selection.runs, by_condition)))
        # Without an axis of their own, the panels' titles name data set and noise already.
        caption(drawing, seeds_text(counts) if self.columns is None else f"{conditions}. {seeds_text(counts)}")
        return Composed(drawing, notes)

    @property
    def _quantity(self) -> str:
        return f"{self.metrics[0].text} accuracy (%)" if len(self.metrics) == 1 else "accuracy (%)"

    def _reason_against(self, run: Run) -> str | None:
        for metric in self.metrics:
            if not run.has(metric.split, metric.name):
                return f"has no {metric.split}/{metric.name} in its metrics.csv"
        axes = [axis for axis in (self.columns, self.rows, self.lines) if axis is not None]
        if not self._is_reference(run) and any(axis(run) is None for axis in axes):
            return f"has no place in this figure, which shows {self.wanted}"
        return None

    def _is_reference(self, run: Run) -> bool:
        return self.reference is not None and self.reference(run) is not None

    def _rows(self, runs: Sequence[Run]) -> dict[Place, dict[Place, Cell]]:
        """Rows of panels: by data set and noise, then by ``rows``; in each the panels by ``columns``."""
        conditions = split_by(runs, by_condition)
        if self.columns is None:  # then these stand beside each other
            return {
                EVERYWHERE: {place: split_by(some, self.lines or _everywhere) for place, some in conditions.items()}
            }
        rows: dict[Place, dict[Place, Cell]] = {}
        for condition, some in conditions.items():
            shared = [run for run in some if self._is_reference(run)]
            own = [run for run in some if not self._is_reference(run)]
            for place, of_row in split_by(own, self.rows or _everywhere).items():
                text = "\n".join(filter(None, (condition.text if len(conditions) > 1 else "", place.text)))
                rows[Place(len(rows), text)] = {
                    column: split_by(shared, self.reference or _everywhere) | split_by(cell, self.lines or _everywhere)
                    for column, cell in split_by(of_row, self.columns).items()
                }
        return rows

    def _styles(self, rows: dict[Place, dict[Place, Cell]]) -> dict[Place, dict[str, Any]]:
        """The looks of each line, the same in all panels; references are thick and without markers."""
        lines = sorted({line for cells in rows.values() for cell in cells.values() for line in cell})
        shared = [line for line in lines if line.order < 0]
        own = [line for line in lines if line not in shared]
        of_line: dict[Place, set[str]] = {line: set() for line in own}
        for line, runs in (
            (line, runs) for cells in rows.values() for cell in cells.values() for line, runs in cell.items()
        ):
            of_line.get(line, set()).update(method_color(run.config).light for run in runs)
        distinct = len(set().union(*of_line.values())) == len(own) and all(
            len(found) == 1 for found in of_line.values()
        )
        colors = {line: min(found) for line, found in of_line.items()} if distinct and len(own) > 1 else {}
        return {
            **{line: {**style, "linewidth": 2.2} for line, style in zip(shared, REFERENCES, strict=False)},
            **{line: line_style(i, len(own), colors.get(line), ordered=self.ordered) for i, line in enumerate(own)},
        }

    def _draw(self, axes: Axes, cell: Cell, styles: dict[Place, dict[str, Any]]) -> set[int]:
        """Draw the lines of a panel; returns how many seeds stand behind them."""
        counts = set()
        for i, (line, runs) in enumerate(cell.items()):
            seeds = seeds_of_one_setting(runs, f"the line {line.text!r}" if line.text else "a panel")
            counts.add(len(seeds))
            for j, metric in enumerate(self.metrics):
                epochs, values = series(seeds, metric)
                style = metric.style if len(self.metrics) > 1 else styles[line]
                place, count = (j, len(self.metrics)) if len(self.metrics) > 1 else (i, len(cell))
                drawn_band(axes, epochs + 1, 100 * values, **style, markevery=marked_every(len(epochs), place, count))
        return counts

    def _legend(self, styles: dict[Place, dict[str, Any]]) -> tuple[list[Line2D], list[str]]:
        if len(self.metrics) > 1:
            return [Line2D([], [], **metric.style) for metric in self.metrics], [metric.text for metric in self.metrics]
        named = {line: style for line, style in styles.items() if line.text}
        return [Line2D([], [], **style) for style in named.values()], [line.text for line in named]


def series(runs: Sequence[Run], metric: Metric) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """A metric of runs of one setting: the epochs (counted from 0) that all have, and values ``(runs, epochs)``."""
    tidy = tidy_metrics(runs, [metric.name])
    values = tidy[tidy["split"] == metric.split].pivot(index="run", columns="epoch", values="value").dropna(axis=1)
    return values.columns.to_numpy(np.int64), values.loc[[run.path for run in runs]].to_numpy(np.float64)


def _everywhere(_: Run) -> Place:
    return EVERYWHERE
