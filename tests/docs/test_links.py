"""No link of the documentation is dead. Pages of other sites are listed here, and not fetched."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from support.pages import PAGES, ROOT

EXTERNAL = {"https://semver.org", "https://github.com/microsoft/onnxruntime/issues/32625"}

_CODE = re.compile(r"^```.*?^```$|`[^`\n]+`(?!\])", re.M | re.S)
_LINK = re.compile(r"!?\[(?:[^\]\n]|\]\n?(?!\())*\]\(([^)\s]+)\)|(?:src|href)=\"([^\"]+)\"")
_BARE = re.compile(r"https?://[^\s)\"'>`]+")


def links(text: str) -> list[str]:
    """Return where the links of a page lead, pictures included."""
    return [found[1] or found[2] for found in _LINK.finditer(_CODE.sub("", text))]


def anchors(text: str) -> set[str]:
    """Return the names of a page's headings, as MkDocs and GitHub make them."""
    headings = re.findall(r"^#+ (.+)$", re.sub(r"^```.*?^```$", "", text, flags=re.M | re.S), re.M)
    return {re.sub(r"[\s-]+", "-", re.sub(r"[^\w\s-]", "", heading.lower()).strip()) for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_no_link_is_dead(page: Path) -> None:
    dead = []
    for link in links(page.read_text("utf-8")):
        address, _, anchor = link.partition("#")
        if "://" in link:
            continue
        target = (page.parent / address).resolve() if address else page
        if not target.is_relative_to(ROOT) or not target.exists() or (anchor and anchor not in anchors(target.read_text("utf-8"))):
            dead.append(link)
    assert not dead


def test_links_that_leave_the_project_are_known() -> None:
    found = {link.rstrip(".,;") for page in PAGES for link in _BARE.findall(page.read_text("utf-8"))}
    assert found == EXTERNAL


def test_links_and_anchors_are_found() -> None:
    text = '# A page: its `name`, 2.\n[a](b.md) ![c](d.svg)\n```\n[no](no.md)\n# no\n```\n`[no](no)` [`e`](f.md#g) <img src="h.png">\n'
    assert links(text) == ["b.md", "d.svg", "f.md#g", "h.png"]
    assert anchors(text) == {"a-page-its-name-2"}
