"""The page's drawings as inline SVG: training curves with a band over seeds, and ours beside the published numbers."""

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

# What a person asks of a run first; train metrics tell learning from memorizing.
TITLES = {
    ("train", "dice"): "Training Dice to the given masks",
    ("train", "dice_clean"): "Training Dice to the clean masks",
    ("train", "accuracy_clean"): "Training accuracy where the label is right",
    ("train", "accuracy_mislabelled"): "Wrong training labels learned",
    ("train", "accuracy_true"): "Training accuracy on the true labels",
    ("train", "accuracy"): "Training accuracy on the given labels",
}
POINTS = 72  # an inch
SIZE = (5.4, 3.0)  # inches, of a panel of curves
LEFT, RIGHT, BOTTOM, TOP = 0.085, 0.985, 0.135, 0.975  # where its axes are
INK, LINE = "#010203", "#040506"  # stand for the page's own colors of text and lines, light or dark
DASHES = ("-", (0, (4, 2)), (0, (1.2, 1.5)), (0, (6, 2, 1.2, 2)))
STYLE: Any = {
    "svg.fonttype": "none",
    "svg.hashsalt": "seg-anl",
    "path.simplify": False,
    "text.parse_math": False,  # names of runs are text, dollars and all
    "font.size": 9,
    **dict.fromkeys(("text.color", "axes.labelcolor", "xtick.color", "ytick.color"), INK),
    **dict.fromkeys(("axes.edgecolor", "grid.color"), LINE),
    **dict.fromkeys(("axes.spines.top", "axes.spines.right", "axes.spines.left"), False),
    **dict.fromkeys(("xtick.bottom", "ytick.left"), False),
}


class Series(NamedTuple):
    """A line of a chart: name, number among the rows of its table, color, and how often the color was used before."""

    name: str
    number: int
    color: Color
    twins: int


class Chart(NamedTuple):
    """A drawing for the page; ``scale`` says where its axes are and what they span, for the script."""

    title: str
    label: str
    svg: Markup
    scale: str


@contextmanager
def page_style() -> Iterator[None]:
    """Matplotlib set for the page, whatever the person's own matplotlibrc says; put back at the end."""
    with matplotlib.rc_context(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing")  # the reader's own fonts are used
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(STYLE)
        yield


def lines_of(table: Table) -> dict[str, Series]:
    """How each row with runs is drawn in all noises of a table; rows of one color differ in their dashes."""
    rows = table.entries[table.entries["mean"].notna()].drop_duplicates("label")
    twins = rows.groupby("color").cumcount()
    series = zip(rows["label"], range(len(rows)), rows["color"], twins, strict=True)
    return {each[0]: Series(*each) for each in series}


def curves_of(groups: pd.DataFrame, metrics: Collection[str]) -> pd.DataFrame:
    """Metrics, and their kinds for right and wrong labels, over the epochs that all runs of a group have.

    A row per group, split, metric and epoch: mean, min and max over seeds, in percent (a loss as it is).
    """
    names = [*metrics, *(f"{metric}_{kind}" for metric in metrics for kind in ("clean", "mislabelled", "true"))]
    group_of = {run.path: group for group, runs in groups["runs"].items() for run in runs}
    tidy = tidy_metrics([run for some in groups["runs"] for run in some], sorted(names))
    tidy = tidy[np.isfinite(tidy["value"].astype(float))]
    tidy["group"] = tidy["run"].astype(object).map(group_of)
    by = ["group", "split", "metric", "epoch"]
    found = tidy.groupby(by, observed=True)["value"].agg(["mean", "min", "max", "size"]).reset_index()
    found[["mean", "min", "max"]] *= np.where(found["metric"] == "loss", 1.0, 100.0)[:, None]
    return found[found["size"] == found["group"].map(groups["runs"].map(len))]


def training_curves(curves: pd.DataFrame, series: Mapping[Any, Series], split: str, metric: str) -> list[Chart]:
    """Charts of one noise: the headline ``metric`` of ``split`` first, then what training metrics there are.

    ``curves``: see :func:`curves_of`; ``series``: the line of each group of runs to draw.
    """
    titles = {(split, metric): f"{split[:1].upper()}{split[1:]} {METRICS.get(metric, metric)}", **TITLES}
    there = dict(iter(curves[curves["group"].isin([*series])].groupby(["split", "metric"], observed=True)))
    if ("train", "accuracy_true") in there:
        there.pop(("train", "accuracy"), None)  # a mixture of the two above it
    return [_curve_chart(title, there[key], series) for key, title in titles.items() if key in there]


@cache
def _curve_axes() -> tuple[Figure, Axes]:
    """One for all charts, emptied by each: making axes takes longer than drawing their lines."""
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
    epochs = curves["epoch"] + 1  # epochs count from 0 in the files and from 1 for people
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
    place = (LEFT * width, RIGHT * width, first, last, (1 - BOTTOM) * height, (1 - TOP) * height)
    svg = _inline(figure, [line.color for line in drawn.values()])
    scale = " ".join(f"{number:.6g}" for number in (*place, low - margin, high + margin))
    return Chart(title, f"{title} by epoch: {', '.join(line.name for line in drawn.values())}", svg, scale)


def forest_plot(rows: Sequence[Any]) -> Markup:
    """Ours (a dot) and the published number (a diamond) of each row, with whiskers of one standard deviation."""
    longest = max(len(row.label) for row in rows)
    labels, height = min(4.0, 0.35 + 0.075 * longest), 0.45 + 0.3 * len(rows)
    width = labels + 4.2
    figure = Figure(figsize=(width, height))
    axes = figure.add_axes((labels / width, 0.4 / height, 4.0 / width, 1 - 0.42 / height))
    apart = [0.17 * (row.published_mean is not None) for row in rows]
    ours = [(row.mean, row.std or 0.0, y - apart[y], row.color.light) for y, row in enumerate(rows)]
    theirs = [
        (row.published_mean, row.published_std or 0.0, y + apart[y], INK) for y, row in enumerate(rows) if apart[y]
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
    return _inline(figure, [row.color for row in rows])


def _inline(figure: Figure, colors: Sequence[Color]) -> Markup:
    """A figure as SVG inside a page: no names that could meet those of another one, colors light or dark."""
    FigureCanvasSVG(figure)
    written = io.StringIO()
    figure.savefig(written, format="svg", metadata={"Date": None}, transparent=True)
    text = written.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>|<style.*?</style>|<!--.*?-->", "", text, flags=re.DOTALL)
    text = re.sub(r'<svg [^>]*viewBox="([^"]*)"[^>]*>', r'<svg viewBox="\1" aria-hidden="true">', text)
    text = re.sub(r' id="(line|band)-(\d+)"', r' class="\1" data-series="\2"', text)
    used = set(re.findall(r'(?:href="|url\()#([\w-]+)', text))  # markers, named after what they look like
    text = re.sub(r' id="([^"]*)"', lambda name: name[0] if name[1] in used else "", text)
    text = re.sub(r"font: ([\d.]+px) [^;\"]*", r"font-size: \1", text)  # in the page's own font
    text = re.sub(r"([ML] -?\d+\.\d)\d* (-?\d+\.\d)\d*(?= )", r"\1 \2", text)  # tenths of a point are enough
    text = text.replace(INK, "var(--muted)").replace(LINE, "var(--line)")
    for light, dark in sorted({*colors}):
        text = text.replace(light, f"light-dark({light}, {dark})")
    return Markup(re.sub(r"\s*\n\s*", "\n", text))  # escaped by matplotlib
