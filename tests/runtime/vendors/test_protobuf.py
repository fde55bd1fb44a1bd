from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from landbridge.runtime.errors import SignatureError
from landbridge.runtime.vendors.atlas.format import AttrDef, ModelDef, ShapeDef, TensorDescriptor
from landbridge.runtime.vendors.protobuf import MapEntry, Message
from support.om_files import put, varint


def message(data: bytes) -> Message:
    return Message(memoryview(data), "M")


@given(st.integers(-(1 << 63), (1 << 63) - 1))
def test_integers_are_signed_64_bit(value: int) -> None:
    assert message(put(ShapeDef.DIM, value)).integer(ShapeDef.DIM) == value


@given(st.lists(st.integers(-(1 << 63), (1 << 63) - 1)))
def test_packed_and_plain_lists_read_the_same(values: list[int]) -> None:
    packed = put(ShapeDef.DIM, b"".join(varint(value) for value in values))
    plain = b"".join(put(ShapeDef.DIM, value) for value in values)
    assert message(packed).integers(ShapeDef.DIM) == message(plain).integers(ShapeDef.DIM) == values


def test_of_a_single_field_written_twice_the_last_counts() -> None:
    assert message(put(ModelDef.NAME, "a") + put(ModelDef.NAME, "b")).text(ModelDef.NAME) == "b"


def test_what_is_not_written_is_empty() -> None:
    empty = message(b"")
    assert empty.text(ModelDef.NAME) == ""
    assert empty.integer(ModelDef.VERSION) == 0
    assert empty.real(AttrDef.F) == 0.0
    assert empty.map(ModelDef.ATTR) == {}
    assert not empty.has(ModelDef.NAME)
    assert empty.message(ModelDef.GRAPH).fields == {}


def test_reals_are_32_bit() -> None:
    assert message(varint(AttrDef.F << 3 | 5) + struct.pack("<f", 1.5)).real(AttrDef.F) == 1.5


def test_64_bit_fields_are_passed_over() -> None:
    assert message(varint(9 << 3 | 1) + bytes(8) + put(ModelDef.NAME, "x")).text(ModelDef.NAME) == "x"


def test_a_map_entry_without_a_value_is_an_empty_message() -> None:
    entries = message(put(ModelDef.ATTR, put(MapEntry.KEY, "k"))).map(ModelDef.ATTR)
    assert entries["k"].fields == {}


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"\x80" * 12, "M: a number does not end\n  hint: the file is damaged"),
        (b"\x0a", "M: a number does not end\n  hint: the file is damaged"),
        (b"\x0a\x05abc", "M: a field of 5 bytes where 3 are left\n  hint: the file is damaged"),
        (b"\x0d\x00", "M: a field of 4 bytes where 1 are left\n  hint: the file is damaged"),
        (b"\x0b", "M: wire type 3 does not occur in such files\n  hint: the file is damaged"),
    ],
)
def test_damage_is_named(data: bytes, text: str) -> None:
    with pytest.raises(SignatureError) as caught:
        message(data)
    assert str(caught.value) == text


def test_a_field_of_another_type_than_the_schema_says_is_named() -> None:
    with pytest.raises(SignatureError, match="M: field 'name' is not bytes"):
        message(put(ModelDef.NAME, 3)).text(ModelDef.NAME)
    with pytest.raises(SignatureError, match="M: field 'version' is not an integer"):
        message(put(ModelDef.VERSION, "x")).integer(ModelDef.VERSION)
    with pytest.raises(SignatureError, match="M: field 'name' is not UTF-8 text"):
        message(put(ModelDef.NAME, b"\xff")).text(ModelDef.NAME)
    with pytest.raises(SignatureError, match="M: field 'f' is not a 32-bit number"):
        message(put(AttrDef.F, b"12345")).real(AttrDef.F)
    with pytest.raises(SignatureError, match=r"M\.shape: a field of 9 bytes where 0 are left"):
        message(put(TensorDescriptor.SHAPE, b"\x0a\x09")).message(TensorDescriptor.SHAPE)
