"""Tables of results inside a page: sortable, with ours and the published number on one axis."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape

from .cells import Average
from .dots import axis_of, dots, ruler
from .published import PublishedCell
from .tables import Column, Entry, RowKey, Table
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
)

FAR = 2.0  # standard errors from which a difference stands out


def head_cell(label: str, *, number: bool, after: str = "") -> str:
    """The head of a column that a click or key sorts by."""
    kind = "number" if number else "text"
    return f'<th scope="col" data-kind="{kind}"><button type="button">{escape(label)}</button>{after}</th>'


def row_label(key: RowKey, *, run: bool = True) -> str:
    """The first cell of a row: the method, the paper's name for it, what tells variants apart."""
    known_as = f' <span class="as">({escape(key.published_as)})</span>' if key.published_as else ""
    variant = f'<span class="variant">{escape(key.variant)}</span>' if key.variant else ""
    kind = "" if run else ' class="not-run"'
    return f'<th scope="row"{kind} data-v="{escape(str(key))}">{escape(key.method)}{known_as}{variant}</th>'


def overview(table: Table) -> str:
    """All noises side by side, ours over the published number."""
    heads = head_cell("Method", number=False)
    heads += "".join(head_cell(table.column_label(column), number=True) for column in table.columns)
    rows = []
    for key, row in table.rows.items():
        if any(entry.average for entry in row.values()):
            cells = (_overview_cell(table, row.get(column, Entry())) for column in table.columns)
            rows.append(f"<tr>{row_label(key)}{''.join(cells)}</tr>")
    return _table(heads, rows)


def _overview_cell(table: Table, entry: Entry) -> str:
    value = "" if entry.average is None else f"{entry.average.mean:.6f}"
    published = ""
    if entry.published:
        published = f'<small class="published-cell">{_spread(entry.published, table.decimals)}</small>'
    ours = _ours(table, entry) if entry.average else '<span class="none" title="no runs">–</span>'
    return f'<td data-v="{value}">{ours}{published}</td>'


def column_table(table: Table, column: Column) -> str:
    """One noise: ours, the published number, their difference, and both on one axis."""
    entries = {key: row[column] for key, row in table.rows.items() if column in row}
    beside = any(entry.published for entry in entries.values())
    axis = axis_of(entries.values())
    heads = [head_cell("Method", number=False), head_cell("Ours", number=True), head_cell("Seeds", number=True)]
    if beside:
        heads += [head_cell("Published", number=True), head_cell("Difference", number=True)]
        heads.append(head_cell("Standard errors", number=True))
    heads.append(f'<th scope="col">{ruler(axis)}</th>')
    rows = []
    for key, entry in entries.items():
        cells = [
            row_label(key, run=entry.average is not None),
            _cell(_mean(entry.average), _ours(table, entry)),
            _cell(entry.average.seeds if entry.average else None, str(entry.average.seeds) if entry.average else ""),
        ]
        if beside:
            cells += _comparison(table, entry)
        label = f"{key}: ours {average_text(entry.average, table.decimals) or 'none'}"
        if beside:
            label += f", published {published_text(entry.published, table.decimals) or 'none'}"
        cells.append(f"<td>{dots(entry, axis, label)}</td>")
        rows.append(f"<tr>{''.join(cells)}</tr>")
    return (_key() if beside else "") + _table("".join(heads), rows)


def _comparison(table: Table, entry: Entry) -> list[str]:
    far = entry.difference_in_errors is not None and abs(entry.difference_in_errors) >= FAR
    # Runs of another protocol are expected to differ: no reason to shout.
    emphasis = "unlike" if entry.departures else "far" if far else ""
    published = f'<span class="published-cell">{_spread(entry.published, table.decimals)}</span>'
    return [
        _cell(entry.published_mean, published),
        _cell(entry.difference, f'<span class="{emphasis}">{signed(entry.difference, table.decimals)}</span>'),
        _cell(entry.difference_in_errors, f'<span class="{emphasis}">{errors_text(entry)}</span>'),
    ]


def _mean(average: Average | None) -> float | None:
    return None if average is None else average.mean


def _cell(value: float | None, text: str) -> str:
    return f'<td data-v="{"" if value is None else f"{value:.6f}"}">{text}</td>'


def _ours(table: Table, entry: Entry) -> str:
    if entry.average is None:
        return '<span class="none">no runs</span>'
    mark = table.mark(entry)
    note = f'<sup><a href="#{table.name}-{mark}">{mark}</a></sup>' if mark else ""
    kind = "best" if entry.best else "ours-cell"
    one = ' <span class="spread">one seed</span>' if entry.average.seeds == 1 else ""
    return f'<span class="{kind}">{_spread(entry.average, table.decimals)}</span>{one}{note}'


def _spread(number: Average | PublishedCell | None, decimals: int) -> str:
    text = average_text(number, decimals) if isinstance(number, Average) else published_text(number, decimals)
    mean, sign, std = text.partition(" ± ")
    return f'{mean}<span class="spread"> ± {std}</span>' if sign else mean


def _key() -> str:
    return (
        '<span class="key"><svg viewBox="0 0 26 12" aria-hidden="true"><path class="ours" d="M1 6H25"/>'
        '<circle cx="13" cy="6" r="5"/></svg>ours ± standard deviation</span>'
        '<span class="key"><svg viewBox="0 0 26 12" aria-hidden="true"><path class="published" d="M1 6H25"/>'
        '<path class="published" d="M8 6l5-5 5 5-5 5z"/></svg>published</span>'
    )


def _table(heads: str, rows: Iterable[str]) -> str:
    return (
        f'<div class="scroll"><table class="sortable results"><thead><tr>{heads}</tr></thead>'
        f"<tbody>{''.join(rows)}</tbody></table></div>"
    )


def reservations(table: Table) -> str:
    """What the marks mean: in what the runs are not what was published. Stands above the numbers."""
    return "".join(
        f'<p class="callout" id="{table.name}-{mark}"><b>{mark}</b> Not the published protocol: '
        f"{escape(departures_text(departed))}.</p>"
        for departed, mark in table.marks.items()
    )


def notes(table: Table) -> str:
    """How numbers are compared, what is missing, and with which settings the runs were made."""
    parts = [f"<p><b>Not alike.</b> {escape(notice.text)}.</p>" for notice in table.notices]
    if is_beside_published(table):
        parts.append(f"<p>{escape(how_compared(table))} Two standard errors or more are bold, unless marked.</p>")
    parts += [f"<p>{escape(text)}</p>" for text in (missing_text(table), others_text(table)) if text]
    return f'<div class="notes">{"".join(parts)}{_settings(table)}</div>'


def _settings(table: Table) -> str:
    common, own, parameters = table.settings
    pairs = [("the same in all", ", ".join(f"{name} {value}" for name, value in common))]
    pairs += [(name, "; ".join(f"{value} ({rows})" for value, rows in values)) for name, values in own]
    pairs += list(parameters)
    listed = "".join(f"<dt>{escape(name)}</dt><dd>{escape(text)}</dd>" for name, text in pairs)
    return f"<details><summary>Settings and loss parameters</summary><dl>{listed}</dl></details>"
