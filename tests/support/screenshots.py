"""Write the pictures of pages in ``docs/images``: ``make screenshots``. Needs Chromium (see `support.browser`), and takes some minutes."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

import landbridge as lb
from landbridge.demo.run import run_demo
from landbridge.page import make_page
from landbridge.runtime import artifact as artifacts
from support import browser
from support.large_model import large_model

IMAGES = Path(__file__).parents[2] / "docs/images"

DEMO = {
    "page-demo.png": "graph.select(graph.rows.findIndex((row) => row.kind === 'copy'))",
    "page-memory.png": "openTab('memory')",
    "page-tables.png": "openTab('tables')",
}
"""What is done on the page of the demo before each picture."""

LARGE = {
    "page-5000.png": """
        search.value = "gate.om";
        search.dispatchEvent(new Event("input"));
        step(1);
        graph.top = (graph.selected - 9) * graph.pitch;
        graph.draw();""",
}
"""The same on the page of a model of 5,000 operators."""


def shoot(driver: Any, page: Path, pictures: dict[str, str]) -> None:
    """Write pictures of a page, each after what is done before it."""
    for name, script in pictures.items():
        print(f"{name}: the page opens in {browser.open_page(driver, page):.2f} s")
        driver.execute_script(script)
        driver.save_screenshot(str(IMAGES / name))


def main() -> None:
    """Write them all."""
    IMAGES.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as temporary, browser.browser() as driver:
        folder = Path(temporary)
        run_demo(batch=20, output=None, tell=print, keep=str(folder))
        with lb.load(folder / "digits.lbr", simulate=["atlas"]) as session, np.load(folder / "images.npz") as images:
            trace = session.profile(dict(images))[1].to_json()
        page = folder / "demo.html"
        digits = artifacts.read(folder / "digits.lbr")
        page.write_text(make_page(digits, title="digits.lbr", extents={"n": 20}, trace=json.loads(json.dumps(trace))), encoding="utf-8")
        shoot(driver, page, DEMO)
        print("compiling 5,000 operators, which takes minutes")
        large = lb.compile(large_model(5000), name="large.onnx").artifact
        page = folder / "large.html"
        page.write_text(make_page(large, title="large.lbr", extents={"n": 8}), encoding="utf-8")
        shoot(driver, page, LARGE)


if __name__ == "__main__":
    main()
