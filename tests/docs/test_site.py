"""The documentation as a site: built without a warning, complete, and viewed without a network."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import landbridge
from support.browser import browser, console, open_page, requests, unavailable
from support.pages import PAGES, ROOT

FETCHED = re.compile(r"<(?:script|link|img|iframe)\b[^>]*?\b(?:src|href)=[\"']?(https?:)?//|@import|url\([\"']?(?:https?:)?//")
"""What a browser would load from elsewhere when it shows a page."""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with the site."""
    pytest.importorskip("material", reason="needs MkDocs Material")
    pytest.importorskip("mkdocstrings", reason="needs mkdocstrings")
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, env={**os.environ, "NO_MKDOCS_2_WARNING": "1"})
    assert done.returncode == 0, done.stderr
    assert "WARNING" not in done.stderr
    return folder


def test_every_page_is_there_and_loads_nothing_from_elsewhere(site: Path) -> None:
    wanted = {page.relative_to(ROOT / "docs").with_suffix(".html") for page in PAGES if page.is_relative_to(ROOT / "docs")}
    built = {page.relative_to(site) for page in site.rglob("*.html")}
    assert wanted <= built
    for file in (*site.rglob("*.html"), *site.rglob("*.css")):
        assert not FETCHED.search(file.read_text("utf-8")), file


def test_every_public_name_has_its_place_in_the_reference(site: Path) -> None:
    reference = "".join(page.read_text("utf-8") for page in (site / "reference").glob("*.html"))
    missing = [name for name in landbridge.__all__ if f'id="landbridge.{name}"' not in reference]
    assert missing == ["nn", "errors", "__version__"], "these are modules and a string, told of in words"
    assert all(f"lb.{name}" in reference for name in missing)


@pytest.mark.skipif(bool(unavailable()), reason=unavailable())
def test_opened_as_files_the_pages_fit_their_window_ask_for_nothing_and_can_be_searched(site: Path) -> None:
    for width in (1280, 400):
        with browser(width) as driver:
            for name in ("index", "tutorial", "architecture", "how-to/from-megengine", "reference/running"):
                open_page(driver, site / f"{name}.html")
                assert driver.execute_script("return document.documentElement.scrollWidth") <= width, name
            driver.get(f"{(site / 'how-to/float16.html').as_uri()}?q=gears")
            driver.set_script_timeout(30)
            found = driver.execute_async_script(
                """
                const done = arguments[0]
                const look = () => {
                  const items = [...document.querySelectorAll(".md-search-result__item a")].map(a => a.href)
                  items.length ? done(items) : setTimeout(look, 50)
                }
                look()
                """
            )
            assert any("dynamic-batch.html" in address for address in found)
            assert [address for address in requests(driver) if address.startswith(("http:", "https:", "ws:", "wss:"))] == []
            assert console(driver) == []


def test_what_is_loaded_from_elsewhere_would_be_seen() -> None:
    assert FETCHED.search('<script async src="https://example.org/a.js">')
    assert FETCHED.search('<link rel="stylesheet" href="//example.org/a.css">')
    assert FETCHED.search("url(https://example.org/a.woff)")
    assert not FETCHED.search('<a href="https://example.org"> <img src="a.png">')
