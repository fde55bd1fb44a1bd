from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from tvm import relax
from tvm.relax import op

from landbridge.codegen.schedules.blocked import BlockedConvolution
from landbridge.codegen.schedules.conv2d import Conv2d, pixel_tile
from landbridge.codegen.target import resolve_target
from support.kernels import Array, Case, case, compute, kernels_of, only_kernel
from support.other_targets import TARGETS, X86_64_V3

_random = np.random.default_rng(6)
Options = dict[str, Any]


def _floats(*shape: int) -> Array:
    return _random.standard_normal(shape).astype("float32")


def _conv(x: Array, w: Array, strides: Any = (1, 1), padding: Any = (0, 0, 0, 0), dilation: Any = (1, 1), groups: int = 1) -> Array:
    top, left, bottom, right = padding
    x = np.pad(x, ((0, 0), (0, 0), (top, bottom), (left, right)))
    window = [(size - 1) * step + 1 for size, step in zip(w.shape[2:], dilation, strict=True)]
    view = np.lib.stride_tricks.sliding_window_view(x, window, axis=(2, 3))
    view = view[:, :, :: strides[0], :: strides[1], :: dilation[0], :: dilation[1]]
    parts = zip(np.split(view, groups, axis=1), np.split(w, groups), strict=True)
    return np.concatenate([np.einsum("nchwij,ocij->nohw", v, k, optimize=True) for v, k in parts], axis=1)


_GRID: list[tuple[str, tuple[int, ...], tuple[int, ...], Options]] = [
    ("3x3", (1, 16, 9, 9), (32, 16, 3, 3), {"padding": (1, 1, 1, 1)}),
    ("odd", (2, 5, 11, 13), (21, 5, 3, 3), {"padding": (0, 1, 2, 1)}),
    ("stride", (1, 6, 15, 12), (17, 6, 3, 3), {"strides": (2, 2), "padding": (1, 1, 1, 1)}),
    ("strides", (1, 6, 15, 12), (17, 6, 3, 2), {"strides": (2, 1)}),
    ("dilation", (1, 4, 15, 16), (18, 4, 3, 3), {"dilation": (2, 3), "padding": (2, 3, 2, 3)}),
    ("7x7", (1, 3, 34, 34), (16, 3, 7, 7), {"strides": (2, 2), "padding": (3, 3, 3, 3)}),
    ("one_input", (1, 1, 28, 28), (8, 1, 5, 5), {}),
    ("prime_inputs", (1, 67, 5, 5), (4, 67, 3, 3), {}),
    ("wide", (1, 3, 4, 70), (16, 3, 1, 3), {}),
    ("1x1", (1, 20, 14, 14), (30, 20, 1, 1), {}),
    ("1x1_batch", (3, 20, 9, 9), (6, 20, 1, 1), {}),
    ("1x1_small", (1, 40, 5, 5), (50, 40, 1, 1), {}),
    ("1x1_stride", (1, 12, 10, 10), (19, 12, 1, 1), {"strides": (2, 2)}),
    ("1x1_groups", (1, 24, 12, 12), (18, 8, 1, 1), {"groups": 3}),
    ("groups", (1, 12, 9, 9), (40, 6, 3, 3), {"groups": 2, "padding": (1, 1, 1, 1)}),
    ("many_groups", (1, 12, 9, 9), (12, 3, 3, 3), {"groups": 4}),
    ("depthwise", (1, 10, 12, 37), (10, 1, 3, 3), {"groups": 10, "padding": (1, 1, 1, 1)}),
    ("depthwise_stride", (1, 6, 13, 33), (6, 1, 3, 3), {"groups": 6, "strides": (2, 2), "padding": (1, 1, 1, 1)}),
    ("depthwise_twice", (1, 6, 9, 9), (12, 1, 3, 3), {"groups": 6}),
    ("window_of_all", (1, 9, 4, 4), (10, 9, 4, 4), {}),
]


def _relax(w: Array, options: Options) -> Any:
    return lambda emit, x: op.nn.conv2d(x, relax.const(w), **options)


def _cases() -> list[Case]:
    found = []
    for name, shape, weight, options in _GRID:
        x, w = _floats(*shape), _floats(*weight)
        found.append(case(name, [x], _relax(w, options), _conv(x, w, **options)))
    x, w, bias = _floats(2, 16, 10, 10), _floats(24, 16, 3, 3), _floats(1, 24, 1, 1)
    options = {"padding": (1, 1, 1, 1)}
    y = _conv(x, w, **options)
    other = _floats(*y.shape)

    def block(emit: Any, x: Any, other: Any) -> Any:
        return op.nn.relu(emit(op.add(emit(op.add(emit(_relax(w, options)(emit, x)), relax.const(bias))), other)))

    found.append(case("block", [x, other], block, np.maximum(y + bias + other, 0)))
    found.append(case("batch_n", [x], _relax(w, options), y, {(0, 0): "n"}))
    found.append(case("weights_of_the_run", [x, w], lambda emit, x, w: op.nn.conv2d(x, w, **options), y))
    return found


CASES = _cases()


@pytest.fixture(scope="module", params=TARGETS)
def results(request: pytest.FixtureRequest) -> dict[str, Array]:
    return compute(CASES, request.param)


@pytest.mark.parametrize("one", CASES, ids=lambda one: one.name)
def test_convolutions_are_right(one: Case, results: dict[str, Array]) -> None:
    assert results[one.name].shape == one.expected.shape
    np.testing.assert_allclose(results[one.name], one.expected, rtol=1e-4, atol=2e-4)  # sums of at most 600 products in another order


_PLAIN = {"one_input", "prime_inputs", "1x1_batch", "1x1_groups", "groups", "many_groups", "window_of_all"}
"""With too few channels for blocks, or with groups that do not fill them; and those of a channel each."""


@pytest.mark.parametrize(("name", "shape", "weight", "options"), _GRID, ids=[entry[0] for entry in _GRID])
def test_a_rule_takes_convolutions_with_constant_weights(name: str, shape: Any, weight: Any, options: Options) -> None:
    target = resolve_target(X86_64_V3).tvm
    kernels = kernels_of(_relax(_floats(*weight), options), [shape], target)
    rule = Conv2d() if name in _PLAIN or name.startswith("depthwise") else BlockedConvolution()
    (scheduled,) = (found for kernel in kernels.values() if (found := rule.apply(kernel, target)) is not None)
    assert "vectorized" in str(scheduled.script())


@pytest.mark.parametrize(
    ("make", "shapes"),
    [
        (lambda emit, x, w: op.nn.conv2d(x, w), [(1, 3, 8, 8), (4, 3, 3, 3)]),
        (lambda emit, x: op.nn.max_pool2d(x, (2, 2)), [(1, 3, 8, 8)]),
        (lambda emit, x: op.matmul(x, relax.const(_floats(8, 20))), [(1, 3, 8, 8)]),
    ],
    ids=["variable_weights", "pooling", "matmul"],
)
def test_the_rule_declines_other_kernels(make: Any, shapes: Any) -> None:
    target = resolve_target(X86_64_V3).tvm
    assert Conv2d().apply(only_kernel(make, shapes, target), target) is None


@pytest.mark.parametrize(
    ("height", "width", "most", "expected"),
    [(56, 56, 28, (1, 28)), (14, 14, 28, (2, 14)), (7, 7, 28, (4, 7)), (1, 1, 28, (1, 1)), (112, 112, 28, (1, 28))],
)
def test_tiles_of_pixels_cover_an_image_at_little_cost(height: int, width: int, most: int, expected: tuple[int, int]) -> None:
    assert pixel_tile(height, width, most) == expected
