"""Metrics over epochs, with panels by one setting and lines by another: most figures of the papers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
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
from seg_anl.reporting.run_settings import differing

from . import drawing
from .drawing import colors_of, finish, layout, seeds_text
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


def lacks_metrics(*metrics: Metric) -> Callable[[Run], str | None]:
    """A function that says why a run cannot be drawn; it returns None for a run that has these metrics."""

    def lacking(run: Run) -> str | None:
        reasons = (
            lacks_record("probabilities")(run)
            if metric is SPARSE_RATE
            else f"has no {metric.split}/{metric.name} in its metrics.csv"
            for metric in metrics
            if metric is SPARSE_RATE or run.curve(metric.split, metric.name).empty
        )
        return next(filter(None, reasons), None)

    return lacking


def draw_curves(
    placed: pd.DataFrame,
    notes: list[str],
    *,
    metrics: Sequence[Metric],
    apart: bool = False,
    colors: str = "unlike",
    varied: tuple[str, ...] = LOSS_SETTINGS,
    quantity: str = "test accuracy",
    caption: str = "",
) -> Drawing:
    """Draw metrics over epochs, averaged over seeds; see :class:`drawing.Figure`.

    Args:
        placed: the runs, with panels and lines.
        notes: gets a note for each panel whose lines differ in other settings than ``varied`` ones.
        metrics: several are lines of the same panel.
        apart: whether each metric has its own column instead.
        colors: ``methods`` (the color of each line's method), ``ordered`` (a color map) or ``unlike``.
        varied: settings, or groups of settings, in which the lines of a panel may differ.
        quantity: label of the y axes.
        caption: text for the caption.
    """
    frame = _values(placed, metrics, apart)
    by_metric = len(metrics) > 1 and not apart
    hue = "metric" if by_metric else "line"
    frame[hue] = frame[hue].cat.rename_categories({"": " "})  # seaborn treats an empty name as no name
    grid = sns.relplot(
        frame,
        kind="line",
        **{"x": "epoch", "y": "value", "hue": hue, "style": hue, "errorbar": drawing.LOW_TO_HIGH},
        **_styles(metrics, placed, colors if not by_metric else "metrics"),
        markevery=max(1, round(frame["epoch"].nunique() / 7)),
        legend="full" if frame[hue].nunique() > 1 or frame[hue].iloc[0] != " " else False,
        **layout(frame),
    )
    for axes in grid.axes.flat:
        axes.xaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10], integer=True, min_n_ticks=2))
    for panel, some in frame.drop_duplicates(["row", "column", "path"]).groupby(["row", "column"], observed=True):
        names = differing(run.settings for run in some["run"])
        extra = [name for name in names if not f"{name}.".startswith(tuple(f"{known}." for known in varied))]
        title = " ".join(filter(None, panel))
        notes += [f"panel {title!r}: its lines also differ in {', '.join(extra)}"] if extra else []
    caption = " ".join(filter(None, (f"{conditions_text(placed)}.", caption, seeds_text(placed))))
    return finish(grid, caption, "epoch", f"{quantity} (%)")


def _values(placed: pd.DataFrame, metrics: Sequence[Metric], apart: bool) -> pd.DataFrame:
    """The metrics in percent by epoch (from 1), for the epochs that all runs of a line have."""
    runs = [*placed.drop_duplicates("path")["run"]]
    values = tidy_metrics(runs, [metric.name for metric in metrics])
    if SPARSE_RATE in metrics:
        rates = [
            (
                run.path,
                *SPARSE_RATE[:2],
                epoch,
                sparse_rate(read_epoch(run, "probabilities", epoch, "softmax")["softmax"]),
            )
            for run in runs
            for epoch in recorded_epochs([run], "probabilities")
        ]
        values = pd.concat([values, pd.DataFrame(rates, columns=["run", "split", "metric", "epoch", "value"])])
    names = {metric[:2]: metric.text for metric in metrics}
    texts = map(names.get, zip(values["split"], values["metric"], strict=True))
    values["metric"] = pd.Categorical(texts, [*names.values()])
    values = values.dropna(subset="metric").rename(columns={"run": "path"}).astype({"path": str})
    values["value"], values["epoch"] = 100 * values["value"], values["epoch"] + 1
    if apart:
        placed, values["column"] = placed.drop(columns="column"), values["metric"]
    frame = placed.merge(values, on="path")
    runs_of = frame.groupby([*CELL, "metric"], observed=True)["path"].transform("nunique")
    runs_at = frame.groupby([*CELL, "metric", "epoch"], observed=True)["path"].transform("nunique")
    return frame[runs_at == runs_of].copy()


def _styles(metrics: Sequence[Metric], placed: pd.DataFrame, colors: str) -> dict[str, Any]:
    """Arguments of seaborn: colors, dashes and markers of the lines."""
    lines = len(placed["line"].cat.categories)
    palette: Sequence[str] = [drawing.COLORS[i % len(drawing.COLORS)] for i in range(lines)]
    dashes: Sequence[int] = range(lines)
    markers = dashes
    if colors == "metrics":
        palette, dashes, markers = zip(*(metric.style for metric in metrics), strict=True)
    elif colors == "methods":
        palette = [*colors_of(placed, "line").values()]
    elif colors == "ordered" and lines > 2:  # without the lightest colors, which are too faint on white
        palette = [to_hex(shade) for shade in colormaps["viridis"](np.linspace(0, 0.86, lines))]
    return {
        "palette": palette,
        "dashes": [drawing.DASHES[i % len(drawing.DASHES)] for i in dashes],
        "markers": [drawing.MARKERS[i % len(drawing.MARKERS)] for i in markers],
    }
