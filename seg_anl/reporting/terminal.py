"""Tables and notices for a terminal."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from .aggregate import Notice
from .phrases import departures_text, errors_text, ours_text, published_text, signed, source, verdict
from .tables import Column, Table

_LISTED = 12  # notices of one kind that are printed; the report has them all


def table_lines(table: Table) -> Iterator[str]:
    """One table, a block for each noise that was run."""
    yield f"{table.title}: {table.data}" + (f", beside {source(table)}" if table.published else "")
    yield f"  {verdict(table)}"
    for column in table.columns:
        if table.rows(column, run=True):
            yield ""
            yield from _block(table, column)
    for departed, mark in table.marks.items():
        yield f"  [{mark}] not the published protocol: {departures_text(departed)}"
    if table.missing:
        yield f"  {len(table.missing)} of {table.total} published numbers have no runs here"
    if table.others:
        yield f"  also published for these runs: {', '.join(name for name, _ in table.others)} (--table NAME)"


def _block(table: Table, column: Column) -> Iterator[str]:
    rows = [(table.column_label(column), "ours", "seeds", "published", "difference", "std. errors", "")]
    for entry in table.rows(column):
        ours = ours_text(entry, table.decimals) + ("*" if entry.best else " ") if entry.seeds else "- "
        seeds = f"{entry.seeds:.0f}" if entry.seeds else ""
        beside = (published_text(entry, table.decimals), signed(entry.difference, table.decimals), errors_text(entry))
        rows.append((entry.label, ours, seeds, *beside, f"[{entry.mark}]" if entry.mark else ""))
    shown = 7 if any(row[3] for row in rows[1:]) else 3
    widths = [max(map(len, cells)) for cells in zip(*rows, strict=True)][:shown]
    for first, *others in rows:
        cells = [text.rjust(width) for text, width in zip(others, widths[1:], strict=False)]
        yield f"  {first.ljust(widths[0])}  {'  '.join(cells)}".rstrip()


def notice_lines(heading: str, notices: Sequence[Notice]) -> Iterator[str]:
    """Notices by kind, the first few of each."""
    if notices:
        yield heading
    for kind in dict.fromkeys(notice.kind for notice in notices):
        some = [notice for notice in notices if notice.kind == kind]
        for notice in some[:_LISTED]:
            paths = notice.paths[0] if len(notice.paths) == 1 else f"{len(notice.paths)} runs"
            yield f"  {kind}: {paths}: {notice.text}"
        if len(some) > _LISTED:
            yield f"  {kind}: and {len(some) - _LISTED} more"
