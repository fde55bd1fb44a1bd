from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from tvm import relax
from tvm.relax import op

from landbridge.codegen.target import resolve_target
from support.kernels import Array, kernels_of
from support.other_targets import X86_64_V3

VNNI = "llvm -mtriple=x86_64-linux-gnu -mcpu=cascadelake"


def _product(weight: Array) -> Any:
    return lambda emit, x: op.matmul(emit(op.astype(x, "int32")), relax.const(weight.astype("int32")), out_dtype="int32")


def _integer_kernels(weight: Array, target: str, dtype: str) -> list[str]:
    kernels = kernels_of(_product(weight), [(24, weight.shape[0])], resolve_target(target).tvm, dtype)
    return [name for name in kernels if "integer" in name]


@pytest.mark.parametrize(("target", "count"), [(VNNI, 2), (X86_64_V3, 1)])
def test_sums_of_the_data_are_computed_only_where_an_instruction_wants_other_weights(target: str, count: int) -> None:
    signed, unsigned = np.full((64, 48), -128), np.full((64, 48), 255)
    assert len(_integer_kernels(signed, target, "uint8")) == 1
    assert len(_integer_kernels(unsigned, target, "uint8")) == count


@pytest.mark.parametrize("weight", [np.array([[-1] * 16, [255] * 16]), np.array([[-(2**31)] * 16, [2**31 - 1] * 16])])
def test_weights_that_are_not_of_8_bits_are_left_alone(weight: Array) -> None:
    assert not _integer_kernels(weight, VNNI, "uint8")


def test_a_zero_point_of_each_column_moves_weights_into_8_bits() -> None:
    low = np.arange(16) * 17 - 255
    assert _integer_kernels(np.stack([low, low + 255]), VNNI, "uint8")


def test_data_of_other_integers_is_left_alone() -> None:
    assert not _integer_kernels(np.ones((8, 16)), VNNI, "int16")
