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

_random = np.random.default_rng(17)
_SCALE, _SHIFT = (_random.standard_normal(8).astype("float32") for _ in range(2))
_X = (300 + _random.standard_normal((2, 8, 9, 11))).astype("float32")


def _expected(x: Array, groups: int) -> Array:
    grouped = x.astype("float64").reshape(len(x), groups, -1)
    centred = grouped - grouped.mean(-1, keepdims=True)
    shape = (-1, *[1] * (x.ndim - 2))
    normal = (centred / np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-5)).reshape(x.shape)
    return np.asarray(normal * _SCALE.reshape(shape) + _SHIFT.reshape(shape))


def _group_norm(emit: Any, x: Any) -> Any:
    axes = list(range(2, len(x.ty.shape)))
    return op.nn.group_norm(x, relax.const(_SCALE), relax.const(_SHIFT), num_groups=4, channel_axis=1, axes=axes)


def _instance_norm(emit: Any, x: Any) -> Any:
    axes = list(range(2, len(x.ty.shape)))
    return op.nn.instance_norm(x, relax.const(_SCALE), relax.const(_SHIFT), channel_axis=1, axes=axes)


CASES = [
    case("groups", [_X], _group_norm, _expected(_X, 4)),
    case("instances", [_X], _instance_norm, _expected(_X, 8)),
    case("groups_of_rows", [_X[:, :, 0]], _group_norm, _expected(_X[:, :, 0], 4)),
    case("batch", [_X], _group_norm, _expected(_X, 4), {(0, 0): "batch"}),
    case("height", [_X], _group_norm, _expected(_X, 4), {(0, 2): "height"}),
]


@pytest.fixture(scope="module", params=TARGETS)
def results(request: pytest.FixtureRequest) -> dict[str, Array]:
    return compute(CASES, request.param)


def test_the_root_is_taken_once_a_group() -> None:
    target = resolve_target(X86_64_V3).tvm
    kernel = Reduction().apply(only_kernel(_group_norm, [_X.shape], target), target)
    assert "inverse = T.sblock_alloc_buffer" in str(kernel.script())  # type: ignore[union-attr]  # it takes it


@pytest.mark.parametrize("one", CASES, ids=lambda one: one.name)
def test_a_large_mean_costs_no_digits(one: Case, results: dict[str, Array]) -> None:
    np.testing.assert_allclose(results[one.name], one.expected, atol=2e-4)  # a unit of 300 in float32 is 3e-5
