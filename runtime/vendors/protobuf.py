"""Read protobuf's wire format without a schema and without the protobuf package.

A `Message` splits its bytes into fields at once and looks at their insides only when asked, so that reading a few fields of a
large file is cheap. Every length is checked against the bytes there are. Groups (wire types 3 and 4) are refused: no schema
that is read here has them. As protobuf demands, of a field that comes several times but should come once, the last counts.

Source: https://protobuf.dev/programming-guides/encoding/
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from enum import IntEnum

from landbridge.runtime.errors import SignatureError


class MapEntry(IntEnum):
    """Field numbers of an entry of any protobuf map."""

    KEY = 1
    VALUE = 2


_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_MAX_VARINT_NBYTES = 10


class Message:
    """The fields of one message.

    Attributes:
        at: where it is, for errors, such as ``MODEL_DEF.graph.op``.
        fields: for each field number its values in order: an int for a varint, bytes for all else.
    """

    __slots__ = ("at", "fields")

    def __init__(self, data: memoryview, at: str) -> None:
        """Split ``data`` into fields.

        Raises:
            SignatureError: ``data`` is not a message.
        """
        self.at = at
        self.fields: dict[int, list[int | memoryview]] = {}
        position = 0
        while position < len(data):
            tag, position = _read_varint(data, position, at)
            value, position = _read_value(data, position, tag & 7, at)
            self.fields.setdefault(tag >> 3, []).append(value)

    def has(self, field: IntEnum) -> bool:
        """Return whether ``field`` was written."""
        return field in self.fields

    def integer(self, field: IntEnum, default: int = 0) -> int:
        """Return ``field`` as a signed 64-bit integer."""
        values = self.fields.get(field)
        if not values:
            return default
        value = values[-1]
        if not isinstance(value, int):
            raise self._wrong(field, "an integer")
        return _signed(value)

    def integers(self, field: IntEnum) -> list[int]:
        """Return a repeated ``field`` of signed 64-bit integers, packed or not."""
        result: list[int] = []
        for value in self.fields.get(field, ()):
            if isinstance(value, int):
                result.append(_signed(value))
                continue
            position = 0
            while position < len(value):
                number, position = _read_varint(value, position, f"{self.at}.{field.name.lower()}")
                result.append(_signed(number))
        return result

    def real(self, field: IntEnum, default: float = 0.0) -> float:
        """Return ``field`` as a 32-bit floating-point number."""
        values = self.fields.get(field)
        if not values:
            return default
        value = values[-1]
        if isinstance(value, int) or len(value) != 4:
            raise self._wrong(field, "a 32-bit number")
        return float(struct.unpack("<f", value)[0])

    def blobs(self, field: IntEnum) -> list[memoryview]:
        """Return a repeated ``field`` of bytes."""
        result = []
        for value in self.fields.get(field, ()):
            if isinstance(value, int):
                raise self._wrong(field, "bytes")
            result.append(value)
        return result

    def texts(self, field: IntEnum) -> list[str]:
        """Return a repeated ``field`` of text."""
        try:
            return [str(value, "utf-8") for value in self.blobs(field)]
        except UnicodeDecodeError as error:
            raise self._wrong(field, "UTF-8 text") from error

    def text(self, field: IntEnum) -> str:
        """Return ``field`` as text, "" where it was not written."""
        texts = self.texts(field)
        return texts[-1] if texts else ""

    def messages(self, field: IntEnum) -> Iterator[Message]:
        """Return a repeated ``field`` of messages, one after the other."""
        at = f"{self.at}.{field.name.lower()}"
        return (Message(value, at) for value in self.blobs(field))

    def message(self, field: IntEnum) -> Message:
        """Return ``field`` as a message, an empty one where it was not written."""
        blobs = self.blobs(field)
        return Message(blobs[-1] if blobs else memoryview(b""), f"{self.at}.{field.name.lower()}")

    def map(self, field: IntEnum) -> dict[str, Message]:
        """Return ``field`` as a map from text to messages."""
        entries = {}
        for entry in self.messages(field):
            key = entry.text(MapEntry.KEY)
            blobs = entry.blobs(MapEntry.VALUE)
            entries[key] = Message(blobs[-1] if blobs else memoryview(b""), f"{self.at} '{key}'")
        return entries

    def _wrong(self, field: IntEnum, expected: str) -> SignatureError:
        return SignatureError(f"field '{field.name.lower()}' is not {expected}", at=self.at, hint="the file is damaged", code="LB2103")


def _read_varint(data: memoryview, position: int, at: str) -> tuple[int, int]:
    result = 0
    for index, byte in enumerate(data[position : position + _MAX_VARINT_NBYTES]):
        result |= (byte & 0x7F) << (7 * index)
        if byte < 0x80:
            return result & 0xFFFFFFFFFFFFFFFF, position + index + 1
    raise SignatureError("a number does not end", at=at, hint="the file is damaged", code="LB2103")


def _read_value(data: memoryview, position: int, wire_type: int, at: str) -> tuple[int | memoryview, int]:
    if wire_type == _VARINT:
        return _read_varint(data, position, at)
    if wire_type == _BYTES:
        nbytes, position = _read_varint(data, position, at)
    elif wire_type in (_FIXED32, _FIXED64):
        nbytes = 4 if wire_type == _FIXED32 else 8
    else:
        raise SignatureError(f"wire type {wire_type} does not occur in such files", at=at, hint="the file is damaged", code="LB2103")
    if nbytes > len(data) - position:
        raise SignatureError(
            f"a field of {nbytes} bytes where {len(data) - position} are left", at=at, hint="the file is damaged", code="LB2103"
        )
    return data[position : position + nbytes], position + nbytes


def _signed(value: int) -> int:
    return value - (1 << 64) if value >> 63 else value
