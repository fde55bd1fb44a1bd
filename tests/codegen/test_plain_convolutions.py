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
    "transposed, cut to the right": model("ConvTranspose", [1, 4, 5, 6], [4, 3, 4, 4], [1, 3, 9, 11], strides=[2, 2], pads=[1, 0, 2, 3]),
    "transposed, more": model(
        "ConvTranspose", [1, 4, 5, 6], [4, 3, 3, 2], [1, 3, 12, 15], strides=[2, 3], output_padding=[1, 2], pads=[0, 1, 0, 3]
    ),
    "transposed, steps longer than the kernel": model("ConvTranspose", [1, 4, 5, 6], [4, 3, 2, 1], [1, 3, 14, 21], strides=[3, 4]),
    "transposed, more than the kernel reaches": model(
        "ConvTranspose", [1, 4, 5, 6], [4, 3, 3, 2], [1, 3, 17, 13], strides=[3, 2], output_padding=[2, 1]
    ),
    "transposed, no steps": model("ConvTranspose", [2, 4, 5, 6], [4, 3, 3, 3], [2, 3, 5, 6], pads=[1, 1, 1, 1]),
    "transposed, groups that overlap": model(
        "ConvTranspose", [2, 8, 5, 6], [8, 3, 4, 4], [2, 12, 10, 12], strides=[2, 2], group=4, pads=[1] * 4
    ),
    "transposed, depthwise": model("ConvTranspose", [1, 16, 5, 6], [16, 1, 4, 4], [1, 16, 10, 12], strides=[2, 2], group=16, pads=[1] * 4),
    "transposed, cut, named sizes": model(
        "ConvTranspose", ["n", 8, "h", 6], [8, 4, 4, 4], ["n", 4, "2*h", 12], strides=[2, 2], pads=[1, 1, 1, 1]
    ),
    "transposed, one axis": model("ConvTranspose", [2, 4, 9], [4, 3, 5], [2, 3, 18], strides=[2], pads=[2, 1]),
    "transposed, three axes": model(
        "ConvTranspose", [1, 4, 3, 4, 5], [4, 3, 3, 4, 2], [1, 3, 5, 8, 10], strides=[2, 2, 2], pads=[1, 1, 0, 1, 1, 0]
    ),
    "three axes": model("Conv", [2, 3, 6, 7, 8], [5, 3, 3, 2, 4], [2, 5, 4, 6, 5]),
    "three axes, steps, borders and holes": model(
        "Conv", [1, 4, 9, 10, 11], [6, 4, 3, 3, 3], [1, 6, 4, 4, 11], strides=[2, 3, 1], pads=[1, 2, 2, 2, 1, 2], dilations=[2, 1, 2]
    ),
    "three axes, groups": model("Conv", [2, 8, 5, 6, 7], [12, 2, 3, 3, 1], [2, 12, 5, 6, 7], group=4, pads=[1, 1, 0, 1, 1, 0]),
    "three axes, depthwise": model("Conv", [1, 16, 5, 6, 7], [16, 1, 3, 3, 3], [1, 16, 5, 6, 7], group=16, pads=[1] * 6),
    "three axes, one slice": model("Conv", ["n", 4, 5, 6, 7], [16, 4, 1, 3, 3], ["n", 16, 5, 4, 5]),
    "three axes, named batch and width": model("Conv", ["n", 4, 5, 6, "w"], [16, 4, 3, 3, 3], ["n", 16, 5, 6, "w"], pads=[1] * 6),
    "transposed, cut": model("ConvTranspose", [1, 4, 5, 6], [4, 3, 2, 2], [1, 3, 8, 10], strides=[2, 2], pads=[1, 1, 1, 1]),
}


@pytest.mark.parametrize("name", CASES)
def test_results_are_right(name: str) -> None:
    program = lb.from_onnx(CASES[name])
    assert not program.fallbacks, program.fallbacks
    (value,) = CASES[name].graph.input
    feeds = {"x": _random.standard_normal([dim.dim_value or 3 for dim in value.type.tensor_type.shape.dim]).astype("float32")}
    assert_same(run_program(program, feeds), reference(CASES[name], feeds))


_OPERATORS = {
    relax.op.nn.conv1d: ([1, 4, 9], [6, 4, 3]),
    relax.op.nn.conv3d: ([1, 4, 9, 9, 9], [6, 4, 3, 3, 3]),
    relax.op.nn.conv1d_transpose: ([1, 4, 9], [4, 6, 3]),
    relax.op.nn.conv2d_transpose: ([1, 4, 9, 9], [4, 6, 3, 3]),
    relax.op.nn.conv3d_transpose: ([1, 4, 9, 9, 9], [4, 6, 3, 3, 3]),
}


@pytest.mark.parametrize("operator", _OPERATORS, ids=lambda operator: operator.__name__)
def test_what_is_left_is_two_dimensional(operator: Any) -> None:
    data, weight = _OPERATORS[operator]
    builder = relax.BlockBuilder()
    x = relax.Var("x", relax.TensorType(data, "float32"))
    with builder.function("main", [x]):
        builder.emit_func_output(builder.emit(operator(x, relax.const(np.zeros(weight, "float32")), strides=2)))
    text = str(plain_convolutions(builder.get()).script())
    assert text.count("R.nn.conv") == text.count("R.nn.conv2d(") == 1
