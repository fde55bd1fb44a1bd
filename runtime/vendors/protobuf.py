"""Read protobuf's wire format, without any schema compiler: enough to take a few fields out of a vendor's file.

Guarantees that no length or number is believed before it is checked against the bytes there are. It does not know messages;
callers know field numbers and what a field holds.

Source: https://protobuf.dev/programming-guides/encoding/
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import IntEnum

_MAX_VARINT_NBYTES = 10
_UINT64 = (1 << 64) - 1


class WireError(ValueError):
    """The bytes are not a protobuf message."""


class Wire(IntEnum):
    """The wire types in use; groups (3 and 4) are not."""

    VARINT = 0
    FIXED64 = 1
    BYTES = 2
    FIXED32 = 5


def read_varint(data: memoryview, position: int) -> tuple[int, int]:
    """Return the unsigned number at ``position`` and the position after it.

    Raises:
        WireError: it is cut off or longer than 64 bits.
    """
    value = 0
    for count in range(_MAX_VARINT_NBYTES):
        if position >= len(data):
            raise WireError("a number is cut off")
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << (7 * count)
        if not byte & 0x80:
            return value & _UINT64, position
    raise WireError("a number is longer than 64 bits")


def signed(value: int) -> int:
    """Return an unsigned number off the wire as the int64 that protobuf means by it."""
    return value - (1 << 64) if value >> 63 else value


def fields(data: memoryview) -> Iterator[tuple[int, Wire, int | memoryview]]:
    """Yield (field number, wire type, value) of every field of a message.

    A varint is an unsigned int; the other values are the bytes themselves, not copied.

    Raises:
        WireError: while iterating, at the first damage.
    """
    position = 0
    while position < len(data):
        tag, position = read_varint(data, position)
        number, kind = tag >> 3, tag & 7
        if number == 0 or kind not in tuple(Wire):
            raise WireError(f"no field can begin with tag {tag}")
        if kind == Wire.VARINT:
            value, position = read_varint(data, position)
            yield number, Wire.VARINT, value
            continue
        nbytes = {Wire.FIXED64: 8, Wire.FIXED32: 4}.get(Wire(kind), 0)
        if kind == Wire.BYTES:
            nbytes, position = read_varint(data, position)
        if nbytes > len(data) - position:
            raise WireError(f"field {number} is cut off: {nbytes} bytes announced, {len(data) - position} left")
        yield number, Wire(kind), data[position : position + nbytes]
        position += nbytes
