"""The page on adding your own, followed by a reader: its files in a copy of the checkout, then its commands."""

from __future__ import annotations

import json
import re
import shlex
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from seg_anl.losses import build_loss, declarations
from tests.processes import Process, of_checkout, program

from .conftest import ROOT, blocks

PAGE = ROOT / "docs" / "add_a_loss.md"
TITLED = {
    found[1]: code for rest, code in blocks(PAGE, "python", "yaml", "sh") if (found := re.match('title="(.*)"$', rest))
}
FILES = [title for title in TITLED if Path(title).suffix]
QUICK = "epochs=2 device=cpu progress=false"
PAGES = """
from loss_table import loss_page, with_tables
from pathlib import Path
from seg_anl.losses.declarations import declarations
print(with_tables(Path("docs/losses/index.md").read_text(), Path("docs/losses")))
print(loss_page(declarations()["jsd"], "../generated/losses/jsd.md"))
"""


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the packages and configurations with all files of the page."""
    copy = tmp_path_factory.mktemp("checkout")
    for part in ("seg_anl", "classification", "data_prep", "configs"):
        shutil.copytree(ROOT / part, copy / part, ignore=shutil.ignore_patterns("__pycache__"))
    (copy / "docs").symlink_to(ROOT / "docs")
    for name in FILES:
        assert not (copy / name).exists()
        (copy / name).write_text(TITLED[name], encoding="utf-8")
    return copy


def execute(checkout: Path, code: str, *words: str, status: int = 0) -> str:
    """Run a program in the copy; returns what it prints, or the error of a refused one."""
    found, output, errors = Process(of_checkout(checkout, program(code, *words)), checkout).ended()
    assert found == status, errors
    return errors if status else output


def run(checkout: Path, line: str, *, status: int = 0) -> str:
    command, *words = shlex.split(line)
    code = f"from seg_anl import commands; commands.{command.removeprefix('seg-anl-')}()"
    return execute(checkout, code, *words, status=status)


def test_a_loss(checkout: Path) -> None:
    """It is built, trained by the command, and named in the report, the table of losses and the reference."""
    assert (
        execute(checkout, f"import seg_anl\nassert {str(checkout)!r} in seg_anl.__file__\n{TITLED['anywhere']}") == ""
    )
    (command,) = (code for _, code in blocks(PAGE, "sh") if "loss=jsd" in code)
    run(checkout, f"{command} {QUICK} data.limit=120 batch_size=32 model=cnn4 run_root=of_loss")
    run(checkout, "seg-anl-report of_loss --out report_of_loss")
    assert any("| JSD |" in page.read_text(encoding="utf-8") for page in (checkout / "report_of_loss").glob("*.md"))
    pages = execute(checkout, PAGES)
    assert "| [`jsd`](../generated/losses/jsd.md) | JSD | $" in pages
    assert "| `pi=0.5` | Englesson and Azizpour, Generalized Jensen-Shannon" in pages
    assert ".. autoclass:: seg_anl.losses.JSDLoss" in pages


def test_the_added_loss_equals_the_one_that_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(declarations, "_outside", {})
    monkeypatch.delitem(declarations._declared, "jsd", raising=False)
    exec(TITLED["seg_anl/losses/divergence.py"], {"__name__": "divergence"})
    logits, labels = torch.randn(20, 5, dtype=torch.float64), torch.randint(5, (20,))
    logits[:2] = torch.tensor([[1e4, -1e4, 0.0, 0.0, 0.0], [-1e4, 1e4, 0.0, 0.0, 0.0]])
    for pi in (1e-3, 0.5, 0.9):
        values, gradients = [], []
        for name in ("jsd", "js"):
            leaf = logits.clone().requires_grad_()
            values.append(build_loss(name, pi=pi, reduction="none")(leaf, labels))
            gradients.append(torch.autograd.grad(values[-1].sum(), leaf)[0])
        torch.testing.assert_close(*values)
        torch.testing.assert_close(*gradients)


def test_a_kind_of_mask_noise(checkout: Path) -> None:
    noise, train = TITLED["a kind of mask noise"].splitlines()
    (checkout / "MASKS").mkdir()
    clean = np.zeros((40, 40), np.uint8)
    clean[10:30, 12:20] = np.triu(np.ones((20, 8), np.uint8)) * 255
    for number in range(4):
        Image.fromarray(clean).save(checkout / "MASKS" / f"{number}.png")
    run(checkout, noise)
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

    small = "data=embedded data.limit=8 data.size=32 model.base_filters=4 batch_size=4"
    run(checkout, f"{train} {QUICK} {small} run_dir=of_masks")
    items = json.loads((checkout / "of_masks/noise/manifest.json").read_text())["items"]
    assert sorted(item["kind"] for item in items) == ["box"] * 4 + ["none"] * 4
    assert json.loads((checkout / "of_masks/summary.json").read_text())["status"] == "finished"


def test_a_data_set(checkout: Path) -> None:
    train, report = TITLED["shell"].splitlines()
    (checkout / "CELLS").mkdir()
    cells = np.random.default_rng(0).integers(0, 256, (60, 12, 12), dtype=np.uint8)
    np.save(checkout / "CELLS/cells.npy", cells)
    (checkout / "CELLS/kinds.txt").write_text("\n".join(["basophil", "lymphocyte"] * 30))
    refused = run(checkout, f"{train} data.test_share=2", status=2)
    assert "data.test_share must be a number > 0 and < 1, got 2" in refused
    assert "blood cells in CELLS; 48 to train on" in run(checkout, train)
    (metrics,) = (checkout / "runs").rglob("metrics.csv")
    assert len(metrics.read_text().splitlines()) == 1 + 2 * 2  # two epochs, test and train
    run(checkout, report)
    pages = [path.read_text(encoding="utf-8") for path in (checkout / "report").rglob("*.html")]
    assert any("blood_cells" in page for page in pages)
