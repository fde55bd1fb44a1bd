"""Read the tables of a flatbuffer: just what signatures need.

Guarantees to believe no offset and no length unchecked, and to stop after `MAX_TABLES` tables, so that a damaged file, or one that
points many times at the same place, costs bounded time and memory. Fields are named by their slot: their place in the schema.

Source: https://flatbuffers.dev/internals
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import count
from typing import Any, NoReturn

from landbridge.runtime.errors import SignatureError

MAX_TABLES = 1 << 18
"""More than any real model has."""

_OFFSET = struct.Struct("<I")
_SIGNED_OFFSET = struct.Struct("<i")
_VTABLE_HEAD = struct.Struct("<HH")
_SLOT = struct.Struct("<H")
_FLOAT = struct.Struct("<f")

INTEGERS: dict[str, struct.Struct] = {
    name: struct.Struct(f"<{code}") for name, code in (("i8", "b"), ("u8", "B"), ("i32", "i"), ("u32", "I"), ("i64", "q"), ("u64", "Q"))
}
"""The integers of a schema, by width."""


@dataclass
class Buffer:
    """A flatbuffer; `root` is where to begin.

    Attributes:
        data: all of it.
        at: what messages call the file.
        damage: the hint of messages, such as "convert the model again".
    """

    data: memoryview
    at: str
    damage: str
    _tables: count[int] = field(default_factory=count)

    def root(self) -> Table:
        """Return the outermost table.

        Raises:
            SignatureError: the buffer is damaged; so may each method of a `Table`.
        """
        return self.table_at(0)

    def table_at(self, position: int) -> Table:
        """Return the table that the offset at ``position`` points to."""
        if next(self._tables) >= MAX_TABLES:
            self.fail(f"more than {MAX_TABLES} tables")
        return Table(self, position + self.read(_OFFSET, position))

    def read(self, form: struct.Struct, position: int) -> int:
        """Return the number at ``position``."""
        if not 0 <= position <= len(self.data) - form.size:
            self.fail(f"{len(self.data)} bytes, something is said to be at byte {position}")
        value: int = form.unpack_from(self.data, position)[0]
        return value

    def vector(self, position: int, item_nbytes: int) -> tuple[int, int]:
        """Return where the items begin of the vector that the offset at ``position`` points to, and their number."""
        start = position + self.read(_OFFSET, position)
        length = self.read(_OFFSET, start)
        if length * item_nbytes > len(self.data) - start - _OFFSET.size:
            self.fail(f"a list of {length} items at byte {start} of {len(self.data)}")
        return start + _OFFSET.size, length

    def fail(self, found: str) -> NoReturn:
        """Refuse the file."""
        raise SignatureError(f"damaged: {found}", at=self.at, hint=self.damage, code="LB2103")


class Table:
    """A table; each field has a default for where it is absent."""

    def __init__(self, buffer: Buffer, position: int) -> None:
        self._buffer = buffer
        self._position = position
        self._vtable = position - buffer.read(_SIGNED_OFFSET, position)
        self._vtable_nbytes = buffer.read(_SLOT, self._vtable)
        if self._vtable_nbytes < _VTABLE_HEAD.size:
            buffer.fail(f"a table at byte {position} without a description")

    def has(self, slot: int) -> bool:
        """Return whether the field is there."""
        return self._field(slot) is not None

    def integer(self, slot: int, kind: str = "i32", default: int = 0) -> int:
        """Return a number; ``kind`` is one of `INTEGERS`."""
        position = self._field(slot)
        return default if position is None else self._buffer.read(INTEGERS[kind], position)

    def integers(self, slot: int, kind: str = "i32") -> tuple[int, ...]:
        """Return a list of whole numbers."""
        return tuple(value for (value,) in self._items(slot, INTEGERS[kind]))

    def floats(self, slot: int) -> tuple[float, ...]:
        """Return a list of 32-bit floating-point numbers."""
        return tuple(value for (value,) in self._items(slot, _FLOAT))

    def blob(self, slot: int) -> memoryview:
        """Return bytes, not copied."""
        position = self._field(slot)
        if position is None:
            return self._buffer.data[:0]
        start, length = self._buffer.vector(position, 1)
        return self._buffer.data[start : start + length]

    def text(self, slot: int) -> str:
        """Return a string; bytes that are not UTF-8 become replacement characters."""
        return bytes(self.blob(slot)).decode("utf-8", "replace")

    def table(self, slot: int) -> Table | None:
        """Return a table."""
        position = self._field(slot)
        return None if position is None else self._buffer.table_at(position)

    def length(self, slot: int) -> int:
        """Return how many tables a list has."""
        position = self._field(slot)
        return 0 if position is None else self._buffer.vector(position, _OFFSET.size)[1]

    def tables(self, slot: int) -> list[Table]:
        """Return a list of tables."""
        position = self._field(slot)
        if position is None:
            return []
        start, length = self._buffer.vector(position, _OFFSET.size)
        return [self._buffer.table_at(start + index * _OFFSET.size) for index in range(length)]

    def item(self, slot: int, index: int, what: str) -> Table:
        """Return one table of a list, without reading the others; ``what`` it is called where there is no such one."""
        length = self.length(slot)
        if not 0 <= index < length:
            self._buffer.fail(f"{what} {index} of {length}")
        position = self._field(slot)
        assert position is not None  # or the length were 0
        return self._buffer.table_at(self._buffer.vector(position, _OFFSET.size)[0] + index * _OFFSET.size)

    def _items(self, slot: int, form: struct.Struct) -> Iterator[tuple[Any, ...]]:
        position = self._field(slot)
        if position is None:
            return iter(())
        start, length = self._buffer.vector(position, form.size)
        return form.iter_unpack(self._buffer.data[start : start + length * form.size])

    def _field(self, slot: int) -> int | None:
        entry = _VTABLE_HEAD.size + slot * _SLOT.size
        if entry + _SLOT.size > self._vtable_nbytes:
            return None
        shift = self._buffer.read(_SLOT, self._vtable + entry)
        return self._position + shift if shift else None
