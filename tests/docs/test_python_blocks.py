"""The Python of the documentation runs, and the worked example of a new loss does what its page says."""

from __future__ import annotations

import ast
import importlib
import math
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from data_prep.mask_kinds import mask_kind
from data_prep.mask_noise import add_mask_noise
from seg_anl.losses import build_loss, declarations

from .conftest import ROOT, blocks, documents

EXAMPLE = ROOT / "docs" / "add_a_loss.md"
# Their examples begin with files or arrays of the reader's own: only what they import can be tried.
FRAGMENTS = {"noise.md", "label_noise.md", "nnunet.md", "presets.md", "datasets.md", "report.md", "figures.md"}


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
    monkeypatch.delitem(declarations._declared, "js", raising=False)
    names: dict[str, Any] = {"__name__": "jensen_shannon"}
    exec(titled("seg_anl/losses/jensen_shannon.py"), names)
    return names["js"]


def test_the_example_of_a_loss_lies_between_cross_entropy_and_mae(js: Any) -> None:
    logits, labels = torch.randn(20, 5, dtype=torch.float64), torch.randint(5, (20,))
    near_zero = build_loss("js", pi=1e-9)(logits, labels)
    torch.testing.assert_close(near_zero, build_loss("ce")(logits, labels), rtol=1e-6, atol=1e-6)
    mae = build_loss("mae")(logits, labels)  # reached as slowly as 1 / log(1 - pi)
    off = [float(build_loss("js", pi=1 - miss)(logits, labels) / mae - 1) for miss in (1e-3, 1e-6, 1e-12)]
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
        assert build_loss("js", pi=pi)(logits, torch.tensor([1])).item() == pytest.approx(expected)


def test_the_example_of_a_loss_stays_finite(js: Any) -> None:
    logits = torch.tensor([[1e4, -1e4], [-1e4, 1e4], [0.0, 0.0]], requires_grad=True)
    value = build_loss("js", reduction="none")(logits, torch.zeros(3, dtype=torch.long))
    value.sum().backward()
    assert torch.isfinite(value).all()
    assert torch.isfinite(logits.grad).all()


EXAMPLE_FILES = (
    "seg_anl/losses/jensen_shannon.py",
    "data_prep/mask_kinds/boxes.py",
    "classification/datasets/bars.py",
    "configs/data/bars.yaml",
)
USE_THE_DATA_SET = """
from omegaconf import OmegaConf
from classification.datasets import load_dataset
found = load_dataset(OmegaConf.load("configs/data/bars.yaml"))
assert (len(found.train), found.train.images.shape[1:], found.num_classes) == (200, (1, 8, 8), 2)
"""


def test_every_example_is_one_file_and_nothing_else(tmp_path: Path) -> None:
    """Write into a copy of the packages what the page says, then run what the page says works."""
    for folder in ("seg_anl", "data_prep", "classification", "configs"):
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=shutil.ignore_patterns("__pycache__", "embedded"))
    for name in EXAMPLE_FILES:
        (tmp_path / name).write_text(titled(name), encoding="utf-8")
    mask = np.zeros((20, 20), np.uint8)
    mask[5:9, 5:9] = np.eye(4, dtype=np.uint8)
    (tmp_path / "masks").mkdir()
    Image.fromarray(mask).save(tmp_path / "masks" / "a.png")
    noise = "import sys; from data_prep.noise_command import main; sys.argv = {}; main()"
    words = ["seg-anl-noise", "masks", "masks", "noisy", "--alpha", "1", "--beta", "1", "--kinds", "box"]
    for code in (titled("anywhere"), noise.format(words), USE_THE_DATA_SET):
        program = tmp_path / "anywhere.py"
        program.write_text(f"import seg_anl\nassert {str(tmp_path)!r} in seg_anl.__file__\n{code}")
        done = subprocess.run(
            [sys.executable, str(program)],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(tmp_path)},
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert done.returncode == 0, done.stderr
    box = np.asarray(Image.open(tmp_path / "noisy" / "a.png"))
    assert (box > 0).sum() == 16
    assert (box[5:9, 5:9] > 0).all()


def test_the_example_of_mask_noise_stays_in_the_box(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(mask_kind._DECLARED, "box", None)  # taken out again afterwards
    exec(titled("data_prep/mask_kinds/boxes.py"), {"__name__": "boxes"})
    mask = np.zeros((40, 40), np.uint8)
    mask[10:30, 12:20] = np.triu(np.ones((20, 8), np.uint8))
    whole, _ = add_mask_noise(mask, 1.0, kinds=["box"], seed=0, item_id="a")
    half, record = add_mask_noise(mask, 0.5, kinds=["box"], seed=0, item_id="a")
    rows, columns = np.nonzero(mask)
    box = np.zeros_like(mask)
    box[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1] = 1
    assert (whole == box).all()
    assert ((mask <= half) & (half <= box)).all()
    assert mask.sum() < half.sum() < box.sum()
    assert record.kind == "box"
