"""Sentences shared by all formats of a table: what is measured, the verdict, and the comparison with the paper."""

from __future__ import annotations

from typing import Any

from seg_anl.records.recipes import load_recipe

from .protocols import recipe_for
from .tables import SIGNIFICANT, Table, p_text, spread_text, t_test

METRICS = {"dice": "Dice", "accuracy": "accuracy"}


def what_is_measured(table: Table) -> str:
    """One sentence about the numbers."""
    split = " and ".join(dict.fromkeys(entry.split for name in table.columns for entry in table.rows(name)))
    epochs = " or ".join("the last epoch" if k == 1 else f"the mean over the last {k} epochs" for k in table.last_k)
    return (
        f"{split[:1].upper()}{split[1:]} {METRICS.get(table.metric, table.metric)} in percent: {epochs} of each run; "
        f"mean ± sample standard deviation over seeds."
    )


def source(table: Table) -> str:
    """The published table to compare with, as text; empty if there is none."""
    published = table.published
    return f"{load_recipe(published.paper).title}, Table {published.table}" if published else ""


def notes(table: Table) -> list[str]:
    """Notes on the comparison with the paper, missing runs, and other published tables."""
    texts = []
    counts = [entry.published_runs for entry in table.rows() if entry.published]
    if counts:
        theirs = (
            f"published standard deviation² / {counts[0]:.0f}, the number of runs averaged in the paper"
            if counts[0]
            else "nothing for the paper, which does not state its number of runs"
        )
        texts.append(
            "Difference: ours minus published. In standard errors: the difference divided by the square root of "
            f"(our sample standard deviation² / our seeds + {theirs}). If the paper gives no standard deviation, its "
            "term is omitted. p: two-sided Welch's t-test. There is no standard error with one seed, and none is given "
            "for runs that do not follow the published protocol, because these are different experiments."
        )
    recipe = recipe_for(table.published.paper, table.published.dataset) if table.published else None
    if recipe:
        texts.append(f"The published protocol is preset={recipe.name}. Source: {recipe.source}.")
    if table.missing:
        run = {entry.noise for entry in table.rows(run=True)}
        lacking: dict[str, list[str]] = {}
        for method, noise in table.missing:
            lacking.setdefault(noise, []).append(method)
        parts = [f"For {noise}: {', '.join(methods)}." for noise, methods in lacking.items() if noise in run]
        without_runs = "; ".join(noise for noise in lacking if noise not in run)
        parts += [f"For {without_runs}: all."] if without_runs else []
        texts.append(f"{len(table.missing)} of {table.total} published numbers have no runs here. {' '.join(parts)}")
    if table.others:
        listed = ", ".join(f"{name} ({count})" for name, count in table.others)
        texts.append(f"Other published tables for these runs (matching numbers): {listed}; select one with --table.")
    return texts


def seeds_text(table: Table) -> str:
    """``3 seeds``, ``1 to 3 seeds``."""
    counts = sorted({entry.seeds for entry in table.rows(run=True)}) or [0]
    minimum = "" if counts[0] == counts[-1] else f"{counts[0]:.0f} to "
    return f"{minimum}{counts[-1]:.0f} seed{'' if counts[-1] == 1 else 's'}"


def ranking(table: Table) -> list[Any]:
    """Our methods by mean rank over noises, best first; equal numbers share a rank.

    Methods with fewer noises come after those with more. Each row has label, color, mean rank, number of noises, number
    of noises in which it is best, and the text of its first number.
    """
    runs = table.entries[table.entries["mean"].notna()]
    means = runs["mean"].astype(float).round(table.decimals)
    ranks = means.groupby(runs["column"]).rank(ascending=False)
    runs = runs.assign(rank=ranks, best=runs["best"].astype(int))
    rows = runs.groupby("label", sort=False, as_index=False).agg(
        **{"color": ("color", "first"), "rank": ("rank", "mean"), "noises": ("rank", "size")},
        **{"best": ("best", "sum"), "text": ("ours", "first")},
    )
    rows = rows.sort_values(["noises", "rank"], ascending=[False, True], kind="stable")
    return [*rows.itertuples(index=False)]


def verdict(table: Table) -> str:
    """Which method is best, by how much, and how the runs compare with the paper, in two sentences."""
    ranked = ranking(table)
    if not ranked:
        return "This table has no finished runs."
    return f"{_best_method(table, ranked)} {_comparison_with_paper(table)}".strip()


def _best_method(table: Table, ranked: list[Any]) -> str:
    leader = ranked[0]
    if len(ranked) == 1:
        return f"Only {leader.label} was run."
    runs = table.rows(run=True)
    count = len({entry.column for entry in runs})
    if count > 1:
        wins = sorted((row for row in ranked if row.best), key=lambda row: -row.best)
        counts = ", ".join(f"{row.label} ({row.best})" for row in wins)
        if leader.noises < count:
            return f"No method was run with all {count} noises, so none leads; most often best: {counts or 'none'}."
        return (
            f"{leader.label} has the best mean rank, {leader.rank:.1f} over {count} of {count} noises; most often "
            f"best: {counts or 'none, because each has one seed'}."
        )
    by_label = {entry.label: entry for entry in runs}
    first, second = by_label[leader.label], by_label[ranked[1].label]
    ahead = spread_text(abs(first.mean - second.mean), None, table.decimals)
    ahead = ahead if float(ahead) else f"less than {10**-table.decimals:g}"
    if first.seeds < 2 or second.seeds < 2 or not (first.std or second.std):
        significance = "with too few seeds or too little spread to test it"
    else:
        _, p = t_test(first.mean, first.std, first.seeds, second.mean, second.std, second.seeds)
        significance = f"which is {'' if p < SIGNIFICANT else 'not '}significant ({p_text(p)})"
    return f"{leader.label} leads with {first.ours}, by {ahead} over {second.label}, {significance}."


def _comparison_with_paper(table: Table) -> str:
    compared = [entry for entry in table.rows(run=True) if entry.difference is not None]
    if not compared:
        return ""
    same = [entry for entry in compared if not entry.departures]
    if not same:
        return "No run follows the published protocol, so differences from the paper are not tested."
    tested = [entry.p for entry in same if entry.p is not None]
    significant = sum(p < SIGNIFICANT for p in tested)
    return (
        f"Of {len(compared)} published numbers with runs, {len(same)} have the same protocol; {significant} of the "
        f"{len(tested)} that can be tested differ significantly (p < {SIGNIFICANT})."
    )
