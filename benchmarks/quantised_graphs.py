"""Write products and convolutions of 8-bit integers as ONNX models have them: uint8 data with a zero point, int8 weights."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from onnx import TensorProto, helper, numpy_helper


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


def _linear(weight: Any, scale: Any, point: Any, result: Any) -> list[Any]:
    return [np.float32(0.02), np.uint8(117), weight, scale, point, result, np.uint8(128)]


def _model(operator: str, constants: list[Any], shapes: tuple[list[int], list[int]], dtype: int, **attributes: Any) -> Any:
    weights = [numpy_helper.from_array(np.asarray(array), f"w{index}") for index, array in enumerate(constants)]
    node = helper.make_node(operator, ["x", *(weight.name for weight in weights)], ["y"], **attributes)
    x = helper.make_tensor_value_info("x", TensorProto.UINT8, shapes[0])
    y = helper.make_tensor_value_info("y", dtype, shapes[1])
    graph = helper.make_graph([node], "quantised", [x], [y], weights)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
