"""Adding a data set as documented, to a copy of the checkout: it is found, trained by the command, and reported."""

from __future__ import annotations

import re
import shlex
import shutil
from pathlib import Path

import numpy as np
import pytest

from tests.processes import Process, of_checkout, program

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "add_a_loss.md").read_text(encoding="utf-8")


def titled(title: str) -> str:
    found = re.search(rf'^```\w+ title="{re.escape(title)}"\n(.*?)^```$', PAGE, flags=re.DOTALL | re.MULTILINE)
    assert found, title
    return found[1]


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A copy of the packages and configurations with the two files of the docs page added."""
    for name in ("seg_anl", "classification", "data_prep", "configs"):
        shutil.copytree(ROOT / name, tmp_path / "copy" / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("classification/datasets/blood_cells.py", "configs/data/blood_cells.yaml"):
        (tmp_path / "copy" / name).write_text(titled(name), encoding="utf-8")
    return tmp_path / "copy"


def test_added_data_set_trains_and_is_reported(checkout: Path, tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    cells = tmp_path / "work" / "CELLS"
    cells.mkdir(parents=True)
    kinds = [("basophil", "lymphocyte")[i % 2] for i in range(60)]
    np.save(cells / "cells.npy", generator.integers(0, 256, (60, 12, 12), dtype=np.uint8))
    (cells / "kinds.txt").write_text("\n".join(kinds))

    def run(line: str) -> tuple[int, str, str]:
        command, *arguments = shlex.split(line)
        code = f"from seg_anl import commands; commands.{command.removeprefix('seg-anl-')}()"
        return Process(of_checkout(checkout, program(code, *arguments)), cells.parent).ended()

    train, report = titled("shell").splitlines()
    status, _, errors = run(train + " data.test_share=2")
    assert status == 2
    assert "data.test_share must be a number > 0 and < 1, got 2" in errors
    status, output, errors = run(train)
    assert status == 0, errors
    assert f"blood cells in {Path('CELLS')}; 48 to train on" in output
    (run_folder,) = (path.parent for path in (cells.parent / "runs").rglob("summary.json"))
    assert len((run_folder / "metrics.csv").read_text().splitlines()) == 1 + 2 * 2  # two epochs, test and train
    status, _, errors = run(report)
    assert status == 0, errors
    pages = [path.read_text(encoding="utf-8") for path in (cells.parent / "report").rglob("*.html")]
    assert any("blood_cells" in page for page in pages)
