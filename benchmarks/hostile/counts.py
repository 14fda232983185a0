"""Counts by group as a Markdown table for the documentation."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path


def write_counts(of: str, headings: Mapping[str, str], counts: Mapping[str, Counter[str]], path: Path | None) -> None:
    """Print a Markdown table with a row per group and one for the total.

    Args:
        of: heading of the column of groups.
        headings: column heading of each key of the counts.
        counts: counts by group.
        path: file to write the table to as well, or None.
    """
    rows = [*counts.items(), ("all", sum(counts.values(), Counter()))]
    cells = [[name, *(str(count[key]) for key in headings)] for name, count in rows]
    lines = [f"| {' | '.join(row)} |" for row in ([of, *headings.values()], *cells)]
    lines.insert(1, "|---" * (len(headings) + 1) + "|")
    table = "\n".join(lines) + "\n"
    print(table, end="")
    if path is not None:
        path.write_text(table)
