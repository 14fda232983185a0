"""The report as one page that needs nothing else: no network, no other file, opened by a double click."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path

from .cells import NOT_AVERAGED, Cell, Notice
from .curves import chart, color, over_seeds, shown_metrics
from .names import noise_order
from .page_tables import column_table, head_cell, notes, overview, reservations
from .pictures import data_uri, picture_of
from .runs import FINISHED, Run
from .tables import Column, Table
from .wording import source, what_is_measured

_HERE = Path(__file__).parent
_PICTURES = 24  # of a whole report; more would make a page of tens of megabytes
_OPEN_COLUMNS = 2  # with more noises the curves are folded away

# Nothing may be fetched, whatever a run directory's names hold.
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:"


def page_html(tables: Sequence[Table], notices: Sequence[Notice], runs: Sequence[Run]) -> str:
    """The whole page."""
    left_out = sum(len(notice.paths) for notice in notices if notice.kind in NOT_AVERAGED)
    remarks = sum(notice.kind not in NOT_AVERAGED for notice in notices)
    counts = f"{_count(len(runs), 'run')}, {_count(len(tables), 'table')}"
    sections = [_section(table) for table in tables]
    budget = iter(range(_PICTURES))
    sections = [section + _pictures(table, budget) for section, table in zip(sections, tables, strict=True)]
    body = [
        f'<header><h1>Report</h1><button id="theme" type="button" hidden>light / dark</button></header><main>'
        f'<p class="counts">{counts}</p>',
        _callout(left_out, remarks),
        _navigation(tables),
        *(f'<section id="{table.name}">{section}</section>' for table, section in zip(tables, sections, strict=True)),
        _notices(notices),
        _runs(runs),
        "</main><footer>Made by seg-anl-report from the files of the run directories alone.</footer>",
    ]
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1"><title>Report</title>'
        f"<style>{(_HERE / 'page.css').read_text(encoding='utf-8')}</style></head>\n<body>"
        + "\n".join(part for part in body if part)
        + f"\n<script>{(_HERE / 'page.js').read_text(encoding='utf-8')}</script></body></html>\n"
    )


def _count(number: int, word: str) -> str:
    return f"{number} {word}" if number == 1 else f"{number} {word}s"


def _callout(left_out: int, remarks: int) -> str:
    parts = []
    if left_out:
        parts.append(f'<a href="#not-averaged">{_count(left_out, "run")} not averaged</a>')
    if remarks:
        parts.append(f'<a href="#reservations">{_count(remarks, "reservation")}</a>')
    return f'<p class="callout">{" and ".join(parts)}: read before quoting a number.</p>' if parts else ""


def _navigation(tables: Sequence[Table]) -> str:
    if len(tables) < 2:
        return ""
    links = (
        f'<li><a href="#{table.name}">{escape(table.title)}</a> <span class="as">{escape(table.key.data)}</span></li>'
        for table in tables
    )
    return f'<nav aria-label="Tables"><ul>{"".join(links)}</ul></nav>'


def _section(table: Table) -> str:
    beside = f", beside {source(table)}" if table.published else ""
    parts = [
        f"<h2>{escape(table.title)}</h2>",
        f'<p class="source">{escape(table.key.data)}{escape(beside)}</p>',
        f'<p class="measured">{escape(what_is_measured(table))} The best of ours stands out.</p>',
        reservations(table),
    ]
    if len(table.columns) > 1:
        parts.append(overview(table))
    for column in table.columns:
        if any(column in row for row in table.rows.values()):
            heading = escape(table.column_label(column))
            parts.append(f"<h3>{heading}</h3>{column_table(table, column)}{_curves(table, column)}")
    return "".join(parts) + notes(table)


def _curves(table: Table, column: Column) -> str:
    """Training curves of one noise, a legend above all of them; each method has the same color in every noise."""
    run = {key: row for key, row in table.rows.items() if any(entry.cell for entry in row.values())}
    cells: dict[int, Cell] = {
        series: row[column].cell  # type: ignore[misc]
        for series, row in enumerate(run.values())
        if column in row and row[column].cell
    }
    if not cells:
        return ""
    names = [str(key) for key in run]
    drawn = []
    for metric, title in shown_metrics((column.split, table.metric), cells.values()).items():
        lines = {series: seeds for series, cell in cells.items() if (seeds := over_seeds(cell, metric))}
        if lines:
            drawn.append(chart(title, lines, names, percent=table.metric != "loss"))
    if not drawn:
        return ""
    legend = "".join(
        f'<button type="button" aria-pressed="true" data-series="{series}" class="{color(series)}">'
        '<svg viewBox="0 0 22 10" aria-hidden="true"><path d="M0 5H22" stroke="currentColor" stroke-width="3"/></svg>'
        f'<span style="color:var(--ink)">{escape(names[series])}</span></button>'
        for series in cells
    )
    opened = " open" if len(table.columns) <= _OPEN_COLUMNS else ""
    return (
        f'<details class="curves"{opened}><summary>Training curves</summary>'
        f'<div class="legend" role="group" aria-label="Show or hide methods">{legend}</div>'
        f'<div class="charts">{"".join(drawn)}</div></details>'
    )


def _pictures(table: Table, budget: Iterable[int]) -> str:
    """The trainers' own pictures, one run for each cell, while the budget of the page lasts."""
    left = iter(budget)
    figures = []
    for key, row in table.rows.items():
        for column, entry in row.items():
            path = picture_of(entry.cell) if entry.cell else None
            if path is None or next(left, None) is None:
                continue
            uri = data_uri(path)
            if uri:
                caption = escape(f"{key}, {table.column_label(column)}: {path.parent}")
                figures.append(
                    f'<figure><img src="{uri}" alt="Predictions of {caption}" loading="lazy">'
                    f"<figcaption>{caption}</figcaption></figure>"
                )
    if not figures:
        return ""
    return (
        f"<details><summary>Pictures of {_count(len(figures), 'run')}</summary>"
        f'<div class="pictures">{"".join(figures)}</div></details>'
    )


def _notices(notices: Sequence[Notice]) -> str:
    groups = [
        ("not-averaged", "Not averaged", [notice for notice in notices if notice.kind in NOT_AVERAGED]),
        ("reservations", "Averaged, with a reservation", [n for n in notices if n.kind not in NOT_AVERAGED]),
    ]
    parts = []
    for name, heading, some in groups:
        if some:
            rows = "".join(
                f'<tr><th scope="row" class="left" data-v="{notice.kind}">{notice.kind}</th>'
                f'<td class="wrap" data-v="{escape(notice.text)}">{escape(notice.text)}{_paths(notice.paths)}</td></tr>'
                for notice in some
            )
            heads = head_cell("Kind", number=False) + head_cell("What and where", number=False)
            parts.append(
                f'<section id="{name}"><h2>{heading}</h2><div class="scroll"><table class="sortable wide">'
                f"<thead><tr>{heads}</tr></thead><tbody>{rows}</tbody></table></div></section>"
            )
    return "".join(parts)


def _paths(paths: Sequence[str]) -> str:
    if len(paths) == 1:
        return f'<small class="as">{escape(paths[0])}</small>'
    listed = "<br>".join(escape(path) for path in paths)
    count = _count(len(paths), "run")
    return f'<details><summary class="as">{count}</summary><small class="as">{listed}</small></details>'


def _runs(runs: Sequence[Run]) -> str:
    heads = "".join(
        head_cell(label, number=label in ("Seed", "Headline"))
        for label in ("Run", "Status", "Method", "Noise", "Seed", "Headline")
    )
    rows = "".join(_run_row(run) for run in sorted(runs, key=lambda run: run.path))
    return (
        f'<section id="runs"><h2>Runs</h2><details><summary>All {_count(len(runs), "run")}</summary>'
        f'<div class="scroll"><table class="sortable"><thead><tr>{heads}</tr></thead>'
        f"<tbody>{rows}</tbody></table></div></details></section>"
    )


def _run_row(run: Run) -> str:
    headline = run.headline.value if run.status == FINISHED else None
    seed = "" if run.seed is None else str(run.seed)
    place = f"{noise_order(run.config)[0]} {run.noise_name}" if run.config else ""
    cells = [
        f'<th scope="row" class="wrap" data-v="{escape(str(run.path))}">{escape(str(run.path))}</th>',
        f'<td class="left" data-v="{run.status}">{run.status}</td>',
        _text(run.method_name if run.config else ""),
        f'<td class="left" data-v="{escape(place)}">{escape(run.noise_name) if run.config else ""}</td>',
        f'<td data-v="{seed}">{seed}</td>',
        f'<td data-v="{"" if headline is None else headline}">{"" if headline is None else f"{headline:.4f}"}</td>',
    ]
    return f"<tr>{''.join(cells)}</tr>"


def _text(text: str) -> str:
    return f'<td class="left" data-v="{escape(text)}">{escape(text)}</td>'
