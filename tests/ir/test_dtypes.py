"""Element types."""

from __future__ import annotations

import numpy as np
import pytest

from landbridge.ir.dtypes import bits_of, convertible, holds, is_float
from landbridge.runtime.errors import PassError

INTEGERS = ("bool", "int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64")
FLOATS = ("float16", "float32", "float64")


@pytest.mark.parametrize("source", INTEGERS)
@pytest.mark.parametrize("target", INTEGERS + FLOATS)
def test_an_integer_type_is_held_where_its_extremes_and_their_neighbours_survive(source: str, target: str) -> None:
    if source == "bool":
        extremes = np.array([False, True])
    else:
        info = np.iinfo(source)
        extremes = np.array([info.min, max(info.min, -1), 0, 1, info.max - 1, info.max], source)
    with np.errstate(invalid="ignore", over="ignore"):
        there = extremes.astype(target)
    exact = all(int(a) == int(b) for a, b in zip(extremes, there, strict=True) if np.isfinite(b)) and bool(np.isfinite(there).all())
    assert holds(source, target) == exact


@pytest.mark.parametrize(
    ("source", "target", "expected"),
    [
        ("float16", "float32", True),
        ("float32", "float16", False),
        ("bfloat16", "float32", True),
        ("bfloat16", "float16", False),
        ("float16", "bfloat16", False),
        ("float8_e4m3fn", "float16", True),
        ("float8_e5m2", "bfloat16", True),
        ("float16", "int64", False),
        ("float16", "float16", True),
        ("int8", "bfloat16", True),
        ("int16", "bfloat16", False),
    ],
)
def test_which_type_holds_which(source: str, target: str, expected: bool) -> None:
    assert holds(source, target) is expected


@pytest.mark.parametrize(
    ("source", "target", "expected"),
    [
        ("float32", "float16", True),  # what the vendors' own tools do
        ("float64", "bfloat16", True),
        ("uint8", "float16", True),
        ("int8", "float32", True),
        ("uint16", "float32", True),
        ("int16", "float16", False),
        ("int32", "float64", True),
        ("int32", "float32", False),
        ("int32", "int64", True),
        ("int64", "int32", False),
        ("bool", "uint8", True),
        ("uint8", "bool", False),
        ("float32", "int32", False),
        ("float32", "uint8", False),
    ],
)
def test_what_the_compiler_converts_by_itself(source: str, target: str, expected: bool) -> None:
    assert convertible(source, target) is expected


def test_bits() -> None:
    assert [bits_of(dtype) for dtype in ("bool", "int4", "bfloat16", "float64")] == [8, 4, 16, 64]
    with pytest.raises(PassError, match="unknown element type 'float'"):
        bits_of("float")


def test_floats() -> None:
    assert all(is_float(dtype) for dtype in (*FLOATS, "bfloat16"))
    assert not any(is_float(dtype) for dtype in INTEGERS)
