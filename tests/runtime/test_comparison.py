"""Figures of a comparison: how much, where, and what kind."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from landbridge.runtime.comparison import TOLERANCES, Tolerance, coarsest, compare

EXACT = Tolerance()


def test_the_first_difference_is_the_first_in_c_order() -> None:
    expected = np.array([[1, 2], [4, 8]], "float32")
    found = np.array([[1, 2.5], [4, 6]], "float32")
    result = compare("x", found, expected, EXACT)
    assert (result.first, result.found, result.expected, result.count) == ((0, 1), 2.5, 2, 2)
    assert (result.max_abs, result.max_rel) == (2, 0.25)
    assert result.describe() == "[0, 1]: 2.5, expected 2"
    assert not result.agrees


@pytest.mark.parametrize(
    ("tolerance", "agrees"),
    [
        (Tolerance(atol=0.5), True),
        (Tolerance(atol=0.49), False),
        (Tolerance(rtol=0.25), True),
        (Tolerance(rtol=0.24), False),
        (Tolerance(scaled=0.05), True),
        (Tolerance(scaled=0.049), False),
    ],
)
def test_what_is_allowed(tolerance: Tolerance, agrees: bool) -> None:
    assert compare("x", np.array([2.5, 10]), np.array([2.0, 10]), tolerance).agrees is agrees


@pytest.mark.parametrize(
    ("found", "expected", "count", "nans", "infs"),
    [
        ([np.nan, 1], [np.nan, 1], 0, (1, 1), (0, 0)),
        ([np.nan, 1], [0, 1], 1, (1, 0), (0, 0)),
        ([np.inf, 1], [np.inf, 1], 0, (0, 0), (1, 1)),
        ([-np.inf, 1], [np.inf, 1], 1, (0, 0), (1, 1)),
        ([1, 1], [np.nan, np.inf], 2, (0, 1), (0, 1)),
    ],
)
def test_what_is_no_number_agrees_only_with_its_like(
    found: Any, expected: Any, count: int, nans: tuple[int, int], infs: tuple[int, int]
) -> None:
    result = compare("x", np.array(found, "float16"), np.array(expected, "float16"), TOLERANCES["float16"])
    assert (result.count, result.nans, result.infs) == (count, nans, infs)
    json.loads(json.dumps(result.to_json(), allow_nan=False))


def test_integers_are_compared_exactly() -> None:
    big = 2**62
    assert compare("x", np.array([big + 1]), np.array([big]), TOLERANCES["float16"]).count == 1
    assert compare("x", np.array([True]), np.array([False]), TOLERANCES["float16"]).count == 1


def test_another_shape_is_a_difference_of_its_own() -> None:
    result = compare("x", np.zeros((1, 3)), np.zeros((3, 1)), EXACT)
    assert (result.agrees, result.describe()) == (False, "shape [1, 3], expected [3, 1]")


def test_bits_of_bfloat16_are_read_as_numbers() -> None:
    bits = np.array([0x3F80, 0xC000], np.uint16)
    assert compare("x", bits, np.array([1, -2], "float32"), EXACT, "bfloat16").agrees


def test_complex_numbers_are_pairs() -> None:
    result = compare("x", np.array([1 + 2j]), np.array([1 + 3j]), EXACT)
    assert (result.first, result.found, result.expected) == ((0, 1), 2, 3)


def test_the_cosine_is_that_of_the_angle() -> None:
    assert compare("x", np.array([1.0, 0]), np.array([1.0, 1]), EXACT).cosine == pytest.approx(np.sqrt(0.5))
    assert compare("x", np.zeros(2), np.zeros(2), EXACT).cosine == 1
    assert compare("x", np.zeros(2), np.ones(2), EXACT).cosine == 0


def test_nothing_agrees_with_nothing() -> None:
    assert compare("x", np.zeros((0, 3)), np.zeros((0, 3)), EXACT).agrees


def test_the_coarsest_type_decides() -> None:
    assert coarsest("uint8", "int64") == "float32"
    assert coarsest("float32", "uint8", "float16", "float64") == "float16"
    assert coarsest("float16", "bfloat16") == coarsest("float32", "float8_e4m3fn") == "bfloat16"
    assert str(TOLERANCES["float16"]) == "1e-02 of the element + 5e-03 of the largest"
    assert str(EXACT) == "exact"
