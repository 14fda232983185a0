"""Tables and pages of losses, made from their declarations when the site is built.

``<!-- losses -->`` on a page becomes the table of the losses that have a section (``### name``) there, on
``losses/index.md`` that of all losses. A loss without a section anywhere gets a page of its own.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from seg_anl.losses.declarations import Declaration, declarations

MARK = "<!-- losses -->"
SECTION = re.compile(r"^### (\w+)$", re.MULTILINE)


def losses_of(markdown: str) -> list[str]:
    """The losses that have a section on a page, in its order."""
    return [name for name in SECTION.findall(markdown) if name in declarations()]


def pages_of_losses(folder: Path) -> dict[str, str]:
    """The page of every loss: where its section is written, else ``NAME.md``, which is generated."""
    pages = {name: f"{name}.md" for name in declarations()}
    for path in sorted(folder.glob("*.md")):
        pages |= dict.fromkeys(losses_of(path.read_text(encoding="utf-8")), path.name)
    return pages


def with_tables(markdown: str, folder: Path) -> str:
    """A page with its table of losses instead of the mark."""
    if MARK not in markdown:
        return markdown
    pages = pages_of_losses(folder)
    return markdown.replace(MARK, loss_table(losses_of(markdown) or declarations(), pages))


def loss_table(names: Iterable[str], pages: dict[str, str]) -> str:
    """One row per loss: name, the papers' name, formula, parameters, source."""
    rows = ["| loss | in papers | value | parameters and defaults | source |", "|---|---|---|---|---|"]
    for name in names:
        known = declarations()[name]
        value = f"${known.formula}$" if known.formula else known.summary
        title = known.title.replace("*", r"\*")
        cells = f"[`{name}`]({pages[name]}#{name})", title, value, stated_parameters(known), known.source
        rows.append("| " + " | ".join(cells) + " |")
    return "\n".join(rows)


def loss_page(declaration: Declaration) -> str:
    """A page for a loss of which nobody has written: docstring, table and curve."""
    name = declaration.name
    text = declaration.docstring.partition("\nReference: ")[0].rstrip()
    table = loss_table([name], {name: f"{name}.md"})
    source = f"*{declaration.source}*\n\n" if declaration.source else ""
    return f"# {declaration.title}\n\n{table}\n\n### {name}\n\n{text}\n\n{source}<!-- curve: {name} -->\n"


def stated_parameters(declaration: Declaration) -> str:
    """The parameters with their defaults as code."""
    stated = [f"`{name}={_default(value)}`" for name, value in declaration.parameters.items()]
    return " ".join(stated) or "none"


def _default(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
