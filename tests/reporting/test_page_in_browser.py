"""The page in a real browser: sorting, curves, folding, dark mode, and no external requests.

Talks to chromedriver in its own protocol (W3C WebDriver), so that no further package is needed. Runs where a Chromium
and its driver are installed (Debian: ``apt-get install chromium chromium-driver``) and is skipped elsewhere.
"""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from seg_anl.reporting.render import write_report
from seg_anl.reporting.run_directories import read_runs
from seg_anl.reporting.tables import make_report

CHROMIUM = next(
    (path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), None
)
DRIVER = shutil.which("chromedriver")
RESULTS = Path(__file__).parents[2] / "docs" / "results"
ELEMENT = "element-6066-11e4-a52e-4f735466cecf"
ENTER, RIGHT = "\ue007", "\ue014"

pytestmark = pytest.mark.skipif(not (CHROMIUM and DRIVER), reason="no Chromium with its driver here")


class Browser:
    """A WebDriver session at ``address``."""

    def __init__(self, address: str) -> None:
        options = {
            "binary": CHROMIUM,
            "args": [
                "--headless=new",
                "--no-sandbox",
                "--disable-gpu",
                "--window-size=1200,900",
                "--force-prefers-reduced-motion",
            ],
        }
        capabilities = {
            "browserName": "chrome",
            "goog:chromeOptions": options,
            "goog:loggingPrefs": {"browser": "ALL", "performance": "ALL"},
        }
        self.address = address
        opened = self.ask("POST", "/session", capabilities={"alwaysMatch": capabilities})
        self.address = f"{address}/session/{opened['sessionId']}"

    def ask(self, method: str, path: str, **content: Any) -> Any:
        data = json.dumps(content).encode() if method == "POST" else None
        request = urllib.request.Request(self.address + path, data, {"Content-Type": "application/json"}, method=method)
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return json.load(answer)["value"]
        except urllib.error.HTTPError as error:
            pytest.fail(f"{method} {path}: {json.load(error)['value']['message']}")

    def run(self, script: str, *arguments: Any) -> Any:
        return self.ask("POST", "/execute/sync", script=script, args=list(arguments))

    def find(self, selector: str) -> str:
        found = self.ask("POST", "/element", using="css selector", value=selector)
        return str(found[ELEMENT])

    def click(self, selector: str) -> None:
        self.ask("POST", f"/element/{self.find(selector)}/click")

    def press(self, selector: str, key: str) -> None:
        self.ask("POST", f"/element/{self.find(selector)}/value", text=key)

    def log(self, kind: str) -> list[dict[str, Any]]:
        return list(self.ask("POST", "/se/log", type=kind))


@pytest.fixture(scope="module")
def driver() -> Iterator[str]:
    """The address of a running chromedriver."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    process = subprocess.Popen([str(DRIVER), f"--port={port}"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    address = f"http://127.0.0.1:{port}"
    try:
        for _ in range(300):
            try:
                with urllib.request.urlopen(f"{address}/status", timeout=5) as answer:
                    if json.load(answer)["value"]["ready"]:
                        break
            except OSError:
                time.sleep(0.1)
        yield address
    finally:
        process.terminate()
        process.wait(timeout=30)


@pytest.fixture(scope="module")
def browser(driver, tmp_path_factory) -> Iterator[Browser]:
    """A browser showing the report of the recorded ISIC-2017 runs."""
    results = RESULTS / "isic2017-400.zip"
    out = tmp_path_factory.mktemp("report")
    write_report(make_report(read_runs([results])), out)
    opened = Browser(driver)
    opened.ask("POST", "/url", url=(out / "report.html").as_uri())
    yield opened
    opened.ask("DELETE", "")


def _methods(browser: Browser) -> list[str]:
    first = "document.querySelector('.results')"
    return browser.run(f"return [...{first}.querySelectorAll('tbody th')].map(th => th.textContent)")


def test_columns_sort_by_click_and_key_with_empty_cells_last(browser):
    first = _methods(browser)
    assert first == ["GCE", "MAE", "T-Loss", "ANL-CE", "CE"]  # as in the paper, which lacks CE
    ours = ".results th:nth-child(2)"
    browser.click(f"{ours} button")
    by_value = _methods(browser)
    # 76.9, 76.8, 76.7, 76.1, 74.7; SCE and NCE+RCE have no runs and are collapsed
    assert by_value == ["T-Loss", "ANL-CE", "MAE", "GCE", "CE"]
    folded = browser.run(
        "return [...document.querySelectorAll('details:not([open]) .results th')].map(th => th.textContent)"
    )
    assert {"SCE", "NCE+RCE (APL)"} <= set(folded)
    assert browser.run("return document.querySelector(arguments[0]).ariaSort", ours) == "descending"
    browser.press(f"{ours} button", ENTER)
    assert _methods(browser) == ["CE", "GCE", "MAE", "ANL-CE", "T-Loss"]
    browser.press(".results th:nth-child(5) button", ENTER)  # the difference, which CE lacks
    assert _methods(browser)[-1] == "CE"
    browser.click(".results th:nth-child(1) button")
    assert _methods(browser) == sorted(first, key=str.lower)


def test_curves_are_drawn_and_toggled_by_the_legend(browser):
    def shown() -> int:
        return browser.run(
            "return [...document.querySelectorAll('.chart g.line')]"
            ".filter(line => line.getBoundingClientRect().width > 50).length"
        )

    assert browser.run("return document.querySelectorAll('.chart').length") == 3
    assert shown() == 3 * 5
    browser.click(".legend button")
    assert browser.run("return document.querySelector('.legend button').ariaPressed") == "false"
    assert shown() == 3 * 4
    browser.press(".legend button", ENTER)
    assert shown() == 3 * 5


def test_values_of_an_epoch_are_shown_by_key(browser):
    browser.press(".chart [data-values]", RIGHT)
    # Epoch 1 of ANL-CE: mean of its three seeds, from the recorded files.
    tip = browser.run("return document.querySelector('.chart .tip').innerText")
    assert tip.startswith("epoch 1\n")
    runs = read_runs([RESULTS / "isic2017-400.zip"])
    firsts = [run.curve("test", "dice")[0] for run in runs if run.method_name == "ANL-CE"]
    assert len(firsts) == 3
    value = next(float(line.split()[0]) for line in tip.splitlines() if line.endswith("ANL-CE"))
    assert value == pytest.approx(100 * sum(firsts) / 3, abs=0.11)


def test_light_and_dark(browser):
    def paper() -> str:
        return browser.run("return getComputedStyle(document.body).backgroundColor")

    before = paper()
    browser.click("#theme")
    assert paper() != before
    browser.click("#theme")
    assert paper() == before


def test_text_has_contrast_and_links_are_underlined(browser):
    script = """
        const rgb = (text) => text.match(/[\\d.]+/g).map(Number);
        const part = (value) => value <= 10.31 ? value / 3294.6 : ((value / 255 + .055) / 1.055) ** 2.4;
        const light = (text) => { const [r, g, b] = rgb(text).map(part); return .2126 * r + .7152 * g + .0722 * b; };
        const ratio = (a, b) => (Math.max(a, b) + .05) / (Math.min(a, b) + .05);
        const paper = light(getComputedStyle(document.body).backgroundColor);
        const shown = (element) => element.checkVisibility() && !element.closest("script")
          && [...element.childNodes].some((node) => node.nodeType === 3 && node.data.trim());
        const color = (element) => getComputedStyle(element)[element.closest("svg") ? "fill" : "color"];
        return [...document.querySelectorAll("body *")].filter(shown)
          .map((element) => [element.textContent, ratio(light(color(element)), paper)])
          .filter(([, contrast]) => contrast < 4.5);
    """
    for _ in ("light", "dark"):
        assert browser.run(script) == []
        browser.click("#theme")
    lines = browser.run("return [...document.querySelectorAll('a')].map(a => getComputedStyle(a).textDecorationLine)")
    assert set(lines) == {"underline"}


@pytest.mark.parametrize("width", [1200, 390])
def test_only_tables_are_wider_than_the_window(browser, width):
    browser.ask("POST", "/window/rect", width=width, height=900)
    assert browser.run("return document.documentElement.scrollWidth <= document.documentElement.clientWidth")


def test_page_logs_no_errors_and_makes_no_external_requests(browser):
    browser.ask("POST", "/refresh")
    assert [entry["message"] for entry in browser.log("browser")] == []
    events = [json.loads(entry["message"])["message"] for entry in browser.log("performance")]
    urls = [event["params"]["request"]["url"] for event in events if event["method"] == "Network.requestWillBeSent"]
    assert urls
    assert {url.split(":")[0] for url in urls} <= {"file", "data"}
    assert len({url for url in urls if url.startswith("file")}) == 1
