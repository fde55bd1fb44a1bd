"""Convolutions of other forms are computed as two-dimensional ones, with the results of ONNX Runtime."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from onnx import helper
from tvm import relax

import landbridge as lb
from landbridge.codegen.plain_convolutions import plain_convolutions
from support.run_onnx import assert_same, reference, run_program
from support.small_onnx import small_model

_random = np.random.default_rng(3)


def model(operator: str, data: list[Any], weight: list[int], result: list[Any], dtype: str = "float32", **attributes: Any) -> Any:
    constants = {"w": _random.standard_normal(weight).astype(dtype), "b": _random.standard_normal(result[1]).astype(dtype)}
    node = helper.make_node(operator, ["x", "w", "b"], ["y"], name="conv", **attributes)
    return small_model([node], {"x": (dtype, data)}, {"y": (dtype, result)}, constants, opset=18)


CASES = {
    "plain": model("Conv", [2, 3, 20], [5, 3, 4], [2, 5, 17]),
    "steps, borders and holes": model("Conv", [2, 16, 40], [32, 16, 3], [2, 32, 20], strides=[2], pads=[3, 2], dilations=[3]),
    "groups": model("Conv", [1, 32, 30], [32, 4, 8], [1, 32, 31], group=8, pads=[4, 4]),
    "depthwise": model("Conv", [1, 24, 30], [24, 1, 5], [1, 24, 30], group=24, pads=[2, 2]),
    "named length": model("Conv", [2, 16, "n"], [16, 16, 3], [2, 16, "n"], pads=[1, 1]),
    "transposed, 2 x 2": model("ConvTranspose", [1, 32, 5, 7], [32, 16, 2, 2], [1, 16, 10, 14], strides=[2, 2]),
    "transposed, 3 x 2": model("ConvTranspose", [2, 3, 5, 7], [3, 4, 3, 2], [2, 4, 15, 14], strides=[3, 2]),
    "transposed, named sizes": model("ConvTranspose", ["n", 8, "h", 6], [8, 4, 2, 2], ["n", 4, "2*h", 12], strides=[2, 2]),
    "transposed, overlapping": model("ConvTranspose", [1, 4, 5, 6], [4, 3, 3, 3], [1, 3, 11, 13], strides=[2, 2]),
    "transposed, with holes": model("ConvTranspose", [1, 4, 5, 6], [4, 3, 2, 2], [1, 3, 11, 13], strides=[2, 2], dilations=[2, 2]),
    "transposed, groups": model("ConvTranspose", [1, 4, 5, 6], [4, 3, 2, 2], [1, 6, 10, 12], strides=[2, 2], group=2),
    "transposed, cut": model("ConvTranspose", [1, 4, 5, 6], [4, 3, 2, 2], [1, 3, 8, 10], strides=[2, 2], pads=[1, 1, 1, 1]),
}


@pytest.mark.parametrize("name", CASES)
def test_results_are_right(name: str) -> None:
    program = lb.from_onnx(CASES[name])
    assert not program.fallbacks, program.fallbacks
    (value,) = CASES[name].graph.input
    feeds = {"x": _random.standard_normal([dim.dim_value or 3 for dim in value.type.tensor_type.shape.dim]).astype("float32")}
    assert_same(run_program(program, feeds), reference(CASES[name], feeds))


def _rewritten(operator: Any) -> str:
    builder = relax.BlockBuilder()
    shapes = ([1, 4, 9], [6, 4, 3]) if operator is relax.op.nn.conv1d else ([1, 4, 9, 9], [4, 6, 2, 2])
    x, w = (relax.Var(name, relax.TensorType(shape, "float32")) for name, shape in zip("xw", shapes, strict=True))
    with builder.function("main", [x, w]):
        builder.emit_func_output(builder.emit(operator(x, w, strides=2)))
    return str(plain_convolutions(builder.get()).script())


@pytest.mark.parametrize("operator", [relax.op.nn.conv1d, relax.op.nn.conv2d_transpose])
def test_what_is_left_is_two_dimensional(operator: Any) -> None:
    text = _rewritten(operator)
    assert "R.nn.conv2d(" in text
    assert "conv1d" not in text
    assert "transpose(" not in text
