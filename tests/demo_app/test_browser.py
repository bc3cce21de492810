"""`deployrec demo` in a real Chromium: clicks, keyboard, both widths; prints what the start and the clicks took."""

from __future__ import annotations

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
PAGES = ("", "lab", "bundle")
PLACE = "[class*='st-key-row-place'] button"
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
    answers = []
    for place in (2, 5, 0):
        button = browser.find_elements(By.CSS_SELECTOR, PLACE)[place]
        button.send_keys(Keys.ENTER)
        lists.append(_places(browser, other_than=lists[-1]))
        answers.append(_until(browser, lambda: _seen(browser, "answered on the server in ([0-9.]+ [mµ]?s)")))
    _until(browser, lambda: _seen(browser, "all 3 events again, torch"))
    assert browser.find_elements(By.CSS_SELECTOR, ".js-plotly-plot .heatmaplayer image, .js-plotly-plot .hm")
    assert len(browser.find_elements(By.CSS_SELECTOR, ".strip span")) == 3
    assert _seen(browser, r"[0-9.]+ µs\s+one step")
    with capsys.disabled():
        print(f"\ndemo: first recommendation {first:.1f} s after the start; clicks answered in {', '.join(answers)}")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1440])
def test_no_page_scrolls_sideways(demo: Demo, browser: webdriver.Chrome, width: int, scheme: str) -> None:
    _resize(browser, width)
    preference = {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", preference)
    for page in PAGES:
        browser.get(f"{demo.url}/{page}")
        _until(browser, lambda: browser.find_elements(By.CSS_SELECTOR, ".table, .figures"))
        if not page:
            before = _places(browser)
            browser.find_elements(By.CSS_SELECTOR, PLACE)[0].click()
            _places(browser, other_than=before)
            _until(browser, lambda: browser.find_elements(By.CSS_SELECTOR, ".js-plotly-plot"))
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
