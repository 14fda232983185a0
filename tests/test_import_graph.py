"""Imports run one way: records <- losses <- engine <- {segmentation, classification}, and the others stay below engine.
seg_anl.compare checks settings as engine does. Above all is seg_anl.export.

Read with ast, so that imports inside functions count too.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
# What each package may import of the project, itself aside.
BELOW = {
    "seg_anl.records": set(),
    "seg_anl.losses": {"seg_anl.records"},
    "data_prep": {"seg_anl.records"},
    "seg_anl.engine": {"seg_anl.records", "seg_anl.losses"},
    "seg_anl.segmentation": {"seg_anl.records", "seg_anl.losses", "seg_anl.engine", "data_prep"},
    "classification": {"seg_anl.records", "seg_anl.losses", "seg_anl.engine", "data_prep"},
    "seg_anl.export": {
        *("seg_anl.records", "seg_anl.losses", "seg_anl.engine", "data_prep"),
        *("seg_anl.segmentation", "classification"),
    },
    "seg_anl.nnunet": {"seg_anl.records", "seg_anl.losses", "data_prep"},
    "seg_anl.audit": {"seg_anl.records", "seg_anl.losses", "data_prep"},
    "seg_anl.compare": {"seg_anl.records", "seg_anl.engine", "data_prep"},
    "seg_anl.reporting": {"seg_anl.records", "seg_anl.losses"},
}


def modules(package: str) -> Iterator[Path]:
    yield from sorted((ROOT / package.replace(".", "/")).rglob("*.py"))


def imported(path: Path) -> Iterator[str]:
    """The absolute names of the project's modules that a file imports."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    package = parts[:-1]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = list(package[: len(package) - node.level + 1]) if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])])
            yield from (f"{module}.{alias.name}" for alias in node.names)


def package_of(name: str) -> str | None:
    return next((package for package in BELOW if f"{name}.".startswith(f"{package}.")), None)


def test_every_package_has_its_place() -> None:
    packages = {f"seg_anl.{path.parent.name}" for path in (ROOT / "seg_anl").glob("*/__init__.py")}
    assert packages | {"data_prep", "classification"} == set(BELOW)


def test_nothing_is_imported_from_above() -> None:
    wrong = [
        f"{path.relative_to(ROOT)}: {name}"
        for package in BELOW
        for path in modules(package)
        for name in imported(path)
        if (other := package_of(name)) not in (None, package) and other not in BELOW[package]
    ]
    assert wrong == []
