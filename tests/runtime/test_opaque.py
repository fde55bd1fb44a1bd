from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from landbridge.runtime.errors import InputError
from landbridge.runtime.opaque import admit, copied, example, is_opaque, problem, takes_numpy

GOOD = (
    "string",
    "tensor(float32)",
    "tensor(string)",
    "tensor(complex64)",
    "sequence(tensor(int64))",
    "optional(sequence(tensor(bfloat16)))",
    "map(int64,tensor(float32))",
    "sequence(map(string,tensor(float32)))",
)
BAD = ("float32", "", "tensor()", "tensor(float33)", "sequence(float32)", "map(float32,tensor(int64))", "map(int64)", "list(tensor(int8))")


@pytest.mark.parametrize(("dtype", "expected"), [*((dtype, True) for dtype in GOOD), *((dtype, False) for dtype in BAD)])
def test_which_texts_are_dtypes(dtype: str, expected: bool) -> None:
    assert is_opaque(dtype) is expected


def test_a_text_nested_without_end_is_none() -> None:
    assert not is_opaque("sequence(" * 100 + "tensor(int8)" + ")" * 100)


@pytest.mark.parametrize("dtype", GOOD)
def test_the_plainest_value_is_one(dtype: str) -> None:
    assert problem(example(dtype, (2, -1)), dtype) == ""


@pytest.mark.parametrize(
    ("value", "dtype", "message"),
    [
        (np.array([1]), "string", r"int64 \[1\], expected strings"),
        (np.array(["a", 1], dtype=object), "string", r"object \[2\], expected strings"),
        (np.zeros(2, np.float64), "tensor(float32)", r"float64 \[2\], expected float32"),
        (None, "sequence(tensor(int8))", "NoneType, expected a list"),
        ([np.zeros(1, np.int8), None], "sequence(tensor(int8))", r"x\[1\]: object \[\], expected int8"),
        (1, "map(int64,tensor(float32))", "int, expected a dict"),
        ({"a": 1.0}, "map(int64,tensor(float32))", "the key 'a' is str, expected int"),
        ({1: "a"}, "map(int64,tensor(float32))", r"x\[1\]: str, expected an element of tensor\(float32\)"),
    ],
)
def test_another_value_is_an_error_that_says_where(value: Any, dtype: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        admit(value, dtype, "x")
    assert problem(value, dtype)


def test_what_is_taken_is_brought_into_one_form() -> None:
    assert admit(np.array(["a", "b"]), "string", "x").dtype == object
    assert admit((np.ones(1, np.int8),), "sequence(tensor(int8))", "x") == [np.ones(1, np.int8)]
    assert admit({1: 2.5}, "map(int64,tensor(float32))", "x") == {1: 2.5}
    assert admit(np.zeros(2, ">f4"), "tensor(float32)", "x").dtype.isnative


def test_a_copy_shares_nothing() -> None:
    value: Any = [np.zeros(2), {"a": np.ones(1)}]
    result = copied(value)
    result[0][0] = result[1]["a"][0] = 5
    assert value[0][0] == 0
    assert value[1]["a"][0] == 1


def test_which_have_only_numbers_that_numpy_has() -> None:
    assert takes_numpy("sequence(map(string,tensor(float32)))")
    assert not takes_numpy("optional(tensor(bfloat16))")
