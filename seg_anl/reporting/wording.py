"""The words that every format of a table shares: numbers with their spread, what a column means, what is missing."""

from __future__ import annotations

from collections.abc import Sequence

from seg_anl.records.recipes import load_recipe

from .cells import Average
from .published import PublishedCell
from .tables import Entry, Table

MINUS = "\N{MINUS SIGN}"


def average_text(average: Average | None, decimals: int) -> str:
    """``76.8 ± 1.2``; without a spread for one seed.

    >>> average_text(Average(76.84, 1.24, 3), 1), average_text(Average(76.84, None, 1), 1)
    ('76.8 ± 1.2', '76.8')
    """
    if average is None:
        return ""
    return _spread(average.mean, average.std, decimals)


def published_text(cell: PublishedCell | None, decimals: int) -> str:
    """The paper's number; ``unreadable`` where its text is damaged."""
    if cell is None:
        return ""
    return "unreadable" if cell.mean is None else _spread(cell.mean, cell.std, decimals)


def _spread(mean: float, std: float | None, decimals: int) -> str:
    return f"{mean:.{decimals}f}" if std is None else f"{mean:.{decimals}f} ± {std:.{decimals}f}"


def signed(value: float | None, decimals: int) -> str:
    """With its sign, a true minus; zero without one.

    >>> signed(-0.46, 1), signed(1.0, 1), signed(0.01, 1), signed(None, 1)
    ('−0.5', '+1.0', '0.0', '')
    """
    if value is None:
        return ""
    text = f"{value:+.{decimals}f}"
    if float(text) == 0:
        return text[1:]
    return text.replace("-", MINUS)


def errors_text(entry: Entry) -> str:
    """The difference in standard errors; why there is none for one seed."""
    if entry.difference is None or entry.average is None:
        return ""
    if entry.average.seeds == 1:
        return "one seed"
    return signed(entry.difference_in_errors, 1) or "no spread"


def is_beside_published(table: Table) -> bool:
    """Whether any entry has a published number."""
    return any(entry.published for row in table.rows.values() for entry in row.values())


def what_is_measured(table: Table) -> str:
    """One sentence on what the numbers are."""
    metric = {"dice": "Dice", "accuracy": "accuracy"}.get(table.metric, table.metric)
    splits = list(dict.fromkeys(column.split for column in table.columns))
    split = splits[0] if len(splits) == 1 else " and ".join(splits)
    unit = "" if table.metric == "loss" else " in percent"
    epochs = " or ".join("the last epoch" if k == 1 else f"the mean over the last {k} epochs" for k in table.last_k)
    return (
        f"{split.capitalize()} {metric}{unit}: each run counts with {epochs}; given are mean ± sample standard "
        "deviation over seeds."
    )


def source(table: Table) -> str:
    """The published table that stands beside the runs, in words; empty where there is none."""
    if table.published is None:
        return ""
    return f"{load_recipe(table.published.paper).title}, Table {table.published.table}"


def how_compared(table: Table) -> str:
    """How the difference to the published numbers is expressed; empty where there are none."""
    if not is_beside_published(table):
        return ""
    runs = {entry.published_runs for row in table.rows.values() for entry in row.values() if entry.published}
    count = next(iter(runs))
    theirs = (
        f"published standard deviation² / {count}, the number of runs that the paper averaged"
        if count
        else "nothing for the paper, which does not say how many runs it averaged"
    )
    return (
        "Difference: ours less published. In standard errors: that difference over the square root of "
        f"(our sample standard deviation² / our seeds + {theirs}). Where the paper gives no deviation its part is left "
        "out; with one seed there is no standard error."
    )


def departures_text(departures: Sequence[object]) -> str:
    """What differs from the published protocol, in one line."""
    return "; ".join(map(str, departures))


def missing_text(table: Table) -> str:
    """Which published numbers have no runs, by method; empty where none is missing."""
    if not table.missing:
        return ""
    lacking: dict[str, list[str]] = {}
    for method, noise in table.missing:
        lacking.setdefault(noise, []).append(method)
    run = {column.noise for row in table.rows.values() for column, entry in row.items() if entry.average}
    whole = [noise for noise in lacking if noise not in run]
    parts = [f"Under {noise}: {', '.join(methods)}." for noise, methods in lacking.items() if noise in run]
    parts += [f"Under {'; '.join(whole)}: all."] if whole else []
    return f"{len(table.missing)} of {table.published_cells} published numbers have no runs here. {' '.join(parts)}"


def others_text(table: Table) -> str:
    """Other published tables that would fit these runs; empty where there are none."""
    if not table.others:
        return ""
    listed = ", ".join(f"{name} ({count})" for name, count in table.others)
    return f"Also published for these runs (numbers that fit): {listed}; choose one with --table."


def seeds_text(table: Table) -> str:
    """``3 seeds``, ``1 to 3 seeds``."""
    counts = sorted({entry.average.seeds for row in table.rows.values() for entry in row.values() if entry.average})
    if not counts:
        return "no seeds"
    if len(counts) == 1:
        return "1 seed" if counts == [1] else f"{counts[0]} seeds"
    return f"{counts[0]} to {counts[-1]} seeds"
