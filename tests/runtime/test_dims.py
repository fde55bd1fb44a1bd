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
