"""The words that every format of a table shares: numbers with their spread, what a column means, who is ahead."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

from seg_anl.records.recipes import load_recipe

from .palette import Color
from .tables import SIGNIFICANT, Table, entry_p_value, p_value

MINUS = "\N{MINUS SIGN}"


def ours_text(entry: Any, decimals: int) -> str:
    """``76.8 ± 1.2``; without a spread for one seed, empty without runs."""
    return "" if entry is None else spread_text(entry.mean, entry.std, decimals)


def published_text(entry: Any, decimals: int) -> str:
    """The paper's number; ``unreadable`` where its text is damaged, empty where it has none."""
    if entry is None or not entry.is_published:
        return ""
    return spread_text(entry.published_mean, entry.published_std, decimals) or "unreadable"


def spread_text(mean: float | None, std: float | None, decimals: int) -> str:
    """A mean with its deviation, if it has one.

    >>> spread_text(76.84, 1.24, 1), spread_text(76.84, None, 1), spread_text(None, None, 1)
    ('76.8 ± 1.2', '76.8', '')
    """
    if mean is None:
        return ""
    return f"{mean:.{decimals}f}" if std is None else f"{mean:.{decimals}f} ± {std:.{decimals}f}"


def signed(value: float | None, decimals: int) -> str:
    """With its sign, a true minus; zero without one.

    >>> signed(-0.46, 1), signed(1.0, 1), signed(0.01, 1), signed(None, 1)
    ('−0.5', '+1.0', '0.0', '')
    """
    if value is None:
        return ""
    text = f"{value:+.{decimals}f}"
    return text[1:] if float(text) == 0 else text.replace("-", MINUS)


def errors_text(entry: Any) -> str:
    """The difference in standard errors with its p-value, or why there is none."""
    if entry.difference is None:
        return ""
    if entry.departures:
        return "other protocol"
    if entry.seeds == 1:
        return "one seed"
    p = entry_p_value(entry)
    return "no spread" if p is None else f"{signed(entry.t, 1)} ({p_text(p)})"


def p_text(p: float) -> str:
    """A p-value as papers print it.

    >>> p_text(0.0312), p_text(0.44), p_text(1e-5)
    ('p = 0.031', 'p = 0.44', 'p < 0.001')
    """
    return "p < 0.001" if p < 0.001 else f"p = {p:.3f}" if p < 0.1 else f"p = {p:.2f}"


def what_is_measured(table: Table) -> str:
    """One sentence on what the numbers are."""
    metric = {"dice": "Dice", "accuracy": "accuracy"}.get(table.metric, table.metric)
    split = " and ".join(dict.fromkeys(column.split for column in table.columns))
    unit = "" if table.metric == "loss" else " in percent"
    epochs = " or ".join("the last epoch" if k == 1 else f"the mean over the last {k} epochs" for k in table.last_k)
    return (
        f"{split[:1].upper()}{split[1:]} {metric}{unit}: each run counts with {epochs}; given are mean ± sample "
        "standard deviation over seeds."
    )


def source(table: Table) -> str:
    """The published table that stands beside the runs, in words; empty where there is none."""
    if table.published is None:
        return ""
    return f"{load_recipe(table.published.paper).title}, Table {table.published.table}"


def how_compared(table: Table) -> str:
    """How the difference to the published numbers is tested; empty where there are none."""
    counts = [entry.published_runs for entry in table.rows() if entry.is_published]
    if not counts:
        return ""
    theirs = (
        f"published standard deviation² / {counts[0]:.0f}, the number of runs that the paper averaged"
        if counts[0]
        else "nothing for the paper, which does not say how many runs it averaged"
    )
    return (
        "Difference: ours less published. In standard errors: that difference over the square root of "
        f"(our sample standard deviation² / our seeds + {theirs}). Where the paper gives no deviation its part is left "
        "out. p: two-sided, Welch's t-test. With one seed there is no standard error, and none is given where the runs "
        "are not of the published protocol: the two are different experiments."
    )


def departures_text(departures: tuple[Any, ...]) -> str:
    """What differs from the published protocol, in one line."""
    return "; ".join(map(str, departures))


def missing_text(table: Table) -> str:
    """Which published numbers have no runs, by method; empty where none is missing."""
    if not table.missing:
        return ""
    lacking: dict[str, list[str]] = {}
    for method, noise in table.missing:
        lacking.setdefault(noise, []).append(method)
    run = {entry.noise for entry in table.rows(run=True)}
    whole = [noise for noise in lacking if noise not in run]
    parts = [f"Under {noise}: {', '.join(methods)}." for noise, methods in lacking.items() if noise in run]
    parts += [f"Under {'; '.join(whole)}: all."] if whole else []
    return f"{len(table.missing)} of {table.total} published numbers have no runs here. {' '.join(parts)}"


def others_text(table: Table) -> str:
    """Other published tables that would fit these runs; empty where there are none."""
    if not table.others:
        return ""
    listed = ", ".join(f"{name} ({count})" for name, count in table.others)
    return f"Also published for these runs (numbers that fit): {listed}; choose one with --table."


def seeds_text(table: Table) -> str:
    """``3 seeds``, ``1 to 3 seeds``."""
    counts = sorted({entry.seeds for entry in table.rows(run=True)}) or [0]
    few = "" if counts[0] == counts[-1] else f"{counts[0]:.0f} to "
    return f"{few}{counts[-1]:.0f} seed{'' if counts[-1] == 1 else 's'}"


class Ranked(NamedTuple):
    """A row of our ranking: its place under the noises it was run with, on average, and how often it is best."""

    label: str
    color: Color
    rank: float
    noises: int
    best: int
    text: str


def ranking(table: Table) -> list[Ranked]:
    """Our methods, the best first: by the mean of their ranks under each noise; equal numbers share a rank.

    Methods that were run under fewer noises than others come after these.
    """
    runs = table.entries[table.entries["mean"].notna()].copy()
    ascending = table.metric == "loss"
    rounded = runs["mean"].astype(float).round(table.decimals)
    runs["rank"] = rounded.groupby([runs["noise"], runs["split"]]).rank(ascending=ascending)
    found = []
    for label, rows in runs.groupby("label", sort=False):
        first = next(rows.itertuples())
        text = ours_text(first, table.decimals) if len(table.columns) == 1 else ""
        found.append(Ranked(str(label), first.color, rows["rank"].mean(), len(rows), int(rows["best"].sum()), text))
    return sorted(found, key=lambda row: (-row.noises, row.rank))


def verdict(table: Table) -> str:
    """Who is ahead, by how much, and what the comparison with the paper says: two sentences."""
    ranked = ranking(table)
    if not ranked:
        return "No finished run is in this table."
    return f"{_ahead(table, ranked)} {_beside_paper(table)}".strip()


def _ahead(table: Table, ranked: list[Ranked]) -> str:
    leader = ranked[0]
    if len(ranked) == 1:
        return f"Only {leader.label} was run."
    noises = sum(bool(table.rows(column, run=True)) for column in table.columns)
    if noises > 1:
        wins = sorted((row for row in ranked if row.best), key=lambda row: -row.best)
        counts = ", ".join(f"{row.label} ({row.best})" for row in wins)
        if leader.noises < noises:
            return f"No method was run under all {noises} noises, so none leads; best most often: {counts or 'none'}."
        return (
            f"{leader.label} has the best mean rank, {leader.rank:.1f} over {leader.noises} of {noises} noises; best "
            f"most often: {counts or 'none, as each has one seed'}."
        )
    column = next(column for column in table.columns if table.rows(column, run=True))
    first, second = sorted(
        (entry for entry in table.rows(column, run=True) if entry.label in (leader.label, ranked[1].label)),
        key=lambda entry: entry.label != leader.label,
    )
    ahead = spread_text(abs(first.mean - second.mean), None, table.decimals)
    if first.seeds < 2 or second.seeds < 2 or not (first.std or second.std):
        chance = "with too few seeds or spread to test it"
    else:
        p = p_value(first.mean, first.std, first.seeds, second.mean, second.std, second.seeds)
        chance = f"{'more than chance would' if p < SIGNIFICANT else 'which chance could'} explain ({p_text(p)})"
    return f"{leader.label} leads with {leader.text}, by {ahead} over {second.label}, {chance}."


def _beside_paper(table: Table) -> str:
    beside = [entry for entry in table.rows(run=True) if entry.difference is not None]
    if not beside:
        return ""
    same = [entry for entry in beside if not entry.departures]
    if not same:
        return "No run follows the published protocol, so differences to the paper are not tested."
    tested = [p for entry in same if (p := entry_p_value(entry)) is not None]
    far = sum(p < SIGNIFICANT for p in tested)
    return (
        f"Of {len(beside)} published numbers beside ours, {len(same)} are of the same protocol; {far} of {len(tested)} "
        f"that can be tested differ (p < {SIGNIFICANT})."
    )


def is_far(entry: Any) -> bool:
    """Whether a difference to the paper is more than chance explains."""
    p = entry_p_value(entry)
    return p is not None and not math.isnan(p) and p < SIGNIFICANT
