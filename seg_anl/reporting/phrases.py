"""The sentences that every format of a table shares: what a column means, who is ahead, how ours and theirs compare."""

from __future__ import annotations

from typing import Any

from seg_anl.records.recipes import load_recipe

from .protocols import Departure, recipe_for
from .tables import SIGNIFICANT, Table, p_text, p_value, spread_text

METRICS = {"dice": "Dice", "accuracy": "accuracy"}


def what_is_measured(table: Table) -> str:
    """One sentence on what the numbers are."""
    split = " and ".join(dict.fromkeys(column.split for column in table.columns))
    unit = "" if table.metric == "loss" else " in percent"
    epochs = " or ".join("the last epoch" if k == 1 else f"the mean over the last {k} epochs" for k in table.last_k)
    return (
        f"{split[:1].upper()}{split[1:]} {METRICS.get(table.metric, table.metric)}{unit}: each run counts with "
        f"{epochs}; given are mean ± sample standard deviation over seeds."
    )


def source(table: Table) -> str:
    """The published table that stands beside the runs, in words; empty where there is none."""
    if table.published is None:
        return ""
    return f"{load_recipe(table.published.paper).title}, Table {table.published.table}"


def departures_text(departures: tuple[Departure, ...]) -> str:
    """What differs from the published protocol, in one line."""
    return "; ".join(map(str, departures))


def notes(table: Table) -> list[str]:
    """What a reader must know besides: how numbers were compared, what is missing, what else is published."""
    found = []
    counts = [entry.published_runs for entry in table.rows() if entry.is_published]
    if counts:
        theirs = (
            f"published standard deviation² / {counts[0]:.0f}, the number of runs that the paper averaged"
            if counts[0]
            else "nothing for the paper, which does not say how many runs it averaged"
        )
        found.append(
            "Difference: ours less published. In standard errors: that difference over the square root of "
            f"(our sample standard deviation² / our seeds + {theirs}). Where the paper gives no deviation its part is "
            "left out. p: two-sided, Welch's t-test. With one seed there is no standard error, and none is given where "
            "the runs are not of the published protocol: the two are different experiments."
        )
    recipe = recipe_for(table.published.paper, table.published.dataset) if table.published else None
    if recipe:
        found.append(f"The published protocol is that of preset={recipe.name}. Its source: {recipe.source}.")
    if table.missing:
        run = {entry.noise for entry in table.rows(run=True)}
        lacking: dict[str, list[str]] = {}
        for method, noise in table.missing:
            lacking.setdefault(noise, []).append(method)
        parts = [f"Under {noise}: {', '.join(methods)}." for noise, methods in lacking.items() if noise in run]
        whole = "; ".join(noise for noise in lacking if noise not in run)
        parts += [f"Under {whole}: all."] if whole else []
        found.append(f"{len(table.missing)} of {table.total} published numbers have no runs here. {' '.join(parts)}")
    if table.others:
        listed = ", ".join(f"{name} ({count})" for name, count in table.others)
        found.append(f"Also published for these runs (numbers that fit): {listed}; choose one with --table.")
    return found


def seeds_text(table: Table) -> str:
    """``3 seeds``, ``1 to 3 seeds``."""
    counts = sorted({entry.seeds for entry in table.rows(run=True)}) or [0]
    few = "" if counts[0] == counts[-1] else f"{counts[0]:.0f} to "
    return f"{few}{counts[-1]:.0f} seed{'' if counts[-1] == 1 else 's'}"


def ranking(table: Table) -> list[Any]:
    """Our methods, the best first: by the mean of their ranks under each noise; equal numbers share a rank.

    Methods that were run under fewer noises than others come after these. Each has label, color, rank, noises (their
    number), best (how often it is) and text (of its first number).
    """
    runs = table.entries[table.entries["mean"].notna()]
    rounded = runs["mean"].astype(float).round(table.decimals)
    ranks = rounded.groupby([runs["noise"], runs["split"]]).rank(ascending=table.metric == "loss")
    ranked = runs.assign(rank=ranks, best=runs["best"].astype(int)).groupby("label", sort=False)
    rows = ranked.agg(
        color=("color", "first"),
        rank=("rank", "mean"),
        noises=("rank", "size"),
        best=("best", "sum"),
        text=("ours", "first"),
    ).reset_index()
    return sorted(rows.itertuples(index=False), key=lambda row: (-row.noises, row.rank))


def verdict(table: Table) -> str:
    """Who is ahead, by how much, and what the comparison with the paper says: two sentences."""
    ranked = ranking(table)
    if not ranked:
        return "No finished run is in this table."
    return f"{_ahead(table, ranked)} {_beside_paper(table)}".strip()


def _ahead(table: Table, ranked: list[Any]) -> str:
    leader = ranked[0]
    if len(ranked) == 1:
        return f"Only {leader.label} was run."
    run = [column for column in table.columns if table.rows(column, run=True)]
    if len(run) > 1:
        wins = sorted((row for row in ranked if row.best), key=lambda row: -row.best)
        counts = ", ".join(f"{row.label} ({row.best})" for row in wins)
        if leader.noises < len(run):
            return f"No method was run under all {len(run)} noises, so none leads; best most often: {counts or 'none'}."
        return (
            f"{leader.label} has the best mean rank, {leader.rank:.1f} over {leader.noises} of {len(run)} noises; best "
            f"most often: {counts or 'none, as each has one seed'}."
        )
    by_label = {entry.label: entry for entry in table.rows(run[0], run=True)}
    first, second = by_label[leader.label], by_label[ranked[1].label]
    ahead = spread_text(abs(first.mean - second.mean), None, table.decimals)
    ahead = ahead if float(ahead) else f"less than {10**-table.decimals:g}"
    if first.seeds < 2 or second.seeds < 2 or not (first.std or second.std):
        chance = "with too few seeds or spread to test it"
    else:
        p = p_value(first.mean, first.std, first.seeds, second.mean, second.std, second.seeds)
        chance = f"{'more than chance would' if p < SIGNIFICANT else 'which chance could'} explain ({p_text(p)})"
    return f"{leader.label} leads with {first.ours}, by {ahead} over {second.label}, {chance}."


def _beside_paper(table: Table) -> str:
    beside = [entry for entry in table.rows(run=True) if entry.difference is not None]
    if not beside:
        return ""
    same = [entry for entry in beside if not entry.departures]
    if not same:
        return "No run follows the published protocol, so differences to the paper are not tested."
    tested = [entry.p for entry in same if entry.p is not None]
    far = sum(p < SIGNIFICANT for p in tested)
    return (
        f"Of {len(beside)} published numbers beside ours, {len(same)} are of the same protocol; {far} of {len(tested)} "
        f"that can be tested differ (p < {SIGNIFICANT})."
    )
