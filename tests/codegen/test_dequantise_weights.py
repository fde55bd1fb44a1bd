"""Dequantised constants that stay in float32."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import tvm
from tvm import relax
from tvm.relax import op

from landbridge.codegen.dequantise_weights import dequantise_weights, dequantised
from landbridge.codegen.target import resolve_target
from support.kernels import kernels_of
from support.placed_programs import build_main

_random = np.random.default_rng(3)


def _dequantize(shape: tuple[int, ...], axis: int = 0) -> Any:
    data = _random.integers(-128, 128, shape).astype("int8")
    scales = _random.uniform(0.01, 0.1, shape[axis]).astype("float32")
    return op.dequantize(relax.const(data), relax.const(scales), relax.const(np.arange(shape[axis]).astype("int8")), axis=axis)


def _left(module: tvm.IRModule) -> int:
    """Return how many tensors are dequantised while the program runs."""
    bindings = [binding for block in module["main"].body.blocks for binding in block.bindings]
    return sum(getattr(getattr(binding.value, "op", None), "name", "") == "relax.dequantize" for binding in bindings)


@pytest.mark.parametrize("axis", [0, 1])
def test_the_constant_is_what_the_operator_gives(axis: int) -> None:
    call = relax.BlockBuilder().normalize(_dequantize((5, 7), axis))
    data, scale, point = (argument.value.numpy() for argument in call.args)
    along = [-1, 1] if axis == 0 else [1, -1]
    expected = (data.astype("float32") - point.reshape(along).astype("float32")) * scale.reshape(along)
    np.testing.assert_array_equal(dequantised(call).value.numpy(), expected, strict=True)


@pytest.mark.parametrize(("rows", "left"), [(256, 0), (257, 1)])
def test_weights_of_products_are_computed_where_they_are_small(rows: int, left: int) -> None:
    module = build_main({"x": ([4, rows], "float32")}, lambda emit, x: [emit(op.matmul(x, emit(_dequantize((rows, 256), 1))))])
    assert _left(module) == 1
    assert _left(dequantise_weights(module)) == left


def test_weights_of_convolutions_are_always_computed() -> None:
    def make(emit: Any, x: Any) -> list[Any]:
        return [emit(op.nn.conv2d(x, emit(op.reshape(emit(_dequantize((256, 2570))), [256, 257, 1, 10]))))]

    module = build_main({"x": ([1, 257, 12, 12], "float32")}, make)
    assert _left(dequantise_weights(module)) == 0


def test_a_transposed_convolution_with_a_dequantised_weight_is_a_plain_one() -> None:
    def make(emit: Any, x: Any) -> Any:
        return op.nn.conv2d_transpose(x, emit(_dequantize((4, 6, 4, 4))), strides=2, padding=1)

    names = kernels_of(make, [(1, 4, 5, 5)], resolve_target(None).tvm)
    assert any("conv2d" in name for name in names)
    assert not any("transpose" in name and "conv" in name for name in names)


def test_data_are_left_alone() -> None:
    def make(emit: Any, x: Any) -> list[Any]:
        return [emit(op.dequantize(x, relax.const(np.float32(0.5)), relax.const(np.int8(3)), axis=0))]

    assert _left(dequantise_weights(build_main({"x": ([4, 8], "int8")}, make))) == 1
