"""The notebook whose outputs are stored is run as a reader would; the build of the site runs the others."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

from seg_anl import commands
from tests.processes import forking, programs

from .conftest import ROOT

NOTEBOOKS = ROOT / "docs" / "notebooks"


@contextlib.contextmanager
def programs_of_the_notebook(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Its shell finds the commands in front of PATH, where they need not import anything anew."""
    if not Path("/proc/self/environ").exists():
        yield
        return
    from nnunetv2.experiment_planning.plan_and_preprocess_entrypoints import plan_and_preprocess_entry

    entries = {f"seg-anl-{name}": getattr(commands, name) for name in ("prep", "noise", "nnunet", "report")}
    entries["nnUNetv2_plan_and_preprocess"] = plan_and_preprocess_entry
    folder.mkdir()
    monkeypatch.setenv("PATH", os.pathsep.join([str(folder), os.environ["PATH"]]))
    with programs(folder, {name: forking(entry) for name, entry in entries.items()}):
        yield


@pytest.mark.slow
def test_nnunet_from_raw_images_to_the_report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("nnunetv2")
    monkeypatch.setenv("PATH", os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]))
    for name in [name for name in os.environ if name.startswith(("nnUNet_", "SEG_ANL_"))]:
        monkeypatch.delenv(name)
    notebook = nbformat.read(NOTEBOOKS / "nnunet.ipynb", as_version=4)
    stored = [cell.outputs for cell in notebook.cells if cell.cell_type == "code"]
    client = NotebookClient(notebook, timeout=600, resources={"metadata": {"path": str(tmp_path)}})
    with programs_of_the_notebook(tmp_path / "bin", monkeypatch):
        client.execute()
    assert (tmp_path / "report" / "report.html").is_file()
    # What the page shows is what a reader gets, but for the numbers of an unseeded training.
    for shown, cell in zip(stored, (cell for cell in notebook.cells if cell.cell_type == "code"), strict=True):
        assert {output.output_type for output in shown} == {output.output_type for output in cell.outputs}


def test_notebooks_carry_no_pictures_and_little_text() -> None:
    assert sorted(path.name for path in NOTEBOOKS.glob("*.ipynb")) == ["losses.ipynb", "nnunet.ipynb", "noise.ipynb"]
    for path in NOTEBOOKS.glob("*.ipynb"):
        assert path.stat().st_size < 20_000
        cells = [cell for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]
        assert any(cell.outputs for cell in cells) == (path.stem == "nnunet")
