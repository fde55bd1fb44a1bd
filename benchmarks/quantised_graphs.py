"""Write products and convolutions of 8-bit integers as ONNX models have them: uint8 data with a zero point, int8 weights.

They come in two forms: as operators on integers (``QLinearConv``), and as operators on real numbers between ``DequantizeLinear`` and
``QuantizeLinear``, which is what quantisation tools write ("QDQ").
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from onnx import TensorProto, helper, numpy_helper, shape_inference

_SCALE = np.float32(0.02)
"""Of all data between operators on real numbers."""


def graphs() -> dict[str, Callable[[], Any]]:
    """Return what is compared: by name a function that makes the model."""
    return {
        "MatMulInteger, 128 x 768 x 768": lambda: product(128, 768, 768, linear=False),
        "MatMulInteger, 1 x 768 x 3072": lambda: product(1, 768, 3072, linear=False),
        "QLinearMatMul, 128 x 768 x 768": lambda: product(128, 768, 768, linear=True),
        "QLinearMatMul, 1 x 768 x 3072": lambda: product(1, 768, 3072, linear=True),
        "QLinearConv, 3 x 3, 64 to 64, 56 x 56": lambda: convolution(64, 64, 3, 56),
        "QLinearConv, 1 x 1, 256 to 64, 56 x 56": lambda: convolution(256, 64, 1, 56),
        "QLinearConv, 3 x 3, 512 to 512, 7 x 7": lambda: convolution(512, 512, 3, 7),
        "QDQ MatMul, 128 x 768 x 768": lambda: dequantised_product(128, 768, 768),
        "QDQ MatMul of two, 12 x 128 x 64 x 128": lambda: dequantised_product_of_two(12, 128, 64, 128),
        "QDQ Conv, 3 x 3, 64 to 64, 56 x 56": lambda: dequantised_convolution(64, 64, 3, 56),
        "QDQ Conv, 1 x 1, 256 to 64, 56 x 56": lambda: dequantised_convolution(256, 64, 1, 56),
        "QDQ Conv, 3 x 3, 3 to 32, 224 x 224, stride 2": lambda: dequantised_convolution(3, 32, 3, 224, stride=2),
        "QDQ residual net, 128 x 128": residual_net,
    }


def product(rows: int, inner: int, columns: int, *, linear: bool, seed: int = 0) -> Any:
    """Return the model of a product of ``x``, uint8 [rows, inner], with a weight.

    Args:
        linear: ``QLinearMatMul``, whose result is uint8; ``MatMulInteger``, whose result is int32, otherwise.
        seed: of the weight.
    """
    weight = np.random.default_rng(seed).integers(-128, 128, (inner, columns)).astype("int8")
    shapes = [rows, inner], [rows, columns]
    if not linear:
        return _model("MatMulInteger", [weight, np.uint8(117)], shapes, TensorProto.INT32)
    scale = np.float32(0.02 * 0.01 * 74 * 74 * np.sqrt(inner) / 40)  # the result spreads over the range of uint8
    return _model("QLinearMatMul", _linear(weight, np.float32(0.01), np.int8(0), scale), shapes, TensorProto.UINT8)


def convolution(inputs: int, outputs: int, window: int, size: int, *, stride: int = 1, seed: int = 0) -> Any:
    """Return the model of ``QLinearConv`` on ``x``, uint8 [1, inputs, size, size], with a scale for each channel and a bias.

    Args:
        window: its height and width.
        stride: in both directions.
        seed: of the weight, its scales and the bias.
    """
    random = np.random.default_rng(seed)
    weight = random.integers(-128, 128, (outputs, inputs, window, window)).astype("int8")
    scales, bias = random.uniform(0.005, 0.015, outputs).astype("float32"), random.integers(-5000, 5000, outputs).astype("int32")
    scale = np.float32(0.02 * 0.01 * 74 * 74 * np.sqrt(inputs * window * window) / 40)
    constants = [*_linear(weight, scales, np.zeros(outputs, "int8"), scale), bias]
    after = (size + window // 2 * 2 - window) // stride + 1
    shapes = [1, inputs, size, size], [1, outputs, after, after]
    return _model("QLinearConv", constants, shapes, TensorProto.UINT8, pads=[window // 2] * 4, strides=[stride] * 2)


def dequantised_product(rows: int, inner: int, columns: int, *, seed: int = 0) -> Any:
    """Return the model of ``MatMul`` of ``x``, uint8 [rows, inner], with a weight, all dequantised, and the result quantised."""
    graph = _Dequantised([rows, inner], seed)
    weight, _ = graph.weight((inner, columns), 1)
    return graph.model(graph.quantised(graph.add("MatMul", [graph.real("x"), weight])))


def dequantised_product_of_two(heads: int, rows: int, inner: int, columns: int, *, seed: int = 0) -> Any:
    """Return the model of ``MatMul`` of two parts of ``x``, uint8 [heads, rows + columns, inner], as attention multiplies them."""
    graph = _Dequantised([heads, rows + columns, inner], seed)
    left, right = graph.add("Split", ["x", graph.held(np.array([rows, columns]))], outputs=2, axis=1)
    turned = graph.add("Transpose", [graph.real(right)], perm=[0, 2, 1])
    return graph.model(graph.quantised(graph.add("MatMul", [graph.real(left), turned])))


def dequantised_convolution(inputs: int, outputs: int, window: int, size: int, *, stride: int = 1, seed: int = 0) -> Any:
    """Return the model of ``Conv`` with a bias and ``Relu`` on ``x``, uint8 [1, inputs, size, size], dequantised, and the result quantised.

    Args:
        window: its height and width.
        stride: in both directions.
        seed: of the weight, its scales and the bias.
    """
    graph = _Dequantised([1, inputs, size, size], seed)
    return graph.model(graph.rectified(graph.convolution("x", inputs, outputs, window, stride)))


def residual_net(*, seed: int = 0) -> Any:
    """Return the model of three residual blocks on ``x``, uint8 [1, 3, 128, 128], dequantised around every operator."""
    graph = _Dequantised([1, 3, 128, 128], seed)
    y, channels = graph.rectified(graph.convolution("x", 3, 32, 3, 2)), 32
    for more in (32, 64, 128):
        stride = 1 if more == channels else 2
        skip = graph.quantised(graph.convolution(y, channels, more, 1, stride))
        y = graph.rectified(graph.convolution(y, channels, more, 3, stride))
        y = graph.quantised(graph.convolution(y, more, more, 3, 1))
        y, channels = graph.rectified(graph.add("Add", [graph.real(y), graph.real(skip)])), more
    pooled = graph.quantised(graph.add("GlobalAveragePool", [graph.real(y)]))
    weight, bias = graph.weight_and_bias((100, channels))
    return graph.model(graph.quantised(graph.add("Gemm", [graph.add("Flatten", [graph.real(pooled)]), weight, bias], transB=1)))


class _Dequantised:
    """A graph of operators on real numbers, with quantised tensors between them."""

    def __init__(self, shape: list[int], seed: int) -> None:
        self.random = np.random.default_rng(seed)
        self.input = helper.make_tensor_value_info("x", TensorProto.UINT8, shape)
        self.nodes: list[Any] = []
        self.weights: list[Any] = []
        self.points: dict[str, int] = {}  # of the data that are not around 117

    def held(self, array: Any) -> str:
        """Return the name of a new constant."""
        self.weights.append(numpy_helper.from_array(np.asarray(array), f"w{len(self.weights)}"))
        return str(self.weights[-1].name)

    def add(self, operator: str, inputs: list[str], outputs: int = 1, **attributes: Any) -> Any:
        """Return the name of the output of a new node, or the names where there are several."""
        names = [f"v{len(self.nodes)}_{index}" for index in range(outputs)]
        self.nodes.append(helper.make_node(operator, inputs, names, **attributes))
        return names[0] if outputs == 1 else names

    def real(self, name: str) -> str:
        """Return data as real numbers."""
        return str(self.add("DequantizeLinear", [name, self.held(_SCALE), self.held(np.uint8(self.points.get(name, 117)))]))

    def quantised(self, name: str, point: int = 117) -> str:
        """Return real numbers as data."""
        found = str(self.add("QuantizeLinear", [name, self.held(_SCALE), self.held(np.uint8(point))]))
        self.points[found] = point
        return found

    def rectified(self, name: str) -> str:
        """Return real numbers that are not negative as data, around zero as tools do it."""
        return self.quantised(self.add("Relu", [name]), 0)

    def weight(self, shape: tuple[int, ...], axis: int) -> tuple[str, Any]:
        """Return a dequantised weight with a scale for each place along an axis, which keeps the scale of data, and its scales."""
        count = np.prod(shape) / shape[axis]
        scales = (self.random.uniform(0.5, 1.5, shape[axis]) / (74 * np.sqrt(count))).astype("float32")
        numbers, points = self.random.integers(-127, 128, shape).astype("int8"), np.zeros(shape[axis], "int8")
        return str(self.add("DequantizeLinear", [self.held(numbers), self.held(scales), self.held(points)], axis=axis)), scales

    def weight_and_bias(self, shape: tuple[int, ...]) -> list[str]:
        """Return a dequantised weight with a scale for each place along the first axis, and a bias in units of the products."""
        weight, scales = self.weight(shape, 0)
        numbers = (self.random.uniform(-0.5, 0.5, shape[0]) / (_SCALE * scales)).astype("int32")
        return [weight, str(self.add("DequantizeLinear", [self.held(numbers), self.held(_SCALE * scales)], axis=0))]

    def convolution(self, name: str, inputs: int, outputs: int, window: int, stride: int) -> str:
        """Return a convolution of data with a bias."""
        operands = [self.real(name), *self.weight_and_bias((outputs, inputs, window, window))]
        return str(self.add("Conv", operands, pads=[window // 2] * 4, strides=[stride] * 2))

    def model(self, name: str) -> Any:
        """Return the model that gives quantised data."""
        result = helper.make_tensor_value_info(name, TensorProto.UINT8, None)
        graph = helper.make_graph(self.nodes, "quantised", [self.input], [result], self.weights)
        made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
        return shape_inference.infer_shapes(made)


def _linear(weight: Any, scale: Any, point: Any, result: Any) -> list[Any]:
    return [np.float32(0.02), np.uint8(117), weight, scale, point, result, np.uint8(128)]


def _model(operator: str, constants: list[Any], shapes: tuple[list[int], list[int]], dtype: int, **attributes: Any) -> Any:
    weights = [numpy_helper.from_array(np.asarray(array), f"w{index}") for index, array in enumerate(constants)]
    node = helper.make_node(operator, ["x", *(weight.name for weight in weights)], ["y"], **attributes)
    x = helper.make_tensor_value_info("x", TensorProto.UINT8, shapes[0])
    y = helper.make_tensor_value_info("y", dtype, shapes[1])
    graph = helper.make_graph([node], "quantised", [x], [y], weights)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
