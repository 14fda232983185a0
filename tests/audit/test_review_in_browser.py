"""review.html in a real browser: decisions by key, filters, saving and loading, and no external requests."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from seg_anl.audit import review
from seg_anl.audit.review import ReviewItem, write_review
from tests.reporting.test_page_in_browser import CHROMIUM, DRIVER, Browser, driver

pytestmark = pytest.mark.skipif(not (CHROMIUM and DRIVER), reason="needs Chromium and its driver")
__all__ = ["driver"]  # the fixture

KINDS = ("shifted", "eroded", "part added")
DOWN, UP = "\ue015", "\ue013"
STRANGE = "</script><b>&\"' folder/ä"


def picture(seed: int, side: int = 24) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 255, (side, side, 3), dtype=np.uint8)


def items(count: int) -> list[ReviewItem]:
    names = [STRANGE, *(f"case{n:04d}" for n in range(1, count))]
    return [
        ReviewItem(name, 1 / (n + 1), KINDS[n % 3], "AB"[n % 2], [picture(n), picture(n + 1)], f"evidence {n}", n < 3)
        for n, name in enumerate(names)
    ]


@pytest.fixture(scope="module")
def page(driver, tmp_path_factory) -> Iterator[tuple[Browser, Path]]:
    out = tmp_path_factory.mktemp("review")
    write_review(out, items(2000), "Audit of 2000 masks", "A note.", "these")
    opened = Browser(driver)
    opened.ask("POST", "/goog/cdp/execute", cmd="Browser.setDownloadBehavior",
               params={"behavior": "allow", "downloadPath": str(out)})  # fmt: skip
    opened.ask("POST", "/url", url=(out / "review.html").as_uri())
    yield opened, out
    opened.ask("DELETE", "")


def shown(browser: Browser) -> str:
    return browser.run("return document.getElementById('item').textContent")


def press(browser: Browser, keys: str) -> None:
    for key in keys:
        browser.press("body", key)


def choose(browser: Browser, select: str, value: str) -> int:
    """Set a filter and return the number of cases left in the list."""
    return browser.run(
        "const s = document.getElementById(arguments[0]); s.value = arguments[1]; s.dispatchEvent(new Event('change'));"
        "return document.querySelectorAll('#list li').length",
        select, value,
    )  # fmt: skip


def decisions(browser: Browser) -> dict[str, Any]:
    return browser.run("return decisions")


def test_keys_decide_and_advance_and_decisions_survive_a_reload(page):
    browser, _ = page
    assert shown(browser) == STRANGE
    loaded = "return [...document.querySelectorAll('#pictures img')].map((one) => one.naturalWidth)"
    assert browser.run(loaded) == [24, 24]
    press(browser, "wru")
    assert shown(browser) == "case0003"
    press(browser, "np")
    assert shown(browser) == "case0003"
    browser.press("#list", DOWN)
    assert shown(browser) == "case0004"
    active = "document.getElementById('list').getAttribute('aria-activedescendant')"
    assert browser.run(f"return document.getElementById({active}).ariaSelected") == "true"
    browser.press("#list", UP)
    assert shown(browser) == "case0003"
    expected = {STRANGE: "wrong", "case0001": "right", "case0002": "unsure"}
    assert decisions(browser) == expected
    browser.ask("POST", "/refresh")
    assert decisions(browser) == expected
    assert browser.run("return document.getElementById('count').textContent").startswith("3 of 2000 decided: 1 wrong")
    press(browser, "w")  # the same key undoes the decision
    assert decisions(browser) == {name: word for name, word in expected.items() if name != STRANGE}
    press(browser, "w")
    assert decisions(browser) == expected


def test_filters(page):
    browser, _ = page
    assert choose(browser, "structure", "A") == 1000
    assert choose(browser, "diagnosis", "shifted") == 334
    assert choose(browser, "structure", "") == 667
    assert choose(browser, "diagnosis", "") == 2000
    assert choose(browser, "decision", "undecided") == 1997
    before = shown(browser)
    press(browser, "r")  # a decided case leaves the list
    assert shown(browser) != before
    assert len(browser.run("return [...document.querySelectorAll('#list li')]")) == 1996
    assert choose(browser, "decision", "wrong") == 1
    assert choose(browser, "decision", "") == 2000


def test_decisions_can_be_saved_and_loaded(page):
    browser, out = page
    before = decisions(browser)
    browser.click("#save")
    saved = out / "decisions.json"
    for _ in range(100):
        if saved.exists():
            break
        time.sleep(0.1)
    assert json.loads(saved.read_text(encoding="utf-8")) == {"data": "these", "decisions": before}
    other = out / "other.json"
    other.write_text(json.dumps({"case0009": "wrong", "case0001": "unsure", "nobody": "right"}), encoding="utf-8")
    browser.press("#load", str(other))
    for _ in range(50):
        if decisions(browser).get("case0009"):
            break
        time.sleep(0.1)
    assert decisions(browser) == {**before, "case0009": "wrong", "case0001": "unsure"}
    assert "1 decisions ignored" in browser.run("return document.getElementById('message').textContent")
    for text, expected in (
        ('{"case0009": "bad"}', "expected wrong, right or unsure"),
        ('{"data": "others", "decisions": {"case0009": "right"}}', "other.json: decisions about other data"),
    ):
        other.write_text(text, encoding="utf-8")
        browser.press("#load", str(other))
        for _ in range(50):
            if expected in (message := browser.run("return document.getElementById('message').textContent")):
                break
            time.sleep(0.1)
        assert expected in message
    assert decisions(browser)["case0009"] == "wrong"


def test_page_logs_no_errors_and_makes_no_external_requests(page):
    browser, _ = page
    assert [entry["message"] for entry in browser.log("browser")] == []
    events = [json.loads(entry["message"])["message"] for entry in browser.log("performance")]
    urls = [event["params"]["request"]["url"] for event in events if event["method"] == "Network.requestWillBeSent"]
    assert {url.split(":")[0] for url in urls} <= {"file", "data", "blob"}


def test_large_page_stores_its_pictures_in_a_folder(driver, tmp_path, monkeypatch):
    monkeypatch.setattr(review, "MAX_EMBEDDED_BYTES", 20_000)
    write_review(tmp_path, items(30), "Large", "note", "these")
    assert (tmp_path / "review.html").stat().st_size < 40_000
    assert len(list((tmp_path / "pictures").iterdir())) == 60
    browser = Browser(driver)
    try:
        browser.ask("POST", "/url", url=(tmp_path / "review.html").as_uri())
        time.sleep(0.2)
        loaded = "return [...document.querySelectorAll('#pictures img')].map((one) => one.naturalWidth)"
        assert browser.run(loaded) == [24, 24]
    finally:
        browser.ask("DELETE", "")
    write_review(tmp_path, items(2), "Small again", "note", "these")
    assert not (tmp_path / "pictures").exists()
