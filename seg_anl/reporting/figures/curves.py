"""Values over the epochs: panels by one setting, lines by another. Most figures of the papers are such."""

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
from .drawing import color_of, finished, layout, seeds_text
from .facets import CELL, conditions_text
from .records import lacks_record, read_epoch, recorded_epochs

LOSS_SETTINGS = ("loss", "optim.l1", "optim.weight_decay", "optim.jacobian", "method")


class Metric(NamedTuple):
    """A metric of metrics.csv, its name in legends, its looks beside others: color, number of dashes and marker."""

    split: str
    name: str
    text: str
    looks: tuple[str, int, int] = (drawing.BLACK, 0, 0)


TEST = Metric("test", "accuracy", "test")
CLEAN = Metric("train", "accuracy_clean", "training, right labels", (drawing.BLUE, 3, 2))
MISLABELED = Metric("train", "accuracy_mislabelled", "training, wrong labels (memorized)", (drawing.VERMILLION, 1, 1))
VALIDATION = Metric("tuning", "accuracy", "validation")
SPARSE_RATE = Metric("train", "sparse_rate", "sparse rate")  # from records/probabilities


def sparse_rate(probabilities: NDArray[np.floating]) -> float:
    """Share of samples whose output, sharpened with tau = 0.1, has an entry above 0.99.

    The softmax of z / tau is softmax(z) to the power of 1 / tau, normalized, so the recorded softmax ``(N, K)`` is
    enough. Only classes within 0.63 of the largest decide, where float16 is exact to a thousandth.

    Reference: Zhou et al., Learning with Noisy Labels via Sparse Regularization, ICCV 2021, Section 3.1.
    """
    relative = probabilities.astype(np.float64) / probabilities.max(axis=1, keepdims=True)
    largest = 1 / (relative**10).sum(axis=1)
    return float((largest > 0.99).mean())


def sparse_rates(runs: Sequence[Run]) -> pd.DataFrame:
    """The sparse rate in all recorded epochs, as :func:`tidy_metrics` has values."""
    rows = [
        (run.path, *SPARSE_RATE[:2], epoch, sparse_rate(read_epoch(run, "probabilities", epoch, "softmax")["softmax"]))
        for run in runs
        for epoch in recorded_epochs([run], "probabilities")
    ]
    return pd.DataFrame(rows, columns=["run", "split", "metric", "epoch", "value"])


class Curves(NamedTuple):
    """Values over the epochs: panels by one setting, lines by another, the mean over seeds.

    Attributes:
        metrics: what is drawn; of several, a panel holds a line for each of them.
        apart: whether each metric has a column of its own instead.
        colors: of the lines: ``methods`` (each line stands for one), ``ordered`` (amounts of one thing) or unlike.
        varied: settings (or groups of them) in which the lines of a panel are meant to differ.
        quantity, caption: what the y axes show, and what a reader must know besides.
    """

    metrics: tuple[Metric, ...] = (TEST,)
    apart: bool = False
    colors: str = "unlike"
    varied: tuple[str, ...] = LOSS_SETTINGS
    quantity: str = "test accuracy"
    caption: str = ""

    def lacking(self, run: Run) -> str | None:
        """Why a run cannot be drawn."""
        for metric in self.metrics:
            if metric is SPARSE_RATE and (reason := lacks_record("probabilities")(run)):
                return reason
            if metric is not SPARSE_RATE and not run.has(metric.split, metric.name):
                return f"has no {metric.split}/{metric.name} in its metrics.csv"
        return None

    def draw(self, placed: pd.DataFrame, notes: list[str]) -> Drawing:
        """Draw the runs; see :class:`drawing.Figure`."""
        frame = self._values(placed)
        together = len(self.metrics) > 1 and not self.apart
        hue = "metric" if together else "line"
        frame[hue] = frame[hue].cat.rename_categories({"": " "})  # seaborn takes an empty name for none
        grid = sns.relplot(
            frame,
            kind="line",
            **{"x": "epoch", "y": "value", "hue": hue, "style": hue, "errorbar": drawing.LOW_TO_HIGH},
            **(self._looks_of_metrics() if together else self._looks_of_lines(placed)),
            markevery=max(1, round(frame["epoch"].nunique() / 7)),
            legend="full" if frame[hue].nunique() > 1 or frame[hue].iloc[0] != " " else False,
            **layout(frame),
        )
        for axes in grid.axes.flat:
            axes.xaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10], integer=True, min_n_ticks=2))
        notes += self._unlike(frame)
        caption = " ".join(filter(None, (f"{conditions_text(placed)}.", self.caption, seeds_text(placed))))
        return finished(grid, caption, "epoch", f"{self.quantity} (%)")

    def _values(self, placed: pd.DataFrame) -> pd.DataFrame:
        """The metrics in percent, by epoch (counted from 1): of each line the epochs that all its runs have."""
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

    def _looks_of_metrics(self) -> dict[str, Any]:
        colors, dashes, markers = zip(*(metric.looks for metric in self.metrics), strict=True)
        return _looks([metric.text for metric in self.metrics], colors, dashes, markers)

    def _looks_of_lines(self, placed: pd.DataFrame) -> dict[str, Any]:
        lines = placed["line"].cat.categories
        colors = [drawing.COLORS[i % len(drawing.COLORS)] for i in range(len(lines))]
        if self.colors == "methods":
            colors = [color_of(run) for run in placed.sort_values("line").drop_duplicates("line")["run"]]
        elif self.colors == "ordered" and len(lines) > 2:  # the lightest sixth of the map is too faint on white paper
            colors = [to_hex(shade) for shade in colormaps["viridis"](np.linspace(0, 0.86, len(lines)))]
        return _looks([line or " " for line in lines], colors, range(len(lines)), range(len(lines)))

    def _unlike(self, frame: pd.DataFrame) -> list[str]:
        """In what the lines of each panel differ besides what they are meant to."""
        found = []
        for (row, column), some in frame.groupby(["row", "column"], observed=True):
            names = differing(flat_settings(run.config) for run in some.drop_duplicates("path")["run"])
            unlike = [n for n in names if not any(n == known or n.startswith(f"{known}.") for known in self.varied)]
            panel = f"{row} {column}".strip()
            found += [f"panel {panel!r}: its lines also differ in {', '.join(unlike)}"] if unlike else []
        return found


def _looks(names: Sequence[str], colors: Any, dashes: Iterable[int], markers: Iterable[int]) -> dict[str, Any]:
    """Arguments of seaborn for lines of these names."""
    return {
        "palette": dict(zip(names, colors, strict=True)),
        "dashes": {name: drawing.DASHES[i % len(drawing.DASHES)] for name, i in zip(names, dashes, strict=True)},
        "markers": {name: drawing.MARKERS[i % len(drawing.MARKERS)] for name, i in zip(names, markers, strict=True)},
    }
