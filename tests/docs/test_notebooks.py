"""The notebook whose outputs are stored is run as a reader would; the build of the site runs the others."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

from seg_anl import commands
from tests.processes import programs

from .conftest import ROOT

NOTEBOOKS = ROOT / "docs" / "notebooks"


@pytest.mark.slow
def test_nnunet_from_raw_images_to_the_report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("nnunetv2")
    from tests.nnunet.conftest import fork_workers, import_nnunet, nnunet_plan

    def forking(entry: Callable[[], object]) -> Callable[[], object]:
        """A command whose pools of nnU-Net fork."""

        def main() -> object:
            fork_workers()
            return entry()

        return main

    for name in [name for name in os.environ if name.startswith(("nnUNet_", "SEG_ANL_"))]:
        monkeypatch.delenv(name)
    notebook = nbformat.read(NOTEBOOKS / "nnunet.ipynb", as_version=4)
    stored = [cell.outputs for cell in notebook.cells if cell.cell_type == "code"]
    import_nnunet()
    entries = {f"seg-anl-{name}": forking(getattr(commands, name)) for name in ("nnunet", "noise", "prep", "report")}
    with programs(entries | {"nnUNetv2_plan_and_preprocess": forking(nnunet_plan)}) as folder:
        monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
        NotebookClient(notebook, timeout=600, resources={"metadata": {"path": str(tmp_path)}}).execute()
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
