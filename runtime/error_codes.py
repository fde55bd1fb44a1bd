"""Look up error codes: what ``landbridge explain`` tells, and the page ``docs/errors.md``."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache

from landbridge.runtime import errors
from landbridge.runtime.error_table import TABLE
from landbridge.runtime.errors import LandbridgeError, UsageError
from landbridge.runtime.records import dataclass

_PARAGRAPH = re.compile(r"(?P<code>LB\d{4}) (?P<symptom>.+)\nCause: (?P<cause>.+)\nFix: (?P<fix>.+)")

_PAGE_HEAD = """# Error codes

Every error has a code that keeps its meaning from release to release: `error.code` in Python, the last line of a message on the command
line, `"code"` in JSON. `landbridge explain LB1201` prints what stands here, where only the runtime is installed too.

The message of an error is always closer than this page: it has the names, what was found, what was expected, and a hint.
"""


@dataclass(frozen=True)
class ErrorCode:
    """What there is to know about a code.

    Attributes:
        code: such as "LB1201".
        symptom: what one sees.
        cause: what it comes from.
        fix: what to do.
    """

    code: str
    symptom: str
    cause: str
    fix: str

    @property
    def kind(self) -> type[LandbridgeError]:
        """The class of the errors that have it."""
        return kinds()[f"{self.code[:4]}00"]

    def render(self) -> str:
        """Return it as text."""
        return f"{self.code} ({self.kind.__name__}): {self.symptom}\n  cause: {self.cause}\n  fix:   {self.fix}"

    def to_json(self) -> dict[str, str]:
        """Return it as plain data."""
        return {"code": self.code, "kind": self.kind.__name__, "symptom": self.symptom, "cause": self.cause, "fix": self.fix}


@cache
def error_codes() -> Mapping[str, ErrorCode]:
    """Return all codes in their order."""
    found = [_PARAGRAPH.fullmatch(text) for text in TABLE.strip().split("\n\n")]
    return {one["code"]: ErrorCode(**one.groupdict()) for one in found if one is not None}


@cache
def kinds() -> Mapping[str, type[LandbridgeError]]:
    """Return the classes of errors by the code that each has where no closer one is given."""
    classes = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, LandbridgeError)]
    return {kind.code: kind for kind in classes}


def explain(code: str) -> ErrorCode:
    """Return what there is to know about a code; its letters may be small, and may be left out.

    Raises:
        UsageError: there is no such code.
    """
    name = code.upper() if code.upper().startswith("LB") else f"LB{code}"
    if name not in error_codes():
        raise UsageError(f"there is no error code '{code}'", hint="landbridge explain lists all", code="LB1116")
    return error_codes()[name]


def page() -> str:
    """Return the page of all codes, in Markdown; each code is an anchor."""
    parts = [_PAGE_HEAD]
    for entry in error_codes().values():
        if entry.code in kinds():
            about = (entry.kind.__doc__ or "").partition("\n")[0]
            parts.append(f"## {entry.kind.__name__}\n\n{about}\n")
        parts.append(f"### {entry.code}\n\n{entry.symptom}\n\n- *Cause:* {entry.cause}\n- *Fix:* {entry.fix}\n")
    return "\n".join(parts)
