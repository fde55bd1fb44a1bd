"""Convolutions of float16 are those of float32, rounded once."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from tvm import relax
from tvm.relax import op

from landbridge.codegen.block_channels import block_channels
from landbridge.codegen.widen_convolutions import widen_convolutions
from support.kernels import Array, Case, case, compute
from support.other_targets import TARGETS
from support.placed_programs import build_main

_random = np.random.default_rng(23)


def _numbers(*shape: int) -> Array:
    return _random.standard_normal(shape).astype("float16")


def _convolved(x: Array, w: Array, groups: int, padding: int, stride: int) -> Array:
    """Return the convolution of float64 numbers."""
    data = np.pad(x, [(0, 0), (0, 0), (padding, padding), (padding, padding)])
    windows = np.lib.stride_tricks.sliding_window_view(data, w.shape[2:], axis=(2, 3))[:, :, ::stride, ::stride]
    parts = zip(np.split(windows, groups, axis=1), np.split(w, groups), strict=True)
    return np.concatenate([np.einsum("nchwyx,ocyx->nohw", of, filters) for of, filters in parts], axis=1)


def _convolution(name: str, x: Array, w: Array, groups: int = 1, padding: int = 1, stride: int = 1, named: Any = None) -> Case:
    def make(emit: Any, x: Any) -> Any:
        return op.nn.conv2d(x, relax.const(w), strides=stride, padding=padding, groups=groups)

    expected = _convolved(x.astype("float64"), w.astype("float64"), groups, padding, stride)
    scale = _convolved(abs(x.astype("float64")), abs(w.astype("float64")), groups, padding, stride)
    return case(name, [x], make, np.stack([expected, scale]), named)


def _cases() -> list[Case]:
    return [
        _convolution("blocks", _numbers(1, 32, 9, 7), _numbers(48, 32, 3, 3)),
        _convolution("long_sums", abs(_numbers(1, 400, 4, 4)), abs(_numbers(16, 400, 3, 3))),
        _convolution("pixels", _numbers(2, 16, 12, 12), _numbers(32, 16, 1, 1), padding=0),
        _convolution("few_channels", _numbers(2, 3, 9, 9), _numbers(5, 3, 3, 3), stride=2),
        _convolution("groups", _numbers(1, 8, 6, 6), _numbers(12, 4, 3, 3), groups=2),
        _convolution("depthwise", _numbers(1, 24, 9, 9), _numbers(24, 1, 3, 3), groups=24),
        _convolution("named_batch", _numbers(3, 16, 5, 5), _numbers(16, 16, 3, 3), named={(0, 0): "images"}),
    ]


CASES = _cases()


@pytest.fixture(scope="module", params=TARGETS)
def results(request: pytest.FixtureRequest) -> dict[str, Array]:
    return compute(CASES, request.param)


@pytest.mark.parametrize("one", CASES, ids=lambda one: one.name)
def test_sums_are_rounded_once(one: Case, results: dict[str, Array]) -> None:
    """Half a unit in the last place of float16, and what float32 sums of at most 4000 products may be wrong."""
    expected, scale = one.expected
    found = results[one.name]
    assert found.dtype == np.float16
    assert (abs(found - expected) <= np.maximum(2.0**-11 * abs(expected), 2.0**-25) + 4001 * 2.0**-24 * scale).all()


def test_steps_between_convolutions_are_those_of_float16_in_blocks() -> None:
    """The steps after a convolution round as they do elsewhere; nothing leaves the blocks on the way to the next convolution."""
    x, w, bias, w2 = _numbers(1, 32, 8, 8), _numbers(32, 32, 3, 3) / np.float16(8), _numbers(32, 1, 1), _numbers(16, 32, 1, 1)

    def make(emit: Any, x: Any) -> Any:
        first = emit(op.nn.conv2d(x, relax.const(w), padding=1))
        steps = emit(op.nn.relu(emit(op.multiply(emit(op.add(first, relax.const(bias))), relax.const(np.float16(3.0))))))
        return op.nn.conv2d(steps, relax.const(w2))

    first = _convolved(x.astype("float64"), w.astype("float64"), 1, 1, 1).astype("float16")
    steps = np.maximum((first + bias) * np.float16(3), np.float16(0))
    expected = _convolved(steps.astype("float64"), w2.astype("float64"), 1, 0, 1)
    found = compute([case("chain", [x], make, expected)])["chain"]
    # The first sums may be rounded to the other neighbour, and so may each of two steps: three units of 2 ** -10 of 32 terms.
    scale = _convolved(abs(steps.astype("float64")) + 1, abs(w2.astype("float64")), 1, 0, 1)
    np.testing.assert_array_less(abs(found - expected), 2.0**-11 * abs(expected) + 3 * 2.0**-10 * scale)
    module = build_main({"x": (x.shape, "float16")}, lambda emit, x: [emit(make(emit, x))])
    text = str(block_channels(widen_convolutions(module))["main"].script())
    assert text.count("to_blocks") - text.count("def to_blocks") == 1


def test_convolutions_of_other_numbers_are_left_alone() -> None:
    for dtype in ("float32", "float16"):
        module = build_main(
            {"x": ((1, 8, 6, 6), dtype), "w": ((4, 8, 3, 3), dtype)},
            lambda emit, x, w, dtype=dtype: [
                emit(op.nn.conv2d(x, relax.const(np.ones((4, 8, 3, 3), dtype)) if dtype == "float32" else w)),
            ],
        )
        assert "astype" not in str(widen_convolutions(module)["main"].script())
