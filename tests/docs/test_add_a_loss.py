"""The page on adding a loss, followed by a reader: one file, then the command, the report and the table know it."""

from __future__ import annotations

import shutil
from pathlib import Path

from tests.processes import Process, of_checkout, program

from .conftest import ROOT, blocks

PAGE = ROOT / "docs" / "add_a_loss.md"
FILE = "seg_anl/losses/divergence.py"
TINY = ("epochs=2", "data.limit=120", "batch_size=32", "model=cnn4", "device=cpu", "run_root=runs", "progress=false")
PAGES = """
from loss_table import loss_page, with_tables
from pathlib import Path
from seg_anl.losses.declarations import declarations
print(with_tables(Path("docs/losses/index.md").read_text(), Path("docs/losses")))
print(loss_page(declarations()["jsd"], "../generated/losses/jsd.md"))
"""


def test_a_new_loss_is_trained_by_the_command_and_named_in_report_table_and_reference(tmp_path: Path) -> None:
    for part in ("seg_anl", "classification", "data_prep", "configs"):
        ignored = shutil.ignore_patterns("__pycache__", "embedded")
        shutil.copytree(ROOT / part, tmp_path / part, ignore=ignored)
    (code,) = (code for rest, code in blocks(PAGE, "python") if rest == f'title="{FILE}"')
    (tmp_path / FILE).write_text(code, encoding="utf-8")
    (command,) = (code.split() for _, code in blocks(PAGE, "sh") if "loss=jsd" in code)

    def run(code: str, *words: str) -> str:
        status, output, errors = Process(of_checkout(tmp_path, program(code, *words)), tmp_path).ended()
        assert status == 0, errors
        return output

    assert command.pop(0) == "seg-anl-classify"
    run("from seg_anl.commands import classify; classify()", *command, *TINY)
    run("from seg_anl.commands import report; report()", "runs", "--out", "report")
    assert any("| JSD |" in page.read_text(encoding="utf-8") for page in (tmp_path / "report").glob("*.md"))
    (tmp_path / "docs").symlink_to(ROOT / "docs")
    pages = run(PAGES)
    assert "| [`jsd`](../generated/losses/jsd.md) | JSD | $" in pages
    assert "| `pi=0.5` | Englesson and Azizpour, Generalized Jensen-Shannon" in pages
    assert ".. autoclass:: seg_anl.losses.JSDLoss" in pages
