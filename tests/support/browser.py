"""A headless Chromium that opens pages: what is on them, what they log, and what they ask a network for.

Chromium and its driver come from the system (``apt-get install chromium chromium-driver``), not from PyPI; `unavailable` says why where
they are not there.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

CHROMIUM = ("chromium", "chromium-browser", "google-chrome")


def unavailable() -> str:
    """Return why there is no browser here, or nothing."""
    try:
        import selenium  # noqa: F401 - whether it is there is the question
    except ImportError:
        return "needs selenium (landbridge[dev])"
    if _program(*CHROMIUM) is None or _program("chromedriver") is None:
        return "needs Chromium and its driver: apt-get install chromium chromium-driver"
    return ""


def _program(*names: str) -> str | None:
    return next((found for name in names if (found := shutil.which(name))), None)


@contextmanager
def browser(width: int = 1280, height: int = 800, *, dark: bool = False, scale: float = 1) -> Iterator[Any]:
    """Yield a Selenium driver of a fresh, empty Chromium whose pages are of this size, in CSS pixels."""
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        options = webdriver.ChromeOptions()
        options.binary_location = _program(*CHROMIUM) or ""
        flags = ["headless=new", "no-sandbox", "disable-gpu", "disable-quic", "no-first-run", "disable-background-networking"]
        flags += ["disable-component-update", "disable-sync", "disable-dev-shm-usage", "hide-scrollbars", f"user-data-dir={profile}"]
        for flag in flags:
            options.add_argument(f"--{flag}")
        options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
        driver = webdriver.Chrome(options=options, service=Service(_program("chromedriver")))
        try:
            driver.execute_cdp_cmd(
                "Emulation.setDeviceMetricsOverride", {"width": width, "height": height, "deviceScaleFactor": scale, "mobile": False}
            )
            scheme = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
            driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": scheme})
            yield driver
        finally:
            driver.quit()


def open_page(driver: Any, path: Path) -> float:
    """Open a file; return the seconds from the start until everything is drawn."""
    driver.get(path.resolve().as_uri())
    drawn = "const done = arguments[0]; requestAnimationFrame(() => requestAnimationFrame(() => done(performance.now() / 1e3)))"
    return float(driver.execute_async_script(drawn))


def console(driver: Any) -> list[str]:
    """Return the errors and warnings that were logged since this was last asked."""
    return [entry["message"] for entry in driver.get_log("browser") if entry["level"] in ("SEVERE", "WARNING")]


def requests(driver: Any) -> list[str]:
    """Return the addresses that were asked for since this was last asked."""
    messages = [json.loads(entry["message"])["message"] for entry in driver.get_log("performance")]
    return [m["params"]["request"]["url"] for m in messages if m["method"] == "Network.requestWillBeSent"]


def screenshot(driver: Any, path: Path) -> None:
    """Write what is in sight as a PNG."""
    driver.save_screenshot(str(path))
