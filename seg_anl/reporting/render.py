"""Write the files of a report reproducibly: tables as Markdown, CSV and LaTeX, an index, and a page.

All values are escaped for the format of their template.
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

from seg_anl.records import UserError, make_directory, write_text
from seg_anl.records.atomic import remove_partial

from . import phrases
from .archives import Folder, read_bytes
from .run_directories import FINISHED
from .tables import MINUS, SIGNIFICANT, Best, Report, Table

INDEX, PAGE = "tables.md", "report.html"
PICTURE = "report.png"  # written by the trainers into run directories
_MAX_PICTURES = 24  # per report, to limit the size of the page
_PICTURE_WIDTH, _PICTURE_QUALITY = 1000, 82
_BLOCK = 5  # noises per LaTeX table
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
    """Escape text for Markdown, including table cells, and for HTML in it.

    >>> markdown_text("a|b *c* <d>")
    'a\\\\|b \\\\*c\\\\* &lt;d&gt;'
    """
    text = " ".join(str(value).split()).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    text = re.sub(r"([\\`*_{}\[\]|~$])", r"\\\1", text)
    return f"**{text}**" if isinstance(value, Best) else text


def latex_text(value: object) -> str:
    r"""Escape text for LaTeX; characters missing from LaTeX's default fonts are shown as code points.

    >>> latex_text("50 % of A_1 & α")
    '50 \\% of A\\_1 \\& $\\alpha$'
    """

    def escape(letter: str) -> str:
        code = ord(letter)
        # Only accented letters of LaTeX's default encoding.
        if 0x20 <= code < 0x7F or (0xC0 <= code < 0x100 and letter not in "ÐðÞþ÷"):
            return letter
        return "" if code < 0x20 else rf"\texttt{{U+{code:04X}}}"

    text = "".join(_LATEX.get(letter) or escape(letter) for letter in " ".join(str(value).split()))
    return rf"{{\boldmath\bfseries {text}}}" if isinstance(value, Best) else text


@cache
def _environment(suffix: str) -> jinja2.Environment:
    """The templates of one format; LaTeX templates have other delimiters, because LaTeX uses Jinja's own."""
    escapes: dict[str, Callable[[object], str]] = {".md": markdown_text, ".tex": latex_text, ".txt": str}
    escape = escapes.get(suffix)
    delimiters = ("<%", "%>", "<<", ">>", "<#", "#>") if suffix == ".tex" else ("{%", "%}", "{{", "}}", "{#", "#}")
    names = ("block_start", "block_end", "variable_start", "variable_end", "comment_start", "comment_end")
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_TEMPLATES),
        autoescape=escape is None,
        finalize=None if escape is None else lambda value: value if isinstance(value, Markup) else escape(value),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        **{f"{name}_string": mark for name, mark in zip(names, delimiters, strict=True)},  # type: ignore[arg-type]
    )
    environment.globals |= {name: value for name, value in vars(phrases).items() if callable(value)}
    return environment


def _render(template: str, **values: Any) -> str:
    return _environment(Path(template).suffix).get_template(template).render(values)


def terminal_text(report: Report) -> str:
    """The tables with their notices as plain text for a terminal."""
    return _render("terminal.txt", report=report, aligned=_align)


def _align(frame: pd.DataFrame) -> str:
    """A table as text with the first column left-aligned and the others right-aligned."""
    cells = [[*frame.columns], *frame.map(lambda cell: f"{cell}*" if isinstance(cell, Best) else str(cell)).to_numpy()]
    first, *others = [max(map(len, column)) for column in zip(*cells, strict=True)]
    formats = [f"<{first}", *(f">{width}" for width in others)]
    return "\n".join("  ".join(["", *map(format, row, formats)]).rstrip() for row in cells)


def write_report(report: Report, out: Path) -> list[Path]:
    """Write the report's files into the folder ``out`` and return their paths."""
    remove_partial(make_directory(out), below=False)
    files: dict[str, str] = {}
    for table in report.tables:
        files[f"{table.name}.md"] = _render("table.md", table=table)
        files[f"{table.name}.csv"] = table_csv(table, report.groups)
        files[f"{table.name}.tex"] = table_latex(table)
    files[INDEX] = _render("index.md", report=report)
    files[PAGE] = page_html(report)
    for name, text in files.items():
        write_text(out / name, text)
    return [out / name for name in files]


def table_csv(table: Table, groups: pd.DataFrame) -> str:
    """One line per method and noise, with full precision; accuracy and Dice are in percent, as in the papers."""
    entries = table.entries
    paths = groups["runs"].map(lambda runs: "; ".join(run.path for run in runs))
    frame = entries.rename(columns={"t": "difference_in_standard_errors", "p": "p_value"}).assign(
        **{"table": table.published.id if table.published else "", "task": table.task, "data": table.data},
        metric=table.metric,
        best=entries["best"].where(entries["mean"].notna()),
        differs_in=entries["departures"].map("; ".join),
        runs=entries["group"].map(paths),
    )
    integers = dict.fromkeys(["last_k", "seeds", "best", "published_runs"], "Int64")
    return frame[_CSV].astype(integers).to_csv(index=False, lineterminator="\n")


def table_latex(table: Table) -> str:
    r"""Table environments for ``\input``, split by noises to fit a page; they only need booktabs."""
    blocks = [table.columns[i : i + _BLOCK] for i in range(0, len(table.columns), _BLOCK)]
    is_single = len(table.columns) == 1
    frames = [table.texts(block[0]) if is_single else table.summary(block, published=True) for block in blocks]
    return _render("table.tex", table=table, frames=frames)


def page_html(report: Report) -> str:
    """The report as one self-contained HTML page."""
    from .page_charts import curves_of, forest_plot, lines_of, page_style, training_curves  # imports matplotlib

    curves = curves_of(report.groups, {table.metric for table in report.tables})
    sections = []
    budget = iter(range(_MAX_PICTURES))
    with page_style():
        for table in report.tables:
            lines = lines_of(table)
            columns = []
            for column in table.columns:
                run = table.rows(column, run=True)
                charts = training_curves(curves, run, lines, table.metric) if run else []
                legend = lines[lines["label"].isin([entry.label for entry in run])]
                columns.append((column, forest_plot(pd.DataFrame(run)) if run else "", charts, legend))
            sections.append((table, columns, list(_pictures(table, report.groups, budget))))
    return _render(
        "report.html",
        report=report,
        sections=sections,
        FINISHED=FINISHED,
        SIGNIFICANT=SIGNIFICANT,
        style=Markup((_TEMPLATES / "page.css").read_text(encoding="utf-8")),
        script=Markup((_TEMPLATES / "page.js").read_text(encoding="utf-8")),
    )


def _pictures(table: Table, groups: pd.DataFrame, budget: Iterator[int]) -> Iterator[tuple[str, str]]:
    """Pictures written by the trainers, from one run per entry, up to the page's budget: data URI and caption."""
    for entry in table.rows(run=True):
        run = next((run for run in groups["runs"][entry.group] if (run.folder / PICTURE).is_file()), None)
        if run and next(budget, None) is not None and (uri := picture_uri(run.folder / PICTURE)):
            yield uri, f"{entry.label}, {entry.column}: {run.path}"


def picture_uri(path: Folder) -> str | None:
    """A picture as a small JPEG in a ``data:`` URI; None if the file is damaged or not a picture."""
    try:
        with Image.open(io.BytesIO(read_bytes(path))) as picture:
            small = picture.convert("RGB")
    except (UserError, OSError, ValueError, Image.DecompressionBombError):
        return None
    small.thumbnail((_PICTURE_WIDTH, small.height), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    small.save(buffer, "JPEG", quality=_PICTURE_QUALITY, optimize=True)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")
