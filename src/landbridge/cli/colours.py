"""Colours for people at a terminal: none in pipes and files, and none where ``NO_COLOR`` is set (https://no-color.org)."""

from __future__ import annotations

import os
from typing import TextIO

_CODES = {"red": "1;31", "yellow": "1;33", "green": "32", "cyan": "36"}


def paint(text: str, colour: str, stream: TextIO) -> str:
    """Return ``text`` as ``stream`` is to show it: in a colour, or as it is."""
    return f"\033[{_CODES[colour]}m{text}\033[0m" if wanted(stream) else text


def wanted(stream: TextIO) -> bool:
    """Return whether ``stream`` is a terminal that shows colours, and nobody asked for none."""
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM", "") not in ("", "dumb")
