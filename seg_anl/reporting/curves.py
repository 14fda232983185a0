"""Training curves as small pictures (SVG) for a page: a line for each row of a table, a band over its seeds.

Coordinates are whole tenths of a pixel, each point as the step from the last: a report of hundreds of runs stays small.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from .cells import Cell
from .runs import Curve

Key = tuple[str, str]

WIDTH, HEIGHT = 4000, 2300
LEFT, RIGHT, TOP, BOTTOM = 400, 130, 60, 330
# What a person asks of a run first; train metrics tell learning from memorizing.
TITLES: dict[Key, str] = {
    ("train", "dice"): "Training Dice to the given masks",
    ("train", "dice_clean"): "Training Dice to the clean masks",
    ("train", "accuracy_clean"): "Training accuracy where the label is right",
    ("train", "accuracy_mislabelled"): "Wrong training labels learned",
    ("train", "accuracy_true"): "Training accuracy on the true labels",
    ("train", "accuracy"): "Training accuracy on the given labels",
}
_COLORS = 8  # in page.css
_WORDS = {"dice": "Dice", "accuracy": "accuracy"}


def color(series: int) -> str:
    """The classes of a series: colors first, then the same colors dashed, then dotted."""
    return f"s{series % _COLORS} d{min(series // _COLORS, 2)}"


class Seeds(NamedTuple):
    """A metric over epochs: mean, lowest and highest over seeds, all ``(epochs,)``."""

    epochs: NDArray[np.int64]
    mean: NDArray[np.float64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]


def shown_metrics(headline: Key, cells: Iterable[Cell]) -> dict[Key, str]:
    """The metrics to draw and their titles, the headline first; those that no run has are left out."""
    there = {key for cell in cells for run in cell.runs for key in run.curves}
    split, metric = headline
    titles = {headline: f"{split.capitalize()} {_WORDS.get(metric, metric)}"}
    titles |= {key: title for key, title in TITLES.items() if key in there and key != headline}
    if ("train", "accuracy_true") in there:
        titles.pop(("train", "accuracy"), None)  # a mixture of the two above it
    return titles


def over_seeds(cell: Cell, key: Key) -> Seeds | None:
    """A metric of all runs of a cell, at the epochs that all of them have; None where that is none."""
    curves = [curve for run in cell.runs if (curve := run.curves.get(key)) is not None]
    if len(curves) < len(cell.runs):
        return None
    epochs = curves[0].epochs
    for curve in curves[1:]:
        epochs = np.intersect1d(epochs, curve.epochs)
    values = np.stack([_at(curve, epochs) for curve in curves])
    finite = np.isfinite(values).all(axis=0)
    if not finite.any():
        return None
    values = values[:, finite]
    return Seeds(epochs[finite], values.mean(axis=0), values.min(axis=0), values.max(axis=0))


def _at(curve: Curve, epochs: NDArray[np.int64]) -> NDArray[np.float64]:
    return np.asarray(curve.values[np.searchsorted(curve.epochs, epochs)])


def chart(title: str, lines: Mapping[int, Seeds], names: Sequence[str], *, percent: bool = True) -> str:
    """One picture; ``lines`` by the number of the series, which is its color and its place in ``names``."""
    scale = 100.0 if percent else 1.0
    low = min(float(seeds.low.min()) for seeds in lines.values()) * scale
    high = max(float(seeds.high.max()) for seeds in lines.values()) * scale
    low, high = low - 0.04 * (high - low), high + 0.04 * (high - low)
    ticks = nice_ticks(low, high, 5)
    first = min(int(seeds.epochs[0]) for seeds in lines.values())
    last = max(int(seeds.epochs[-1]) for seeds in lines.values())

    def across(epochs: NDArray[np.int64]) -> NDArray[np.int64]:
        share = (epochs - first) / max(last - first, 1)
        return np.rint(LEFT + share * (WIDTH - LEFT - RIGHT)).astype(np.int64)

    def up(values: NDArray[np.float64]) -> NDArray[np.int64]:
        share = (values * scale - low) / ((high - low) or 1.0)
        return np.rint(HEIGHT - BOTTOM - share * (HEIGHT - TOP - BOTTOM)).astype(np.int64)

    parts = [_axes(ticks, low, high, first, last)]
    for series, seeds in sorted(lines.items()):
        x, middle = across(seeds.epochs), up(seeds.mean)
        parts.append(f'<g class="{color(series)}" data-series="{series}" data-name="{escape(names[series])}">')
        if (seeds.low < seeds.high).any():
            edge = np.concatenate([up(seeds.high), up(seeds.low)[::-1]])
            parts.append(f'<path class="band" d="{_path(np.concatenate([x, x[::-1]]), edge)}z"/>')
        if len(x) == 1:
            parts.append(f'<circle cx="{x[0]}" cy="{middle[0]}" r="30"/>')
        parts.append(f'<path class="line" d="{_path(x, middle)}"/></g>')
    ranges = f"{LEFT} {WIDTH - RIGHT} {first} {last} {HEIGHT - BOTTOM} {TOP} {low:.6g} {high:.6g}"
    drawn = ", ".join(names[series] for series in sorted(lines))
    return (
        f'<figure class="chart"><figcaption>{escape(title)}</figcaption>'
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" data-scale="{ranges}" tabindex="0" role="img" '
        f'aria-label="{escape(title)} by epoch: {escape(drawn)}">{"".join(parts)}</svg></figure>'
    )


def _path(x: NDArray[np.int64], y: NDArray[np.int64]) -> str:
    """An SVG path through the points: the first where it stands, the others as steps."""
    steps = np.column_stack([np.diff(x), np.diff(y)]).ravel().tolist()
    return f"M{x[0]} {y[0]}" + ("l" + " ".join(map(str, steps)) if steps else "")


def _axes(ticks: Sequence[float], low: float, high: float, first: int, last: int) -> str:
    parts = ['<g class="axes">']
    for tick in ticks:
        y = round(HEIGHT - BOTTOM - (tick - low) / ((high - low) or 1.0) * (HEIGHT - TOP - BOTTOM))
        parts.append(f'<path d="M{LEFT} {y}H{WIDTH - RIGHT}"/>')
        parts.append(f'<text x="{LEFT - 60}" y="{y + 42}" text-anchor="end">{tick:g}</text>')
    # Epochs count from 0 in the files and from 1 for people.
    for epoch in sorted({round(tick) for tick in nice_ticks(first + 1, last + 1, 5)}):
        if first + 1 <= epoch <= last + 1:
            x = round(LEFT + (epoch - 1 - first) / max(last - first, 1) * (WIDTH - LEFT - RIGHT))
            parts.append(f'<text x="{x}" y="{HEIGHT - BOTTOM + 150}" text-anchor="middle">{epoch}</text>')
    middle = (LEFT + WIDTH - RIGHT) // 2
    parts.append(f'<text x="{middle}" y="{HEIGHT - 20}" text-anchor="middle">epoch</text></g>')
    return "".join(parts)


def nice_ticks(low: float, high: float, count: int) -> list[float]:
    """Round numbers from at or above ``low`` to at or below ``high``, about ``count`` of them; one for an empty range.

    >>> nice_ticks(0.0, 100.0, 5), nice_ticks(71.3, 78.9, 5)
    ([0.0, 20.0, 40.0, 60.0, 80.0, 100.0], [72.0, 74.0, 76.0, 78.0])
    """
    if not high > low:
        return [low]
    rough = (high - low) / count
    magnitude = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * magnitude for factor in (1, 2, 5, 10) if factor * magnitude >= rough * 0.999)
    first = math.ceil(low / step - 1e-9)
    return [round(i * step, 10) for i in range(first, math.floor(high / step + 1e-9) + 1)]
