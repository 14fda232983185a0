"""Values over the epochs: panels by one setting, lines by another. Most figures of the papers are such."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from matplotlib.figure import Figure as Drawing
from numpy.typing import NDArray

from seg_anl.reporting.run_directories import Run, tidy_metrics
from seg_anl.reporting.run_settings import differing, flat_settings

from . import by
from .by import Axis, Place
from .drawing import (
    BLACK,
    BLUE,
    DASHES,
    VERMILLION,
    Figure,
    annotate,
    color_of,
    draw_band,
    finish_panels,
    line_style,
    panels,
    seeds_text,
)
from .selection import lacks_record, read_epoch, recorded_epochs, seeds_of_one_setting

WIDEST = 5  # panels beside each other
REFERENCES = ({"color": BLUE, "linestyle": "-"}, {"color": BLACK, "linestyle": DASHES[2]})
LOSS_SETTINGS = ("loss", "optim.l1", "optim.weight_decay", "optim.jacobian", "method")
TEMPERATURE, CLOSENESS = 0.1, 0.01  # tau of Zhou et al., Section 3.1, and how near to 1 the largest output must be

Values = tuple[NDArray[np.int64], NDArray[np.float64]]
"""Epochs (counted from 0) that all runs of one setting have, and fractions ``(runs, epochs)``."""


class Metric(NamedTuple):
    """What is drawn: its name in legends, how it is read, why it cannot be read from a run, looks beside others."""

    text: str
    read: Callable[[Sequence[Run]], Values]
    lacking: Callable[[Run], str | None]
    style: dict[str, Any] = {}  # noqa: RUF012


def _read_column(runs: Sequence[Run], split: str, name: str) -> Values:
    tidy = tidy_metrics(runs, [name])
    values = tidy[tidy["split"] == split].pivot(index="run", columns="epoch", values="value").dropna(axis=1)
    return values.columns.to_numpy(np.int64), values.loc[[run.path for run in runs]].to_numpy(np.float64)


def _column(split: str, name: str, text: str, *looks: Any) -> Metric:
    """A column of metrics.csv; ``looks``: color, dashes, marker."""
    reason = f"has no {split}/{name} in its metrics.csv"
    style = dict(zip(("color", "linestyle", "marker"), looks, strict=False))
    read = partial(_read_column, split=split, name=name)
    return Metric(text, read, lambda run: None if run.has(split, name) else reason, style)


def sparse_rate(probabilities: NDArray[np.floating]) -> float:
    """Share of samples whose output, sharpened with tau = 0.1, has an entry above 0.99.

    The softmax of z / tau is softmax(z) to the power of 1 / tau, normalized, so the recorded softmax ``(N, K)`` is
    enough. Only classes within 0.63 of the largest decide, where float16 is exact to a thousandth.

    Reference: Zhou et al., Learning with Noisy Labels via Sparse Regularization, ICCV 2021, Section 3.1.
    """
    relative = probabilities.astype(np.float64) / probabilities.max(axis=1, keepdims=True)
    largest = 1 / (relative ** (1 / TEMPERATURE)).sum(axis=1)
    return float((largest > 1 - CLOSENESS).mean())


def _sparse_rates(runs: Sequence[Run]) -> Values:
    epochs = recorded_epochs(runs, "probabilities")
    shapes = {"softmax": ("N", "K")}
    softmax = [[read_epoch(run, "probabilities", epoch, shapes)["softmax"] for epoch in epochs] for run in runs]
    return np.array(epochs, np.int64), np.array([[sparse_rate(outputs) for outputs in some] for some in softmax])


TEST = _column("test", "accuracy", "test", BLACK, DASHES[0], "o")
CLEAN = _column("train", "accuracy_clean", "training, right labels", BLUE, DASHES[3], "^")
MISLABELED = _column("train", "accuracy_mislabelled", "training, wrong labels (memorized)", VERMILLION, DASHES[1], "s")
VALIDATION = _column("tuning", "accuracy", "validation")
SPARSE_RATE = Metric("sparse rate", _sparse_rates, lacks_record("probabilities"))


@dataclass(frozen=True)
class Curves:
    """What a figure of values over epochs shows.

    Each data set and noise has panels of its own. Runs that share a line are averaged over their seeds.

    Attributes:
        metrics: what is drawn; of several, a panel holds a line for each of them and ``lines`` is unset.
        columns, rows, lines: a run's place; a run without one is not drawn. Without ``columns``, the data sets and
            noises stand beside each other.
        apart: whether each metric has panels of its own, in the place of ``columns``.
        ordered: whether the lines stand for amounts of one thing.
        reference: the line, of negative order, of a run that is drawn in every panel of its data set and noise; None
            for a run whose place is asked of the other axes.
        varied: settings (or groups of them) in which the lines of a panel are meant to differ.
        quantity, caption: what the y axes show, and what a reader must know besides.
    """

    metrics: tuple[Metric, ...] = (TEST,)
    columns: Axis | None = None
    lines: Axis = by.everything
    rows: Axis = by.everything
    apart: bool = False
    ordered: bool = False
    reference: Axis = lambda _: None
    varied: tuple[str, ...] = LOSS_SETTINGS
    quantity: str = "test accuracy"
    caption: str = ""

    def figure(self, meaning: str, needs: str) -> Figure:
        """The figure that shows this."""
        return Figure(meaning, needs, self.draw, self._reason_against)

    @property
    def _together(self) -> bool:
        """Whether a panel has a line for each metric."""
        return len(self.metrics) > 1 and not self.apart

    def _reason_against(self, run: Run) -> str | None:
        lacking = [reason for metric in self.metrics if (reason := metric.lacking(run))]
        placed = all(axis(run) for axis in (self.columns or by.everything, self.rows, self.lines))
        if not placed and not self.reference(run):
            lacking.append("has no place in this figure")
        return lacking[0] if lacking else None

    def draw(self, runs: list[Run], notes: list[str]) -> Drawing | None:
        """Draw the runs; see :class:`Figure`."""
        cells = self._cells(runs)
        if not cells:
            return None
        rows, columns = (sorted({cell[i] for cell in cells}) for i in (0, 1))
        high = math.ceil(len(columns) / WIDEST) if len(rows) == 1 else 1
        width = math.ceil(len(columns) / high)
        drawing, grid = panels(len(rows) * high, width, sharex=True, sharey=True)
        styles, counts = self._styles(cells), set[int]()
        for (row, column), lines in cells.items():
            down, across = divmod(columns.index(column), width)
            axes = grid[rows.index(row) * high + down, across]
            axes.set_title(column.text)
            if across == 0:
                axes.set_ylabel(f"{row.text}\n{self.quantity} (%)" if len(rows) > 1 else f"{self.quantity} (%)")
            for i, (line, some) in enumerate(lines.items()):
                seeds = seeds_of_one_setting(some, f"the line {line.text!r}" if line.text else "a panel")
                counts.add(len(seeds))
                if self._together:
                    for j, metric in enumerate(self.metrics):
                        draw_band(axes, *metric.read(seeds), j, len(self.metrics), **metric.style)
                else:
                    metric = self.metrics[column.order if self.apart else 0]
                    draw_band(axes, *metric.read(seeds), i, len(lines), **styles[line])
            unlike = differing([flat_settings(run.config) for some in lines.values() for run in some])
            unlike = [n for n in unlike if not any(n == known or n.startswith(f"{known}.") for known in self.varied)]
            if unlike:
                panel = f"{row.text} {column.text}".strip()
                notes.append(f"panel {panel!r}: its lines also differ in {', '.join(unlike)}")
        finish_panels(grid, "epoch")
        if self._together:
            legend = {metric.text: metric.style for metric in self.metrics}
        else:
            legend = {line.text: style for line, style in styles.items() if line.text}
        # Without an axis of their own, the panels' titles name data set and noise already.
        told = self.columns or self.apart
        conditions = "; ".join(place.text for place in by.split(runs, by.condition))
        caption = [f"{conditions}." if told else "", self.caption, seeds_text(counts)]
        return annotate(drawing, legend, " ".join(filter(None, caption)))

    def _cells(self, runs: Sequence[Run]) -> dict[tuple[Place, Place], dict[Place, list[Run]]]:
        """The lines of each panel, by row (data set and noise, then ``rows``) and column."""
        conditions = by.split(runs, by.condition)
        if self.columns is None and not self.apart:  # then these stand beside each other
            return {(Place(0, ""), place): by.split(some, self.lines) for place, some in conditions.items()}
        cells: dict[tuple[Place, Place], dict[Place, list[Run]]] = {}
        for condition, some in conditions.items():
            shared = by.split(some, self.reference)
            own = [run for run in some if not self.reference(run)]
            for place, of_row in by.split(own, self.rows).items():
                text = "\n".join(filter(None, (condition.text if len(conditions) > 1 else "", place.text)))
                row = Place((condition.order, place.order), text)
                if self.columns:
                    columns = by.split(of_row, self.columns)
                else:
                    columns = {Place(i, metric.text): of_row for i, metric in enumerate(self.metrics)}
                cells |= {(row, column): shared | by.split(cell, self.lines) for column, cell in columns.items()}
        return cells

    def _styles(self, cells: dict[tuple[Place, Place], dict[Place, list[Run]]]) -> dict[Place, dict[str, Any]]:
        """The looks of each line, the same in all panels; references are thick and without markers.

        Lines that stand for one method each have its color.
        """
        colors: dict[Place, set[str]] = {}
        for lines in cells.values():
            for line, runs in lines.items():
                colors.setdefault(line, set()).update(color_of([run]) for run in runs)
        shared = [line for line in sorted(colors) if line.order < 0]
        own = [line for line in sorted(colors) if line.order >= 0]
        used = [min(colors[line]) for line in own if len(colors[line]) == 1]
        methods = (len(own) > 1 or self.apart) and len(set(used)) == len(own)
        styles = {line: {**style, "linewidth": 2.2} for line, style in zip(shared, REFERENCES, strict=False)}
        for i, line in enumerate(own):
            styles[line] = line_style(i, len(own), used[i] if methods else None, ordered=self.ordered)
        return styles
