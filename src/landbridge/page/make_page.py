"""Write the page of an artifact: the template, the style, the scripts and the data in one file that asks nothing of a network.

The page is drawn by the scripts beside this module, in a browser, from the data that `landbridge.page.page_data` puts together. It
needs the runtime alone.
"""

from __future__ import annotations

import html
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from landbridge.costs import Prediction
from landbridge.page.page_data import page_data
from landbridge.runtime.artifact import Artifact

_FOLDER = Path(__file__).parent

_SCRIPTS = ("sizes.js", "drawing.js", "layout.js", "graph.js", "details.js", "memory.js", "timeline.js", "tables.js", "main.js")
"""In the order in which they stand in the page; each uses those before it."""

_PLACE = re.compile(r"\{\{(\w+)\}\}")
"""A place in the template; all are filled in one go, so that what is filled in is not read again."""


def make_page(
    artifact: Artifact,
    *,
    title: str,
    extents: Mapping[str, int] | None = None,
    budgets: Mapping[str, int] | None = None,
    trace: Any = None,
    prediction: Prediction | None = None,
) -> str:
    """Return the page as HTML.

    Args:
        artifact: with the bytes of its sections, among which is its description.
        title: what to call it, such as the name of its file.
        extents: of named dimensions, for a start; the page lets one change them.
        budgets: bytes by device.
        trace: of a run of it, as `landbridge.runtime.trace.Trace.to_json` gives it.
        prediction: of a run.

    Raises:
        ArtifactCorrupt: its description is damaged.
        UsageError: the trace is that of another artifact.
    """
    data = page_data(artifact, title=title, extents=extents or {}, budgets=budgets or {}, trace=trace, prediction=prediction)
    parts = {
        "title": html.escape(title),
        "style": _text("page.css"),
        "script": "\n".join(_text(name) for name in _SCRIPTS),
        "data": _for_script(data),
    }
    return _PLACE.sub(lambda place: parts[place[1]], _text("page.html"))


def _text(name: str) -> str:
    return (_FOLDER / name).read_text(encoding="utf-8")


def _for_script(data: Any) -> str:
    """Return JSON in which nothing ends the element that holds it, nor opens a comment."""
    text = json.dumps(data, ensure_ascii=True, separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
