"""How the reference reads our docstrings: the section that we call Example is the one that Griffe calls Examples."""

from __future__ import annotations

import re
from typing import Any

from griffe import Extension


class Examples(Extension):
    """Rename the section before it is parsed."""

    def on_object(self, *, obj: Any, **_: Any) -> None:
        """Look at the docstring of whatever was found."""
        if obj.docstring is not None:
            obj.docstring.value = re.sub(r"^Example:$", "Examples:", obj.docstring.value, flags=re.M)
