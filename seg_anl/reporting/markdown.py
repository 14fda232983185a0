"""Tables as Markdown: GitHub's dialect, which mkdocs reads too."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from .cells import NOT_AVERAGED, Notice
from .tables import Column, Entry, Table
from .wording import (
    average_text,
    departures_text,
    errors_text,
    how_compared,
    is_beside_published,
    missing_text,
    others_text,
    published_text,
    signed,
    source,
    what_is_measured,
)


def escaped(text: str) -> str:
    """Any text as it reads, whatever Markdown or HTML would make of it, inside a table's cell too.

    >>> escaped("a|b *c* <d>")
    'a\\\\|b \\\\*c\\\\* &lt;d&gt;'
    """
    text = " ".join(text.split()).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return re.sub(r"([\\`*_{}\[\]|~$])", r"\\\1", text)


def table_markdown(table: Table) -> str:
    """One table with its notes, as a page."""
    beside = f" Beside them: {source(table)} (`{table.published.id}`)." if table.published else ""
    lines = [
        f"# {escaped(table.title)}",
        "",
        f"Runs on {escaped(table.key.data)} ({escaped(table.key.task)}).{beside} {what_is_measured(table)} "
        "The best of ours is bold.",
        "",
    ]
    if len(table.columns) > 1:
        lines += _overview(table)
    for column in table.columns:
        if len(table.columns) > 1:
            lines += [f"## {escaped(table.column_label(column))}", ""]
        lines += _column(table, column)
    lines += _notes(table)
    return "\n".join(lines).rstrip() + "\n"


def _grid(header: Sequence[str], left: int, rows: Iterable[Sequence[str]]) -> list[str]:
    """A table whose first ``left`` columns are aligned to the left and whose others to the right."""
    rule = ["---" if i < left else "--:" for i in range(len(header))]
    return [f"| {' | '.join(cells)} |" for cells in (header, rule, *rows)] + [""]


def _bold(text: str, entry: Entry) -> str:
    return f"**{text}**" if entry.best and text else text


def _overview(table: Table) -> list[str]:
    rows = []
    for key, entries in table.rows.items():
        if any(entry.average for entry in entries.values()):
            cells = [entries.get(column, Entry()) for column in table.columns]
            texts = [_bold(average_text(entry.average, table.decimals), entry) for entry in cells]
            rows.append([escaped(str(key)), *texts])
    header = ["ours", *(escaped(table.column_label(column)) for column in table.columns)]
    return _grid(header, 1, rows)


def _column(table: Table, column: Column) -> list[str]:
    entries = [(key, row[column]) for key, row in table.rows.items() if column in row]
    beside = any(entry.published for _, entry in entries)
    header = ["method", "ours", "seeds"]
    header += ["published", "difference", "in standard errors", "differs"] if beside else []
    rows = []
    for key, entry in entries:
        ours = _bold(average_text(entry.average, table.decimals), entry)
        cells = [escaped(str(key)), ours or "no runs", str(entry.average.seeds) if entry.average else ""]
        if beside:
            published = published_text(entry.published, table.decimals)
            cells += [published, signed(entry.difference, table.decimals), errors_text(entry), table.mark(entry)]
        rows.append(cells)
    return _grid(header, 1, rows)


def _notes(table: Table) -> list[str]:
    lines: list[str] = []
    for departed, mark in table.marks.items():
        lines += [f"**{mark}**: not the published protocol: {escaped(departures_text(departed))}.", ""]
    if is_beside_published(table):
        lines += [how_compared(table), ""]
    for text in (missing_text(table), others_text(table)):
        lines += [escaped(text), ""] if text else []
    common, own, parameters = table.settings
    lines += ["Settings of all runs: " + escaped(", ".join(f"{name} {value}" for name, value in common)) + ".", ""]
    if own or parameters:
        lines += [f"- {escaped(name)}: {escaped(_values(values))}" for name, values in own]
        lines += [f"- {escaped(method)}: {escaped(text)}" for method, text in parameters]
        lines.append("")
    return lines + [line for notice in table.notices for line in (f"**Not alike**: {escaped(notice.text)}.", "")]


def _values(values: Iterable[tuple[str, str]]) -> str:
    return "; ".join(f"{value} ({rows})" for value, rows in values)


def index_markdown(tables: Sequence[Table], notices: Sequence[Notice]) -> str:
    """The page that leads to the tables and says what is not in them, or only with a reservation."""
    lines = ["# Report", ""]
    lines += [
        f"- [{escaped(table.title)}]({table.name}.md), {escaped(table.key.data)}; "
        f"[CSV]({table.name}.csv), [LaTeX]({table.name}.tex)"
        for table in tables
    ]
    groups = {
        "Not averaged": [notice for notice in notices if notice.kind in NOT_AVERAGED],
        "Averaged, but read this": [notice for notice in notices if notice.kind not in NOT_AVERAGED],
    }
    for heading, some in groups.items():
        if some:
            lines += ["", f"## {heading}", ""]
            lines += [f"- {notice.kind}: {escaped(notice.text)}" + _paths(notice) for notice in some]
    return "\n".join(lines) + "\n"


def _paths(notice: Notice) -> str:
    return "".join(f"\n    - {escaped(path)}" for path in notice.paths)
