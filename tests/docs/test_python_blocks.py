"""The Python of the documentation runs, and the worked example of a new loss does what its page says."""

from __future__ import annotations

import ast
import importlib
import math
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from seg_anl.losses import build_loss, declarations
from tests.processes import Process, of_checkout, program

from .conftest import ROOT, blocks, documents

EXAMPLE = ROOT / "docs" / "add_a_loss.md"
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


def titled(title: str) -> str:
    (code,) = (code for rest, code in blocks(EXAMPLE, "python", "yaml") if rest == f'title="{title}"')
    return code


@pytest.fixture
def js(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The example's function, declared by a program of the reader's own."""
    monkeypatch.setattr(declarations, "_outside", {})
    monkeypatch.delitem(declarations._declared, "jsd", raising=False)
    names: dict[str, Any] = {"__name__": "divergence"}
    exec(titled("seg_anl/losses/divergence.py"), names)
    return names["jsd"]


def test_the_example_of_a_loss_lies_between_cross_entropy_and_mae(js: Any) -> None:
    logits, labels = torch.randn(20, 5, dtype=torch.float64), torch.randint(5, (20,))
    near_zero = build_loss("jsd", pi=1e-9)(logits, labels)
    torch.testing.assert_close(near_zero, build_loss("ce")(logits, labels), rtol=1e-6, atol=1e-6)
    mae = build_loss("mae")(logits, labels)  # reached as slowly as 1 / log(1 - pi)
    off = [float(build_loss("jsd", pi=1 - miss)(logits, labels) / mae - 1) for miss in (1e-3, 1e-6, 1e-12)]
    assert off[0] / 2 == pytest.approx(off[1], rel=0.05)
    assert off[1] / 2 == pytest.approx(off[2], rel=0.05)


def test_the_example_of_a_loss_is_the_divergence(js: Any) -> None:
    logits = torch.tensor([[0.3, -1.2, 2.0]], dtype=torch.float64)
    p = torch.softmax(logits, 1)[0].tolist()
    for pi in (0.2, 0.5, 0.9):
        mixture = [(1 - pi) * p[0], pi + (1 - pi) * p[1], (1 - pi) * p[2]]
        divergence = pi * math.log(1 / mixture[1])
        divergence += (1 - pi) * sum(a * math.log(a / m) for a, m in zip(p, mixture, strict=True))
        expected = divergence / (-(1 - pi) * math.log(1 - pi))
        assert build_loss("jsd", pi=pi)(logits, torch.tensor([1])).item() == pytest.approx(expected)


def test_the_example_of_a_loss_stays_finite(js: Any) -> None:
    logits = torch.tensor([[1e4, -1e4], [-1e4, 1e4], [0.0, 0.0]], requires_grad=True)
    value = build_loss("jsd", reduction="none")(logits, torch.zeros(3, dtype=torch.long))
    value.sum().backward()
    assert torch.isfinite(value).all()
    assert torch.isfinite(logits.grad).all()


def test_the_example_of_a_loss_is_one_file(tmp_path: Path) -> None:
    """Write into a copy of the package what the page says, then run what the page says works."""
    package = tmp_path / "seg_anl"
    package.mkdir()
    for name in ("__init__.py", "interrupt.py"):
        (package / name).write_bytes((ROOT / "seg_anl" / name).read_bytes())
    for part in ("losses", "records"):
        shutil.copytree(ROOT / "seg_anl" / part, package / part, ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "seg_anl/losses/divergence.py").write_text(titled("seg_anl/losses/divergence.py"))
    code = f"import seg_anl\nassert {str(tmp_path)!r} in seg_anl.__file__\n" + titled("anywhere")
    status, _, errors = Process(of_checkout(tmp_path, program(code)), tmp_path).ended()
    assert (status, errors) == (0, "")
