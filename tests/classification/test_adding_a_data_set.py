"""A data set added as its page says, to a copy of the checkout: found, trained through the command, and reported."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "add_a_loss.md").read_text(encoding="utf-8")


def titled(title: str) -> str:
    found = re.search(rf'^```\w+ title="{re.escape(title)}"\n(.*?)^```$', PAGE, flags=re.DOTALL | re.MULTILINE)
    assert found, title
    return found[1]


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A copy of the packages and configurations, with the two files of the page in it."""
    for name in ("seg_anl", "classification", "data_prep", "configs"):
        shutil.copytree(ROOT / name, tmp_path / "copy" / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("classification/datasets/blood_cells.py", "configs/data/blood_cells.yaml"):
        (tmp_path / "copy" / name).write_text(titled(name), encoding="utf-8")
    return tmp_path / "copy"


def test_two_files_and_it_trains_and_is_reported(checkout: Path, tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    cells = tmp_path / "work" / "CELLS"
    cells.mkdir(parents=True)
    kinds = [("basophil", "lymphocyte")[i % 2] for i in range(60)]
    np.save(cells / "cells.npy", generator.integers(0, 256, (60, 12, 12), dtype=np.uint8))
    (cells / "kinds.txt").write_text("\n".join(kinds))
    modules = {"seg-anl-classify": "classification.train", "seg-anl-report": "seg_anl.reporting.command"}

    def run(line: str) -> subprocess.CompletedProcess[str]:
        program, *arguments = shlex.split(line)
        code = f"import sys; sys.argv = {[program, *arguments]!r}; from {modules[program]} import main; main()"
        environment = {**os.environ, "PYTHONPATH": str(checkout), "OMP_NUM_THREADS": "1"}
        command = [sys.executable, "-c", code]
        return subprocess.run(command, cwd=cells.parent, env=environment, capture_output=True, text=True, timeout=300)

    train, report = titled("shell").splitlines()
    refused = run(train + " data.test_share=2")
    assert refused.returncode == 2
    assert "data.test_share must be a number > 0 and < 1, got 2" in refused.stderr
    done = run(train)
    assert done.returncode == 0, done.stderr
    assert f"blood cells in {Path('CELLS')}; 48 to train on" in done.stdout
    (run_folder,) = (path.parent for path in (cells.parent / "runs").rglob("summary.json"))
    assert len((run_folder / "metrics.csv").read_text().splitlines()) == 1 + 2 * 2  # two epochs, test and train
    reported = run(report)
    assert reported.returncode == 0, reported.stderr
    pages = [path.read_text(encoding="utf-8") for path in (cells.parent / "report").rglob("*.html")]
    assert any("blood_cells" in page for page in pages)
