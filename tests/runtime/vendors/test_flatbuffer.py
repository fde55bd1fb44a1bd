from __future__ import annotations

import struct

import pytest

from landbridge.runtime.errors import SignatureError
from landbridge.runtime.vendors import flatbuffer
from landbridge.runtime.vendors.flatbuffer import Buffer

# root offset, vtable (8 bytes: its size, the table's, two fields), the table: a number and a list of two texts' worth of tables.
_VTABLE = struct.pack("<HHHH", 8, 12, 4, 8)
_TABLE = struct.pack("<iiI", 8, -7, 4)
_LIST = struct.pack("<Iii", 2, 0, 0)
DATA = struct.pack("<I", 12) + _VTABLE + _TABLE + _LIST


def buffer(data: bytes) -> Buffer:
    return Buffer(memoryview(data), "file", "make it again")


def test_fields_are_read_by_slot() -> None:
    root = buffer(DATA).root()
    assert root.integer(0) == -7
    assert root.integer(0, "u8") == 0xF9
    assert root.length(1) == 2
    assert root.integers(1) == (0, 0)


def test_absent_fields_have_their_defaults() -> None:
    root = buffer(DATA).root()
    assert not root.has(5)
    assert root.integer(5, default=3) == 3
    assert (root.integers(5), root.text(5), root.table(5), root.tables(5), root.length(5)) == ((), "", None, [], 0)


def test_a_list_longer_than_the_file_is_refused() -> None:
    damaged = DATA[:-12] + struct.pack("<I", 1 << 30) + DATA[-8:]
    with pytest.raises(
        SignatureError, match=r"^file: damaged: a list of 1073741824 items at byte 24 of 36\n  hint: make it again\n  code: "
    ):
        buffer(damaged).root().integers(1)


def test_an_offset_out_of_the_file_is_refused() -> None:
    with pytest.raises(SignatureError, match="file: damaged: 36 bytes, something is said to be at byte 65535"):
        buffer(struct.pack("<I", 65535) + DATA[4:]).root()


def test_an_item_that_there_is_not_is_named() -> None:
    with pytest.raises(SignatureError, match="file: damaged: tensor 2 of 2"):
        buffer(DATA).root().item(1, 2, "tensor")


def test_pointing_at_one_place_for_ever_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flatbuffer, "MAX_TABLES", 100)
    found = buffer(DATA)
    for _ in range(100):
        found.root()
    with pytest.raises(SignatureError, match="file: damaged: more than 100 tables"):
        found.root()
