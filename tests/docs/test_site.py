"""The built site: complete, readable without a network, every link and picture there; in a browser, too."""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import hooks
import numpy as np
import pytest
from conf import NAVIGATION

from seg_anl.audit.review import ReviewItem, write_review
from seg_anl.losses.declarations import declarations
from seg_anl.reporting.render import write_report
from seg_anl.reporting.run_directories import read_runs
from seg_anl.reporting.tables import make_report
from tests.processes import Process, module, of_checkout
from tests.reporting.test_page_in_browser import CHROMIUM, DRIVER, Browser, driver

from .conftest import ROOT, documents

__all__ = ["driver"]  # the fixture
# A development check: `npm install axe-core` in the checkout, or the path of axe.min.js.
AXE = Path(os.environ.get("AXE", ROOT / "node_modules" / "axe-core" / "axe.min.js"))
in_browser = pytest.mark.skipif(not (CHROMIUM and DRIVER), reason="no Chromium with its driver here")


class Page(HTMLParser):
    """What of a page refers to something else, and what it can be referred to by."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.loaded: list[str] = []
        self.links: list[str] = []
        self.anchors: set[str] = set()
        self.without_alt: list[str] = []
        self.formulas = 0
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attributes}
        if "id" in given:
            self.anchors.add(given["id"])
        self.formulas += tag == "math"
        if tag in ("script", "img", "iframe", "source", "video") and "src" in given:
            self.loaded.append(given["src"])
        if tag == "img" and len(given.get("alt", "").split()) < 3:
            self.without_alt.append(given["src"])
        if tag == "link" and given.get("rel") in ("stylesheet", "icon", "preload", "preconnect"):
            self.loaded.append(given["href"])
        if tag == "a" and "href" in given:
            self.links.append(given["href"])


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    made = folder / "html"
    options = ["--quiet", "--fail-on-warning", "--keep-going", "-d", str(folder / "state")]
    # This project's modules anew: others' tests may have left something on them.
    status, _, errors = Process(of_checkout(ROOT, module("sphinx", *options, ROOT / "docs", made))).ended()
    assert status == 0, errors
    return made


@pytest.fixture(scope="module")
def pages(site: Path) -> dict[Path, Page]:
    return {path: Page(path.read_text(encoding="utf-8")) for path in _written_pages(site)}


def _written_pages(site: Path) -> Iterator[Path]:
    for path in sorted(site.rglob("*.html")):
        # Reports among the results are single files of their own making; the theme brings templates.
        if "_static" not in path.parts and "pydata-sphinx-theme" in path.read_text(encoding="utf-8"):
            yield path


def test_nothing_is_loaded_from_elsewhere(pages: dict[Path, Page], site: Path) -> None:
    assert len(pages) >= 90
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


def test_every_picture_says_what_is_seen(pages: dict[Path, Page]) -> None:
    assert {path.name: page.without_alt for path, page in pages.items() if page.without_alt} == {}


@pytest.mark.parametrize("name", ["README.md", "CHANGELOG.md", "configs/published/README.md"])
def test_links_of_pages_outside_the_site(root: Path, name: str) -> None:
    page = root / name
    targets = re.findall(r"\]\((?!\w+:)([^)#\s]+)", page.read_text(encoding="utf-8"))
    assert [target for target in targets if not (page.parent / target).exists()] == []


def test_formulas_are_mathml_and_none_is_left_over(pages: dict[Path, Page], site: Path) -> None:
    assert pages[site / "losses/active_passive.html"].formulas > 30
    for path in pages:
        prose = re.sub(r"<(pre|code|script)\b.*?</\1>", "", path.read_text(encoding="utf-8"), flags=re.DOTALL)
        assert not re.search(r"\\\(|\\\[|\$[^$\n]{1,80}\$", prose), path
        assert not re.search(r"<!-- (curve|api|losses|classes)", prose), path


def test_every_page_is_in_the_navigation_once() -> None:
    written = {path.relative_to(ROOT / "docs").with_suffix("").as_posix() for path in documents()[1:]}
    written |= {f"notebooks/{path.stem}" for path in (ROOT / "docs" / "notebooks").glob("*.ipynb")}
    named = [re.sub(r".*<(.*)>", r"\1", entry) for entries in NAVIGATION.values() for entry in entries]
    assert len(named) == len(set(named))
    # Below results there is one entry, a generated list of them.
    assert {page for page in written if not page.startswith("results/")} - {"index"} == {
        name for name in named if not name.startswith("generated/")
    }


def test_every_loss_has_a_page_with_class_formula_curve_and_source(site: Path) -> None:
    for name, known in declarations().items():
        text = (site / f"generated/losses/{name}.html").read_text(encoding="utf-8")
        assert f'id="seg_anl.losses.{known.class_name}"' in text
        assert "Value, in LaTeX" not in text
        assert ("<math" in text) >= bool(known.formula)
        assert "loss-curve" in text
        assert ("Reference: " in text) == bool(known.source)


def test_notebooks_show_what_they_gave(site: Path) -> None:
    loop, noise, nnunet = ((site / f"notebooks/{name}.html").read_text() for name in ("losses", "noise", "nnunet"))
    assert re.search(r"anl_ce\s+Dice on right masks 0\.\d{3}", loop)
    assert "17 of 24 masks noisy" in noise
    assert "True" in noise
    assert noise.count("<img") >= 2
    assert "2d_small" in nnunet
    assert "report/report.html" in nnunet


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
    assert "](../../results/isic2017-400.zip)" in text


@pytest.mark.parametrize(("stem", "page"), [("instal", "install"), ("citat", "index")])
def test_the_index_of_the_search_has_the_words_that_people_look_for(site: Path, stem: str, page: str) -> None:
    text = (site / "searchindex.js").read_text(encoding="utf-8")
    index = json.loads(text.removeprefix("Search.setIndex(").removesuffix(")"))
    found = index["titleterms"][stem]
    assert page in {index["docnames"][place] for place in (found if isinstance(found, list) else [found])}


@pytest.fixture(scope="module")
def browser(driver: str) -> Iterator[Browser]:
    opened = Browser(driver)
    opened.ask("POST", "/timeouts", script=300_000)  # axe, on a busy machine
    yield opened
    opened.ask("DELETE", "")


def emulate(browser: Browser, command: str, **parameters: Any) -> None:
    browser.ask("POST", "/goog/cdp/execute", cmd=f"Emulation.{command}", params=parameters)


def widen(browser: Browser, width: int) -> None:
    emulate(browser, "setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=width < 600)


def show(browser: Browser, page: str, *, dark: bool = False, width: int = 1400) -> None:
    """Open a page as on a screen of so many pixels, in light or dark."""
    widen(browser, width)
    emulate(
        browser, "setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
    )
    browser.ask("POST", "/url", url=page)


@in_browser
@pytest.mark.parametrize(("word", "page"), [("install", "install.html"), ("citation", "index.html")])
def test_the_search_finds_from_disk(browser: Browser, site: Path, word: str, page: str) -> None:
    show(browser, f"{(site / 'search.html').as_uri()}?q={word}")
    links = "return [...document.querySelectorAll('#search-results li a')].map((a) => a.getAttribute('href'))"
    found: list[str] = []
    for _ in range(200):
        found = browser.run(links)
        if any(link.startswith(page) for link in found):
            break
        time.sleep(0.05)
    assert page in [link.partition("#")[0].partition("?")[0] for link in found[:5]]


@in_browser
def test_no_command_is_clipped_and_no_page_is_wider_than_its_screen(browser: Browser, site: Path) -> None:
    clipped = []
    script = """
        const cut = [...document.querySelectorAll('.highlight-sh pre, .highlight-bash pre')];
        return [document.scrollingElement.scrollWidth - window.innerWidth,
                ...cut.filter((pre) => pre.scrollWidth > pre.clientWidth).map((pre) => pre.textContent.slice(0, 60))]"""
    for path in [site / "index.html", *(site / f"{page.stem}.html" for page in (ROOT / "docs").glob("*.md"))]:
        show(browser, path.as_uri())
        for width in (1400, 390):
            widen(browser, width)
            wider, *cut = browser.run(script)
            if wider > 0 or cut:
                clipped.append((path.name, width, wider, cut))
    assert clipped == []


@in_browser
@pytest.mark.skipif(not AXE.is_file(), reason="axe.min.js is not here: npm install axe-core, or AXE=PATH")
@pytest.mark.parametrize(("dark", "width"), [(False, 1400), (True, 1400), (False, 390)])
def test_axe_finds_nothing_serious(browser: Browser, site: Path, tmp_path: Path, dark: bool, width: int) -> None:
    write_report(make_report(read_runs([ROOT / "docs/results/embedded-600.zip"])), tmp_path)
    picture = np.zeros((24, 24, 3), np.uint8)
    items = [ReviewItem(f"case{n}", 1 / n, "shifted", "lesion", [picture], "evidence", n < 3) for n in range(1, 6)]
    write_review(tmp_path, items, "Audit of 5 masks", "A note.", "these")
    names = "index losses/index losses/active_passive generated/losses/anl_ce api/noise add_a_loss notebooks/noise"
    own = [tmp_path / "report.html", tmp_path / "review.html"]
    found = {}
    for path in [*(site / f"{name}.html" for name in names.split()), *own]:
        show(browser, path.as_uri(), dark=dark, width=width)
        if serious := audited(browser):
            found[path.name] = serious
    assert found == {}


def audited(browser: Browser) -> list[Any]:
    """axe's serious and critical findings on the page that is shown."""
    browser.run(AXE.read_text(encoding="utf-8"))
    return browser.ask(  # type: ignore[no-any-return]
        "POST",
        "/execute/async",
        script="""const done = arguments[0];
            axe.run().then((all) => done(all.violations.filter((one) => ['serious', 'critical'].includes(one.impact))
                .map((one) => [one.id, one.nodes.length, one.nodes[0].html.slice(0, 200),
                               one.nodes[0].failureSummary.slice(0, 300)])))""",
        args=[],
    )
