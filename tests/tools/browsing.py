"""Pages in headless Chromium, driven by Selenium."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from selenium import webdriver
from selenium.webdriver.chrome.options import Options
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.support.ui import WebDriverWait

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
DRIVER = shutil.which("chromedriver")
needs_browser = pytest.mark.skipif(
    not (CHROMIUM and DRIVER),
    reason="there is no chromium with its chromedriver on PATH "
    "(Debian: `apt-get install chromium chromium-driver`)",
)


_PATIENCE_S = 600


class Pages:
    """One browser; each page is opened at a size and in light or dark."""

    def __init__(self, driver: Any) -> None:
        self.driver = driver

    def open(
        self, page: Path, width: int = 1280, height: int = 800, *, dark: bool = False
    ) -> Pages:
        """Open a page and wait until its script is ready."""
        mode = "dark" if dark else "light"
        self._tell("Emulation.setDeviceMetricsOverride",
                   width=width, height=height, deviceScaleFactor=1, mobile=width < 600)  # fmt: skip
        features = [{"name": "prefers-color-scheme", "value": mode}]
        self._tell("Emulation.setEmulatedMedia", features=features)
        self.console()
        self.driver.get(page.as_uri())
        self.wait("return document.documentElement.dataset.ready === 'yes'")
        return self

    def _tell(self, command: str, **settings: Any) -> None:
        self.driver.execute_cdp_cmd(command, settings)

    def run(self, script: str, *arguments: Any) -> Any:
        """What a script returns."""
        return self.driver.execute_script(script, *arguments)

    def wait(self, script: str) -> None:
        """Until a script returns true."""
        WebDriverWait(self.driver, 60).until(lambda driver: driver.execute_script(script))

    def console(self) -> list[str]:
        """What was said on the console since the last look: errors, warnings, refusals."""
        return [entry["message"] for entry in self.driver.get_log("browser")]

    def requests(self) -> list[str]:
        """All that the page fetched beside itself."""
        return self.run("return performance.getEntriesByType('resource').map((r) => r.name)")

    def draw_all(self) -> None:
        """Scroll to each plot until all are drawn."""
        script = (
            "const left = document.querySelector('figure.plot:not([data-drawn])');"
            "if (left) left.scrollIntoView(); return !left;"
        )
        self.wait(script)
        self.run("scrollTo(0, 0)")

    def click(self, css: str, words: str = "") -> None:
        """Click the first element that a selector finds, or the first that has these words."""
        script = (
            "const all = [...document.querySelectorAll(arguments[0])];"
            "const found = all.find((one) => [one.textContent.trim(), ''].includes(arguments[1]));"
            "found.scrollIntoView({block: 'center'}); return found;"
        )
        self.run(script, css, words).click()


@contextmanager
def browser(folder: Path) -> Iterator[Pages]:
    """A headless Chromium with a profile of its own."""

    options = Options()
    options.binary_location = str(CHROMIUM)
    for flag in (
        "--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run",
        "--disable-background-networking", "--disable-component-update", "--disable-sync",
        "--disable-dev-shm-usage", f"--user-data-dir={folder / 'profile'}",
    ):  # fmt: skip
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options, Service(str(DRIVER)))
    try:
        driver.set_script_timeout(_PATIENCE_S)
        driver.command_executor.client_config.timeout = _PATIENCE_S + 10
        yield Pages(driver)
    finally:
        driver.quit()
