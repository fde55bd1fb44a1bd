"""Attention becomes one kernel where it is attention, and stays what it is where something else needs a step of it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from tvm import relax
from tvm.relax import op

from landbridge.codegen.target import resolve_target
from support.kernels import kernels_of
from support.other_targets import X86_64_V3

PLACES = (2, 3, 20, 8)


def _attention(emit: Any, query: Any, key: Any, value: Any, *, axis: int = -1) -> Any:
    scores = emit(op.matmul(query, emit(op.permute_dims(key, [0, 1, 3, 2]))))
    return op.matmul(emit(op.nn.softmax(scores, axis=axis)), value)


def _with_choice(never: bool) -> Any:
    condition, zero = relax.const(np.full((1, 1, 20, 1), not never)), relax.const(np.zeros((), "float32"))

    def make(emit: Any, query: Any, key: Any, value: Any) -> Any:
        weights = emit(op.nn.softmax(emit(op.matmul(query, emit(op.permute_dims(key, [0, 1, 3, 2])))), axis=-1))
        return op.matmul(emit(op.where(condition, zero, weights)), value)

    return make


def _transposed(emit: Any, query: Any, key: Any, value: Any) -> Any:
    heads = [emit(op.permute_dims(emit(op.reshape(x, [2, 20, 3, 8])), [0, 2, 1, 3])) for x in (query, key, value)]
    mixed = emit(op.permute_dims(emit(_attention(emit, *heads)), [0, 2, 1, 3]))
    return op.reshape(mixed, [2, 20, 24])


def _kernels(make: Any, shapes: Any) -> list[str]:
    return list(kernels_of(make, shapes, resolve_target(X86_64_V3).tvm))


@pytest.mark.parametrize(
    ("make", "shapes"),
    [
        (_attention, [PLACES] * 3),
        (_attention, [("b", 3, "n", 8), ("b", 3, "m", 8), ("b", 3, "m", 8)]),
        (_transposed, [(2, 20, 24)] * 3),
        (_with_choice(never=True), [PLACES] * 3),
    ],
    ids=["plain", "named_sizes", "transposes", "a_choice_that_is_never_made"],
)
def test_attention_is_one_kernel(make: Any, shapes: Any) -> None:
    assert _kernels(make, shapes) == ["attention"]


def _weights_too(emit: Any, query: Any, key: Any, value: Any) -> Any:
    weights = emit(op.nn.softmax(emit(op.matmul(query, emit(op.permute_dims(key, [0, 1, 3, 2])))), axis=-1))
    return op.concat([emit(op.matmul(weights, value)), weights], axis=-1)


def _twice(emit: Any, query: Any, key: Any, value: Any) -> Any:
    scores = emit(op.matmul(query, emit(op.permute_dims(key, [0, 1, 3, 2]))))
    return op.matmul(emit(op.nn.softmax(emit(op.multiply(scores, scores)), axis=-1)), value)


@pytest.mark.parametrize(
    ("make", "shapes"),
    [
        (_weights_too, [PLACES] * 3),
        (_twice, [PLACES] * 3),
        (lambda emit, *x: _attention(emit, *x, axis=-2), [PLACES] * 3),
        (_attention, [(2, 3, 1, 8), PLACES, PLACES]),
        (_with_choice(never=False), [PLACES] * 3),
        (_attention, [(2, 3, 20, 500)] * 3),
    ],
    ids=["weights_are_needed", "scores_are_read_twice", "another_axis", "one_query", "a_choice", "wide"],
)
def test_what_is_not_attention_stays(make: Any, shapes: Any) -> None:
    assert not [name for name in _kernels(make, shapes) if name.startswith("attention")]
