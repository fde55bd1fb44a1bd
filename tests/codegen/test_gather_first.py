from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import tvm
from tvm import relax
from tvm.relax import op

from landbridge.codegen.gather_first import gather_first
from support.kernels import Array, case, compute
from support.placed_programs import build_main

RNG = np.random.default_rng(8)
X = RNG.standard_normal((1, 50, 6)).astype("float32")
GRID, STRIDE = RNG.standard_normal((1, 50, 2)).astype("float32"), RNG.standard_normal((50, 1)).astype("float32")
PLACES = np.array([3, 49, 3, 0])


def _decode(emit: Any, x: Any, places: Any) -> Any:
    parts = emit(op.split(x, [2, 4], axis=2))
    centre, size = (emit(relax.TupleGetItem(parts, i)) for i in range(2))
    centre = emit(op.multiply(emit(op.add(centre, relax.const(GRID))), relax.const(STRIDE)))
    half = emit(op.multiply(emit(op.exp(size)), relax.const(np.float32(0.5))))
    corners = emit(op.concat([emit(op.subtract(centre, half)), emit(op.add(centre, half))], axis=2))
    return emit(op.take(corners, places, axis=1))


def _decoded(x: Array) -> Array:
    centre, half = (x[..., :2] + GRID) * STRIDE, np.exp(x[..., 2:4]) * 0.5
    return np.concatenate([centre - half, centre + half], -1)


def _best(emit: Any, x: Any, places: Any) -> Any:
    return emit(op.take(emit(op.argmax(emit(op.sigmoid(x)), axis=2)), places, axis=1))


def _sum(emit: Any, x: Any, places: Any) -> Any:
    return emit(op.take(emit(op.sum(emit(op.tanh(x)), axis=[2], keepdims=True)), places, axis=1))


def _score(emit: Any, x: Any, places: Any) -> Any:
    return emit(op.take(emit(op.max(emit(op.sigmoid(x)), axis=[2])), places, axis=1))


def _across(emit: Any, x: Any, places: Any) -> Any:
    return emit(op.take(emit(op.sum(emit(op.tanh(x)), axis=[1])), places, axis=0))


def _text(make: Any, extent: int = 50) -> str:
    inputs = {"x": ([1, extent, 6], "float32"), "places": ([4], "int64")}
    module = build_main(inputs, lambda emit, x, places: [make(emit, x, places)])
    return str(gather_first(module)["main"].script())


def test_the_numbers_are_the_same() -> None:
    inputs = [X, PLACES]
    sigmoid = 1 / (1 + np.exp(-X))
    cases = [
        case("decode", inputs, _decode, _decoded(X)[:, PLACES]),
        case("best", inputs, _best, X.argmax(2)[:, PLACES]),
        case("sum", inputs, _sum, np.tanh(X).sum(2, keepdims=True)[:, PLACES]),
        case("score", inputs, _score, sigmoid.max(2)[:, PLACES]),
    ]
    for name, found in compute(cases).items():
        np.testing.assert_allclose(found, next(one.expected for one in cases if one.name == name), rtol=1e-5, atol=1e-6, err_msg=name)


@pytest.mark.parametrize("make", [_decode, _best, _sum, _score])
def test_rows_are_taken_from_the_input(make: Any) -> None:
    lines = [line for line in _text(make).splitlines() if " = R." in line]
    assert "R.take(x" in lines[0]
    assert not any("50" in line.partition("=")[0] for line in lines[1:] if "take" not in line)


def test_all_parts_of_a_tensor_that_was_split_are_of_one_gather() -> None:
    module = relax.transform.EliminateCommonSubexpr()(
        gather_first(build_main({"x": ([1, 50, 6], "float32"), "places": ([4], "int64")}, lambda emit, x, p: [_decode(emit, x, p)]))
    )
    assert str(module["main"].script()).count("R.split") == 1


@pytest.mark.parametrize(("make", "extent"), [(_best, 15), (_across, 50)])
def test_many_rows_or_other_axes_stay(make: Any, extent: int) -> None:
    def before(emit: Any, x: Any, places: Any) -> list[Any]:
        return [make(emit, x, places)]

    module = build_main({"x": ([1, extent, 6], "float32"), "places": ([4], "int64")}, before)
    tvm.ir.assert_structural_equal(gather_first(module), relax.transform.DeadCodeElimination(["main"])(module))


def test_what_others_need_whole_is_not_computed_again() -> None:
    def make(emit: Any, x: Any, places: Any) -> list[Any]:
        total = emit(op.sum(x, axis=[2]))
        return [emit(op.take(total, places, axis=1)), total]

    module = build_main({"x": ([1, 50, 6], "float32"), "places": ([4], "int64")}, make)
    assert str(gather_first(module)["main"].script()).count("R.sum") == 1


def test_the_maximum_of_a_function_that_never_falls_is_the_function_of_the_maximum() -> None:
    def make(emit: Any, x: Any) -> list[Any]:
        return [emit(op.max(emit(op.sigmoid(x)), axis=[2])), emit(op.max(emit(op.negative(x)), axis=[2]))]

    text = str(gather_first(build_main({"x": ([1, 50, 6], "float32")}, make))["main"].script())
    assert text.index("R.max(x") < text.index("R.sigmoid(")
    assert text.index("R.negative(x") < text.rindex("R.max(")
