"""Generates ``__init__.pyi``, which shows editors and type checkers the class and signature of every loss.

The classes are made at run time, so the source does not show them. Run ``python -m seg_anl.losses.stubs``.
"""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import Any

from . import _HOMES
from .declarations import Declaration, declarations

STUB = Path(__file__).with_name("__init__.pyi")
_HEAD = '''"""Noise-robust losses. Written by ``python -m seg_anl.losses.stubs``."""

from typing import Any, Literal

from .declarations import Declaration as Declaration
from .declarations import list_losses as list_losses
from .declarations import loss as loss

_HOMES: dict[str, str]
'''
_COMMON = (
    'class_weights: Any = None, reduction: str = "mean", ignore_index: int | None = None, activation: str = "softmax"'
)


def stub_text() -> str:
    """The stub of the current package."""
    known = declarations().values()
    written = {declaration.class_name: declaration.module for declaration in known if not declaration.base}
    homes = {**_HOMES, **{name: module.rpartition(".")[2] for name, module in written.items()}}
    made = [declaration for declaration in known if declaration.base]
    imports = [f"from .{home} import {name} as {name}" for name, home in sorted(homes.items())]
    bases = {declaration.base: declaration.module for declaration in made if declaration.base not in homes}
    imports += [f"from {module} import {base}" for base, module in bases.items()]  # not re-exported
    return _HEAD + "\n".join([*imports, "", *map(_class_text, made)])


def _class_text(declaration: Declaration) -> str:
    own = "".join(
        f"{name}: {_type_text(declaration.annotations[name])} = {default!r}, "
        for name, default in declaration.parameters.items()
    )
    formula = f"Value, in LaTeX: {declaration.formula}" if declaration.formula else ""
    source = f"Reference: {declaration.source}" if declaration.source else ""
    text = "\n\n".join(textwrap.fill(part, 112) for part in (declaration.summary, formula, source) if part)
    body = f'r"""{text}\n"""\n\ndef __init__(self, *, {own}{_COMMON}) -> None: ...\n'
    return f"class {declaration.class_name}({declaration.base}):\n" + textwrap.indent(body, "    ")


def _type_text(annotation: Any) -> str:
    """The source of a type; a range is written as its type of number."""
    plain = getattr(annotation, "__origin__", annotation) if hasattr(annotation, "__metadata__") else annotation
    return plain.__name__ if isinstance(plain, type) else str(plain).replace("typing.", "")


if __name__ == "__main__":
    STUB.write_text(stub_text(), encoding="utf-8")
