"""Charts of the page as inline SVG: training curves with bands over seeds, and our numbers with published ones."""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from typing import Any, NamedTuple

import matplotlib
import numpy as np
import pandas as pd
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.collections import PolyCollection
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from .palette import Color
from .phrases import METRICS
from .run_directories import tidy_metrics
from .tables import Table

# Shown after the headline metric; training metrics distinguish learning from memorizing.
TITLES = {
    ("train", "dice"): "Training Dice to the given masks",
    ("train", "dice_clean"): "Training Dice to the clean masks",
    ("train", "accuracy_clean"): "Training accuracy on correct labels",
    ("train", "accuracy_mislabelled"): "Wrong training labels learned",
    ("train", "accuracy_true"): "Training accuracy on the true labels",
    ("train", "accuracy"): "Training accuracy on the given labels",
}
POINTS = 72  # per inch
SIZE = (5.4, 3.0)  # of a chart, in inches
LEFT, RIGHT, BOTTOM, TOP = 0.085, 0.985, 0.135, 0.975  # of its axes
INK, LINE = "#010203", "#040506"  # placeholders for the page's text and line colors
DASHES = ("-", (0, (4, 2)), (0, (1.2, 1.5)), (0, (6, 2, 1.2, 2)))
STYLE: Any = {
    "svg.fonttype": "none",
    "svg.hashsalt": "seg-anl",
    "path.simplify": False,
    "text.parse_math": False,  # names may contain dollar signs
    "font.size": 9,
    **dict.fromkeys(("text.color", "axes.labelcolor", "xtick.color", "ytick.color"), INK),
    **dict.fromkeys(("axes.edgecolor", "grid.color"), LINE),
    **dict.fromkeys(("axes.spines.top", "axes.spines.right", "axes.spines.left"), False),
    **dict.fromkeys(("xtick.bottom", "ytick.left"), False),
}


class Series(NamedTuple):
    """A line of a chart: name, row number in its table, color, and number of earlier lines of the same color."""

    name: str
    number: int
    color: Color
    twins: int


class Chart(NamedTuple):
    """A chart of the page; ``scale`` gives position and limits of its axes to the script."""

    title: str
    label: str
    svg: Markup
    scale: str


@contextmanager
def page_style() -> Iterator[None]:
    """Use matplotlib's settings for the page, regardless of the user's matplotlibrc, and restore them afterwards."""
    with matplotlib.rc_context(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing")  # the browser's fonts are used
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(STYLE)
        yield


def lines_of(table: Table) -> dict[str, Series]:
    """The line of each row with runs, for all noises of a table; rows with the same color differ in their dashes."""
    rows = table.entries[table.entries["mean"].notna()].drop_duplicates("label")
    twins = rows.groupby("color").cumcount()
    series = zip(rows["label"], range(len(rows)), rows["color"], twins, strict=True)
    return {each[0]: Series(*each) for each in series}


def curves_of(groups: pd.DataFrame, metrics: Collection[str]) -> pd.DataFrame:
    """Metrics, and their variants for correct and wrong labels, over the epochs that all runs of a group have.

    One row per group, split, metric and epoch: mean, min and max over seeds, in percent except for losses.
    """
    names = [*metrics, *(f"{metric}_{kind}" for metric in metrics for kind in ("clean", "mislabelled", "true"))]
    group_of = {run.path: group for group, runs in groups["runs"].items() for run in runs}
    tidy = tidy_metrics([run for some in groups["runs"] for run in some], sorted(names))
    tidy = tidy[np.isfinite(tidy["value"].astype(float))]
    tidy["group"] = tidy["run"].astype(object).map(group_of)
    keys = ["group", "split", "metric", "epoch"]
    table = tidy.groupby(keys, observed=True)["value"].agg(["mean", "min", "max", "size"]).reset_index()
    table[["mean", "min", "max"]] *= np.where(table["metric"] == "loss", 1.0, 100.0)[:, None]
    return table[table["size"] == table["group"].map(groups["runs"].map(len))]


def training_curves(curves: pd.DataFrame, series: Mapping[Any, Series], split: str, metric: str) -> list[Chart]:
    """Charts for one noise: the headline ``metric`` of ``split``, then the available training metrics.

    ``curves``: see :func:`curves_of`; ``series``: the line of each group of runs to draw.
    """
    titles = {(split, metric): f"{split[:1].upper()}{split[1:]} {METRICS.get(metric, metric)}", **TITLES}
    available = dict(iter(curves[curves["group"].isin([*series])].groupby(["split", "metric"], observed=True)))
    if ("train", "accuracy_true") in available:
        available.pop(("train", "accuracy"), None)  # only a mixture of the others
    return [_curve_chart(title, available[key], series) for key, title in titles.items() if key in available]


@cache
def _curve_axes() -> tuple[Figure, Axes]:
    """One figure reused for all charts, because creating axes is slower than drawing lines."""
    figure = Figure(figsize=SIZE)
    axes = figure.add_axes((LEFT, BOTTOM, RIGHT - LEFT, TOP - BOTTOM))
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    axes.yaxis.set_major_locator(MaxNLocator(5))
    axes.set_xlabel("epoch")
    axes.grid(axis="y", linewidth=0.6)
    return figure, axes


def _curve_chart(title: str, curves: pd.DataFrame, series: Mapping[Any, Series]) -> Chart:
    low, high = float(curves["min"].min()), float(curves["max"].max())
    margin = 0.04 * (high - low) or 0.5
    epochs = curves["epoch"] + 1  # from 0 in the files, from 1 in the chart
    first, last = int(epochs.min()), max(int(epochs.max()), int(epochs.min()) + 1)
    figure, axes = _curve_axes()
    for artist in (*axes.lines, *axes.collections):
        artist.remove()
    axes.set(xlim=(first, last), ylim=(low - margin, high + margin))
    of_group = dict(iter(curves.groupby("group")))
    drawn = {group: line for group, line in series.items() if group in of_group}
    for group, line in drawn.items():
        epoch, mean, below, above = of_group[group][["epoch", "mean", "min", "max"]].to_numpy().T
        x = epoch + 1
        style: dict[str, Any] = {"color": line.color.light, "linestyle": DASHES[line.twins % len(DASHES)]}
        if (below < above).any():
            edge = np.column_stack([np.r_[x, x[::-1]], np.r_[above, below[::-1]]])
            band = PolyCollection([edge], facecolors=line.color.light, alpha=0.15, linewidths=0)
            band.set(gid=f"band-{line.number}", clip_on=False)
            axes.add_collection(band, autolim=False)
        curve = Line2D(x, mean, linewidth=1.5, marker="o" if len(x) == 1 else "", **style)
        curve.set(gid=f"line-{line.number}", clip_on=False)
        axes.add_artist(curve)
    width, height = (POINTS * inches for inches in SIZE)
    position = (LEFT * width, RIGHT * width, first, last, (1 - BOTTOM) * height, (1 - TOP) * height)
    svg = _inline_svg(figure, [line.color for line in drawn.values()])
    scale = " ".join(f"{number:.6g}" for number in (*position, low - margin, high + margin))
    return Chart(title, f"{title} by epoch: {', '.join(line.name for line in drawn.values())}", svg, scale)


def forest_plot(rows: Sequence[Any]) -> Markup:
    """Our number (dot) and the published one (diamond) of each row, with whiskers of one standard deviation."""
    longest = max(len(row.label) for row in rows)
    labels, height = min(4.0, 0.35 + 0.075 * longest), 0.45 + 0.3 * len(rows)
    width = labels + 4.2
    figure = Figure(figsize=(width, height))
    axes = figure.add_axes((labels / width, 0.4 / height, 4.0 / width, 1 - 0.42 / height))
    offsets = [0.17 * (row.published_mean is not None) for row in rows]
    ours = [(row.mean, row.std or 0.0, y - offsets[y], row.color.light) for y, row in enumerate(rows)]
    theirs = [
        (row.published_mean, row.published_std or 0.0, y + offsets[y], INK) for y, row in enumerate(rows) if offsets[y]
    ]
    for points, marker in ((ours, "o"), (theirs, "D")):
        if points:
            means, stds, ys, colors = zip(*points, strict=True)
            axes.hlines(ys, np.subtract(means, stds), np.add(means, stds), colors=colors, linewidth=1.2)
            axes.scatter(means, ys, s=26, marker=marker, c=colors if marker == "o" else "none", edgecolors=colors)
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.set_yticks(range(len(rows)), [" ".join(row.label.split())[:60] for row in rows])
    axes.xaxis.set_major_locator(MaxNLocator(6))
    axes.grid(axis="x", linewidth=0.6)
    axes.margins(x=0.06)
    return _inline_svg(figure, [row.color for row in rows])


def _inline_svg(figure: Figure, colors: Sequence[Color]) -> Markup:
    """A figure as inline SVG, without ids that could clash, and with colors for light and dark pages."""
    FigureCanvasSVG(figure)
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None}, transparent=True)
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>|<style.*?</style>|<!--.*?-->", "", text, flags=re.DOTALL)
    text = re.sub(r'<svg [^>]*viewBox="([^"]*)"[^>]*>', r'<svg viewBox="\1" aria-hidden="true">', text)
    text = re.sub(r' id="(line|band)-(\d+)"', r' class="\1" data-series="\2"', text)
    used = set(re.findall(r'(?:href="|url\()#([\w-]+)', text))  # markers, whose ids depend only on their shape
    text = re.sub(r' id="([^"]*)"', lambda name: name[0] if name[1] in used else "", text)
    text = re.sub(r"font: ([\d.]+px) [^;\"]*", r"font-size: \1", text)  # use the page's font
    text = re.sub(r"([ML] -?\d+\.\d)\d* (-?\d+\.\d)\d*(?= )", r"\1 \2", text)  # round to tenths of a point
    text = text.replace(INK, "var(--muted)").replace(LINE, "var(--line)")
    for light, dark in sorted({*colors}):
        text = text.replace(light, f"light-dark({light}, {dark})")
    return Markup(re.sub(r"\s*\n\s*", "\n", text))  # escaped by matplotlib
