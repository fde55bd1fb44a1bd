"""Read plain data from a file that may be wrong: each value knows its path, and each error names it.

``Field(manifest, "").record("plan", "report")["plan"]`` is the field ``plan``; `Field.items` of a list in it are ``plan.steps[3]``.
Everything is refused that is not exactly what was asked for: other types, missing and unknown members, numbers out of range.
"""

from __future__ import annotations

from typing import Any, NoReturn

from landbridge.runtime.dims import OPERATORS, Size
from landbridge.runtime.errors import ArtifactCorrupt, ArtifactLimit

MAX_INTEGER = 2**63 - 1
"""The greatest integer of an artifact: what a C loader can hold."""
MAX_TEXT = 65536
"""The most characters of one string."""
MAX_DEPTH = 32
"""How deep a size may be nested."""


class Field:
    """A value and where it stands.

    Attributes:
        value: plain data, as JSON gives it.
        path: such as ``plan.steps[3].buffers[1]``; "" for the whole file.
    """

    __slots__ = ("path", "value")

    def __init__(self, value: Any, path: str) -> None:
        self.value = value
        self.path = path

    def fail(self, message: str) -> NoReturn:
        """Raise `ArtifactCorrupt` for this field."""
        raise ArtifactCorrupt(message, at=self.path or "manifest")

    def record(self, *names: str) -> dict[str, Field]:
        """Return the members of an object that has exactly the members ``names``."""
        members = self.mapping()
        missing = [name for name in names if name not in members]
        unknown = [name for name in members if name not in names]
        if missing:
            self.fail(f"member '{missing[0]}' is missing")
        if unknown:
            self.fail(f"unknown member '{unknown[0]}'")
        return members

    def mapping(self) -> dict[str, Field]:
        """Return the members of an object by name."""
        if not isinstance(self.value, dict):
            self.fail(f"{_kind(self.value)}, expected an object")
        prefix = f"{self.path}." if self.path else ""
        return {str(name): Field(value, f"{prefix}{name}") for name, value in self.value.items()}

    def items(self, limit: int = 1_000_000) -> list[Field]:
        """Return the elements of a list of at most ``limit``.

        Raises:
            ArtifactLimit: there are more.
        """
        if not isinstance(self.value, list):
            self.fail(f"{_kind(self.value)}, expected a list")
        if len(self.value) > limit:
            raise ArtifactLimit(f"{len(self.value)} elements, at most {limit} are allowed", at=self.path)
        return [Field(value, f"{self.path}[{index}]") for index, value in enumerate(self.value)]

    def integer(self, minimum: int = 0, maximum: int = MAX_INTEGER) -> int:
        """Return an integer between ``minimum`` and ``maximum``, both included."""
        if type(self.value) is not int:
            self.fail(f"{_kind(self.value)}, expected an integer")
        if not minimum <= self.value <= maximum:
            self.fail(f"{self.value}, expected {minimum} to {maximum}")
        return self.value

    def flag(self) -> bool:
        """Return a truth value."""
        if type(self.value) is not bool:
            self.fail(f"{_kind(self.value)}, expected true or false")
        return self.value

    def text(self, *, empty: bool = True) -> str:
        """Return a string, which may be empty unless ``empty`` is False."""
        if not isinstance(self.value, str):
            self.fail(f"{_kind(self.value)}, expected a string")
        if len(self.value) > MAX_TEXT:
            raise ArtifactLimit(f"a string of {len(self.value)} characters, at most {MAX_TEXT} are allowed", at=self.path)
        if not self.value and not empty:
            self.fail("an empty string")
        if not self.value.isascii() and any("\ud800" <= character <= "\udfff" for character in self.value):
            self.fail("half of a character (a lone surrogate)")
        return self.value

    def texts(self) -> tuple[str, ...]:
        """Return a list of strings."""
        return tuple(item.text() for item in self.items())

    def text_mapping(self) -> dict[str, str]:
        """Return an object whose members are strings."""
        return {name: field.text() for name, field in self.mapping().items()}

    def size(self, minimum: int = 0) -> Size:
        """Return a size (`landbridge.runtime.dims`); a known one is at least ``minimum``."""
        return self.integer(minimum) if type(self.value) is int else self._expression(0)

    def _expression(self, depth: int) -> Size:
        if depth > MAX_DEPTH:
            raise ArtifactLimit(f"a size nested deeper than {MAX_DEPTH}", at=self.path)
        if type(self.value) is int:
            return self.integer(-MAX_INTEGER)
        if isinstance(self.value, str):
            return self.text(empty=False)
        items = self.items(limit=3)
        if len(items) != 3 or items[0].value not in tuple(OPERATORS):
            self.fail(f"expected an integer, the name of a dimension, or [operator, left, right] with one of {' '.join(OPERATORS)}")
        return [items[0].value, items[1]._expression(depth + 1), items[2]._expression(depth + 1)]


def _kind(value: Any) -> str:
    names = {dict: "an object", list: "a list", str: "a string", bool: "a truth value", int: "an integer", type(None): "null"}
    return names.get(type(value), type(value).__name__)
