from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from tvm import relax
from tvm.relax import op

from landbridge.codegen.pack_weights import input_run, pack_weights, packed_channels, packed_columns
from landbridge.codegen.target import resolve_target
from support.placed_programs import build_main


def test_columns_lie_in_panels_filled_with_zeros() -> None:
    packed = packed_columns(np.arange(6, dtype="float32").reshape(2, 3), 2)
    assert packed.tolist() == [[[0, 1], [3, 4]], [[2, 0], [5, 0]]]


def test_every_channel_of_a_packed_weight_is_found_again() -> None:
    weight = np.arange(6 * 20 * 2 * 3, dtype="float32").reshape(6, 20, 2, 3)
    packed = packed_channels(weight, groups=2, panel=2)
    run = input_run(20)
    assert packed.shape == (2, 2, 20 // run, 2, 3, run, 2)
    for o, i, y, x in np.ndindex(*weight.shape):
        assert packed[o // 3, o % 3 // 2, i // run, y, x, i % run, o % 3 % 2] == weight[o, i, y, x]


@pytest.mark.parametrize(("inputs", "run"), [(64, 16), (20, 10), (3, 3), (34, 2), (17, 17), (67, 1), (1, 1)])
def test_a_run_divides_the_inputs(inputs: int, run: int) -> None:
    assert input_run(inputs) == run


def _operators(make: Any, dtype: str = "float32") -> str:
    module = build_main({"x": ((4, 8), dtype), "w": ((8, 5), dtype)}, lambda emit, x, w: [emit(make(x, w))])
    return str(pack_weights(module, resolve_target("llvm -mcpu=x86-64-v3").tvm)["main"].script())


def test_a_product_with_a_constant_becomes_a_kernel() -> None:
    for dtype in ("float32", "float16"):
        assert "R.call_tir(" in _operators(lambda x, w, dtype=dtype: op.matmul(x, relax.const(np.ones((8, 5), dtype))), dtype)


@pytest.mark.parametrize(
    ("make", "dtype"),
    [
        (op.matmul, "float32"),
        (lambda x, w: op.matmul(x, relax.const(np.ones((8, 5)), "float64")), "float64"),
    ],
    ids=["variable", "float64"],
)
def test_other_products_stay(make: Any, dtype: str) -> None:
    text = _operators(make, dtype)
    assert "R.matmul(" in text
    assert "R.call_tir(" not in text
