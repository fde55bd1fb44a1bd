from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
from tvm import relax
from tvm.relax import op

from landbridge.codegen.simplify import simplify
from support.kernels import case, compute
from support.placed_programs import build_main

_random = np.random.default_rng(8)
_IMAGE = (2, 4, 6, 6)
_WEIGHT = _random.standard_normal((3, 4, 3, 3)).astype("float32")
_STATISTICS = tuple(np.abs(_random.standard_normal(3)).astype("float32") + 0.5 for _ in range(4))


def _operators(make: Any, *shapes: Any) -> list[str]:
    """Return the operators that are left, without those that nothing reads."""
    inputs = {f"x{i}": (shape, "float32") for i, shape in enumerate(shapes)}
    module = simplify(build_main(inputs, lambda emit, *params: [emit(make(emit, *params))]))
    module = relax.transform.DeadCodeElimination()(module)
    return re.findall(r"= R\.([a-z_0-9.]+)\(", str(module["main"].script()))


def _normalised(emit: Any, x: Any) -> Any:
    call = op.nn.batch_norm(x, *(relax.const(array) for array in _STATISTICS), axis=1)
    return relax.TupleGetItem(emit(call), 0)


def _convolved(emit: Any, x: Any) -> Any:
    return emit(op.nn.conv2d(x, relax.const(_WEIGHT), padding=1))


def _with_bias(emit: Any, x: Any) -> Any:
    return emit(op.add(_convolved(emit, x), relax.const(np.arange(3, dtype="float32").reshape(1, 3, 1, 1))))


def test_normalisation_goes_into_the_weight_before_it() -> None:
    assert _operators(lambda emit, x: _normalised(emit, _convolved(emit, x)), _IMAGE) == ["nn.conv2d", "add"]


def test_a_bias_before_normalisation_goes_into_the_one_after_it() -> None:
    assert _operators(lambda emit, x: _normalised(emit, _with_bias(emit, x)), _IMAGE) == ["nn.conv2d", "add"]


def test_a_convolution_that_others_read_keeps_its_weight() -> None:
    def make(emit: Any, x: Any) -> Any:
        y = _convolved(emit, x)
        return op.add(emit(_normalised(emit, y)), y)

    assert _operators(make, _IMAGE) == ["nn.conv2d", "multiply", "add", "add"]


def test_normalisation_of_an_input_is_a_multiplication_and_an_addition() -> None:
    assert _operators(_normalised, (2, 3, 5)) == ["multiply", "add"]


def test_dropout_is_nothing() -> None:
    assert _operators(lambda emit, x: op.nn.relu(emit(relax.TupleGetItem(emit(op.nn.dropout(x, 0.5)), 0))), (2, 3)) == ["nn.relu"]


def test_normalisation_with_statistics_of_the_run_stays() -> None:
    def make(emit: Any, x: Any, mean: Any) -> Any:
        gamma, beta, _, variance = (relax.const(array) for array in _STATISTICS)
        return relax.TupleGetItem(emit(op.nn.batch_norm(x, gamma, beta, mean, variance, axis=1)), 0)

    assert _operators(make, (2, 3, 5), (3,)) == ["nn.batch_norm"]


def test_a_sum_of_stacked_tensors_becomes_additions() -> None:
    def make(emit: Any, *x: Any) -> Any:
        return op.sum(emit(op.stack(list(x), axis=0)), axis=[0])

    assert _operators(make, (2, 3), (2, 3), (2, 3)) == ["add", "add"]


@pytest.mark.parametrize("axes", [[1], [0, 1]])
def test_a_sum_over_other_axes_stays(axes: list[int]) -> None:
    assert _operators(lambda emit, x, y: op.sum(emit(op.stack([x, y], axis=0)), axis=axes), (2, 3), (2, 3)) == ["stack", "sum"]


def test_broadcasting_to_the_same_shape_is_nothing() -> None:
    assert _operators(lambda emit, x: op.negative(emit(op.broadcast_to(x, (2, 3)))), (2, 3)) == ["negative"]
    assert _operators(lambda emit, x: op.negative(emit(op.broadcast_to(x, (2, 3)))), (1, 3)) == ["broadcast_to", "negative"]


def test_what_is_computed_stays_the_same() -> None:
    x = _random.standard_normal(_IMAGE).astype("float32")
    gamma, beta, mean, variance = (array[:, None, None].astype("float64") for array in _STATISTICS)
    windows = np.lib.stride_tricks.sliding_window_view(np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1))), (3, 3), axis=(2, 3))
    y = np.einsum("nchwij,ocij->nohw", windows.astype("float64"), _WEIGHT) + np.arange(3).reshape(1, 3, 1, 1)
    expected = (y - mean) / np.sqrt(variance + 1e-5) * gamma + beta
    found = compute([case("both", [x], lambda emit, x: _normalised(emit, _with_bias(emit, x)), expected)])["both"]
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)  # sums of 36 products in float32
