"""Tables and notices for a terminal."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from .cells import Notice
from .tables import Column, Table
from .wording import average_text, departures_text, errors_text, published_text, signed, source

_LISTED = 12  # notices of one kind that are printed; the report has them all


def table_lines(table: Table) -> Iterator[str]:
    """One table, a block for each noise."""
    yield f"{table.title}: {table.key.data}" + (f", beside {source(table)}" if table.published else "")
    for column in table.columns:
        if any(column in row and row[column].average for row in table.rows.values()):
            yield ""
            yield from _block(table, column)
    for departed, mark in table.marks.items():
        yield f"  [{mark}] not the published protocol: {departures_text(departed)}"
    if table.missing:
        yield f"  {len(table.missing)} of {table.published_cells} published numbers have no runs here"
    if table.others:
        yield f"  also published for these runs: {', '.join(name for name, _ in table.others)} (--table NAME)"


def _block(table: Table, column: Column) -> Iterator[str]:
    header = [table.column_label(column), "ours", "seeds", "published", "difference", "std. errors", ""]
    rows = []
    for key, row in table.rows.items():
        entry = row.get(column)
        if entry is None:
            continue
        ours = average_text(entry.average, table.decimals) + ("*" if entry.best else " ") if entry.average else "- "
        mark = table.mark(entry)
        rows.append(
            [
                str(key),
                ours,
                str(entry.average.seeds) if entry.average else "",
                published_text(entry.published, table.decimals),
                signed(entry.difference, table.decimals),
                errors_text(entry),
                f"[{mark}]" if mark else "",
            ]
        )
    if not any(row[3] for row in rows):
        header, rows = header[:3], [row[:3] for row in rows]
    widths = [max(len(cells[i]) for cells in (header, *rows)) for i in range(len(header))]
    for cells in (header, *rows):
        first, *others = (
            text.rjust(width) if i else text.ljust(width)
            for i, (text, width) in enumerate(zip(cells, widths, strict=True))
        )
        yield f"  {first}  {'  '.join(others)}".rstrip()


def notice_lines(heading: str, notices: Sequence[Notice]) -> Iterator[str]:
    """Notices by kind, the first few of each."""
    if not notices:
        return
    yield heading
    for kind in dict.fromkeys(notice.kind for notice in notices):
        some = [notice for notice in notices if notice.kind == kind]
        for notice in some[:_LISTED]:
            paths = notice.paths[0] if len(notice.paths) == 1 else f"{len(notice.paths)} runs"
            yield f"  {kind}: {paths}: {notice.text}"
        if len(some) > _LISTED:
            yield f"  {kind}: and {len(some) - _LISTED} more"
