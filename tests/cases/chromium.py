"""A real Chromium for tests of pages: what it fetched and what its console said are on record."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

BROWSERS, DRIVERS = ("chromium", "chromium-browser", "google-chrome"), ("chromedriver",)
FLAGS = (
    "--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu", "--window-size=1200,1000",
    "--disable-background-networking", "--disable-component-update", "--no-first-run",
)  # fmt: skip


@contextmanager
def chromium() -> Iterator[Any]:
    """A driver; without a browser the test is skipped, and fails where continuous integration runs it."""
    browser, driver = (
        next((p for n in names if (p := shutil.which(n))), None) for names in (BROWSERS, DRIVERS)
    )
    if browser is None or driver is None:
        lack = "no Chromium with its ChromeDriver is installed (apt-get install chromium chromium-driver)"
        if os.environ.get("CI", "").lower() in ("1", "true"):
            pytest.fail(f"{lack}, and CI is set: the page would go untested")
        pytest.skip(lack)
    from selenium import webdriver
    from selenium.webdriver.chrome.options import Options
    from selenium.webdriver.chrome.service import Service

    options = Options()
    options.binary_location = browser
    for flag in FLAGS:
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    page = webdriver.Chrome(options=options, service=Service(driver))
    page.set_page_load_timeout(60)
    try:
        yield page
    finally:
        page.quit()


def requests(page: Any) -> list[str]:
    """Addresses that the page asked for since the last look, its own file left out."""
    messages = [json.loads(entry["message"])["message"] for entry in page.get_log("performance")]
    sent = [m["params"]["request"]["url"] for m in messages if m["method"] == "Network.requestWillBeSent"]
    return [url for url in sent if not url.startswith(("file:", "data:", "chrome"))]


def complaints(page: Any) -> list[str]:
    """What the console said since the last look."""
    return [entry["message"] for entry in page.get_log("browser")]
