"""The page's drawings as inline SVG: training curves with a band over seeds, and ours beside the published numbers."""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
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
from .run_directories import Run, tidy_metrics

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


def over_seeds(groups: pd.DataFrame, metrics: Sequence[str]) -> pd.DataFrame:
    """Metrics of groups of runs over the epochs that all runs of a group have.

    Returns:
        A frame by group, split, metric and epoch: mean, min and max over seeds.
    """
    group_of = {run.path: group for group, runs in groups["runs"].items() for run in runs}
    runs: list[Run] = [run for some in groups["runs"] for run in some]
    tidy = tidy_metrics(runs, metrics)
    tidy = tidy[np.isfinite(tidy["value"].astype(float))]
    tidy["group"] = tidy["run"].astype(object).map(group_of)
    found = tidy.groupby(["group", "split", "metric", "epoch"], observed=True)["value"].agg(
        ["mean", "min", "max", "size"]
    )
    seeds = groups["runs"].map(len).reindex(found.index.get_level_values("group")).to_numpy()
    return found[found["size"] == seeds].drop(columns="size")


def training_curves(curves: pd.DataFrame, series: Mapping[Any, Series], split: str, metric: str) -> list[Chart]:
    """Charts of one noise: the headline metric first, then what training metrics there are.

    Args:
        curves: see :func:`over_seeds`.
        series: line of each group of runs to draw.
        split, metric: the headline.
    """
    word = {"dice": "Dice", "accuracy": "accuracy"}.get(metric, metric)
    titles = {(split, metric): f"{split[:1].upper()}{split[1:]} {word}", **TITLES}
    own = curves[curves.index.get_level_values("group").isin([*series])]
    there = set(own.index.droplevel(["group", "epoch"]))
    if ("train", "accuracy_true") in there:
        there.discard(("train", "accuracy"))  # a mixture of the two above it
    return [
        _curve_chart(title, own.xs(key, level=("split", "metric")), series, 1.0 if metric == "loss" else 100.0)
        for key, title in titles.items()
        if key in there
    ]


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


def _curve_chart(title: str, curves: pd.DataFrame, series: Mapping[Any, Series], factor: float) -> Chart:
    curves = curves * factor
    low, high = float(curves["min"].min()), float(curves["max"].max())
    margin = 0.04 * (high - low) or 0.5
    epochs = curves.index.get_level_values("epoch") + 1  # epochs count from 0 in the files and from 1 for people
    first, last = int(epochs.min()), max(int(epochs.max()), int(epochs.min()) + 1)
    figure, axes = _curve_axes()
    for artist in (*axes.lines, *axes.collections):
        artist.remove()
    axes.set(xlim=(first, last), ylim=(low - margin, high + margin))
    of_group = dict(
        iter(curves.droplevel([name for name in curves.index.names if name not in ("group", "epoch")]).groupby("group"))
    )
    drawn = [line for group, line in series.items() if group in of_group]
    for group, line in series.items():
        if group not in of_group:
            continue
        mean, below, above = of_group[group][["mean", "min", "max"]].to_numpy().T
        x = of_group[group].index.get_level_values("epoch").to_numpy() + 1
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
    svg = _inline(figure, {line.color.light: line.color for line in drawn})
    scale = " ".join(f"{number:.6g}" for number in (*place, low - margin, high + margin))
    return Chart(title, f"{title} by epoch: {', '.join(line.name for line in drawn)}", svg, scale)


def forest_plot(rows: Sequence[Any]) -> Markup:
    """Ours (a dot) and the published number (a diamond) of each row, with whiskers of one standard deviation."""
    longest = max(len(row.label) for row in rows)
    labels, height = min(4.0, 0.35 + 0.075 * longest), 0.45 + 0.3 * len(rows)
    width = labels + 4.2
    figure = Figure(figsize=(width, height))
    axes = figure.add_axes((labels / width, 0.4 / height, 4.0 / width, 1 - 0.42 / height))
    for y, row in enumerate(rows):
        both = row.mean is not None and row.published_mean is not None
        if row.mean is not None:
            _dot(axes, row.mean, row.std, y - 0.17 * both, row.color.light, "o", row.color.light)
        if row.published_mean is not None:
            _dot(axes, row.published_mean, row.published_std, y + 0.17 * both, INK, "D", "none")
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.set_yticks(range(len(rows)), [" ".join(row.label.split())[:60] for row in rows])
    axes.xaxis.set_major_locator(MaxNLocator(6))
    axes.grid(axis="x", linewidth=0.6)
    axes.margins(x=0.06)
    return _inline(figure, {row.color.light: row.color for row in rows})


def _dot(axes: Axes, mean: float, std: float | None, y: float, color: str, marker: str, face: str) -> None:
    if std:
        axes.plot([mean - std, mean + std], [y, y], color=color, linewidth=1.2)
    axes.plot([mean], [y], marker=marker, markersize=5, color=color, markerfacecolor=face, linestyle="none")


def _inline(figure: Figure, colors: Mapping[str, Color]) -> Markup:
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
    for light, color in sorted(colors.items()):
        text = text.replace(light, f"light-dark({color.light}, {color.dark})")
    return Markup(re.sub(r"\s*\n\s*", "\n", text))  # escaped by matplotlib
