from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from tvm import relax
from tvm.relax import op

from landbridge.codegen.schedules.matmul import Matmul, tile_of
from landbridge.codegen.schedules.vectors import Vectors
from landbridge.codegen.target import resolve_target
from support.kernels import Array, Case, case, compute, only_kernel
from support.other_targets import TARGETS, X86_64_V3

_random = np.random.default_rng(5)
AVX512, AVX2, NEON = Vectors(16, 32), Vectors(8, 16), Vectors(4, 32)


def _floats(*shape: int) -> Array:
    return _random.standard_normal(shape).astype("float32")


def _constant(weight: Array) -> Any:
    return lambda emit, x: op.matmul(x, relax.const(weight))


def _with_epilogue(weight: Array, bias: Array) -> Any:
    return lambda emit, x, y: op.add(emit(op.nn.relu(emit(op.add(emit(op.matmul(x, relax.const(weight))), relax.const(bias))))), y)


def _cases() -> list[Case]:
    found = []
    for rows, inner, columns in [(1, 1, 1), (1, 7, 300), (5, 3, 1), (6, 16, 64), (13, 33, 71), (37, 9, 130), (3, 20, 15), (64, 5, 2)]:
        x, w = _floats(rows, inner), _floats(inner, columns)
        name = f"{rows}x{inner}x{columns}"
        found.append(case(f"variable_{name}", [x, w], lambda e, x, w: op.matmul(x, w), x @ w))
        found.append(case(f"constant_{name}", [x], _constant(w), x @ w))
    x, w, y, bias = _floats(11, 19), _floats(19, 45), _floats(11, 45), _floats(45)
    found.append(case("epilogue", [x, y], _with_epilogue(w, bias), np.maximum(x @ w + bias, 0) + y))
    for rows in (1, 6, 14):
        x = _floats(rows, 19)
        found.append(case(f"rows_{rows}", [x], _constant(w), x @ w, {(0, 0): f"n{rows}"}))
    x, w = _floats(14, 19), _floats(19, 45)
    product = x.astype("float64") @ w
    gelu = product * (1 + np.vectorize(math.erf)(product / math.sqrt(2))) / 2
    found.append(case("rows_gelu", [x], lambda e, x, w=w: op.nn.gelu(e(op.matmul(x, relax.const(w)))), gelu, {(0, 0): "rows_gelu"}))
    x, w = _floats(7, 10), _floats(10, 41)
    found.append(case("columns", [x, w], lambda e, x, w: op.matmul(x, w), x @ w, {(1, 1): "columns"}))
    found.append(case("inner", [x, w], lambda e, x, w: op.matmul(x, w), x @ w, {(0, 1): "k", (1, 0): "k"}))
    x, w = _floats(2, 3, 9, 8), _floats(2, 3, 8, 21)
    found.append(case("batch", [x, w], lambda e, x, w: op.matmul(x, w), x @ w, {(0, 0): "b", (1, 0): "b"}))
    found.append(case("broadcast", [x, w[0, 0]], lambda e, x, w: op.matmul(x, w), x @ w[0, 0]))
    found.append(case("vector", [x[0, 0, 0], w[0, 0]], lambda e, x, w: op.matmul(x, w), x[0, 0, 0] @ w[0, 0]))
    w = _floats(17, 8)
    found.append(case("transposed", [x, w], lambda e, x, w: op.matmul(x, e(op.permute_dims(w, [1, 0]))), x @ w.T))
    found.append(case("parallel", [_big := _floats(70, 90), _wide := _floats(90, 150)], lambda e, x, w: op.matmul(x, w), _big @ _wide))
    for inner in (1536, 1700):  # added up in parts
        x, w, y, bias = _floats(20, inner) / 40, _floats(inner, 45), _floats(20, 45), _floats(45)
        expected = np.maximum(x @ w + bias, 0) + y
        found.append(case(f"parts_{inner}", [x, y], _with_epilogue(w, bias), expected))
        named = {(0, 0): f"rows{inner}", (1, 0): f"rows{inner}"}
        found.append(case(f"rows_in_parts_{inner}", [x, y], _with_epilogue(w, bias), expected, named))
        found.append(case(f"parts_without_more_{inner}", [x], _constant(w), x @ w))
    return found


CASES = _cases()


@pytest.fixture(scope="module", params=TARGETS)
def results(request: pytest.FixtureRequest) -> dict[str, Array]:
    return compute(CASES, request.param)


@pytest.mark.parametrize("one", CASES, ids=lambda one: one.name)
def test_products_are_right(one: Case, results: dict[str, Array]) -> None:
    assert results[one.name].shape == one.expected.shape
    np.testing.assert_allclose(results[one.name], one.expected, rtol=1e-4, atol=1e-4)  # sums of at most 90 products in another order


@pytest.mark.parametrize(
    ("make", "shapes"),
    [
        (_constant(_floats(16, 70)), [(33, 16)]),
        (_constant(_floats(16, 70)), [("n", 16)]),
        (lambda emit, x, y: op.matmul(x, y), [(33, 16), (16, 70)]),
    ],
    ids=["constant", "dynamic", "variable"],
)
def test_the_rule_takes_products(make: Any, shapes: Any) -> None:
    target = resolve_target(X86_64_V3).tvm
    assert "vectorized" in str(Matmul().apply(only_kernel(make, shapes, target), target).script())  # type: ignore[union-attr]  # it takes it


@pytest.mark.parametrize(
    ("make", "shapes"),
    [
        (lambda emit, x: op.nn.softmax(x), [(4, 8)]),
        (lambda emit, x: op.sum(x, axis=[1]), [(4, 8)]),
        (lambda emit, x: op.add(x, x), [(4, 8)]),
        (lambda emit, x, y: op.matmul(x, y), [(4, 8), (8, 1)]),
    ],
    ids=["softmax", "sum", "add", "one_column_of_a_variable"],
)
def test_the_rule_declines_other_kernels(make: Any, shapes: Any) -> None:
    target = resolve_target(X86_64_V3).tvm
    assert Matmul().apply(only_kernel(make, shapes, target), target) is None


@pytest.mark.parametrize(("rows", "inner", "in_parts"), [(20, 1536, True), ("n", 1536, True), (20, 1535, False), (12, 1536, False)])
def test_long_sums_of_many_rows_are_added_up_in_parts(rows: Any, inner: int, in_parts: bool) -> None:
    target = resolve_target(X86_64_V3).tvm
    scheduled = Matmul().apply(only_kernel(_constant(_floats(inner, 64)), [(rows, inner)], target), target)
    assert ("for part in" in str(scheduled.script())) == in_parts  # type: ignore[union-attr]  # it takes it


def test_long_products_are_spread_over_threads_and_short_ones_are_not() -> None:
    target = resolve_target(X86_64_V3).tvm
    texts = [
        str(Matmul().apply(only_kernel(_constant(_floats(64, 64)), [(rows, 64)], target), target).script())  # type: ignore[union-attr]  # it takes it
        for rows in (63, 64)
    ]
    assert ["parallel" in text for text in texts] == [False, True]


@pytest.mark.parametrize(
    ("rows", "columns", "vectors", "expected"),
    [
        (504, 512, AVX512, (6, 64)),
        (504, 512, AVX2, (6, 16)),
        (504, 512, NEON, (6, 16)),
        (7, 512, AVX512, (4, 64)),
        (1, 512, AVX512, (1, 128)),
        (7, 10, AVX512, (7, 16)),
    ],
)
def test_a_tile_fills_the_registers(rows: int, columns: int, vectors: Vectors, expected: tuple[int, int]) -> None:
    assert tile_of(rows, columns, vectors) == expected
