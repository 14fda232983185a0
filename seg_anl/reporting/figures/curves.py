"""Metrics over epochs, with panels by one setting and lines by another: most figures of the papers."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib import colormaps
from matplotlib.colors import to_hex
from matplotlib.figure import Figure as Drawing
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from seg_anl.reporting.run_directories import Run, tidy_metrics
from seg_anl.reporting.run_settings import differing, flat_settings

from . import drawing
from .drawing import color_of, finish, layout, seeds_text
from .facets import CELL, conditions_text
from .records import lacks_record, read_epoch, recorded_epochs

LOSS_SETTINGS = ("loss", "optim.l1", "optim.weight_decay", "optim.jacobian", "method")


class Metric(NamedTuple):
    """A metric of metrics.csv, its name in legends, and its style: color, index of dashes and of marker."""

    split: str
    name: str
    text: str
    style: tuple[str, int, int] = (drawing.BLACK, 0, 0)


TEST = Metric("test", "accuracy", "test")
CLEAN = Metric("train", "accuracy_clean", "training, correct labels", (drawing.BLUE, 3, 2))
MISLABELED = Metric("train", "accuracy_mislabelled", "training, wrong labels (memorized)", (drawing.VERMILLION, 1, 1))
VALIDATION = Metric("tuning", "accuracy", "validation")
SPARSE_RATE = Metric("train", "sparse_rate", "sparse rate")  # from records/probabilities


def sparse_rate(probabilities: NDArray[np.floating]) -> float:
    """Share of samples whose output, sharpened with tau = 0.1, has an entry above 0.99.

    The softmax of z / tau is softmax(z) to the power of 1 / tau, normalized, so the recorded softmax ``(N, K)``
    suffices. Only classes with more than 0.63 of the largest probability matter, where float16 is accurate to 0.1 %.

    Reference: Zhou et al., Learning with Noisy Labels via Sparse Regularization, ICCV 2021, Section 3.1.
    """
    relative = probabilities.astype(np.float64) / probabilities.max(axis=1, keepdims=True)
    largest = 1 / (relative**10).sum(axis=1)
    return float((largest > 0.99).mean())


def sparse_rates(runs: Sequence[Run]) -> pd.DataFrame:
    """The sparse rate in all recorded epochs, in the format of :func:`tidy_metrics`."""
    rows = [
        (run.path, *SPARSE_RATE[:2], epoch, sparse_rate(read_epoch(run, "probabilities", epoch, "softmax")["softmax"]))
        for run in runs
        for epoch in recorded_epochs([run], "probabilities")
    ]
    return pd.DataFrame(rows, columns=["run", "split", "metric", "epoch", "value"])


class Curves(NamedTuple):
    """Metrics over epochs, averaged over seeds, with panels by one setting and lines by another.

    Attributes:
        metrics: metrics to draw; several are lines of the same panel.
        apart: whether each metric has its own column instead.
        colors: ``methods`` (the color of each line's method), ``ordered`` (a color map) or ``unlike``.
        varied: settings, or groups of settings, in which the lines of a panel may differ.
        quantity, caption: label of the y axes, and text for the caption.
    """

    metrics: tuple[Metric, ...] = (TEST,)
    apart: bool = False
    colors: str = "unlike"
    varied: tuple[str, ...] = LOSS_SETTINGS
    quantity: str = "test accuracy"
    caption: str = ""

    def lacking(self, run: Run) -> str | None:
        """Why a run cannot be drawn; None if it can."""
        for metric in self.metrics:
            if metric is SPARSE_RATE and (reason := lacks_record("probabilities")(run)):
                return reason
            if metric is not SPARSE_RATE and not run.has(metric.split, metric.name):
                return f"has no {metric.split}/{metric.name} in its metrics.csv"
        return None

    def draw(self, placed: pd.DataFrame, notes: list[str]) -> Drawing:
        """Draw the runs; see :class:`drawing.Figure`."""
        frame = self._values(placed)
        by_metric = len(self.metrics) > 1 and not self.apart
        hue = "metric" if by_metric else "line"
        frame[hue] = frame[hue].cat.rename_categories({"": " "})  # seaborn treats an empty name as no name
        grid = sns.relplot(
            frame,
            kind="line",
            **{"x": "epoch", "y": "value", "hue": hue, "style": hue, "errorbar": drawing.LOW_TO_HIGH},
            **(self._metric_styles() if by_metric else self._line_styles(placed)),
            markevery=max(1, round(frame["epoch"].nunique() / 7)),
            legend="full" if frame[hue].nunique() > 1 or frame[hue].iloc[0] != " " else False,
            **layout(frame),
        )
        for axes in grid.axes.flat:
            axes.xaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10], integer=True, min_n_ticks=2))
        notes += self._unexpected_differences(frame)
        caption = " ".join(filter(None, (f"{conditions_text(placed)}.", self.caption, seeds_text(placed))))
        return finish(grid, caption, "epoch", f"{self.quantity} (%)")

    def _values(self, placed: pd.DataFrame) -> pd.DataFrame:
        """The metrics in percent by epoch (from 1), for the epochs that all runs of a line have."""
        runs = [*placed.drop_duplicates("path")["run"]]
        names = {metric[:2]: metric.text for metric in self.metrics}
        values = tidy_metrics(runs, [name for _, name in names])
        if SPARSE_RATE in self.metrics:
            values = pd.concat([values, sparse_rates(runs)])
        values["metric"] = pd.Categorical(
            map(names.get, zip(values["split"], values["metric"], strict=True)), [*names.values()]
        )
        values = values.dropna(subset="metric").rename(columns={"run": "path"}).astype({"path": str})
        values["value"], values["epoch"] = 100 * values["value"], values["epoch"] + 1
        if self.apart:
            placed, values["column"] = placed.drop(columns="column"), values["metric"]
        frame = placed.merge(values, on="path")
        runs_of = frame.groupby([*CELL, "metric"], observed=True)["path"].transform("nunique")
        runs_at = frame.groupby([*CELL, "metric", "epoch"], observed=True)["path"].transform("nunique")
        return frame[runs_at == runs_of].copy()

    def _metric_styles(self) -> dict[str, Any]:
        colors, dashes, markers = zip(*(metric.style for metric in self.metrics), strict=True)
        return _styles([metric.text for metric in self.metrics], colors, dashes, markers)

    def _line_styles(self, placed: pd.DataFrame) -> dict[str, Any]:
        lines = placed["line"].cat.categories
        colors = [drawing.COLORS[i % len(drawing.COLORS)] for i in range(len(lines))]
        if self.colors == "methods":
            colors = [color_of(run) for run in placed.sort_values("line").drop_duplicates("line")["run"]]
        elif self.colors == "ordered" and len(lines) > 2:  # without the lightest colors, which are too faint on white
            colors = [to_hex(shade) for shade in colormaps["viridis"](np.linspace(0, 0.86, len(lines)))]
        return _styles([line or " " for line in lines], colors, range(len(lines)), range(len(lines)))

    def _unexpected_differences(self, frame: pd.DataFrame) -> list[str]:
        """Notes about settings in which the lines of a panel differ but should not."""
        notes = []
        for (row, column), some in frame.groupby(["row", "column"], observed=True):
            names = differing(flat_settings(run.config) for run in some.drop_duplicates("path")["run"])
            extra = [n for n in names if not any(n == known or n.startswith(f"{known}.") for known in self.varied)]
            panel = f"{row} {column}".strip()
            notes += [f"panel {panel!r}: its lines also differ in {', '.join(extra)}"] if extra else []
        return notes


def _styles(names: Sequence[str], colors: Any, dashes: Iterable[int], markers: Iterable[int]) -> dict[str, Any]:
    """Arguments of seaborn for lines with these names."""
    return {
        "palette": dict(zip(names, colors, strict=True)),
        "dashes": {name: drawing.DASHES[i % len(drawing.DASHES)] for name, i in zip(names, dashes, strict=True)},
        "markers": {name: drawing.MARKERS[i % len(drawing.MARKERS)] for name, i in zip(names, markers, strict=True)},
    }
