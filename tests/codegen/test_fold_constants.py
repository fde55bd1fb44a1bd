from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import tvm
from tvm import relax
from tvm.relax import op

from landbridge.codegen.fold_constants import fold_constants
from landbridge.ir.body import Body, is_constant
from support.placed_programs import build_main

A, B = np.array([[1, 2], [3, 5]], "float32"), np.array([[7, -2], [0.5, 3]], "float32")
LEFT, RIGHT = relax.const(A), relax.const(B)


def _folded(expr: Any) -> Any:
    """Return what the value ``expr`` of a program is bound to after folding."""
    module = build_main({"x": ((2, 2), "float32")}, lambda emit, x: [emit(expr)])
    return Body.of(fold_constants(module)).bindings[0].value


@pytest.mark.parametrize(
    ("expr", "expected"),
    [
        (op.add(LEFT, RIGHT), [[8, 0], [3.5, 8]]),
        (op.subtract(LEFT, RIGHT), [[-6, 4], [2.5, 2]]),
        (op.multiply(LEFT, RIGHT), [[7, -4], [1.5, 15]]),
        (op.divide(LEFT, RIGHT), A / B),
        (op.sqrt(LEFT), np.sqrt(A)),
        (op.negative(LEFT), [[-1, -2], [-3, -5]]),
        (op.permute_dims(LEFT), [[1, 3], [2, 5]]),
        (op.expand_dims(LEFT, 0), [[[1, 2], [3, 5]]]),
        (op.broadcast_to(LEFT, (2, 2, 2)), [[[1, 2], [3, 5]]] * 2),
        (op.astype(LEFT, "float64"), [[1, 2], [3, 5]]),
    ],
    ids=lambda value: value.op.name if isinstance(value, relax.Call) else "",
)
def test_what_depends_on_constants_only_is_a_constant(expr: Any, expected: Any) -> None:
    folded = _folded(expr)
    assert is_constant(folded)
    np.testing.assert_array_equal(folded.value.numpy(), expected)


@pytest.mark.parametrize(
    "expr",
    [
        op.exp(LEFT),  # not the same to the last bit
        op.astype(LEFT, "int32"),  # NumPy and LLVM differ on what does not fit
        op.divide(relax.const([1, 2], "int32"), relax.const([0, 1], "int32")),
        op.broadcast_to(LEFT, (100_000, 2, 2)),  # a large constant for a small one
    ],
    ids=["exp", "float_to_int", "integer_division", "growth"],
)
def test_what_might_change_or_grow_stays(expr: Any) -> None:
    assert not is_constant(_folded(expr))


def test_folding_goes_on_with_what_was_folded() -> None:
    def make(emit: Any, x: Any) -> list[Any]:
        return [emit(op.add(emit(op.negative(emit(op.add(LEFT, RIGHT)))), x))]

    bindings = Body.of(fold_constants(build_main({"x": ((2, 2), "float32")}, make))).bindings
    np.testing.assert_array_equal(bindings[-1].value.args[0].value.numpy(), [[-8, 0], [-3.5, -8]])


def test_nothing_to_fold_is_the_same_module() -> None:
    module = build_main({"x": ((2, 2), "float32")}, lambda emit, x: [emit(op.add(x, LEFT))])
    assert fold_constants(module) is module


def test_the_input_is_not_changed() -> None:
    module = build_main({"x": ((2, 2), "float32")}, lambda emit, x: [emit(op.add(x, emit(op.add(LEFT, RIGHT))))])
    before = module.script(show_meta=True)
    fold_constants(module)
    tvm.ir.assert_structural_equal(module, module)
    assert module.script(show_meta=True) == before
