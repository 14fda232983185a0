"""Tables and pages of losses, made from their declarations when the site is built.

``<!-- losses -->`` on a page becomes the table of the losses that have a section (``### name``) there, on
``losses/index.md`` that of all losses. Every loss has a page in the reference; one without a section is linked there.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from seg_anl.losses.declarations import Declaration, declarations

MARK = "<!-- losses -->"
CLASSES = "<!-- classes of losses -->"
SECTION = re.compile(r"^### (\w+)$", re.MULTILINE)


def losses_of(markdown: str) -> list[str]:
    """The losses that have a section on a page, in its order."""
    return [name for name in SECTION.findall(markdown) if name in declarations()]


def pages_of_losses(folder: Path) -> dict[str, str]:
    """Where every loss is described, seen from ``folder``: its written section, else its page of the reference."""
    pages = {name: reference_page(name) for name in declarations()}
    for path in sorted(folder.glob("*.md")):
        pages |= {name: f"{path.name}#{name}" for name in losses_of(path.read_text(encoding="utf-8"))}
    return pages


def reference_page(name: str) -> str:
    """The generated page of a loss, seen from any folder of pages."""
    return f"../generated/losses/{name}.md"


def with_tables(markdown: str, folder: Path) -> str:
    """A page with its tables of losses instead of the marks."""
    if CLASSES in markdown:
        markdown = markdown.replace(CLASSES, class_table())
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
        cells = f"[`{name}`]({pages[name]})", _title(known), value, stated_parameters(known), known.source
        rows.append("| " + " | ".join(cells) + " |")
    return "\n".join(rows)


def class_table() -> str:
    """One row per loss: class, name, what it is. The classes' pages follow in the navigation."""
    rows = ["| class | name | |", "|---|---|---|"]
    for name, known in sorted(declarations().items(), key=lambda item: item[1].class_name.lower()):
        rows.append(f"| [`{known.class_name}`]({reference_page(name)}) | `{name}` | {known.summary} |")
    return "\n".join(rows)


def loss_page(declaration: Declaration, described: str) -> str:
    """A loss's page of the reference: formula, curve, class with docstring; where it is described, if it is."""
    name, page = declaration.name, reference_page(declaration.name)
    more = "" if described == page else f" [What it is, and when to use it](../../losses/{described})."
    parts = [
        f"# {declaration.class_name}",
        f"`{name}`, {_title(declaration)} in papers.{more}",
        f"$$\n{declaration.formula}\n$$" if declaration.formula else "",
        f"```{{eval-rst}}\n.. autoclass:: seg_anl.losses.{declaration.class_name}\n```",
        f"<!-- curve: {name} -->",
    ]
    return "\n\n".join(filter(None, parts)) + "\n"


def _title(declaration: Declaration) -> str:
    return declaration.title.replace("*", r"\*")


def stated_parameters(declaration: Declaration) -> str:
    """The parameters with their defaults as code."""
    stated = [f"`{name}={_default(value)}`" for name, value in declaration.parameters.items()]
    return " ".join(stated) or "none"


def _default(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
