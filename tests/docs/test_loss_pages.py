"""Pages of losses: tables made from the declarations, one section per loss with its curve, links and quoted numbers."""

from __future__ import annotations

import csv
import re
from dataclasses import replace
from pathlib import Path

import pytest
from loss_table import class_table, loss_page, loss_table, losses_of, pages_of_losses, stated_parameters, with_tables

from seg_anl.losses import build_loss, list_losses
from seg_anl.losses.declarations import declarations

FOLDER = Path(__file__).parents[2] / "docs" / "losses"
PAGES = sorted(FOLDER.glob("*.md"))


def rows(markdown: str) -> dict[str, list[str]]:
    """The rows of a page's tables of losses by name."""
    cells = [line.strip("| ").split(" | ") for line in markdown.splitlines() if line.startswith("| [`")]
    return {re.findall(r"`(\w+)`", row[0])[0]: row for row in cells}


def test_the_start_of_the_losses_lists_all_of_them_and_links_to_their_sections() -> None:
    listed = rows(with_tables((FOLDER / "index.md").read_text(encoding="utf-8"), FOLDER))
    assert sorted(set(listed)) == list_losses()
    table = rows(loss_table(declarations(), pages_of_losses(FOLDER)))
    assert list(table) == list(declarations())
    assert table["anl_ce_er"][:2] == ["[`anl_ce_er`](active_negative.md#anl_ce_er)", r"ANL-CE\*"]
    assert table["gce"][2:] == [
        "$(1 - p_y^q) / q$",
        "`q=0.7` `exact_official=True`",
        "Zhang & Sabuncu, Generalized Cross Entropy Loss for Training Deep Neural Networks with Noisy Labels, "
        "NeurIPS 2018, Eq. 6.",
    ]
    assert stated_parameters(declarations()["ce"]) == "none"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_page_has_a_table_of_its_losses_and_a_curve_in_every_section(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert "<!-- losses -->" in text
    if page.stem == "index":
        return
    assert list(rows(with_tables(text, FOLDER))) == losses_of(text)
    for section in re.split(r"^(?=### )", text, flags=re.MULTILINE)[1:]:
        name = section.split()[1]
        assert section.count(f"<!-- curve: {name} -->") == 1


def test_a_loss_of_which_nobody_has_written_has_its_page_of_the_reference(tmp_path: Path) -> None:
    there = pages_of_losses(tmp_path)["gce"]
    assert there == "../generated/losses/gce.md"
    page = loss_page(replace(declarations()["gce"], formula=""), there)
    assert page.startswith("# GCELoss\n\n`gce`, GCE in papers.\n")
    assert "$$" not in page
    assert ".. autoclass:: seg_anl.losses.GCELoss\n" in page
    assert "<!-- curve: gce -->" in page


def test_the_reference_lists_every_class() -> None:
    table = class_table()
    assert table.count("\n| [`") == len(list_losses())
    assert "| [`ANLCELoss`](../generated/losses/anl_ce.md) | `anl_ce` | Active negative loss on cross entropy" in table


def test_a_loss_that_is_linked_to_is_linked_to_its_own_section() -> None:
    for page in PAGES:
        for name, target in re.findall(r"\[`(\w+)`\]\(\w+\.md#(\w+)\)", page.read_text(encoding="utf-8")):
            assert name == target, f"{page.name} sends readers of {name} to {target}"
            build_loss(name, **({"transition": [[0.9, 0.1], [0.1, 0.9]]} if name == "forward" else {}))


def test_published_numbers_that_choosing_quotes_are_those_of_the_tables() -> None:
    """Tables II and III of the ANL paper, four columns of each."""
    published: dict[tuple[str, str, str, str], float] = {}
    for name in ("anl2024_II.csv", "anl2024_III.csv"):
        with (PAGES[0].parents[2] / "configs" / "published" / name).open(encoding="utf-8") as file:
            for row in csv.DictReader(file):
                if row["mean"]:
                    published[row["dataset"], row["method"], row["noise"], row["rate"]] = float(row["mean"])
    conditions = [("clean", "0"), ("symmetric", "0.8"), ("asymmetric", "0.4"), ("human", "")]
    columns = [(dataset, *condition) for dataset in ("cifar10", "cifar100") for condition in conditions]
    text = (PAGES[0].parents[1] / "choosing.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| ([\w\\*-]+) \| `\w+` \| ((?:[\d.]+ \| ){7}[\d.]+) \|$", text, flags=re.MULTILINE)
    assert len(rows) == 9
    for method, numbers in rows:
        for (dataset, noise, rate), number in zip(columns, numbers.split(" | "), strict=True):
            assert published[dataset, method.replace("\\", ""), noise, rate] == float(number), (method, dataset, noise)
