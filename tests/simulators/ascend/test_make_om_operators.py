"""Every operator of the OM maker, run in the simulator and compared with ONNX Runtime on the same model."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray

from landbridge.runtime.driver import Driver
from landbridge.runtime.vendors.atlas import AtlasVendor
from landbridge.simulators.ascend.make_om import make_om
from landbridge.simulators.ascend.make_om_operators import TRANSLATORS
from support.run_om import run_om, run_onnx
from support.small_onnx import node, small_model

RNG = np.random.default_rng(7)


def rand(*shape: int) -> NDArray[np.float32]:
    return RNG.standard_normal(shape).astype(np.float32)


def ints(*values: int) -> NDArray[np.int64]:
    return np.array(values, np.int64)


@dataclass
class Case:
    """Nodes from ``x`` (and ``x2``) to ``y``; ``image`` has a leading batch of 2."""

    nodes: list[Any]
    x: tuple[int, ...] = (2, 3, 6, 7)
    x2: tuple[int, ...] | None = None
    constants: dict[str, Any] = field(default_factory=dict)
    positive: bool = False
    opset: int = 17
    y_dtype: str = "float32"


BN = {"s": rand(3), "b": rand(3), "m": rand(3), "v": np.abs(rand(3)) + 0.5}
FILTER = {"w": rand(4, 3, 3, 3)}

CASES: dict[str, Case] = {
    "conv": Case([node("Conv", "x w", "y")], constants=FILTER),
    "conv bias, pads, strides": Case([node("Conv", "x w b", "y", pads=[1, 0, 2, 1], strides=[2, 1])], constants={**FILTER, "b": rand(4)}),
    "conv dilated": Case([node("Conv", "x w", "y", dilations=[2, 2], pads=[2, 2, 2, 2])], constants=FILTER),
    "conv same upper": Case([node("Conv", "x w", "y", auto_pad="SAME_UPPER", strides=[2, 2])], constants=FILTER),
    "conv same lower": Case([node("Conv", "x w", "y", auto_pad="SAME_LOWER", strides=[2, 2])], constants={"w": rand(4, 3, 2, 2)}),
    "conv valid": Case([node("Conv", "x w", "y", auto_pad="VALID")], constants=FILTER),
    "conv groups": Case([node("Conv", "x w", "y", group=3)], constants={"w": rand(6, 1, 3, 3)}),
    "conv with a computed filter": Case([node("Neg", "w", "v"), node("Conv", "x v", "y")], constants=FILTER),
    "max pool": Case([node("MaxPool", "x", "y", kernel_shape=[2, 3], strides=[2, 2], pads=[0, 1, 0, 1])]),
    "max pool ceil": Case([node("MaxPool", "x", "y", kernel_shape=[3, 3], strides=[2, 2], ceil_mode=1)]),
    "max pool same": Case([node("MaxPool", "x", "y", kernel_shape=[3, 3], strides=[2, 2], auto_pad="SAME_UPPER")]),
    "average pool": Case([node("AveragePool", "x", "y", kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1])]),
    "average pool with pads counted": Case(
        [node("AveragePool", "x", "y", kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1], count_include_pad=1)]
    ),
    "global average pool": Case([node("GlobalAveragePool", "x", "y")]),
    "reduce mean": Case([node("ReduceMean", "x", "y", axes=[-1, 1])]),
    "reduce mean without kept dims": Case([node("ReduceMean", "x", "y", axes=[2, 3], keepdims=0)]),
    "reduce mean of all": Case([node("ReduceMean", "x", "y", keepdims=0)]),
    "reduce mean with axes as input": Case([node("ReduceMean", "x a", "y")], constants={"a": ints(2)}, opset=18),
    "reduce mean of nothing": Case([node("ReduceMean", "x", "y", noop_with_empty_axes=1)], opset=18),
    "matmul": Case([node("MatMul", "x w", "y")], x=(2, 5), constants={"w": rand(5, 4)}),
    "matmul of batches": Case([node("MatMul", "x x2", "y")], x=(2, 3, 4, 5), x2=(2, 3, 5, 2)),
    "matmul of a batch with a matrix": Case([node("MatMul", "x w", "y")], x=(2, 3, 5), constants={"w": rand(5, 4)}),
    "gemm": Case([node("Gemm", "x w b", "y")], x=(2, 5), constants={"w": rand(5, 4), "b": rand(4)}),
    "gemm transposed": Case([node("Gemm", "x w", "y", transB=1)], x=(2, 5), constants={"w": rand(4, 5)}),
    "gemm transposed left": Case([node("Gemm", "x w", "y", transA=1)], x=(2, 5), constants={"w": rand(2, 5)}),
    "gemm scaled": Case([node("Gemm", "x w b", "y", alpha=0.5, beta=2.0)], x=(2, 5), constants={"w": rand(5, 4), "b": rand(1, 4)}),
    "gemm with a scalar": Case([node("Gemm", "x w b", "y")], x=(2, 5), constants={"w": rand(5, 4), "b": np.float32(3)}),
    "gemm without its term": Case([node("Gemm", "x w b", "y", beta=0.0)], x=(2, 5), constants={"w": rand(5, 4), "b": rand(4)}),
    "add": Case([node("Add", "x x2", "y")], x2=(3, 1, 7)),
    "sub": Case([node("Sub", "x c", "y")], constants={"c": rand(3, 1, 1)}),
    "mul": Case([node("Mul", "x c", "y")], constants={"c": np.float32(0.25)}),
    "div": Case([node("Div", "c x", "y")], constants={"c": rand(7)}, positive=True),
    "max of three": Case([node("Max", "x x2 c", "y")], x2=(2, 3, 6, 7), constants={"c": np.float32(0.1)}),
    "max of one": Case([node("Max", "x", "y")]),
    "min": Case([node("Min", "x x2", "y")], x2=(7,)),
    "relu": Case([node("Relu", "x", "y")]),
    "clip to six": Case(
        [node("Mul", "x t", "z"), node("Clip", "z lo hi", "y")], constants={"t": np.float32(9), "lo": np.float32(0), "hi": np.float32(6)}
    ),
    "clip below": Case([node("Clip", "x lo", "y")], constants={"lo": np.float32(0)}),
    "clip between": Case([node("Clip", "x lo hi", "y")], constants={"lo": np.float32(-0.5), "hi": np.float32(0.75)}),
    "clip above": Case([node("Clip", "x _ hi", "y")], constants={"hi": np.float32(0.5)}),
    "clip by attributes": Case([node("Clip", "x", "y", min=-0.25, max=0.5)], opset=10),
    "clip of nothing": Case([node("Clip", "x", "y")]),
    "leaky relu": Case([node("LeakyRelu", "x", "y", alpha=0.2)]),
    "sigmoid": Case([node("Sigmoid", "x", "y")]),
    "tanh": Case([node("Tanh", "x", "y")]),
    "exp": Case([node("Exp", "x", "y")]),
    "sqrt": Case([node("Sqrt", "x", "y")], positive=True),
    "neg": Case([node("Neg", "x", "y")]),
    "abs": Case([node("Abs", "x", "y")]),
    "softmax": Case([node("Softmax", "x", "y", axis=1)]),
    "softmax of the last": Case([node("Softmax", "x", "y")]),
    "softmax of before opset 13": Case([node("Softmax", "x", "y", axis=1)], opset=11),
    "reshape": Case([node("Reshape", "x t", "y")], constants={"t": ints(0, -1, 7)}),
    "reshape to a computed shape": Case(
        [
            node("Shape", "x", "s"),
            node("Gather", "s zero", "n"),
            node("Concat", "n rest", "t", axis=0),
            node("Reshape", "x t", "y"),
        ],
        constants={"zero": ints(0), "rest": ints(-1)},
    ),
    "flatten": Case([node("Flatten", "x", "y")]),
    "squeeze": Case([node("Squeeze", "x a", "y")], x=(2, 1, 4, 1), constants={"a": ints(-1)}),
    "unsqueeze": Case([node("Unsqueeze", "x a", "y")], x=(2, 4), constants={"a": ints(1)}),
    "unsqueeze by attribute": Case([node("Unsqueeze", "x", "y", axes=[2])], x=(2, 4), opset=11),
    "transpose": Case([node("Transpose", "x", "y", perm=[0, 2, 3, 1])]),
    "transpose backwards": Case([node("Transpose", "x", "y")], x=(2, 4)),
    "concat": Case([node("Concat", "x x2 c", "y", axis=1)], x2=(2, 2, 6, 7), constants={"c": rand(2, 1, 6, 7)}),
    "identity": Case([node("Identity", "x", "y")]),
    "cast to an integer": Case([node("Cast", "x", "y", to=onnx.TensorProto.INT32)], y_dtype="int32"),
    "cast to and fro": Case([node("Cast", "x", "i", to=onnx.TensorProto.INT32), node("Cast", "i", "y", to=onnx.TensorProto.FLOAT)]),
    "cast between floats": Case([node("Cast", "x", "h", to=onnx.TensorProto.FLOAT16), node("Cast", "h", "y", to=onnx.TensorProto.FLOAT)]),
    "constant": Case([node("Constant", "", "c", value_float=2.5), node("Mul", "x c", "y")]),
    "batch normalisation": Case([node("BatchNormalization", "x s b m v", "y", epsilon=1e-3)], constants=BN),
    "batch normalisation after a convolution": Case(
        [node("Conv", "x w c", "z"), node("BatchNormalization", "z s b m v", "y")],
        constants={"w": rand(3, 3, 3, 3), "c": rand(3), **BN},
    ),
    "batch normalisation of a convolution used twice": Case(
        [node("Conv", "x w", "z"), node("BatchNormalization", "z s b m v", "t"), node("Add", "z t", "y")],
        constants={"w": rand(3, 3, 3, 3), **BN},
    ),
    "dropout": Case([node("Dropout", "x", "d"), node("Relu", "d", "y")]),
}


@pytest.fixture(scope="module")
def driver() -> Iterator[Driver]:
    opened = AtlasVendor().open(0, simulate=True)
    yield opened
    opened.close()


def model_of(case: Case) -> Any:
    inputs = {"x": ("float32", case.x)} | ({"x2": ("float32", case.x2)} if case.x2 else {})
    return small_model(case.nodes, inputs, {"y": (case.y_dtype, None)}, case.constants, opset=case.opset)


def inputs_of(case: Case) -> dict[str, NDArray[Any]]:
    found = {"x": rand(*case.x)} | ({"x2": rand(*case.x2)} if case.x2 else {})
    return {name: np.abs(array) + 0.5 if case.positive else array for name, array in found.items()}


@pytest.mark.parametrize("name", CASES)
def test_the_simulator_gives_what_onnxruntime_gives(driver: Driver, name: str) -> None:
    case = CASES[name]
    model, inputs = model_of(case), inputs_of(case)
    expected = run_onnx(model, inputs)[0]
    for fp16, bound in ((False, 1e-5), (True, 1e-2)):  # of float16's 11 bits several are lost in a sum of 30 products
        found = run_om(driver, make_om(model, fp16=fp16), list(inputs.values()))[0]
        assert found.dtype == expected.dtype
        assert found.shape == expected.shape
        np.testing.assert_allclose(found, expected, rtol=bound, atol=bound)


def test_every_translator_has_a_case() -> None:
    open_ended = {"NonZero"}  # has no shape to compare; tests/e2e/test_open_outputs.py
    assert set(TRANSLATORS) - open_ended <= {node.op_type for case in CASES.values() for node in case.nodes}
