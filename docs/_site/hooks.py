"""What the site needs beyond Markdown: pages that stand at the top of the project, and links that lead to files that are no pages."""

from __future__ import annotations

import posixpath
import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File

ROOT = Path(__file__).parents[2]

TOP = {"SECURITY.md": "security.md", "CONTRIBUTING.md": "contributing.md", "CHANGELOG.md": "changelog.md", "README.md": "readme.md"}
"""Files at the top of the project, and the pages that they are."""

_LINK = re.compile(r"(!?\[([^\]\n]+)\])\(([^)\s]+)\)")


def on_files(files: Any, config: Any) -> Any:
    """Add the files at the top of the project as pages."""
    for name, page in TOP.items():
        files.append(File.generated(config, page, content=(ROOT / name).read_text("utf-8")))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Any) -> str:
    """Return the page with links that lead where they lead in the project; one to a file that is no page is its text."""
    path = page.file.src_path
    source = next((name for name, target in TOP.items() if target == path and page.file.abs_src_path is None), f"docs/{path}")

    def link(found: re.Match[str]) -> str:
        shown, text, target = found[1], found[2], found[3]
        address, hash_, anchor = target.partition("#")
        if not address or ":" in address:
            return found[0]
        led = posixpath.normpath(posixpath.join(posixpath.dirname(source), address))
        inside = TOP.get(led) or (led.removeprefix("docs/") if led.startswith("docs/") else None)
        if inside is None:
            return text if text.startswith("`") else f"`{text}`"
        return f"{shown}({posixpath.relpath(inside, posixpath.dirname(path) or '.')}{hash_}{anchor})"

    parts = re.split(r"(^```.*?^```$)", markdown, flags=re.M | re.S)
    return "".join(part if part.startswith("```") else _LINK.sub(link, part) for part in parts)
