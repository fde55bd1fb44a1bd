from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from tvm import relax
from tvm.relax import op

from landbridge.codegen.schedules.reduction import Reduction
from landbridge.codegen.target import resolve_target
from support.kernels import Array, Case, case, compute, only_kernel
from support.other_targets import TARGETS, X86_64_V3

_random = np.random.default_rng(9)


def _floats(*shape: int) -> Array:
    return _random.standard_normal(shape).astype("float32")


def _softmax(x: Array, axis: int = -1) -> Array:
    e = np.exp(x - x.max(axis, keepdims=True))
    return np.asarray(e / e.sum(axis, keepdims=True))


def _layer_norm(x: Array, gamma: Array, beta: Array) -> Array:
    x = x.astype("float64")
    return np.asarray((x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-5) * gamma + beta)


def _cases() -> list[Case]:
    found = []
    for extent in (1, 7, 8, 16, 63, 64, 65, 197, 400):
        x = _floats(3, 5, extent)
        found.append(case(f"sum_{extent}", [x], lambda e, x: op.sum(x, axis=[2]), x.sum(2)))
        found.append(case(f"max_{extent}", [x], lambda e, x: op.max(x, axis=[-1], keepdims=True), x.max(-1, keepdims=True)))
        found.append(case(f"softmax_{extent}", [x], lambda e, x: op.nn.softmax(x), _softmax(x)))
        gamma, beta = _floats(extent), _floats(extent)

        def layer_norm(emit: Any, x: Any, gamma: Any = gamma, beta: Any = beta) -> Any:
            return op.nn.layer_norm(x, relax.const(gamma), relax.const(beta), axes=[-1])

        found.append(case(f"layer_norm_{extent}", [x], layer_norm, _layer_norm(x, gamma, beta)))
    x = _floats(4, 6, 5, 7)
    for axes in ([0], [1], [2, 3], [1, 2, 3], [0, 2], [0, 1, 2, 3]):
        name = "_".join(map(str, axes))
        found.append(case(f"mean_{name}", [x], lambda e, x, axes=axes: op.mean(x, axis=axes), x.mean(tuple(axes))))
        found.append(case(f"min_{name}", [x], lambda e, x, axes=axes: op.min(x, axis=axes), x.min(tuple(axes))))
    found.append(case("softmax_of_the_middle", [x], lambda e, x: op.nn.softmax(x, axis=1), _softmax(x, 1)))
    x = _floats(6, 70)
    found.append(case("rows", [x], lambda e, x: op.nn.softmax(x), _softmax(x), {(0, 0): "rows"}))
    found.append(case("columns", [x], lambda e, x: op.nn.softmax(x), _softmax(x), {(0, 1): "columns"}))
    found.append(case("one_row", [x[0]], lambda e, x: op.nn.softmax(x), _softmax(x[0])))
    numbers = _random.integers(-1000, 1000, (3, 100)).astype("int32")
    found.append(case("integers", [numbers], lambda e, x: op.sum(x, axis=[1]), numbers.sum(1).astype("int32")))
    found.append(case("argmax", [x], lambda e, x: op.argmax(x, axis=1), x.argmax(1)))
    big = _floats(700, 500)
    found.append(case("parallel", [big], lambda e, x: op.nn.softmax(x), _softmax(big)))
    image = _floats(2, 3, 12, 12)
    pooled = image.reshape(2, 3, 6, 2, 6, 2)
    found.append(case("average_pool", [image], lambda e, x: op.nn.avg_pool2d(x, (2, 2), (2, 2)), pooled.mean((3, 5))))
    found.append(case("global_pool", [image], lambda e, x: op.nn.adaptive_avg_pool2d(x, (1, 1)), image.mean((2, 3), keepdims=True)))
    return found


CASES = _cases()


@pytest.fixture(scope="module", params=TARGETS)
def results(request: pytest.FixtureRequest) -> dict[str, Array]:
    return compute(CASES, request.param)


@pytest.mark.parametrize("one", CASES, ids=lambda one: one.name)
def test_reductions_are_right(one: Case, results: dict[str, Array]) -> None:
    assert results[one.name].shape == one.expected.shape
    np.testing.assert_allclose(results[one.name], one.expected, rtol=1e-5, atol=1e-5)  # sums of at most 500 in another order


def _scheduled(make: Any, *shapes: Any) -> Any:
    target = resolve_target(X86_64_V3).tvm
    return Reduction().apply(only_kernel(make, shapes, target), target)


@pytest.mark.parametrize(
    "make", [op.nn.softmax, lambda x: op.sum(x, axis=[1]), lambda x: op.mean(x, axis=[0, 1])], ids=["softmax", "sum", "mean_of_all"]
)
def test_the_rule_takes_reductions_along_memory(make: Any) -> None:
    assert "partial" in str(_scheduled(lambda emit, x: make(x), (6, 40)).script())


@pytest.mark.parametrize(
    "make",
    [lambda x: op.sum(x, axis=[0]), lambda x: op.argmax(x, axis=1), lambda x: op.add(x, x)],
    ids=["across_memory", "argmax", "elementwise"],
)
def test_the_rule_declines_other_kernels(make: Any) -> None:
    assert _scheduled(lambda emit, x: make(x), (6, 40)) is None


def test_the_rule_declines_short_rows() -> None:
    assert _scheduled(lambda emit, x: op.sum(x, axis=[1]), (40, 6)) is None


def test_steps_of_one_row_share_a_loop() -> None:
    text = str(_scheduled(lambda emit, x: op.nn.softmax(x), (600, 500)).script())
    assert text.count("T.parallel") == 1
    assert "for position in T.parallel(T.int64(600))" in text


def test_steps_that_need_other_rows_do_not() -> None:
    def make(emit: Any, x: Any) -> Any:
        return op.nn.softmax(x, axis=0)

    assert _scheduled(make, (600, 500)) is None
