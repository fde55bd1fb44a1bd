"""Between Relax's shapes and sizes."""

from __future__ import annotations

from typing import Any

import pytest
from tvm import relax, sym, tirx

from landbridge.ir.sizes import dims_in, equal_shapes, equal_sizes, expr_of, nbytes_of, render_type, shape_of, size_of
from landbridge.runtime.dims import evaluate
from landbridge.runtime.errors import PassError

N, M = tirx.Var("n", "int64"), tirx.Var("m", "int64")

EXPRESSIONS = [
    N * 2 + 1,
    tirx.floordiv(N + 1, 2) - M,
    tirx.floormod(N, 4) * M,
    tirx.max(N, 4) + tirx.min(M, N),
    tirx.truncdiv(N, 3),
    tirx.Cast("int64", tirx.Cast("int32", N)),
]


@pytest.mark.parametrize("expression", EXPRESSIONS, ids=str)
def test_an_extent_and_its_size_have_the_same_value(expression: Any) -> None:
    size = size_of(expression)
    for n, m in ((1, 1), (7, 2), (16, 5)):
        analyzer = sym.Analyzer()
        analyzer.bind(N, tirx.IntImm("int64", n))
        analyzer.bind(M, tirx.IntImm("int64", m))
        assert evaluate(size, {"n": n, "m": m}) == int(analyzer.simplify(expression))
    assert size_of(expr_of(size, {"n": N, "m": M})) == size


def test_what_is_known_is_a_number() -> None:
    assert size_of(tirx.IntImm("int64", 5)) == 5
    assert size_of(7) == 7


def test_an_extent_that_is_no_size_is_an_error() -> None:
    with pytest.raises(PassError, match="an extent that is no size"):
        size_of(tirx.Select(N > 1, N, M))


def test_shapes() -> None:
    assert shape_of(relax.TensorType((N, 3), "float32")) == ("n", 3)
    assert shape_of(relax.TensorType((), "float32")) == ()
    assert shape_of(relax.TensorType(dtype="float32", ndim=2)) is None


def test_bytes() -> None:
    assert nbytes_of(relax.TensorType((2, 3), "float16")) == 12
    assert nbytes_of(relax.TensorType((), "float64")) == 8
    assert nbytes_of(relax.TensorType((N, 3), "float32")) == ["*", "n", 12]
    assert nbytes_of(relax.TensorType((3,), "int4")) == 2
    assert evaluate(nbytes_of(relax.TensorType((N, 3), "int4")), {"n": 3}) == 5
    assert nbytes_of(relax.TensorType(dtype="float32", ndim=2)) == 0


def test_how_types_are_written() -> None:
    assert render_type(relax.TensorType((N * 2, 3), "float16")) == "float16 [n*2, 3]"
    assert render_type(relax.TensorType(dtype="int8", ndim=2)) == "int8 of 2 dimensions"
    assert render_type(relax.TensorType(dtype="int8", ndim=-1)) == "int8"


def test_sizes_are_equal_when_they_are_so_for_all_dimensions() -> None:
    assert equal_sizes(["+", "n", "n"], ["*", "n", 2])
    assert equal_sizes(["//", ["*", "n", 4], 4], "n")
    assert not equal_sizes(["+", "n", 1], "n")
    assert not equal_sizes("n", "m")
    assert not equal_sizes(2, 3)
    assert equal_shapes(["n", 2], ["n", 2])
    assert not equal_shapes(["n", 2], ["n"])


def test_dimensions_are_found_in_the_order_of_their_appearance() -> None:
    found = dims_in([relax.TensorType((M * 2, N), "float32"), relax.TensorType(dtype="float32", ndim=1), relax.TensorType((N,), "int8")])
    assert list(found) == ["m", "n"]
    assert found["n"].same_as(N)
