"""How the reference reads our docstrings: the section that we call Example is the one that Griffe calls Examples."""

from __future__ import annotations

import re
from typing import Any

from griffe import Extension


class Examples(Extension):
    """Rename the section before it is parsed, and set examples that are no dialogue as code."""

    def on_object(self, *, obj: Any, **_: Any) -> None:
        """Look at the docstring of whatever was found."""
        if obj.docstring is not None:
            obj.docstring.value = re.sub(r"^Example:\n((?:(?:    .*)?\n?)+)", _section, obj.docstring.value, flags=re.M)


def _section(found: re.Match[str]) -> str:
    if found[1].lstrip().startswith(">>>"):
        return f"Examples:\n{found[1]}"
    body = "\n".join(f"    {line.removeprefix('    ')}" for line in found[1].strip("\n").splitlines())
    return f"Examples:\n    ```python\n{body}\n    ```\n"
