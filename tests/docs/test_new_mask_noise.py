"""The page's kind of mask noise, added as a reader would: one file in a copy of the checkout, then its two commands."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.processes import Process, of_checkout, program

from .conftest import ROOT, blocks

PAGE = ROOT / "docs" / "add_a_loss.md"
FILE = "data_prep/mask_kinds/boxes.py"
SMALL = [
    "data.limit=8",
    "data.size=32",
    "model.base_filters=4",
    "epochs=2",
    "batch_size=4",
    "device=cpu",
    "progress=false",
]


def titled(title: str) -> str:
    (code,) = (code for rest, code in blocks(PAGE, "python", "sh") if rest == f'title="{title}"')
    return code


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    copy = tmp_path_factory.mktemp("checkout")
    for part in ("seg_anl", "data_prep", "configs"):
        shutil.copytree(ROOT / part, copy / part, ignore=shutil.ignore_patterns("__pycache__"))
    assert not (copy / FILE).exists()
    (copy / FILE).write_text(titled(FILE), encoding="utf-8")
    return copy


def run(checkout: Path, line: str, *more: str) -> None:
    command, *arguments = line.split()
    code = f"from seg_anl import commands; commands.{command.removeprefix('seg-anl-')}()"
    status, _, errors = Process(of_checkout(checkout, program(code, *arguments, *more)), checkout).ended()
    assert status == 0, errors


def test_the_command_makes_boxes(checkout: Path) -> None:
    (checkout / "MASKS").mkdir()
    clean = np.zeros((40, 40), np.uint8)
    clean[10:30, 12:20] = np.triu(np.ones((20, 8), np.uint8)) * 255
    for number in range(4):
        Image.fromarray(clean).save(checkout / "MASKS" / f"{number}.png")
    run(checkout, titled("a kind of mask noise").splitlines()[0])
    rows, columns = np.nonzero(clean)
    box = np.zeros_like(clean)
    box[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1] = 255
    areas = []
    for row in json.loads((checkout / "NOISY" / "manifest.json").read_text())["items"]:
        noisy = np.array(Image.open(checkout / "NOISY" / f"{row['item']}.png"))
        assert ((clean <= noisy) & (noisy <= box)).all()
        assert row["kind"] == "none" or row["realised"] > 0
        areas.append((row["kind"], int((noisy > 0).sum())))
    assert [kind for kind, _ in sorted(areas)] == ["box", "box", "none", "none"]


def test_the_trainer_makes_boxes(checkout: Path) -> None:
    run(checkout, titled("a kind of mask noise").splitlines()[1], "data=embedded", *SMALL, "run_dir=RUN")
    items = json.loads((checkout / "RUN" / "noise" / "manifest.json").read_text())["items"]
    assert sorted(item["kind"] for item in items) == ["box"] * 4 + ["none"] * 4
    assert json.loads((checkout / "RUN" / "summary.json").read_text())["status"] == "finished"
