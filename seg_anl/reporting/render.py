"""A report's files: tables as Markdown, CSV and LaTeX, an index, and one page; equal runs give equal bytes.

Everything that a template prints is escaped for its format; what a person has named is text, whatever it holds.
"""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import jinja2
import pandas as pd
from markupsafe import Markup
from PIL import Image

from seg_anl.records import make_directory, write_text
from seg_anl.records.atomic import remove_partial

from . import phrases
from .archives import Folder, read_bytes
from .names import noise_order
from .run_directories import FINISHED
from .tables import MINUS, SIGNIFICANT, Best, Column, Report, Table

INDEX, PAGE = "tables.md", "report.html"
PICTURE = "report.png"  # what trainers leave in run directories
_MOST_PICTURES = 24  # of a whole report; more would make a page of tens of megabytes
_PICTURE_WIDTH, _PICTURE_QUALITY = 1000, 82
_BLOCK = 5  # noises that fit across a page of LaTeX
_TEMPLATES = Path(__file__).parent / "templates"
_GREEK = dict(zip("αβγδηλνρστ", "alpha beta gamma delta eta lambda nu rho sigma tau".split(), strict=True))  # noqa: SIM905
_LATEX = {
    **{letter: f"\\{letter}" for letter in "{}$&#%_"},
    **{"\\": r"\textbackslash{}", "^": r"\textasciicircum{}", "~": r"\textasciitilde{}", '"': "''"},
    **{"<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}"},
    **{"±": r"$\pm$", "²": "$^2$", "×": r"$\times$", MINUS: "$-$", "ε": r"$\varepsilon$"},
    **{letter: f"$\\{name}$" for letter, name in _GREEK.items()},
}
# fmt: off
_CSV = [
    "table", "task", "data", "method", "variant", "noise", "split", "metric", "last_k", "seeds", "mean", "std", "best",
    "published_method", "published_mean", "published_std", "published_runs", "difference",
    "difference_in_standard_errors", "p_value", "differs_in", "runs",
]
# fmt: on


def markdown_text(value: object) -> str:
    """Any text as it reads, whatever Markdown or HTML would make of it, inside a table's cell too.

    >>> markdown_text("a|b *c* <d>")
    'a\\\\|b \\\\*c\\\\* &lt;d&gt;'
    """
    text = " ".join(str(value).split()).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    text = re.sub(r"([\\`*_{}\[\]|~$])", r"\\\1", text)
    return f"**{text}**" if isinstance(value, Best) else text


def latex_text(value: object) -> str:
    r"""Any text as LaTeX that shows it; letters that LaTeX's own fonts lack are shown by their number.

    >>> latex_text("50 % of A_1 & α")
    '50 \\% of A\\_1 \\& $\\alpha$'
    """

    def shown(letter: str) -> str:
        code = ord(letter)
        # Of the letters with accents those that LaTeX's oldest encoding has, which is what a document has by default.
        if 0x20 <= code < 0x7F or (0xC0 <= code < 0x100 and letter not in "ÐðÞþ÷"):
            return letter
        return "" if code < 0x20 else rf"\texttt{{U+{code:04X}}}"

    text = "".join(_LATEX.get(letter) or shown(letter) for letter in " ".join(str(value).split()))
    return rf"{{\boldmath\bfseries {text}}}" if isinstance(value, Best) else text


@cache
def _environment(suffix: str) -> jinja2.Environment:
    """Templates of one format; the marks of LaTeX's differ from Jinja's own because LaTeX uses these."""
    escapes: dict[str, Callable[[object], str]] = {".md": markdown_text, ".tex": latex_text, ".txt": str}
    escape = escapes.get(suffix)
    marks = ("<%", "%>", "<<", ">>", "<#", "#>") if suffix == ".tex" else ("{%", "%}", "{{", "}}", "{#", "#}")
    names = ("block_start", "block_end", "variable_start", "variable_end", "comment_start", "comment_end")
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_TEMPLATES),
        autoescape=escape is None,
        finalize=None if escape is None else lambda value: value if isinstance(value, Markup) else escape(value),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        **{f"{name}_string": mark for name, mark in zip(names, marks, strict=True)},  # type: ignore[arg-type]
    )
    environment.globals |= {name: value for name, value in vars(phrases).items() if callable(value)}
    return environment


def _rendered(template: str, **values: Any) -> str:
    return _environment(Path(template).suffix).get_template(template).render(values)


def terminal_text(report: Report) -> str:
    """The tables, with what a reader must know, for a terminal."""
    return _rendered("terminal.txt", report=report, aligned=_aligned)


def _aligned(frame: pd.DataFrame) -> str:
    """The first column at the left, the others at the right."""
    cells = [[*frame.columns], *frame.map(lambda cell: f"{cell}*" if isinstance(cell, Best) else str(cell)).to_numpy()]
    first, *others = [max(map(len, column)) for column in zip(*cells, strict=True)]
    sides = [f"<{first}", *(f">{width}" for width in others)]
    return "\n".join("  ".join(["", *map(format, row, sides)]).rstrip() for row in cells)


def write_report(report: Report, out: Path) -> list[Path]:
    """Write the report's files into the folder ``out`` and return their paths."""
    remove_partial(make_directory(out), below=False)
    files: dict[str, str] = {}
    for table in report.tables:
        files[f"{table.name}.md"] = _rendered("table.md", table=table)
        files[f"{table.name}.csv"] = table_csv(table, report.groups)
        files[f"{table.name}.tex"] = table_latex(table)
    files[INDEX] = _rendered("index.md", report=report)
    files[PAGE] = page_html(report)
    for name, text in files.items():
        write_text(out / name, text)
    return [out / name for name in files]


def table_csv(table: Table, groups: pd.DataFrame) -> str:
    """One line per method and noise, numbers in full precision; accuracy and Dice are in percent, as in the papers."""
    entries = table.entries
    paths = groups["runs"].map(lambda runs: "; ".join(run.path for run in runs))
    frame = entries.rename(columns={"t": "difference_in_standard_errors", "p": "p_value"}).assign(
        table=table.published.id if table.published else "",
        task=table.task,
        data=table.data,
        metric=table.metric,
        best=entries["best"].where(entries["mean"].notna()).map({True: 1, False: 0}),
        differs_in=entries["departures"].map(phrases.departures_text),
        runs=entries["group"].map(paths),
    )[_CSV]
    whole = ["last_k", "seeds", "best", "published_runs"]
    return frame.astype(dict.fromkeys(whole, "Int64")).to_csv(index=False, lineterminator="\n")


def table_latex(table: Table) -> str:
    r"""Table environments for ``\input``, with as many noises as a page holds; they need booktabs alone."""
    blocks = [table.columns[i : i + _BLOCK] for i in range(0, len(table.columns), _BLOCK)]
    alone = len(table.columns) == 1
    frames = [table.texts(block[0]) if alone else table.summary(block, published=True) for block in blocks]
    return _rendered("table.tex", table=table, frames=frames)


def page_html(report: Report) -> str:
    """The report as one page that needs nothing else: no network, no other file, opened by a double click."""
    from .page_charts import curves_of, forest_plot, lines_of, page_style, training_curves  # matplotlib starts slowly

    curves = curves_of(report.groups, {table.metric for table in report.tables})
    sections = []
    budget = iter(range(_MOST_PICTURES))
    with page_style():
        for table in report.tables:
            lines = lines_of(table)
            columns = []
            for column in table.columns:
                rows, run = table.rows(column), table.rows(column, run=True)
                series = {row.group: lines[row.label] for row in run}
                charts = training_curves(curves, series, column.split, table.metric)
                legend = [*series.values()] if charts else []
                columns.append((column, run, rows, forest_plot(run) if run else "", charts, legend))
            sections.append((table, columns, list(_pictures(table, report.groups, budget))))
    return _rendered(
        "report.html",
        report=report,
        sections=sections,
        noise_order=noise_order,
        FINISHED=FINISHED,
        SIGNIFICANT=SIGNIFICANT,
        style=Markup((_TEMPLATES / "page.css").read_text(encoding="utf-8")),
        script=Markup((_TEMPLATES / "page.js").read_text(encoding="utf-8")),
    )


def _pictures(table: Table, groups: pd.DataFrame, budget: Iterator[int]) -> Iterator[tuple[str, str]]:
    """The trainers' own pictures, one run for each entry, while the budget of the page lasts: address and caption."""
    for entry in table.rows(run=True):
        for run in groups["runs"][entry.group]:
            if (run.folder / PICTURE).is_file() and next(budget, None) is not None:
                if uri := picture_uri(run.folder / PICTURE):
                    yield uri, f"{entry.label}, {table.column_label(Column(entry.noise, entry.split))}: {run.path}"
                break


def picture_uri(path: Folder) -> str | None:
    """A picture as a small JPEG inside a ``data:`` address; None when the file is no picture."""
    try:
        with Image.open(io.BytesIO(read_bytes(path))) as picture:
            small = picture.convert("RGB")
    except (OSError, ValueError, Image.DecompressionBombError):
        return None
    if small.width > _PICTURE_WIDTH:
        height = round(small.height * _PICTURE_WIDTH / small.width)
        small = small.resize((_PICTURE_WIDTH, height), Image.Resampling.LANCZOS)
    written = io.BytesIO()
    small.save(written, "JPEG", quality=_PICTURE_QUALITY, optimize=True)
    return "data:image/jpeg;base64," + base64.b64encode(written.getvalue()).decode("ascii")
