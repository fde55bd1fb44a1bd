from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import tvm
from tvm import relax
from tvm.relax import op

from landbridge.codegen.schedules import schedule_kernels
from landbridge.codegen.schedules.reduction import Reduction
from landbridge.codegen.target import resolve_target
from support.kernels import Array, Case, case, compute, only_kernel
from support.other_targets import TARGETS, X86_64_V3

_random = np.random.default_rng(13)


def _floats(*shape: int) -> Array:
    return _random.standard_normal(shape).astype("float32")


def _divided_by_sums(emit: Any, x: Any) -> Any:
    """Not a softmax: what is divided are no exponentials, and the sum may be small."""
    return op.divide(x, emit(op.sum(x, axis=[1], keepdims=True)))


def _plain_exponentials(emit: Any, x: Any) -> Any:
    return op.divide(powers := emit(op.exp(x)), emit(op.sum(powers, axis=[1], keepdims=True)))


def _cases() -> list[Case]:
    x, tiny = _floats(5, 70), np.full((5, 70), 1e-42, "float32")
    powers = np.exp(x.astype("float64"))
    weight = _floats(70)

    def rms_norm(emit: Any, x: Any) -> Any:
        return op.nn.rms_norm(x, relax.const(weight), axes=[-1], epsilon=1e-5)

    mean = np.mean(x.astype("float64") ** 2, -1, keepdims=True)
    return [
        case("divided_by_small_sums", [tiny], _divided_by_sums, tiny / tiny.sum(1, keepdims=True)),
        case("plain_exponentials", [x], _plain_exponentials, powers / powers.sum(1, keepdims=True)),
        case("rms_norm", [x], rms_norm, x / np.sqrt(mean + 1e-5) * weight),
        case("log_softmax", [x], lambda e, x: op.nn.log_softmax(x), np.log(powers / powers.sum(1, keepdims=True))),
        case("float16", [x.astype("float16")], lambda e, x: op.nn.softmax(x), powers / powers.sum(1, keepdims=True)),
        case(
            "masked",
            [np.where(x > 0, x, -np.inf)],
            lambda e, x: op.nn.softmax(x),
            np.where(x > 0, powers, 0) / np.where(x > 0, powers, 0).sum(1, keepdims=True),
        ),
    ]


CASES = _cases()


@pytest.fixture(scope="module", params=TARGETS)
def results(request: pytest.FixtureRequest) -> dict[str, Array]:
    return compute(CASES, request.param)


@pytest.mark.parametrize("one", CASES, ids=lambda one: one.name)
def test_rows_are_right(one: Case, results: dict[str, Array]) -> None:
    tolerance = 2e-3 if one.name == "float16" else 2e-6
    np.testing.assert_allclose(results[one.name], one.expected, rtol=tolerance, atol=tolerance / 10 if one.name == "float16" else 0)


def _scheduled(make: Any, *shapes: Any) -> Any:
    target = resolve_target(X86_64_V3).tvm
    return Reduction().apply(only_kernel(make, shapes, target), target)


def _softmax(emit: Any, x: Any) -> Any:
    return op.nn.softmax(x)


def test_exponentials_are_kept_in_the_output_and_added_up_on_the_way() -> None:
    text = str(_scheduled(_softmax, (6, 400)).script())
    assert "T_softmax_exp =" not in text
    assert text.count("for turn in") == 3  # the maximum; the exponentials and their sum; the quotients
    assert text.count(" / ") == 1


@pytest.mark.parametrize("shape", [(6, 400), ("n", 70)], ids=["static", "dynamic"])
def test_partial_results_are_on_the_stack(shape: Any) -> None:
    """A row that asks the runtime for memory takes longer than its arithmetic."""
    target = resolve_target(X86_64_V3).tvm
    kernel = only_kernel(_softmax, [shape], target).with_attr("global_symbol", "kernel")
    with target:
        module = tvm.tirx.build(schedule_kernels(tvm.IRModule({"kernel": kernel}), target), target=target)
    text = str(module.inspect_source("asm"))
    assert "__tvm_ffi_kernel" in text
    assert text.count("__TVMBackendAllocWorkspace@") <= 2  # for maxima and sums of all rows
