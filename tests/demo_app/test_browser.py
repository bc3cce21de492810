"""`deployrec demo` in a real Chromium: clicks, keyboard, both widths; prints what the start and the clicks took."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple, TypeVar
from urllib.parse import parse_qs, urlsplit

import pytest
from selenium import webdriver
from selenium.common.exceptions import StaleElementReferenceException
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import WebDriverWait

CHROMIUM, DRIVER = Path("/usr/bin/chromium"), Path("/usr/bin/chromedriver")
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
PAGES = ("", "lab", "fleet", "server", "bundle")
PLACE = ".dr-grid .dr-tile"
PRESS = """const tile = document.querySelectorAll(".dr-grid .dr-tile")[arguments[0]];
const press = (name) => tile.dispatchEvent(new PointerEvent(name, {bubbles: true, pointerType: "mouse", button: 0}));
press("pointerdown"); press("pointerup"); press("click"); return tile.dataset.item"""
CLICK_TO_LIST = """const [place, done] = arguments, list = document.querySelector(".dr-grid");
const now = () => [...list.children].map((tile) => tile.dataset.item).join(), before = now(), began = performance.now();
const seen = new MutationObserver(() => {
  if (now() !== before) { seen.disconnect(); done(performance.now() - began); } });
seen.observe(list, {childList: true});
list.children[place].dispatchEvent(new PointerEvent("pointerdown", {bubbles: true, pointerType: "mouse", button: 0}))"""
SECONDS = 120
Found = TypeVar("Found")
PICTURES = os.environ.get("DEPLOYREC_PICTURES")
"""A folder that receives a picture of every page, width and scheme; kept out of the repository."""

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not CHROMIUM.exists(), reason="needs /usr/bin/chromium (Debian: chromium)"),
    pytest.mark.skipif(not DRIVER.exists(), reason="needs /usr/bin/chromedriver (Debian: chromium-driver)"),
]


class Demo(NamedTuple):
    url: str
    began: float
    """time.monotonic() when `deployrec demo` was started"""
    bundle: Path


@pytest.fixture
def browser(tmp_path: Path) -> Iterator[webdriver.Chrome]:
    options = webdriver.ChromeOptions()
    options.binary_location = str(CHROMIUM)
    for flag in (*FLAGS, f"--user-data-dir={tmp_path / 'chromium'}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"performance": "ALL"})
    driver = webdriver.Chrome(options, webdriver.ChromeService(str(DRIVER)))
    yield driver
    driver.quit()


@pytest.fixture
def demo(bundle_of: Callable[[str], Path], browser: webdriver.Chrome, tmp_path: Path) -> Iterator[Demo]:
    """The demo as a user starts it, on a bundle of its own, while the browser is open already."""
    bundle = shutil.copytree(bundle_of("recblr"), tmp_path / "bundle")
    with socket.create_server(("localhost", 0)) as free:
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "deployrec", "demo", str(bundle), "--port", str(port), "--headless"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    began = time.monotonic()
    with subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL) as process:
        while process.poll() is None and not _answers(port):
            time.sleep(0.05)
        assert process.returncode is None
        yield Demo(f"http://localhost:{port}", began, bundle)
        process.terminate()


def test_three_clicks_move_the_list_and_the_figures_appear(
    demo: Demo, browser: webdriver.Chrome, capsys: pytest.CaptureFixture[str]
) -> None:
    _resize(browser, 1440)
    browser.get(demo.url)
    lists = [_places(browser)]
    first = time.monotonic() - demo.began
    _until(browser, lambda: browser.find_elements(By.CSS_SELECTOR, ".dr-picture"))
    answers = []
    for place in (2, 5, 0):
        button = browser.find_elements(By.CSS_SELECTOR, PLACE)[place]
        button.send_keys(Keys.ENTER)
        lists.append(_places(browser, other_than=lists[-1]))
        answers.append(_until(browser, lambda: _seen(browser, "Answered on the server in ([0-9.]+ [mµ]?s)")))
    _until(browser, lambda: _seen(browser, "re-read 3 events"))
    assert len(browser.find_elements(By.CSS_SELECTOR, ".strip span")) == 3
    assert _seen(browser, r"one step [0-9.]+ [mµ]s, reading it all again [0-9.]+ [mµ]s")
    _wait_for_events(browser, 3)
    waits = [_click_to_list(browser, place) for place in (3, 1, 4, 1, 5, 9, 2, 6, 5)]
    with capsys.disabled():
        print(f"\ndemo: first recommendation {first:.1f} s after the start; clicks answered in {', '.join(answers)}; "
              f"click to new list {sorted(waits)[4]:.0f} ms median in the browser")  # fmt: skip


def test_thirty_fast_clicks_are_thirty_events_of_the_right_items(demo: Demo, browser: webdriver.Chrome) -> None:
    _resize(browser, 1440)
    browser.get(demo.url)
    _places(browser)
    clicked = []
    for number in range(30):
        began = time.monotonic()
        # The place is read and pressed in one breath, as by a hand: whatever lies there when the button goes down.
        clicked.append(browser.execute_script(PRESS, number % 10))
        time.sleep(max(0.0, 0.08 - (time.monotonic() - began)))
    assert all(clicked)
    _wait_for_events(browser, 30)
    assert _linked(browser) == clicked


def test_reload_keeps_the_history(demo: Demo, browser: webdriver.Chrome) -> None:
    _resize(browser, 390)
    browser.get(demo.url)
    _places(browser)
    clicked = [browser.execute_script(PRESS, place) for place in (4, 2)]
    _wait_for_events(browser, 2)
    before = _items(browser)
    browser.refresh()
    _until(browser, lambda: _items(browser) == before)
    assert _linked(browser) == clicked
    clicked.append(browser.execute_script(PRESS, 0))
    _wait_for_events(browser, 3)
    assert _linked(browser) == clicked


def test_a_bundle_swapped_under_the_page_keeps_the_history(
    demo: Demo, browser: webdriver.Chrome, bundle_of: Callable[[str], Path], tmp_path: Path
) -> None:
    _resize(browser, 1440)
    browser.get(demo.url)
    _places(browser)
    clicked = [browser.execute_script(PRESS, 3)]
    _wait_for_events(browser, 1)
    other = shutil.copytree(bundle_of("glintru"), tmp_path / "other")
    demo.bundle.rename(tmp_path / "moved")
    browser.execute_script(PRESS, 1)
    said = _until(browser, lambda: browser.find_elements(By.CSS_SELECTOR, "[data-testid=stAlert]"))
    assert said[0].text.startswith("expected ")
    assert not browser.find_elements(By.CSS_SELECTOR, "[data-testid=stException]")
    other.rename(demo.bundle)
    browser.refresh()
    _places(browser)
    _until(browser, lambda: _linked(browser)[:1] == clicked)
    _until(browser, lambda: _seen(browser, "glintru: one step") or "glintru" in browser.page_source)
    assert not browser.find_elements(By.CSS_SELECTOR, "[data-testid=stException]")


def test_why_is_asked_of_an_item_of_the_list_that_is_shown(demo: Demo, browser: webdriver.Chrome) -> None:
    _resize(browser, 1440)
    browser.get(demo.url)
    _places(browser)
    for count, place in enumerate((2, 5, 1, 7), 1):
        browser.execute_script(PRESS, place)
        _wait_for_events(browser, count)

    def asked_of_one_shown() -> bool:
        titles = [tile.text for tile in browser.find_elements(By.CSS_SELECTOR, f"{PLACE} .dr-title")]
        chosen = browser.find_element(By.CSS_SELECTOR, "[data-testid=stSelectbox]")
        values = [one.get_attribute("value") or "" for one in chosen.find_elements(By.CSS_SELECTOR, "input")]
        return any(title and title in text for title in titles for text in (chosen.text, *values))

    _until(browser, asked_of_one_shown)


def test_no_request_leaves_the_machine(demo: Demo, browser: webdriver.Chrome) -> None:
    _resize(browser, 1440)
    asked = []
    for page in PAGES:
        browser.get(f"{demo.url}/{page}")
        _until(browser, lambda: browser.find_elements(By.CSS_SELECTOR, ".table, .figures, .pitch"))
        time.sleep(2)
    for entry in browser.get_log("performance"):
        message = json.loads(entry["message"])["message"]
        if message["method"] == "Network.requestWillBeSent":
            asked.append(message["params"]["request"]["url"])
    assert any(url.startswith(demo.url) for url in asked)
    hosts = {urlsplit(url).hostname for url in asked if url.startswith(("http:", "https:", "ws:", "wss:"))}
    assert hosts == {"localhost"}


def test_on_a_telephone_the_payoff_is_on_the_first_screen(demo: Demo, browser: webdriver.Chrome) -> None:
    _resize(browser, 390)
    browser.get(demo.url)
    _places(browser)
    _until(browser, lambda: browser.find_elements(By.CSS_SELECTOR, ".dr-picture svg .dr-line"))
    slider = browser.find_element(By.CSS_SELECTOR, ".dr-picture input")
    assert slider.rect["y"] + slider.rect["height"] < 700
    said = browser.find_element(By.CSS_SELECTOR, ".dr-said")
    before = said.text
    browser.execute_script("arguments[0].value = 1000; arguments[0].dispatchEvent(new Event('input'))", slider)
    assert "After 2,000 events" in said.text
    assert said.text != before


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1440])
def test_no_page_scrolls_sideways(demo: Demo, browser: webdriver.Chrome, width: int, scheme: str) -> None:
    _resize(browser, width)
    preference = {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", preference)
    for page in PAGES:
        browser.get(f"{demo.url}/{page}")
        _until(
            browser, lambda: browser.find_elements(By.CSS_SELECTOR, ".table, .figures, .dr-grid, [data-testid=stCode]")
        )
        if not page:
            before = _places(browser)
            browser.find_elements(By.CSS_SELECTOR, PLACE)[0].click()
            _places(browser, other_than=before)
            _until(browser, lambda: browser.find_elements(By.CSS_SELECTOR, ".bars"))
            _until(browser, lambda: browser.find_elements(By.CSS_SELECTOR, ".dr-picture"))
        wide = browser.execute_script(
            "const main = document.querySelector('[data-testid=stMain]');"
            "return [document.documentElement.scrollWidth, main.scrollWidth, window.innerWidth]"
        )
        assert max(wide) == width
        assert not browser.find_elements(By.CSS_SELECTOR, "[data-testid=stException]")
        if PICTURES:
            _picture(browser, width, f"{page or 'live'}-{width}-{scheme}.png")
        ground = browser.execute_script("return getComputedStyle(document.querySelector('.stApp')).backgroundColor")
        assert (sum(int(part) for part in ground.strip("rgba()").split(",")[:3]) < 200) == (scheme == "dark")


def test_a_bundle_that_breaks_while_it_is_shown_is_one_message(demo: Demo, browser: webdriver.Chrome) -> None:
    _resize(browser, 390)
    browser.get(demo.url)
    _places(browser)
    (demo.bundle / "manifest.json").write_text("{}")
    browser.get(demo.url)
    said = _until(browser, lambda: browser.find_elements(By.CSS_SELECTOR, "[data-testid=stAlert]"))
    assert len(said) == 1
    assert said[0].text.startswith("expected ")


def _picture(browser: webdriver.Chrome, width: int, name: str) -> None:
    """The whole page as DEPLOYREC_PICTURES/NAME, once its figures have settled."""
    time.sleep(3)
    height = browser.execute_script("return document.querySelector('[data-testid=stMain]').scrollHeight")
    size = {"width": width, "height": min(height, 4000), "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    Path(str(PICTURES)).mkdir(parents=True, exist_ok=True)
    browser.save_screenshot(str(Path(str(PICTURES)) / name))
    _resize(browser, width)


def _places(browser: webdriver.Chrome, other_than: list[str] | None = None) -> list[str]:
    """The ten lines of the list, once they are there and differ from an earlier list."""

    def read() -> list[str] | None:
        lines = [button.text for button in browser.find_elements(By.CSS_SELECTOR, PLACE)]
        return lines if len(lines) == 10 and all(lines) and lines != other_than else None

    return _until(browser, read)


def _items(browser: webdriver.Chrome) -> list[str | None]:
    return [tile.get_attribute("data-item") for tile in browser.find_elements(By.CSS_SELECTOR, PLACE)]


def _linked(browser: webdriver.Chrome) -> list[str]:
    """The item ids in the address."""
    return parse_qs(urlsplit(browser.current_url).query).get("h", [""])[0].split(",")


def _wait_for_events(browser: webdriver.Chrome, count: int) -> None:
    _until(browser, lambda: len(_linked(browser)) == count)


def _click_to_list(browser: webdriver.Chrome, place: int) -> float:
    """Milliseconds from a press to the list that it changes, by the browser's own clock."""
    time.sleep(0.6)
    return float(browser.execute_async_script(CLICK_TO_LIST, place))


def _seen(browser: webdriver.Chrome, pattern: str) -> str | None:
    found = re.search(pattern, browser.find_element(By.CSS_SELECTOR, "[data-testid=stMain]").text)
    return found and (found[1] if found.groups() else found[0])


def _until(browser: webdriver.Chrome, ready: Callable[[], Found | None]) -> Found:
    """What `ready` gives once that is true; a page that is drawn anew meanwhile is read again."""
    wait = WebDriverWait(browser, SECONDS, poll_frequency=0.05, ignored_exceptions=(StaleElementReferenceException,))
    return wait.until(lambda _: ready() or False)


def _resize(browser: webdriver.Chrome, width: int) -> None:
    metrics = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 600}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)


def _answers(port: int) -> bool:
    try:
        socket.create_connection(("localhost", port), timeout=1).close()
    except OSError:
        return False
    return True
