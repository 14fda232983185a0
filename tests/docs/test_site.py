"""The built site: complete, readable without a network, every link and picture there."""

from __future__ import annotations

import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import hooks
import pytest
from mkdocs.commands.build import build
from mkdocs.config import load_config

from .conftest import ROOT


class Page(HTMLParser):
    """What of a page refers to something else, and what it can be referred to by."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.loaded: list[str] = []
        self.links: list[str] = []
        self.anchors: set[str] = set()
        self.formulas = 0
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attributes}
        if "id" in given:
            self.anchors.add(given["id"])
        self.formulas += tag == "math"
        if tag in ("script", "img", "iframe", "source", "video") and "src" in given:
            self.loaded.append(given["src"])
        if tag == "link" and given.get("rel") in ("stylesheet", "icon", "preload", "preconnect"):
            self.loaded.append(given["href"])
        if tag == "a" and "href" in given:
            self.links.append(given["href"])


@pytest.fixture(scope="module")
def site(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    config = load_config(str(root / "mkdocs.yml"), site_dir=str(folder), strict=True)
    build(config)
    return folder


@pytest.fixture(scope="module")
def pages(site: Path) -> dict[Path, Page]:
    return {path: Page(path.read_text(encoding="utf-8")) for path in _written_pages(site)}


def _written_pages(site: Path) -> Iterator[Path]:
    for path in sorted(site.rglob("*.html")):
        # Reports among the results are single files of their own making, and 404 is found from any address.
        if path.name != "404.html" and "data-md-color-scheme" in path.read_text(encoding="utf-8"):
            yield path


def test_nothing_is_loaded_from_elsewhere(pages: dict[Path, Page], site: Path) -> None:
    assert len(pages) >= 15
    for path, page in pages.items():
        assert [source for source in page.loaded if urlsplit(source).netloc] == [], path
    for sheet in site.rglob("*.css"):
        foreign = re.findall(r"(?:url\(|@import )['\"]?(?:https?:)?//[^)'\"]*", sheet.read_text(encoding="utf-8"))
        assert foreign == [], sheet


def test_every_link_and_picture_is_there(pages: dict[Path, Page]) -> None:
    missing = []
    for path, page in pages.items():
        for reference in page.loaded + page.links:
            parts = urlsplit(reference)
            if parts.scheme or parts.netloc:
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            known = pages[target].anchors if target in pages else {unquote(parts.fragment)}
            if not target.is_file() or (parts.fragment and unquote(parts.fragment) not in known):
                missing.append(f"{path.name}: {reference}")
    assert missing == []


@pytest.mark.parametrize("name", ["README.md", "CHANGELOG.md", "configs/published/README.md"])
def test_links_of_pages_outside_the_site(root: Path, name: str) -> None:
    page = root / name
    targets = re.findall(r"\]\((?!\w+:)([^)#\s]+)", page.read_text(encoding="utf-8"))
    assert [target for target in targets if not (page.parent / target).exists()] == []


def test_formulas_are_mathml_and_none_is_left_over(pages: dict[Path, Page], site: Path) -> None:
    assert pages[site / "losses/active_passive.html"].formulas > 30
    for path in pages:
        text = path.read_text(encoding="utf-8")
        assert "arithmatex" not in text, path
        prose = re.sub(r"<(pre|code|script)\b.*?</\1>", "", text, flags=re.DOTALL)
        assert not re.search(r"\\\(|\\\[|\$[^$\n]{1,80}\$", prose), path
        assert "<!-- curve" not in text, path


def test_every_page_is_in_the_navigation(root: Path) -> None:
    config = load_config(str(root / "mkdocs.yml"))

    def names(entry: object) -> Iterator[str]:
        if isinstance(entry, dict):
            for value in entry.values():
                yield from names(value)
        elif isinstance(entry, list):
            for value in entry:
                yield from names(value)
        else:
            yield str(entry)

    written = {path.relative_to(root / "docs").as_posix() for path in (root / "docs").rglob("*.md")}
    # Below results there is one entry, a generated list of them.
    assert {page for page in written if not page.startswith("results/")} == set(names(config["nav"])) - {
        "results/index.md"
    }


def test_what_the_build_needs_is_not_published(site: Path) -> None:
    assert list(site.rglob("*.py")) == []
    assert list(site.rglob("__pycache__")) == []


@pytest.mark.parametrize("latex", [r"\frac{a}{b", r"\nosuchcommand x", r"a^{"])
def test_a_formula_that_cannot_be_read_stops_the_build(latex: str) -> None:
    with pytest.raises(ValueError, match="formula"):
        hooks.formula(latex)


def test_an_archive_of_runs_gets_a_page() -> None:
    text = hooks.results_page(ROOT / "docs" / "results" / "isic2017-400.zip")
    assert "| ce-seed1 | finished | test/dice | 0.7" in text
    assert text.count("| finished |") == 15
    assert "](../isic2017-400.zip)" in text
