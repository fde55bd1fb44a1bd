"""Identifiers for the user's names.

A user's value may be called ``/layer1/conv:0``; an IR variable must be an identifier, unique, and without the mark that passes
use for derived values. The table keeps what stands for what.
"""

from __future__ import annotations

import keyword
import re


class NameTable:
    """Hands out identifiers and remembers the names they stand for.

    Attributes:
        names: for each identifier that differs from it, the user's name.

    Example:
        >>> table = NameTable()
        >>> table.identifier("/layer1/conv:0"), table.identifier("x__y"), table.identifier("x"), table.identifier("x")
        ('layer1_conv_0', 'x_y', 'x', 'x_1')
        >>> table.names
        {'layer1_conv_0': '/layer1/conv:0', 'x_y': 'x__y', 'x_1': 'x'}
    """

    def __init__(self) -> None:
        self.names: dict[str, str] = {}
        self._taken: dict[str, int] = {}

    def identifier(self, name: str) -> str:
        """Return a fresh identifier for ``name``; a second call with the same name gives another one."""
        base = re.sub(r"_+", "_", re.sub(r"\W", "_", name, flags=re.ASCII)).strip("_") or "value"
        if base[0].isdigit() or keyword.iskeyword(base):
            base = f"v_{base}"
        result = base
        while result in self._taken:
            self._taken[base] += 1
            result = f"{base}_{self._taken[base]}"
        self._taken[result] = 0
        if result != name:
            self.names[result] = name
        return result
