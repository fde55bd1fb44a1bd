"""Narrow types against ml_dtypes and onnx: every pattern of bits, and numbers around every rounding border."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
import pytest
from onnx.reference.ops.op_cast import cast_to

from landbridge.frontends.onnx.graph import ELEMENT_TYPES, NARROW_DTYPES
from landbridge.frontends.onnx.operators.narrow import WIDE, Rounding, _steps
from landbridge.runtime.dtypes import BITS
from support.run_operators import One, check

SMALL = sorted(NARROW_DTYPES - {"bfloat16"})


def every_value(dtype: str) -> Any:
    codes = np.arange(1 << BITS[dtype], dtype=np.uint16 if BITS[dtype] > 8 else np.uint8)
    return codes.view(getattr(ml_dtypes, dtype)) if BITS[dtype] >= 8 else codes.astype(np.int8).astype(getattr(ml_dtypes, dtype))


def numbers_around_borders(dtype: str) -> Any:
    """Return numbers that are halfway between two values, the next ones to both sides, infinities and what is no number."""
    values = every_value(dtype)[:: 257 if dtype == "bfloat16" else 1].astype(np.float32)
    values = np.unique(values[np.isfinite(values)])
    halves = (values[1:].astype(np.float64) + values[:-1]).astype(np.float32) / 2
    special = np.array([0, -0.0, np.inf, -np.inf, np.nan, 1e30, -1e30, 1e-30, -1e-30], np.float32)
    return np.concatenate([values, halves, np.nextafter(halves, np.inf), np.nextafter(halves, -np.inf), special]).astype(np.float32)


def test_wide_types_hold_every_narrow_one() -> None:
    assert set(WIDE) == NARROW_DTYPES


def test_every_value_widens_to_itself() -> None:
    cases = [
        One(f"widen_{dtype}", "Cast", [every_value(dtype)], [every_value(dtype).astype(np.float32)], attributes={"to": 1})
        for dtype in sorted(NARROW_DTYPES - {"bfloat16"})
    ]
    cases.append(
        One("widen_bfloat16", "Cast", [every_value("bfloat16")], [every_value("bfloat16").astype(np.float32)], attributes={"to": 1})
    )
    check(cases, opset=25, rtol=0, atol=0)


@pytest.mark.parametrize("saturate", [True, False])
def test_numbers_round_as_onnx_says(saturate: bool) -> None:
    cases = []
    for dtype in sorted(name for name in NARROW_DTYPES if "float" in name):
        for source in (np.float32, np.float64, np.float16):
            with np.errstate(all="ignore"):
                numbers = numbers_around_borders(dtype).astype(source)
                expected = np.asarray(cast_to(numbers, ELEMENT_TYPES[dtype], saturate, "nearest"))
            attributes: dict[str, Any] = {"to": ELEMENT_TYPES[dtype]}
            if dtype.startswith("float8"):
                attributes |= {"saturate": int(saturate)}
            if dtype == "float8_e8m0fnu":
                attributes |= {"round_mode": "nearest"}
            cases.append(One(f"{dtype}_{np.dtype(source)}", "Cast", [numbers], [expected], attributes=attributes))
    check(cases, opset=25, rtol=0, atol=0)


@pytest.mark.parametrize("mode", ["up", "down", "nearest"])
def test_powers_of_two_round_in_every_direction(mode: str) -> None:
    numbers = np.array([0.0, 0.124, 0.25, 0.3, 1.1, 1.5, 1.9, 2.0, 3.0, 1e-40, 3e38, np.inf, np.nan], np.float32)
    expected = np.asarray(cast_to(numbers, ELEMENT_TYPES["float8_e8m0fnu"], True, mode))
    check([One("powers", "Cast", [numbers], [expected], attributes={"to": ELEMENT_TYPES["float8_e8m0fnu"], "round_mode": mode})], opset=25)


def test_integers_wrap() -> None:
    numbers = np.arange(-40, 40).astype(np.float32)
    cases = [
        One(
            dtype,
            "Cast",
            [numbers],
            [numbers.astype(np.int32).astype(np.int8).astype(getattr(ml_dtypes, dtype))],
            attributes={"to": ELEMENT_TYPES[dtype]},
        )
        for dtype in ("int2", "int4", "uint2", "uint4")
    ]
    check(cases, opset=25)


@pytest.mark.parametrize("count", [0, 1, 2, 3, 5, 8])
def test_packed_tensors_of_any_number_of_elements(count: int) -> None:
    cases = []
    for dtype in ("int4", "uint4", "int2", "uint2", "float4_e2m1fn"):
        values = np.resize(every_value(dtype), (count,))
        cases.append(One(f"wide_{dtype}", "Cast", [values], [values.astype(np.float32)], attributes={"to": 1}))
        wide = values.astype(np.float32)
        cases.append(One(f"narrow_{dtype}", "Cast", [wide], [values], attributes={"to": ELEMENT_TYPES[dtype]}))
    check(cases, opset=25)


def test_operators_compute_in_the_wide_type_and_round_once() -> None:
    rng = np.random.default_rng(0)
    left, right = (rng.standard_normal((3, 5)).astype(ml_dtypes.bfloat16) for _ in range(2))
    total = (left.astype(np.float32) + right.astype(np.float32)).astype(ml_dtypes.bfloat16)
    moved = rng.standard_normal((2, 3, 4)).astype(ml_dtypes.float8_e5m2)
    weights = rng.integers(-8, 8, (5, 4)).astype(ml_dtypes.int4)
    cases = [
        One("add", "Add", [left, right], [total]),
        One("transpose", "Transpose", [moved], [moved.transpose(2, 0, 1)], attributes={"perm": [2, 0, 1]}),
        One("constant", "Cast", [weights], [weights.astype(np.float32)], constants=[0], attributes={"to": 1}),
    ]
    check(cases, opset=25, rtol=0, atol=0)


@pytest.mark.parametrize("dtype", [name for name in SMALL if "float" in name])
def test_the_staircase_never_falls(dtype: str) -> None:
    steps = _steps(dtype, "float32", Rounding())
    starts = steps.starts[~np.isnan(steps.starts)]
    assert (np.diff(starts) > 0).all()
    assert len(steps.positive) == len(steps.starts) + 1
