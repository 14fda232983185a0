from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FENCE = re.compile(r"^```([^\n`]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)

sys.path.insert(0, str(ROOT / "docs"))  # where the modules of the site's build lie


def documents() -> list[Path]:
    """The README and every page of the site."""
    pages = sorted(path for path in (ROOT / "docs").rglob("*.md") if "generated" not in path.parts)
    return [ROOT / "README.md", *pages]


def blocks(page: Path, *languages: str) -> list[tuple[str, str]]:
    """The fenced blocks of a page in one of the languages: what follows the language, and the code."""
    found = []
    for match in FENCE.finditer(page.read_text(encoding="utf-8")):
        language, _, rest = match.group(1).partition(" ")
        if language in languages:
            found.append((rest, match.group(2)))
    return found


def without_blocks(page: Path) -> str:
    """The text of a page outside its fenced blocks."""
    return FENCE.sub("", page.read_text(encoding="utf-8"))


@pytest.fixture(scope="session")
def root() -> Path:
    return ROOT
