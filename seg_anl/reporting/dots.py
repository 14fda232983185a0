"""Ours and the published number on one axis: a dot with a whisker for each, in a row of a table (SVG)."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape
from typing import NamedTuple

from .curves import nice_ticks
from .tables import Entry

WIDTH, HEIGHT = 220, 30
MARGIN = 12


class Axis(NamedTuple):
    """From where to where the dots of one column reach."""

    low: float
    high: float

    def __call__(self, value: float) -> float:
        """Place of ``value`` in pixels."""
        return MARGIN + (value - self.low) / ((self.high - self.low) or 1.0) * (WIDTH - 2 * MARGIN)


def axis_of(entries: Iterable[Entry]) -> Axis:
    """An axis that holds every mean of ``entries`` with its deviation; of (0, 1) when there is nothing to hold."""
    ends: list[float] = []
    for entry in entries:
        for mean, std in _means(entry):
            ends += [mean - (std or 0.0), mean + (std or 0.0)]
    return Axis(min(ends), max(ends)) if ends else Axis(0.0, 1.0)


def _means(entry: Entry) -> list[tuple[float, float | None]]:
    found: list[tuple[float, float | None]] = []
    if entry.average:
        found.append((entry.average.mean, entry.average.std))
    if entry.published and entry.published.mean is not None:
        found.append((entry.published.mean, entry.published.std))
    return found


def ruler(axis: Axis) -> str:
    """The axis with its numbers, for the head of the column."""
    ticks = "".join(
        f'<text x="{axis(tick):.1f}" y="15" text-anchor="middle">{tick:g}</text><path d="M{axis(tick):.1f} 21v9"/>'
        for tick in nice_ticks(axis.low, axis.high, 4)
    )
    return f'<svg class="dots ruler" viewBox="0 0 {WIDTH} {HEIGHT}" aria-hidden="true">{ticks}</svg>'


def dots(entry: Entry, axis: Axis, label: str) -> str:
    """The two dots of one row: ours filled, above; the published one hollow, below."""
    parts = [f'<path class="tick" d="M{axis(tick):.1f} 0v{HEIGHT}"/>' for tick in nice_ticks(axis.low, axis.high, 4)]
    middle = HEIGHT / 2
    both = entry.average is not None and entry.published_mean is not None
    if entry.published and entry.published.mean is not None:
        y = middle + (6 if both else 0)
        x = axis(entry.published.mean)
        parts.append(_whisker("published", axis, entry.published.mean, entry.published.std, y))
        parts.append(f'<path class="published" d="M{x - 5:.1f} {y}l5-5 5 5-5 5z"/>')
    if entry.average:
        y = middle - (6 if both else 0)
        parts.append(_whisker("ours", axis, entry.average.mean, entry.average.std, y))
        parts.append(f'<circle class="ours" cx="{axis(entry.average.mean):.1f}" cy="{y}" r="5"/>')
    shape = f'viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(label)}"'
    return f'<svg class="dots" {shape}>{"".join(parts)}</svg>'


def _whisker(kind: str, axis: Axis, mean: float, std: float | None, y: float) -> str:
    if not std:
        return ""
    return f'<path class="{kind}" d="M{axis(mean - std):.1f} {y}H{axis(mean + std):.1f}"/>'
