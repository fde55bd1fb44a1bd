"""Sizes over named dimensions."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from landbridge.runtime import dims
from landbridge.runtime.errors import PlanError

EXTENTS = {"n": 3, "m": 7}

sizes = st.recursive(
    st.integers(0, 9) | st.sampled_from(sorted(EXTENTS)),
    lambda inner: st.tuples(st.sampled_from(sorted(dims.OPERATORS)), inner, inner).map(list),
    max_leaves=8,
)


@given(sizes)
def test_what_is_rendered_means_the_same(size: Any) -> None:
    try:
        expected = dims.evaluate(size, EXTENTS)
    except PlanError:
        return  # a division by zero, which has no value to compare
    assert eval(dims.render(size), {"max": max, "min": min, **EXTENTS}) == expected


@given(st.lists(st.integers(0, 9) | st.sampled_from(sorted(EXTENTS)), max_size=6))
def test_a_product_is_the_product(factors: list[Any]) -> None:
    expected = 1
    for factor in factors:
        expected *= dims.evaluate(factor, EXTENTS)
    assert dims.evaluate(dims.product(factors), EXTENTS) == expected


def test_parentheses_stand_only_where_they_are_needed() -> None:
    assert dims.render(["*", ["+", "n", 7], 128]) == "(n+7)*128"
    assert dims.render(["+", ["*", "n", 128], 7]) == "n*128+7"
    assert dims.render(["-", "n", ["-", "m", 1]]) == "n-(m-1)"
    assert dims.render(["max", ["+", "n", 1], 8]) == "max(n+1, 8)"
    assert dims.render_shape((1, ["*", "n", 2])) == "[1, n*2]"


@pytest.mark.parametrize(
    ("sizes", "expected"),
    [
        ([3, 5], 5),
        ([["*", "n", 8], ["*", ["*", "n", 2], 5]], ["*", "n", 10]),
        ([["*", "n", 8], "n"], ["*", "n", 8]),
        ([["*", "n", 8], 100], ["max", ["*", "n", 8], 100]),
        ([0, 0], 0),
    ],
)
def test_the_largest_of_sizes_is_folded_as_far_as_it_is_known(sizes: list[Any], expected: Any) -> None:
    assert dims.largest(sizes) == expected


@pytest.mark.parametrize(
    ("sizes", "expected"),
    [
        ([["*", "n", 128], 8, ["*", "n", 256], "m", ["*", ["+", "n", 7], 4], 32], "n*384+m+(n+7)*4+40"),
        ([], "0"),
        ([3], "3"),
        (["n", "n"], "n*2"),
        ([0, 0], "0"),
    ],
)
def test_multiples_of_a_size_are_added_up(sizes: list[Any], expected: str) -> None:
    found = dims.total(sizes)
    assert dims.render(found) == expected
    assert dims.evaluate(found, EXTENTS) == sum(dims.evaluate(size, EXTENTS) for size in sizes)


def test_names_are_each_said_once() -> None:
    assert dims.names(["+", ["*", "n", "m"], ["max", "n", 4]]) == ("n", "m")


@pytest.mark.parametrize(
    ("size", "message"),
    [
        ("k", "no value for dimension 'k'"),
        (["^", 1, 2], "unknown operator '^' in a size"),
        (["%", 5, ["-", "n", 3]], "division by zero in size 5%(n-3)"),
    ],
)
def test_what_has_no_value_says_why(size: Any, message: str) -> None:
    with pytest.raises(PlanError, match=re.escape(message)):
        dims.evaluate(size, EXTENTS)
