"""Values of bfloat16 that are only widened again stay in float32, to the same bits."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
import pytest
from tvm import relax
from tvm.relax import op

from landbridge.codegen.target import resolve_target
from support.kernels import Array, Case, case, compute, kernels_of
from support.other_targets import TARGETS, X86_64_V3

_random = np.random.default_rng(24)


def _through(emit: Any, value: Any) -> Any:
    """Return float32 numbers rounded to bfloat16 by the operators of a program."""
    return emit(op.astype(emit(op.astype(value, "bfloat16")), "float32"))


def _rounded(array: Array) -> Array:
    with np.errstate(over="ignore", invalid="ignore"):
        return array.astype(ml_dtypes.bfloat16).astype("float32")


def _every() -> Array:
    """Every bfloat16, the numbers halfway between two of them, and those next to these."""
    exact = np.arange(1 << 16, dtype="uint32") << 16
    return np.concatenate([exact | low for low in (0, 0x7FFF, 0x8000, 0x8001)]).view("float32")


def _cases() -> list[Case]:
    every = _every()
    found = [case("every", [every], lambda emit, x: op.negative(_through(emit, x)), -_rounded(every))]
    x, w, bias = (_random.standard_normal(shape).astype("float32") for shape in ((9, 20), (20, 40), (40,)))
    w = _rounded(w)

    def chain(emit: Any, x: Any) -> Any:
        product = _through(emit, emit(op.matmul(x, relax.const(w))))
        return op.nn.relu(_through(emit, emit(op.add(product, relax.const(bias)))))

    expected = np.maximum(_rounded(_rounded(x @ w) + bias), 0)
    found.append(case("chain", [x], chain, expected))
    found.append(case("kept", [x], lambda emit, x: op.astype(emit(op.astype(emit(op.negative(x)), "bfloat16")), "float32"), _rounded(-x)))
    return found


CASES = _cases()


@pytest.fixture(scope="module", params=TARGETS)
def results(request: pytest.FixtureRequest) -> dict[str, Array]:
    return compute(CASES, request.param)


@pytest.mark.parametrize("one", CASES, ids=lambda one: one.name)
def test_numbers_are_those_of_bfloat16(one: Case, results: dict[str, Array]) -> None:
    found = results[one.name]
    if one.name == "chain":
        # A sum of 20 products in another order may round to the other neighbour, and what is added to it again.
        np.testing.assert_allclose(found, one.expected, rtol=2.0**-6, atol=2.0**-6)
        np.testing.assert_array_equal(found, _rounded(found))
    else:
        np.testing.assert_array_equal(found, one.expected)


def test_rounding_is_fused_with_what_comes_before_and_after() -> None:
    def make(emit: Any, x: Any) -> Any:
        sums = _through(emit, emit(op.add(x, relax.const(np.float32(1)))))
        return op.nn.relu(_through(emit, emit(op.multiply(sums, relax.const(np.float32(3))))))

    (name,) = kernels_of(make, [(4, 8)], resolve_target(X86_64_V3).tvm)
    assert name.startswith("fused")


def test_a_value_that_is_read_as_bfloat16_stays_one() -> None:
    names = kernels_of(lambda emit, x: op.astype(emit(op.negative(x)), "bfloat16"), [(4, 8)], resolve_target(X86_64_V3).tvm)
    assert len(names) == 2
