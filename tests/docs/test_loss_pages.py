"""The pages of losses against the registry: a loss without a row, a curve or a heading fails."""

from __future__ import annotations

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
