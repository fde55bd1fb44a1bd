"""Quantised operators against onnx's reference evaluator, and against NumPy where that lacks a form."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
import pytest
from onnx.helper import np_dtype_to_tensor_dtype

from support.run_operators import One, check, evaluated

RNG = np.random.default_rng(5)
TYPES = (np.int8, np.uint8, np.int16, np.uint16, ml_dtypes.int4, ml_dtypes.uint4, ml_dtypes.int2, ml_dtypes.uint2)
FLOATS = (ml_dtypes.float8_e4m3fn, ml_dtypes.float8_e5m2, ml_dtypes.float8_e4m3fnuz, ml_dtypes.float8_e5m2fnuz, ml_dtypes.float4_e2m1fn)


def case(name: str, operator: str, inputs: list[Any], constants: tuple[int, ...] = (), **attributes: Any) -> One:
    outputs = 3 if operator == "DynamicQuantizeLinear" else 1
    expected = evaluated(operator, inputs, outputs=outputs, **attributes)
    return One(name, operator, inputs, expected, constants=constants, attributes=attributes)


def scales_of(axis_extent: int) -> Any:
    return RNG.uniform(0.05, 0.5, axis_extent).astype(np.float32)


def points_of(dtype: Any, *shape: int) -> Any:
    name = np.dtype(dtype).name
    bits = int("".join(c for c in name if c.isdigit()))
    low = 0 if name.startswith("u") else -(1 << (bits - 1))
    return RNG.integers(low, low + (1 << bits), shape).astype(dtype)


def test_to_every_type_and_back_of_a_tensor_an_axis_and_in_blocks() -> None:
    data = (RNG.standard_normal((4, 6)) * 3).astype(np.float32)
    cases = []
    for dtype in TYPES:
        name, values = np.dtype(dtype).name, points_of(dtype, 4, 6)
        scale, point = np.float32(0.3), points_of(dtype)
        cases += [
            case(f"q_{name}", "QuantizeLinear", [data, scale, point]),
            case(f"q_{name}_axis", "QuantizeLinear", [data, scales_of(6), points_of(dtype, 6)], axis=1),
            case(f"q_{name}_blocks", "QuantizeLinear", [data, scales_of(8).reshape(4, 2), points_of(dtype, 4, 2)], axis=1, block_size=3),
            case(f"d_{name}", "DequantizeLinear", [values, scale, point]),
            case(f"d_{name}_axis", "DequantizeLinear", [values, scales_of(4), points_of(dtype, 4)], axis=0),
            case(f"d_{name}_blocks", "DequantizeLinear", [values, scales_of(12).reshape(2, 6)], axis=0, block_size=2),
            case(f"d_{name}_constant", "DequantizeLinear", [values, scales_of(4), points_of(dtype, 4)], (0, 1, 2), axis=0),
        ]
    for dtype in FLOATS:
        name, zero = np.dtype(dtype).name, np.zeros((), dtype)
        cases += [
            case(f"q_{name}", "QuantizeLinear", [data * 50, np.float32(0.1), zero]),
            case(f"d_{name}", "DequantizeLinear", [data.astype(dtype), np.float32(0.1), zero]),
        ]
    check(cases, opset=25, rtol=1e-6)  # the first with two bits


def test_types_by_attribute_and_halves() -> None:
    data = (RNG.standard_normal((3, 4)) * 3).astype(np.float32)
    cases = [
        case("q_default", "QuantizeLinear", [data, np.float32(0.1)]),
        case("q_attribute", "QuantizeLinear", [data, np.float32(0.1)], output_dtype=np_dtype_to_tensor_dtype(np.dtype(np.int16))),
        case("d_half", "DequantizeLinear", [points_of(np.int8, 3, 4), np.float16(0.5), np.int8(3)]),
        case("d_wide", "DequantizeLinear", [RNG.integers(-1000, 1000, (3, 4)).astype(np.int32), np.float32(0.5)]),
        case("dynamic", "DynamicQuantizeLinear", [data]),
        case("dynamic_positive", "DynamicQuantizeLinear", [np.abs(data) + 1]),
    ]
    check(cases, rtol=1e-3)


@pytest.mark.parametrize("left", [np.int8, np.uint8])
@pytest.mark.parametrize("right", [np.int8, np.uint8])
def test_products_of_every_pair_of_types(left: Any, right: Any) -> None:
    a, b, batch = points_of(left, 3, 5), points_of(right, 5, 4), points_of(left, 2, 3, 5)
    rows = points_of(left, 3).astype(np.int32)[:, None]
    by_rows = (a.astype(np.int32) - rows) @ b.astype(np.int32)
    of_all = [np.float32(0.02), points_of(left), b, np.float32(0.03), points_of(right), np.float32(0.5), points_of(left)]
    cases = [
        case("plain", "MatMulInteger", [a, b]),
        case("points", "MatMulInteger", [a, b, points_of(left), points_of(right)]),
        case("columns", "MatMulInteger", [a, b, points_of(left), points_of(right, 4)], (1, 3)),
        One("rows", "MatMulInteger", [a, b, rows[:, 0].astype(left)], [by_rows]),
        case("linear", "QLinearMatMul", [a, *of_all]),
        case("linear_batch", "QLinearMatMul", [batch, *of_all], (3,)),
    ]
    check(cases)


def test_convolutions() -> None:
    data, weights = points_of(np.uint8, 1, 4, 6, 6), points_of(np.uint8, 6, 2, 3, 3)
    scales, points = scales_of(6), points_of(np.uint8, 6)
    shape: dict[str, Any] = {"pads": [1, 0, 1, 2], "strides": [2, 1], "group": 2}
    wide = data.astype(np.float32) - 7
    by_channel = evaluated("Conv", [wide, weights.astype(np.float32) - points[:, None, None, None].astype(np.float32)], **shape)[0]
    bias = RNG.integers(-500, 500, 6).astype(np.int32)
    sums = by_channel + bias[:, None, None]
    scaled = np.rint(sums * (np.float32(0.1) * scales[:, None, None] / np.float32(20))) + 100
    inputs = [data, np.float32(0.1), np.uint8(7), weights, scales, points, np.float32(20), np.uint8(100), bias]
    cases = [
        One("integer", "ConvInteger", [data, weights, np.uint8(7), points], [by_channel.astype(np.int32)], attributes=shape),
        One("linear", "QLinearConv", inputs, [np.clip(scaled, 0, 255).astype(np.uint8)], constants=(3, 4, 5), attributes=shape),
        case("one_scale", "QLinearConv", [*inputs[:4], np.float32(0.2), np.uint8(9), np.float32(20), np.uint8(100)], **shape),
    ]
    check(cases, rtol=0, atol=0)
