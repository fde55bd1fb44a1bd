from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from tvm import relax
from tvm.relax import op

from landbridge.codegen.blocked_operators import blocked_constant, blocked_weight
from landbridge.codegen.target import resolve_target
from support.kernels import Array, Case, case, compute, kernels_of
from support.other_targets import TARGETS, X86_64_V3

_random = np.random.default_rng(16)


def _floats(*shape: int) -> Array:
    return _random.standard_normal(shape).astype("float32")


def test_every_weight_is_found_again_in_its_block() -> None:
    weight = np.arange(20 * 18 * 2 * 3, dtype="float32").reshape(20, 18, 2, 3)
    blocked, plain = blocked_weight(weight, plain_input=False), blocked_weight(weight, plain_input=True)
    assert blocked.shape == (2, 2, 2, 3, 16, 16)
    assert plain.shape == (2, 2, 3, 18, 16)
    assert blocked.sum() == plain.sum() == weight.sum()
    for o, i, y, x in np.ndindex(*weight.shape):
        assert blocked[o // 16, i // 16, y, x, i % 16, o % 16] == plain[o // 16, y, x, i, o % 16] == weight[o, i, y, x]


def test_constants_are_filled_up_with_zeros() -> None:
    found = blocked_constant(np.arange(1, 21, dtype="float32").reshape(1, 20, 1, 1))
    assert found.shape == (1, 2, 1, 1, 16)
    assert found.reshape(-1).tolist() == [*range(1, 21), *[0] * 12]


W1, W2, W3 = _floats(32, 6, 3, 3) / 4, _floats(40, 32, 1, 1) / 4, _floats(16, 40, 3, 3) / 8
DEPTH = _floats(32, 1, 3, 3) / 2
BIAS, SCALE = _floats(1, 32, 1, 1), _floats(1, 32, 1, 1)
X = _floats(2, 6, 11, 13)


def _conv(x: Array, w: Array, stride: int = 1, pad: int = 0, groups: int = 1) -> Array:
    x = np.pad(x, ((0, 0), (0, 0), (pad, pad), (pad, pad))).astype("float64")
    view = np.lib.stride_tricks.sliding_window_view(x, w.shape[2:], axis=(2, 3))[:, :, ::stride, ::stride]
    parts = zip(np.split(view, groups, axis=1), np.split(w, groups), strict=True)
    return np.concatenate([np.einsum("nchwij,ocij->nohw", v, k, optimize=True) for v, k in parts], axis=1).astype("float32")


def _windows(x: Array, size: int, stride: int, pad: int, fill: float) -> Array:
    x = np.pad(x, ((0, 0), (0, 0), (pad, pad), (pad, pad)), constant_values=fill)
    return np.lib.stride_tricks.sliding_window_view(x, (size, size), axis=(2, 3))[:, :, ::stride, ::stride]


Y = _conv(X, W1, pad=1)


def _start(emit: Any, x: Any) -> Any:
    return emit(op.nn.conv2d(x, relax.const(W1), padding=1))


def _response(emit: Any, y: Any) -> Any:
    """As the importer writes it."""
    n, c, height, width = (int(extent) for extent in y.ty.shape)
    square = emit(op.reshape(emit(op.multiply(y, y)), (n, 1, c, height, width)))
    mean = op.nn.avg_pool3d(square, (5, 1, 1), (1, 1, 1), (2, 0, 0, 2, 0, 0), count_include_pad=True)
    scaled = emit(op.multiply(emit(op.reshape(emit(mean), (n, c, height, width))), relax.const(0.3)))
    return op.divide(y, emit(op.power(emit(op.add(scaled, relax.const(1.5))), relax.const(0.75))))


def _normalised(y: Array) -> Array:
    squares = np.pad(y.astype("float64") ** 2, ((0, 0), (2, 2), (0, 0), (0, 0)))
    return (y / (1.5 + 0.3 * sum(squares[:, i : i + y.shape[1]] for i in range(5)) / 5) ** 0.75).astype("float32")


def _cases() -> list[Case]:
    relu = np.maximum(Y, 0)
    chain = _conv(np.maximum(_conv(relu, W2), 0), W3, stride=2, pad=1)
    inside = _windows(np.ones_like(Y), 3, 2, 1, 0).sum(axis=(-2, -1))

    def convolutions(emit: Any, x: Any) -> Any:
        y = emit(op.nn.relu(_start(emit, x)))
        y = emit(op.nn.relu(emit(op.nn.conv2d(y, relax.const(W2)))))
        return op.nn.conv2d(y, relax.const(W3), strides=2, padding=1)

    def elementwise(emit: Any, x: Any) -> Any:
        y = _start(emit, x)
        scaled = emit(op.add(emit(op.multiply(y, relax.const(SCALE))), relax.const(BIAS)))
        return op.maximum(emit(op.sigmoid(scaled)), emit(op.divide(y, relax.const(2.0))))

    def other_side(emit: Any, x: Any, z: Any) -> Any:
        return op.subtract(z, _start(emit, x))

    def joined(emit: Any, x: Any) -> Any:
        y = _start(emit, x)
        whole = emit(op.concat([emit(op.nn.relu(y)), y, emit(op.negative(y))], axis=1))
        return op.nn.max_pool2d(whole, (2, 2), (2, 2))

    def filled(emit: Any, x: Any) -> Any:
        y = emit(op.nn.conv2d(_start(emit, x), relax.const(W2)))
        return op.add(emit(op.exp(y)), y)

    z = _floats(*Y.shape)
    y2 = _conv(Y, W2)
    return [
        case("convolutions", [X], convolutions, chain),
        case("batch_n", [X], convolutions, chain, {(0, 0): "n"}),
        case("elementwise", [X], elementwise, np.maximum(1 / (1 + np.exp(-(Y * SCALE + BIAS))), Y / 2)),
        case("other_side", [X, z], other_side, z - Y),
        case("joined", [X], joined, _windows(np.concatenate([relu, Y, -Y], axis=1), 2, 2, 0, 0).max(axis=(-2, -1))),
        case("filled_block", [X], filled, np.exp(y2) + y2),
        case(
            "depthwise",
            [X],
            _after(lambda y: op.nn.conv2d(y, relax.const(DEPTH), strides=2, padding=1, groups=32)),
            _conv(Y, DEPTH, 2, 1, 32),
        ),
        case(
            "max_pool", [X], _after(lambda y: op.nn.max_pool2d(y, (3, 3), (2, 2), (1, 1))), _windows(Y, 3, 2, 1, -np.inf).max(axis=(-2, -1))
        ),
        case(
            "max_pool_up",
            [X],
            _after(lambda y: op.nn.max_pool2d(y, (3, 3), (2, 2), ceil_mode=True)),
            _windows(np.pad(Y, ((0, 0), (0, 0), (0, 1), (0, 1)), constant_values=-np.inf), 3, 2, 0, 0).max(axis=(-2, -1))[:, :, :5, :6],
        ),
        case(
            "average_pool",
            [X],
            _after(lambda y: op.nn.avg_pool2d(y, (3, 3), (2, 2), (1, 1), count_include_pad=False)),
            _windows(Y, 3, 2, 1, 0).sum(axis=(-2, -1)) / inside,
        ),
        case(
            "average_pool_with_padding",
            [X],
            _after(lambda y: op.nn.avg_pool2d(y, (3, 3), (2, 2), (1, 1), count_include_pad=True)),
            _windows(Y, 3, 2, 1, 0).mean(axis=(-2, -1)),
        ),
        case("mean", [X], _after(lambda y: op.mean(y, axis=[2, 3], keepdims=True)), Y.mean(axis=(2, 3), keepdims=True)),
        case("response", [X], lambda emit, x: _response(emit, _start(emit, x)), _normalised(Y)),
    ]


def _after(make: Any) -> Any:
    return lambda emit, x: make(_start(emit, x))


CASES = _cases()


@pytest.fixture(scope="module", params=TARGETS)
def results(request: pytest.FixtureRequest) -> dict[str, Array]:
    return compute(CASES, request.param)


@pytest.mark.parametrize("one", CASES, ids=lambda one: one.name)
def test_images_in_blocks_give_what_they_give_otherwise(one: Case, results: dict[str, Array]) -> None:
    assert results[one.name].shape == one.expected.shape
    np.testing.assert_allclose(results[one.name], one.expected, rtol=1e-4, atol=1e-4)  # sums of at most 360 products in another order


@pytest.mark.parametrize("one", CASES, ids=lambda one: one.name)
def test_images_leave_their_blocks_only_at_the_end(one: Case) -> None:
    shapes = [array.shape for array in one.inputs]
    kernels = kernels_of(one.make, shapes, resolve_target(X86_64_V3).tvm)
    assert sum("from_blocks" in name for name in kernels) == (0 if one.name == "mean" else 1)
    assert sum("to_blocks" in name for name in kernels) == (1 if one.name == "other_side" else 0)
