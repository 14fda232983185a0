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
from seg_anl.reporting.run_settings import differing, flat_settings

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
    panels,
)
from .run_selection import Axis, Place, by_condition, seeds_of_one_setting, seeds_text, select, split_by

WIDEST = 5  # panels beside each other
EVERYWHERE = Place(0, "")
REFERENCES = ({"color": BLUE, "linestyle": "-"}, {"color": BLACK, "linestyle": DASHES[2]})
LOSS_SETTINGS = ("loss", "optim.l1", "optim.weight_decay", "optim.jacobian", "method")

Lines = dict[Place, list[Run]]
"""The runs of each line of a panel."""


@dataclass(frozen=True)
class Metric:
    """A column of metrics.csv, whose values are fractions, its name in legends, and its looks beside other columns."""

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


def _everywhere(_: Run) -> Place:
    return EVERYWHERE


@dataclass(frozen=True)
class Curves:
    """A figure of accuracies over epochs; called with runs, it draws them.

    Each data set and noise has rows of panels of its own. What runs share a line is averaged over their seeds.

    Attributes:
        wanted: in words, which runs belong in the figure.
        metrics: the columns to draw; with several, a panel holds a line for each of them and ``lines`` is unset.
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
    lines: Axis = _everywhere
    rows: Axis = _everywhere
    ordered: bool = False
    reference: Axis = lambda _: None
    varied: tuple[str, ...] = LOSS_SETTINGS

    def __call__(self, runs: Sequence[Run]) -> Composed:
        """Draw ``runs``.

        Raises:
            UserError: when none fits, or runs that would share a line differ in more than their seed.
        """
        runs, notes = select(runs, self._reason_against, self.wanted)
        rows = self._rows(runs)
        if not rows:
            raise UserError(f"{runs[0].path} and all other runs are for comparison only; needed: {self.wanted}")
        columns = sorted({place for row in rows.values() for place in row})
        high = math.ceil(len(columns) / WIDEST) if len(rows) == 1 else 1
        width = math.ceil(len(columns) / high)
        drawing, grid = panels(len(rows) * high, width, sharex=True, sharey=True)
        styles, counts = self._styles(rows), set[int]()
        quantity = f"{self.metrics[0].text} accuracy (%)" if len(self.metrics) == 1 else "accuracy (%)"
        for down, (row, cells) in enumerate(rows.items()):
            for across, column in enumerate(columns):
                if column not in cells:
                    continue
                axes = grid[down * high + across // width, across % width]
                axes.set_title(column.text)
                counts |= self._draw(axes, cells[column], styles)
                if across % width == 0:
                    axes.set_ylabel(f"{row.text}\n{quantity}" if len(rows) > 1 else quantity)
                different = self._unexplained([run for some in cells[column].values() for run in some])
                if different:
                    notes.append(f"panel {f'{row.text} {column.text}'.strip()!r}: its lines also differ in {different}")
        finish_panels(grid, "epoch")
        shown = {metric.text: metric.style for metric in self.metrics}
        shown = shown if len(shown) > 1 else {line.text: style for line, style in styles.items() if line.text}
        legend_above(drawing, [Line2D([], [], **style) for style in shown.values()], list(shown))
        conditions = "; ".join(dict.fromkeys(place.text for place in split_by(runs, by_condition)))
        # Without an axis of their own, the panels' titles name data set and noise already.
        caption(drawing, seeds_text(counts) if self.columns is None else f"{conditions}. {seeds_text(counts)}")
        return Composed(drawing, notes)

    def _reason_against(self, run: Run) -> str | None:
        for metric in self.metrics:
            if not run.has(metric.split, metric.name):
                return f"has no {metric.split}/{metric.name} in its metrics.csv"
        placed = all(axis(run) for axis in (self.columns or _everywhere, self.rows, self.lines))
        return None if placed or self.reference(run) else f"has no place in this figure, which shows {self.wanted}"

    def _unexplained(self, runs: Sequence[Run]) -> str:
        """In what the runs of one panel differ besides the settings (or groups) that are varied."""
        names = differing([flat_settings(run.config) for run in runs])
        return ", ".join(n for n in names if not any(n == known or n.startswith(f"{known}.") for known in self.varied))

    def _rows(self, runs: Sequence[Run]) -> dict[Place, dict[Place, Lines]]:
        """Rows of panels: by data set and noise, then by ``rows``; in each the panels by ``columns``."""
        conditions = split_by(runs, by_condition)
        if self.columns is None:  # then these stand beside each other
            return {EVERYWHERE: {place: split_by(some, self.lines) for place, some in conditions.items()}}
        rows: dict[Place, dict[Place, Lines]] = {}
        for condition, some in conditions.items():
            shared = split_by(some, self.reference)
            own = [run for run in some if not self.reference(run)]
            for place, of_row in split_by(own, self.rows).items():
                text = "\n".join(filter(None, (condition.text if len(conditions) > 1 else "", place.text)))
                rows[Place(len(rows), text)] = {
                    column: shared | split_by(cell, self.lines)
                    for column, cell in split_by(of_row, self.columns).items()
                }
        return rows

    def _styles(self, rows: dict[Place, dict[Place, Lines]]) -> dict[Place, dict[str, Any]]:
        """The looks of each line, the same in all panels; references are thick and without markers.

        Lines that stand for one method each have its color.
        """
        colors: dict[Place, set[str]] = {}
        for lines in (lines for cells in rows.values() for lines in cells.values()):
            for line, runs in lines.items():
                colors.setdefault(line, set()).update(method_color(run.config).light for run in runs)
        shared = sorted(line for line in colors if line.order < 0)
        own = sorted(line for line in colors if line.order >= 0)
        used = [min(colors[line]) for line in own if len(colors[line]) == 1]
        methods = len(own) > 1 and len(set(used)) == len(own)
        return {
            **{line: {**style, "linewidth": 2.2} for line, style in zip(shared, REFERENCES, strict=False)},
            **{
                line: line_style(i, len(own), used[i] if methods else None, ordered=self.ordered)
                for i, line in enumerate(own)
            },
        }

    def _draw(self, axes: Axes, lines: Lines, styles: dict[Place, dict[str, Any]]) -> set[int]:
        """Draw the lines of a panel; returns how many seeds stand behind them."""
        counts = set()
        for i, (line, runs) in enumerate(lines.items()):
            seeds = seeds_of_one_setting(runs, f"the line {line.text!r}" if line.text else "a panel")
            counts.add(len(seeds))
            for j, metric in enumerate(self.metrics):
                place, count = (j, len(self.metrics)) if len(self.metrics) > 1 else (i, len(lines))
                style = metric.style if len(self.metrics) > 1 else styles[line]
                drawn_band(axes, *series(seeds, metric), place, count, **style)
        return counts


def series(runs: Sequence[Run], metric: Metric) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """A metric of runs of one setting: the epochs (counted from 0) that all have, and values ``(runs, epochs)``."""
    tidy = tidy_metrics(runs, [metric.name])
    values = tidy[tidy["split"] == metric.split].pivot(index="run", columns="epoch", values="value").dropna(axis=1)
    return values.columns.to_numpy(np.int64), values.loc[[run.path for run in runs]].to_numpy(np.float64)
