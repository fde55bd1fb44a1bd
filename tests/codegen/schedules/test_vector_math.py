from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from tvm import relax
from tvm.relax import op

from landbridge.codegen.schedules.vector_math import expand_math
from landbridge.codegen.target import resolve_target
from support.kernels import Array, case, compute, only_kernel
from support.other_targets import TARGETS

_SPECIAL = np.array([np.inf, -np.inf, np.nan, 0.0, -0.0], "float32")


def _arguments() -> Array:
    """Return numbers of every exponent and both signs, and more where the functions bend."""
    bits = np.arange(0, 1 << 31, 4099, dtype=np.uint32)
    spread = np.concatenate([bits, bits | np.uint32(1 << 31)]).view("float32")
    return np.concatenate([spread[np.isfinite(spread)], np.linspace(-110, 110, 100_001, dtype="float32"), _SPECIAL])


ARGUMENTS = _arguments()


def _sigmoid(x: Array) -> Array:
    return np.asarray(1 / (1 + np.exp(-x)))


def _erf(x: Array) -> Array:
    return np.vectorize(math.erf)(x)  # type: ignore[no-any-return]  # NumPy does not say what its functions give


def _power(exponent: float) -> Callable[[Any], Any]:
    return lambda x: op.power(x, relax.const(exponent))


FUNCTIONS: dict[str, tuple[Callable[[Any], Any], Callable[[Array], Array], float, float]] = {
    "exp": (op.exp, np.exp, 2e-7, math.inf),
    "log": (op.log, np.log, 2e-7, math.inf),
    "sigmoid": (op.sigmoid, _sigmoid, 2e-7, math.inf),
    "tanh": (op.tanh, np.tanh, 4e-7, math.inf),
    "erf": (op.erf, _erf, 4e-7, 4e-7),
    "power_1_4": (_power(0.25), lambda x: np.power(x, 0.25), 3e-7, math.inf),
    "power_3_4": (_power(0.75), lambda x: np.power(x, 0.75), 3e-7, math.inf),
    "power_3_2": (_power(1.5), lambda x: np.power(x, 1.5), 3e-7, math.inf),
}
"""The operator, the function in float64, the largest relative and the largest absolute error."""


@pytest.fixture(scope="module", params=TARGETS)
def results(request: pytest.FixtureRequest) -> dict[str, Array]:
    cases = [case(name, [ARGUMENTS], lambda emit, x, make=make: make(x), ARGUMENTS) for name, (make, *_) in FUNCTIONS.items()]
    return compute(cases, request.param)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_errors_stay_in_their_bounds(name: str, results: dict[str, Array]) -> None:
    _, function, relative, absolute = FUNCTIONS[name]
    with np.errstate(all="ignore"):
        expected = function(ARGUMENTS.astype("float64"))
        rounded = expected.astype("float32")
    found = results[name]
    normal = np.isfinite(rounded) & (np.abs(rounded) > (1.7e-38 if name == "exp" else np.finfo("float32").tiny))
    error = np.abs(found[normal].astype("float64") - expected[normal])
    assert np.max(error / np.abs(expected[normal])) < relative
    assert np.max(error) < absolute
    np.testing.assert_allclose(found[~normal], rounded[~normal], atol=1e-37)


def test_what_is_no_number_and_infinity_come_out_as_from_libm(results: dict[str, Array]) -> None:
    last = {name: found[-len(_SPECIAL) :] for name, found in results.items()}
    np.testing.assert_array_equal(last["exp"], np.array([np.inf, 0, np.nan, 1, 1], "float32"))
    np.testing.assert_array_equal(last["log"], np.array([np.inf, np.nan, np.nan, -np.inf, -np.inf], "float32"))
    np.testing.assert_array_equal(last["sigmoid"], np.array([1, 0, np.nan, 0.5, 0.5], "float32"))
    np.testing.assert_array_equal(last["tanh"], np.array([1, -1, np.nan, 0, 0], "float32"))
    np.testing.assert_array_equal(last["power_3_4"], np.array([np.inf, np.inf, np.nan, 0, 0], "float32"))
    np.testing.assert_array_equal(last["erf"], np.array([1, -1, np.nan, 0, 0], "float32"))


@pytest.mark.parametrize("name", ["tanh", "erf", "sigmoid"])
def test_rounding_leads_to_nothing_beyond_one(name: str, results: dict[str, Array]) -> None:
    assert np.nanmax(np.abs(results[name])) == 1


def test_no_function_is_left_to_libm() -> None:
    target = resolve_target().tvm
    for make, *_ in FUNCTIONS.values():
        kernel = only_kernel(lambda emit, x, make=make: make(x), [(8,)], target)
        assert not any(f"T.{name}(" in str(expand_math(kernel).script()) for name in (*FUNCTIONS, "pow"))


def test_few_bound_variables_are_nested() -> None:
    """With seven, TVM took minutes for a product of so many rows as only the run tells with erf after it."""
    target = resolve_target().tvm
    for make, *_ in FUNCTIONS.values():
        kernel = only_kernel(lambda emit, x, make=make: make(x), [(8,)], target)
        assert str(expand_math(kernel).script()).count("T.Let(") <= 5


def test_a_kernel_without_such_functions_stays_the_same_object() -> None:
    kernel = only_kernel(lambda emit, x: op.add(x, x), [(8,)], resolve_target().tvm)
    assert expand_math(kernel) is kernel
