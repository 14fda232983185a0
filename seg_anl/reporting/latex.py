r"""Tables as LaTeX: one table environment for \input; of packages it needs booktabs alone."""

from __future__ import annotations

import re
from collections.abc import Sequence

from .tables import Column, Entry, RowKey, Table
from .wording import (
    average_text,
    departures_text,
    errors_text,
    is_beside_published,
    published_text,
    seeds_text,
    signed,
    source,
    what_is_measured,
)

_SPECIAL = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "$": r"\$",
    "&": r"\&",
    "#": r"\#",
    "%": r"\%",
    "_": r"\_",
    "^": r"\textasciicircum{}",
    "~": r"\textasciitilde{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': "''",
    "±": r"$\pm$",
    "²": r"$^2$",
    "×": r"$\times$",
    "\N{MINUS SIGN}": "$-$",
    "α": r"$\alpha$",
    "β": r"$\beta$",
    "γ": r"$\gamma$",
    "δ": r"$\delta$",
    "ε": r"$\varepsilon$",
    "η": r"$\eta$",
    "λ": r"$\lambda$",
    "ν": r"$\nu$",
    "ρ": r"$\rho$",
    "σ": r"$\sigma$",
    "τ": r"$\tau$",
}
_NARROW = 2  # noises that fit into one column of a page of two
_BLOCK = 5  # noises that fit across a page


def escaped(text: str) -> str:
    r"""Any text as LaTeX that shows it; letters that LaTeX's own fonts lack are shown by their number.

    >>> escaped("50 % of A_1 & α")
    '50 \\% of A\\_1 \\& $\\alpha$'
    """
    return "".join(_SPECIAL.get(letter, _letter(letter)) for letter in " ".join(text.split()))


def _letter(letter: str) -> str:
    code = ord(letter)
    # Of the letters with accents those that LaTeX's oldest encoding has, which is what a document has by default.
    if 0x20 <= code < 0x7F or (0xC0 <= code < 0x100 and letter not in "ÐðÞþ÷"):
        return letter
    return "" if code < 0x20 else rf"\texttt{{U+{code:04X}}}"


def table_latex(table: Table) -> str:
    r"""Table environments: one noise with ours, the published number and the difference side by side; several noises
    with a line of ours over a line of the paper's, as many to an environment as a page holds.
    """
    blocks = [table.columns[i : i + _BLOCK] for i in range(0, len(table.columns), _BLOCK)]
    lines = ["% Needs \\usepackage{booktabs}."]
    for number, columns in enumerate(blocks):
        environment = "table*" if len(columns) > _NARROW else "table"
        continued = "" if number == 0 else " (continued)"
        lines += [
            f"\\begin{{{environment}}}[t]",
            "\\centering",
            f"\\caption{{{_caption(table, columns) if number == 0 else escaped(table.title) + continued}}}",
            f"\\label{{tab:{table.name}{f'-{number + 1}' if number else ''}}}",
            "\\footnotesize",
            "\\setlength{\\tabcolsep}{3.5pt}",
            *(_side_by_side(table, columns[0]) if len(table.columns) == 1 else _grid(table, columns)),
            f"\\end{{{environment}}}",
        ]
    return "\n".join(lines) + "\n"


def _caption(table: Table, columns: Sequence[Column]) -> str:
    noise = f", {table.column_label(columns[0])}" if len(table.columns) == 1 else ""
    text = f"{table.title}{noise}; runs on {table.key.data}. {what_is_measured(table)} ({seeds_text(table)})"
    if is_beside_published(table):
        text += f" Published: {source(table)}."
    caption = escaped(text)
    for departed, mark in table.marks.items():
        caption += rf" \textsuperscript{{{mark}}}~Not the published protocol: {escaped(departures_text(departed))}."
    return caption


def _ours(table: Table, entry: Entry) -> str:
    text = escaped(average_text(entry.average, table.decimals))
    if not text:
        return "--"
    if entry.best:
        text = rf"{{\boldmath\bfseries {text}}}"
    if entry.average and entry.average.seeds == 1:
        text += " (1 seed)"
    mark = table.mark(entry)
    return text + (rf"\rlap{{\textsuperscript{{{mark}}}}}" if mark else "")  # beside the number, not part of it


def _side_by_side(table: Table, column: Column) -> list[str]:
    beside = is_beside_published(table)
    header = ["Method", "Ours", *(["Published", "Diff.", "Std. err."] if beside else [])]
    lines = [f"\\begin{{tabular}}{{@{{}}l{'r' * (len(header) - 1)}@{{}}}}", "\\toprule", _line(header), "\\midrule"]
    for key, row in table.rows.items():
        entry = row.get(column, Entry())
        cells = [escaped(str(key)), _ours(table, entry)]
        if beside:
            cells.append(escaped(published_text(entry.published, table.decimals)))
            cells += [escaped(signed(entry.difference, table.decimals)), escaped(errors_text(entry))]
        lines.append(_line(cells))
    return [*lines, "\\bottomrule", "\\end{tabular}"]


def _grid(table: Table, columns: Sequence[Column]) -> list[str]:
    header = ["Method", *(escaped(table.column_label(column)) for column in columns)]
    lines = [f"\\begin{{tabular}}{{@{{}}l{'r' * len(columns)}@{{}}}}", "\\toprule", _line(header), "\\midrule"]
    for key, row in table.rows.items():
        lines += _rows_of_method(table, key, [row.get(column, Entry()) for column in columns])
    return [*lines, "\\bottomrule", "\\end{tabular}"]


def _rows_of_method(table: Table, key: RowKey, entries: list[Entry]) -> list[str]:
    name = escaped(str(key))
    published = [escaped(published_text(entry.published, table.decimals)) for entry in entries]
    lines = []
    if any(entry.average for entry in entries):
        lines.append(_line([name, *(_ours(table, entry) for entry in entries)]))
        name = r"\quad"
    if any(published):
        lines.append(_line([rf"{name} \textit{{published}}", *published]))
    return lines


def _line(cells: list[str]) -> str:
    return re.sub(r" +", " ", " & ".join(cells)).strip() + r" \\"
