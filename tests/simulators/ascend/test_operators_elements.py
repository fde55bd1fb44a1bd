"""Element-wise operators, casts, shapes and layouts against NumPy."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from support.acl import Acl
from support.ge_graph import GE_DTYPES, half
from support.operators import RNG, apply, close, rand, to_5hd, to_fractal_z

# --- element-wise

BINARY: dict[str, Any] = {
    "Add": np.add,
    "Sub": np.subtract,
    "Mul": np.multiply,
    "RealDiv": np.divide,
    "Maximum": np.maximum,
    "Minimum": np.minimum,
}
SHAPES = [((2, 3, 4), (2, 3, 4)), ((2, 3, 4), (4,)), ((2, 1, 4), (1, 3, 1)), ((3,), (2, 3)), ((2, 3), ())]


@pytest.mark.parametrize("type_", BINARY)
@pytest.mark.parametrize(("a_shape", "b_shape"), SHAPES)
def test_binary_operators_broadcast_and_round_to_float16(acl: Acl, type_: str, a_shape: tuple[int, ...], b_shape: tuple[int, ...]) -> None:
    a, b = rand(*a_shape), np.asarray(rand(*b_shape) + np.float16(3))
    expected = BINARY[type_](a.astype(np.float32), b.astype(np.float32)).astype(np.float16)
    np.testing.assert_array_equal(apply(acl, type_, [a, b], expected.shape), expected)


@pytest.mark.parametrize("type_", ["Add", "Sub", "Mul", "Maximum", "Minimum"])
@pytest.mark.parametrize("dtype", ["int8", "uint8", "int32", "int64"])
def test_binary_operators_on_integers_wrap_around(acl: Acl, type_: str, dtype: str) -> None:
    info = np.iinfo(dtype)
    a = RNG.integers(info.min, info.max, (64,), dtype, endpoint=True)
    b = RNG.integers(info.min, info.max, (64,), dtype, endpoint=True)
    np.testing.assert_array_equal(apply(acl, type_, [a, b], (64,), dtype), BINARY[type_](a, b))


UNARY: dict[str, Any] = {
    "Relu": lambda x: np.maximum(x, 0),
    "Relu6": lambda x: np.clip(x, 0, 6),
    "LeakyRelu": lambda x: np.where(x > 0, x, np.float32(0.25) * x),
    "Sigmoid": lambda x: 1 / (1 + np.exp(-x)),
    "Tanh": np.tanh,
    "Exp": np.exp,
    "Neg": np.negative,
    "Abs": np.abs,
}


@pytest.mark.parametrize("type_", UNARY)
@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_unary_operators(acl: Acl, type_: str, dtype: str) -> None:
    x = np.clip(rand(3, 50, dtype=dtype) * 4, -9, 9)
    expected = UNARY[type_](x.astype(np.float32))
    np.testing.assert_allclose(
        apply(acl, type_, [x], x.shape, dtype, negative_slope=0.25), expected, rtol=1e-3 if dtype == "float16" else 1e-6, atol=1e-6
    )


def test_sqrt(acl: Acl) -> None:
    x = np.abs(rand(40))
    close(apply(acl, "Sqrt", [x], (40,)), np.sqrt(x.astype(np.float32)))


def test_unary_operators_on_integers(acl: Acl) -> None:
    x = np.array([-128, -7, 0, 5, 6, 7, 127], np.int8)
    for type_, expected in (("Relu", np.maximum(x, 0)), ("Relu6", np.clip(x, 0, 6)), ("Neg", -x), ("Abs", np.abs(x))):
        np.testing.assert_array_equal(apply(acl, type_, [x], x.shape, "int8"), expected)


def test_relu_keeps_nan(acl: Acl) -> None:
    assert np.isnan(apply(acl, "Relu", [np.array([np.nan], np.float32)], (1,), "float32")).all()


@pytest.mark.parametrize(
    ("shape", "layout", "axis", "attrs"), [((2, 3, 4, 5), "NCHW", 1, {}), ((2, 4, 5, 3), "NHWC", 3, {}), ((4, 3), "ND", 1, {})]
)
def test_bias_add(acl: Acl, shape: tuple[int, ...], layout: str, axis: int, attrs: dict[str, Any]) -> None:
    x, bias = rand(*shape), rand(3)
    expected = half(x.astype(np.float32) + bias.astype(np.float32).reshape([3 if i == axis else 1 for i in range(len(shape))]))
    np.testing.assert_array_equal(apply(acl, "BiasAdd", [x, bias], shape, layout=layout, **attrs), expected)


@pytest.mark.parametrize("axes", [[-1], [1], [0], [1, 2]])
def test_softmax(acl: Acl, axes: list[int]) -> None:
    x = rand(3, 4, 5) * 5
    wide = np.exp(x.astype(np.float32) - x.max(tuple(axes), keepdims=True))
    close(apply(acl, "SoftmaxV2", [x], x.shape, axes=axes), wide / wide.sum(tuple(axes), keepdims=True))


# --- casts and float16


@pytest.mark.parametrize("source", ["float32", "float16", "int8", "uint8", "int32", "int64", "bool"])
@pytest.mark.parametrize("target", ["float32", "float16", "int8", "uint8", "int32", "int64", "bool"])
def test_cast_of_values_that_fit(acl: Acl, source: str, target: str) -> None:
    x = np.array([0, 1, 2, 3, 7, 100], source)
    np.testing.assert_array_equal(apply(acl, "Cast", [x], x.shape, target, dst_type=GE_DTYPES[target]), x.astype(target))


def test_cast_to_float16_rounds_to_nearest_even_and_to_infinity(acl: Acl) -> None:
    bits = RNG.integers(0, 1 << 32, 20000, np.uint32, endpoint=False)
    edges = np.array(
        [65504, 65519.996, 65520, 2**-24, 2**-25, 2**-25 * 1.0001, 2**-14, 1 + 2**-11, 1 + 3 * 2**-11, 0, np.inf, np.nan], np.float32
    )
    x = np.concatenate(
        [bits.view(np.float32), edges, -edges, rand(20000, dtype="float32"), rand(20000, dtype="float32") * np.float32(1e-6)]
    )
    with np.errstate(over="ignore", invalid="ignore"):
        np.testing.assert_array_equal(apply(acl, "Cast", [x], x.shape, dst_type=1), x.astype(np.float16))


def test_every_float16_survives_a_round_trip(acl: Acl) -> None:
    x = np.arange(65536, dtype=np.uint32).astype(np.uint16).view(np.float16)
    np.testing.assert_array_equal(apply(acl, "Identity", [x], x.shape), x)


def test_cast_from_float_truncates_and_saturates(acl: Acl) -> None:
    x = np.array([1.9, -1.9, 300, -300, np.nan, np.inf], np.float32)
    assert apply(acl, "Cast", [x], x.shape, "int8", dst_type=2).tolist() == [1, -1, 127, -128, 0, 127]
    assert apply(acl, "Cast", [x], x.shape, "uint8", dst_type=4).tolist() == [1, 0, 255, 0, 0, 255]


# --- shapes


@pytest.mark.parametrize(
    ("type_", "shape", "attrs"),
    [
        ("Reshape", (6, 4), {}),
        ("Flatten", (2, 12), {}),
        ("Flatten", (6, 4), {"axis": 2}),
        ("FlattenV2", (2, 12), {"axis": 1}),
        ("FlattenV2", (6, 4), {"axis": 0, "end_axis": 1}),
    ],
)
def test_reshapes(acl: Acl, type_: str, shape: tuple[int, ...], attrs: dict[str, Any]) -> None:
    x = rand(2, 3, 4)
    np.testing.assert_array_equal(apply(acl, type_, [x], shape, **attrs), x.reshape(shape))


@pytest.mark.parametrize("perm", [(0, 2, 3, 1), (3, 2, 1, 0), (1, 0, 2, 3)])
def test_transposes(acl: Acl, perm: tuple[int, ...]) -> None:
    for x in (rand(2, 3, 4, 5), RNG.integers(0, 99, (2, 3, 4, 5), np.int32)):
        expected = x.transpose(perm)
        np.testing.assert_array_equal(apply(acl, "TransposeD", [x], expected.shape, str(x.dtype), perm=list(perm)), expected)
        np.testing.assert_array_equal(apply(acl, "Transpose", [x, np.array(perm, np.int64)], expected.shape, str(x.dtype)), expected)


@pytest.mark.parametrize("type_", ["ConcatD", "ConcatV2D"])
@pytest.mark.parametrize("axis", [0, 1, -1])
def test_concatenation(acl: Acl, type_: str, axis: int) -> None:
    parts = [rand(*[n if i == axis % 3 else 2 for i in range(3)]) for n in (1, 3, 2)]
    expected = np.concatenate(parts, axis)
    np.testing.assert_array_equal(apply(acl, type_, parts, expected.shape, concat_dim=axis, N=3), expected)


TRANSFORMS: list[tuple[str, str, Any]] = [
    ("NCHW", "NHWC", lambda x: x.transpose(0, 2, 3, 1)),
    ("NHWC", "NCHW", lambda x: x.transpose(0, 3, 1, 2)),
    ("NCHW", "NC1HWC0", to_5hd),
    ("NHWC", "NC1HWC0", lambda x: to_5hd(x.transpose(0, 3, 1, 2))),
    ("NCHW", "FRACTAL_Z", to_fractal_z),
    ("NCHW", "HWCN", lambda x: x.transpose(2, 3, 1, 0)),
]


@pytest.mark.parametrize(("source", "target", "reference"), TRANSFORMS)
def test_trans_data_there_and_back(acl: Acl, source: str, target: str, reference: Any) -> None:
    x = rand(18, 20, 3, 19)
    stored = np.ascontiguousarray(reference(x))
    np.testing.assert_array_equal(apply(acl, "TransData", [x], stored.shape, layout=source, result=target), stored)
    np.testing.assert_array_equal(apply(acl, "TransData", [stored], x.shape, layout=target, result=source), x)


@pytest.mark.parametrize("transpose", [False, True])
@pytest.mark.parametrize("dtype", ["float32", "int32"])
def test_non_zero(acl: Acl, transpose: bool, dtype: str) -> None:
    x = (np.random.default_rng(1).integers(-1, 2, (3, 4, 5))).astype(dtype)
    indices = np.stack(np.nonzero(x), axis=0 if transpose else 1)
    found = apply(acl, "NonZero", [x], indices.shape, "int64", transpose=transpose)
    np.testing.assert_array_equal(found, indices)
