"""Charts of the page as inline SVG: training curves with bands over seeds, and our numbers with published ones."""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from typing import Any, NamedTuple

import matplotlib
import numpy as np
import pandas as pd
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
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
SIZE = (5.4, 3.0)  # of a chart, in inches
LEFT, RIGHT, BOTTOM, TOP = 0.085, 0.985, 0.135, 0.975  # of its axes; the script knows them, too
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


class Chart(NamedTuple):
    """A chart of the page; ``values`` gives its lines to the script, as JSON of a pandas frame."""

    title: str
    label: str
    svg: Markup
    values: str


@contextmanager
def page_style() -> Iterator[None]:
    """Use matplotlib's settings for the page, regardless of the user's matplotlibrc, and restore them afterwards."""
    with matplotlib.rc_context(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing")  # the browser's fonts are used
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(STYLE)
        yield


def lines_of(table: Table) -> pd.DataFrame:
    """The lines of a table's charts: label, color and dashes of each row with runs.

    Rows of the same color differ in their dashes.
    """
    rows = table.entries[table.entries["mean"].notna()].drop_duplicates("label").reset_index(drop=True)
    return rows[["label", "color"]].assign(dashes=rows.groupby("color").cumcount() % len(DASHES))


def curves_of(groups: pd.DataFrame, metrics: Collection[str]) -> pd.DataFrame:
    """Metrics, and their variants for correct and wrong labels, over the epochs that all runs of a group have.

    One row per group, split, metric and epoch (from 1): mean, min and max over seeds, in percent.
    """
    names = [*metrics, *(f"{metric}_{kind}" for metric in metrics for kind in ("clean", "mislabelled", "true"))]
    group_of = {run.path: group for group, runs in groups["runs"].items() for run in runs}
    tidy = tidy_metrics([run for some in groups["runs"] for run in some], sorted(names))
    tidy = tidy[np.isfinite(tidy["value"].astype(float))]
    tidy["group"] = tidy["run"].astype(object).map(group_of)
    keys = ["group", "split", "metric", "epoch"]
    table = tidy.groupby(keys, observed=True)["value"].agg(["mean", "min", "max", "size"]).reset_index()
    table[["mean", "min", "max"]] *= 100
    table["epoch"] += 1
    return table[table["size"] == table["group"].map(groups["runs"].map(len))]


def training_curves(curves: pd.DataFrame, run: Sequence[Any], lines: pd.DataFrame, metric: str) -> list[Chart]:
    """Charts for one noise: the headline ``metric``, then the available training metrics.

    ``curves``: see :func:`curves_of`; ``run``: the table's entries with runs; ``lines``: see :func:`lines_of`.
    """
    number_of = dict(zip(lines["label"], lines.index, strict=True))
    numbers = {entry.group: number_of[entry.label] for entry in run}
    split = run[0].split
    titles = {(split, metric): f"{split[:1].upper()}{split[1:]} {METRICS.get(metric, metric)}", **TITLES}
    curves = curves.assign(line=curves["group"].map(numbers)).dropna(subset="line").astype({"line": int})
    available = dict(iter(curves.groupby(["split", "metric"], observed=True)))
    if ("train", "accuracy_true") in available:
        available.pop(("train", "accuracy"), None)  # only a mixture of the others
    return [_curve_chart(title, available[key], lines) for key, title in titles.items() if key in available]


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


def _curve_chart(title: str, curves: pd.DataFrame, lines: pd.DataFrame) -> Chart:
    low, high = curves["min"].min(), curves["max"].max()
    margin = 0.04 * (high - low) or 0.5
    first, last = curves["epoch"].min(), max(curves["epoch"].max(), curves["epoch"].min() + 1)
    figure, axes = _curve_axes()
    for artist in (*axes.lines, *axes.collections):
        artist.remove()
    axes.set(xlim=(first, last), ylim=(low - margin, high + margin))
    drawn = lines.loc[curves["line"].unique()].sort_index()
    for number, curve in curves.groupby("line"):
        color, dashes = lines["color"][number].light, DASHES[lines["dashes"][number]]
        epochs, mean, below, above = (curve[name].to_numpy() for name in ("epoch", "mean", "min", "max"))
        style: dict[str, Any] = {"color": color, "linestyle": dashes, "marker": "o" if len(curve) == 1 else ""}
        axes.add_artist(Line2D(epochs, mean, linewidth=1.5, gid=f"line-{number}", clip_on=False, **style))
        if (below < above).any():
            band = axes.fill_between(epochs, below, above, color=color, alpha=0.15, linewidth=0)
            band.set(gid=f"band-{number}", clip_on=False)
    values = curves.pivot(index="epoch", columns="line", values="mean").round(1).to_json(orient="split")
    label = f"{title} by epoch: {', '.join(drawn['label'])}"
    return Chart(title, label, _inline_svg(figure, [*drawn["color"]]), values)


def forest_plot(entries: pd.DataFrame) -> Markup:
    """Our number (dot) and the published one (diamond) of each entry, with whiskers of one standard deviation."""
    longest, count = entries["label"].map(len).max(), len(entries)
    labels, height = min(4.0, 0.35 + 0.075 * longest), 0.45 + 0.3 * count
    width = labels + 4.2
    figure = Figure(figsize=(width, height))
    axes = figure.add_axes((labels / width, 0.4 / height, 4.0 / width, 1 - 0.42 / height))
    shift = 0.17 * entries["published_mean"].notna()
    for prefix, marker, side in (("", "o", -1), ("published_", "D", 1)):
        rows = entries.dropna(subset=[f"{prefix}mean"])
        means, y = rows[f"{prefix}mean"].astype(float), rows.index + side * shift[rows.index]
        stds = rows[f"{prefix}std"].astype(float).fillna(0)
        colors = INK if prefix else [color.light for color in rows["color"]]
        axes.hlines(y, means - stds, means + stds, colors=colors, linewidth=1.2)
        axes.scatter(means, y, s=26, marker=marker, c="none" if prefix else colors, edgecolors=colors)
    axes.set_ylim(count - 0.5, -0.5)
    axes.set_yticks(range(count), [" ".join(label.split())[:60] for label in entries["label"]])
    axes.xaxis.set_major_locator(MaxNLocator(6))
    axes.grid(axis="x", linewidth=0.6)
    axes.margins(x=0.06)
    return _inline_svg(figure, [*entries["color"]])


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
