"""The pages of losses against the registry: a loss without a row, a curve or a heading fails."""

from __future__ import annotations

import csv
import math
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from seg_anl.losses import build_loss, list_losses, loss_parameters

PAGES = sorted((Path(__file__).parents[2] / "docs" / "losses").glob("*.md"))
ROW = re.compile(r"^\| \*{0,2}`(\w+)`\*{0,2} \|[^|]*\| ([^|]*) \|$", re.MULTILINE)
PARAMETER = re.compile(r"`(\w+)=([^`]+)`")


def stated_value(text: str) -> Any:
    """A default as a page writes it: a number, true, none, a name, or a logarithm."""
    logarithm = re.fullmatch(r"ln\((.+)\)", text)
    if logarithm:
        return math.log(float(logarithm.group(1)))
    value = yaml.safe_load({"none": "null"}.get(text, text))
    if isinstance(value, str) and re.fullmatch(r"[\d.]+e-?\d+", value):  # YAML wants a point in 1e-7
        return float(value)
    return value


def stated_losses() -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    for page in PAGES:
        if page.stem == "index":
            continue
        for name, parameters in ROW.findall(page.read_text(encoding="utf-8")):
            assert name not in found, f"{name} has two rows"
            found[name] = {key: stated_value(value) for key, value in PARAMETER.findall(parameters)}
            assert found[name] or parameters == "none", f"{page.name}: {name} states its parameters as {parameters!r}"
    return found


def test_every_loss_has_one_row_and_no_row_is_without_a_loss() -> None:
    assert sorted(stated_losses()) == list_losses()


@pytest.mark.parametrize("name", list_losses())
def test_parameters_and_defaults_are_those_of_the_code(name: str) -> None:
    assert stated_losses()[name] == loss_parameters(name)


@pytest.mark.parametrize("name", list_losses())
def test_every_loss_has_a_section_with_its_curve(name: str) -> None:
    sections = [
        section
        for page in PAGES
        for section in re.split(r"^(?=##+ )", page.read_text(encoding="utf-8"), flags=re.MULTILINE)
        if section.startswith(f"### {name}\n")
    ]
    assert len(sections) == 1
    assert sections[0].count(f"<!-- curve: {name} -->") == 1


def test_the_number_of_losses_that_the_start_page_names() -> None:
    start = (PAGES[0].parents[1] / "index.md").read_text(encoding="utf-8")
    assert re.findall(r"(\d+) losses", start) == [str(len(list_losses()))]


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
