from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from tvm import relax
from tvm.relax import op

from landbridge.codegen import build
from landbridge.codegen.check_plan import check_plan
from landbridge.codegen.plan_memory import ALIGNMENT
from landbridge.codegen.target import resolve_target
from support.kernels import Array, Case, case, compute, kernels_of
from support.live_bytes import most_live_bytes
from support.other_targets import X86_64_V3
from support.placed_programs import build_main, placed
from support.record_lifetimes import assembled

X = np.random.default_rng(18).standard_normal((1, 4, 16)).astype("float32")
TURNED, SHIFTED = X[:, ::-1], np.roll(X, 1, axis=1)


def _turn(emit: Any, x: Any) -> Any:
    return emit(op.flip(x, axis=1))


def _end(emit: Any, whole: Any) -> Any:
    return op.flip(whole, axis=2)


def _dense(emit: Any, x: Any) -> Any:
    """Wholes in wholes, as densely connected networks have them."""
    whole = _turn(emit, x)
    for _ in range(3):
        whole = emit(op.concat([whole, _turn(emit, emit(op.strided_slice(whole, [1], [0], [4])))], axis=1))
    return _end(emit, whole)


def _densely(x: Array) -> Array:
    whole = x[:, ::-1]
    for _ in range(3):
        whole = np.concatenate([whole, whole[:, :4][:, ::-1]], axis=1)
    return whole[:, :, ::-1]


def _ends(*parts: Array) -> Array:
    return np.concatenate(parts, axis=1)[:, :, ::-1]


CASES = [
    case("two", [X], lambda emit, x: _end(emit, emit(op.concat([_turn(emit, x), emit(op.exp(x))], 1))), _ends(TURNED, np.exp(X))),
    case("dense", [X], _dense, _densely(X)),
    case("an_input", [X], lambda emit, x: _end(emit, emit(op.concat([_turn(emit, x), x], 1))), _ends(TURNED, X)),
]


def _twice(emit: Any, x: Any) -> Any:
    part = _turn(emit, x)
    whole = emit(op.concat([part, part], axis=1))
    return _end(emit, emit(op.concat([whole, part], axis=1)))


WIDE = np.random.default_rng(19).standard_normal((16, 128)).astype("float32")


def _unused_for_long(emit: Any, x: Any) -> Any:
    """One part is made before and one after a tensor that is larger than both, as at the bottom of a U-shaped network."""
    early = _turn(emit, x)
    large = emit(op.matmul(x, relax.const(WIDE)))
    late = emit(op.multiply(x, emit(op.max(large, axis=2, keepdims=True))))
    return _end(emit, emit(op.concat([emit(op.matmul(late, relax.const(WIDE[:, :16]))), early], axis=1)))


def _long_unused(x: Array) -> Array:
    return _ends((x * (x @ WIDE).max(axis=2, keepdims=True)) @ WIDE[:, :16], x[:, ::-1])


CASES.append(case("unused_for_long", [X], _unused_for_long, _long_unused(X)))
CASES.append(case("twice", [X], _twice, _ends(*[TURNED] * 3)))


@pytest.fixture(scope="module")
def results() -> dict[str, Array]:
    return compute(CASES)


@pytest.mark.parametrize("one", CASES, ids=lambda one: one.name)
def test_joined_tensors_are_right(one: Case, results: dict[str, Array]) -> None:
    np.testing.assert_allclose(results[one.name], one.expected, rtol=1e-5)


def _kernels(make: Any, shape: Any = X.shape) -> list[str]:
    return sorted(kernels_of(make, [shape], resolve_target(X86_64_V3).tvm))


def test_nothing_is_copied_where_parts_are_computed_in_the_whole() -> None:
    assert not any("concat" in name or "place" in name for name in _kernels(_dense))


def test_a_part_from_elsewhere_is_copied_to_its_place() -> None:
    names = _kernels(lambda emit, x: _end(emit, emit(op.concat([_turn(emit, x), x], 1))))
    assert any("place" in name for name in names)
    assert not any("concat" in name for name in names)


@pytest.mark.parametrize(("axis", "shape"), [(2, (1, 4, 16)), (1, (1, 3, 7)), (1, (2, 4, 16))], ids=["axis_behind", "not_aligned", "batch"])
def test_parts_that_do_not_lie_one_after_the_other_are_copied(axis: int, shape: Any) -> None:
    names = _kernels(lambda emit, x: _end(emit, emit(op.concat([_turn(emit, x), emit(op.flip(x, axis=0))], axis))), shape)
    assert any("concat" in name for name in names)


def test_parts_that_leave_the_program_are_copied() -> None:
    def make(emit: Any, x: Any) -> list[Any]:
        part = _turn(emit, x)
        return [part, emit(op.concat([part, emit(op.exp(x))], axis=1))]

    artifact = build(placed(build_main({"x": (X.shape, "float32")}, make)), name="m")
    first, second = (artifact.plan.buffers[output.buffer] for output in artifact.plan.outputs)
    assert first.storage == second.storage == "arena"


@pytest.mark.parametrize("make", [_dense, _unused_for_long, _twice])
def test_a_part_takes_no_memory_before_it_is_computed(make: Any) -> None:
    found = assembled(placed(build_main({"x": (X.shape, "float32")}, lambda emit, x: [emit(make(emit, x))])))
    check_plan(found.plan, found.accesses, {})
    beyond = found.plan.arenas["cpu"] - most_live_bytes(found.plan, found.accesses)
    assert 0 <= beyond < ALIGNMENT  # one of the tensors has 16 bytes


def test_memory_of_a_part_is_used_before_it_is_computed() -> None:
    found = assembled(placed(build_main({"x": (X.shape, "float32")}, lambda emit, x: [emit(_unused_for_long(emit, x))])))
    whole, large = 2 * X.nbytes, 4 * 4 * WIDE.shape[1]
    assert max(buffer.nbytes for buffer in found.plan.buffers if buffer.storage == "arena") == large
    assert found.plan.arenas["cpu"] < large + whole
