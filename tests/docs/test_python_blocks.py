"""The Python of the documentation runs."""

from __future__ import annotations

import ast
import importlib
import re
from typing import Any

import pytest
import torch

from .conftest import ROOT, blocks, documents

EXAMPLE = ROOT / "docs" / "add_a_loss.md"  # test_adding.py
# Their examples begin with files or arrays of the reader's own: only what they import can be tried.
FRAGMENTS = {"label_noise.md", "nnunet.md", "presets.md", "datasets.md", "figures.md"}


def python_blocks(*, whole: bool) -> list[Any]:
    return [
        pytest.param(code, id=f"{page.relative_to(ROOT).as_posix()}:{number}")
        for page in documents()
        if page != EXAMPLE and (page.name not in FRAGMENTS) == whole
        for number, (_, code) in enumerate(blocks(page, "python", "py"))
    ]


@pytest.mark.parametrize("code", python_blocks(whole=True))
def test_examples_run(code: str) -> None:
    torch.manual_seed(0)
    exec(compile(code, "example", "exec"), {"__name__": "example"})


@pytest.mark.parametrize("code", python_blocks(whole=False))
def test_fragments_import_what_there_is(code: str) -> None:
    tree = ast.parse(code)
    imports = [node for node in tree.body if isinstance(node, (ast.Import, ast.ImportFrom))]
    assert imports
    exec(compile(ast.Module(imports, []), "fragment", "exec"), {})


def test_imports_that_tables_name_exist() -> None:
    text = (ROOT / "docs" / "python.md").read_text(encoding="utf-8")
    rows = [row.split("|")[2:4] for row in text.splitlines() if re.fullmatch(r"\|[^|]*\| `[\w.]+` \|.*", row)]
    assert len(rows) >= 10
    for module, names in rows:
        for name in re.findall(r"`(\w+)`", names):
            getattr(importlib.import_module(module.strip(" `")), name)
