"""Element-wise operators at their borders, against onnx's reference evaluator and NumPy."""

from __future__ import annotations

from typing import Any

import numpy as np

from support.run_operators import One, check, evaluated


def case(name: str, operator: str, *inputs: Any, **attributes: Any) -> One:
    with np.errstate(all="ignore"):
        return One(name, operator, list(inputs), evaluated(operator, list(inputs), **attributes), attributes=attributes)


def test_shifts_of_every_type_by_anything() -> None:
    cases = []
    for dtype in (np.uint8, np.uint16, np.uint32, np.uint64):
        bits = np.dtype(dtype).itemsize * 8
        numbers = np.array([0, np.iinfo(dtype).max, 1, 5, 100], dtype)[:, None]
        by = np.array([0, 1, bits - 1, bits, bits + 1], dtype)
        cases += [case(f"{np.dtype(dtype)}_{way}", "BitShift", numbers, by, direction=way) for way in ("LEFT", "RIGHT")]
    check(cases)


def test_remainders_have_the_sign_of_the_divisor() -> None:
    values = [-7.5, -3, -0.0, 0.0, 2, 7.25, np.inf, -np.inf, np.nan]
    cases = []
    for dtype in (np.float16, np.float32, np.float64):
        left = np.array(values, dtype)
        cases.append(case(str(np.dtype(dtype)), "Mod", left[:, None], left))
    check(cases)


def test_powers_of_two_types_and_of_whole_numbers() -> None:
    whole = np.array([-3, -2, -1, 1, 2, 7], np.int64)
    cases = [
        case("whole", "Pow", whole[:, None], np.array([0, 1, 2, 5, 20], np.int64)),
        case("narrow", "Pow", whole.astype(np.int32)[:, None], np.array([0, 1, 2], np.int32)),
        case("real_by_whole", "Pow", np.array([0.5, -2, 3], np.float32), np.array([2, 3, -1], np.int64)),
        case("whole_by_real", "Pow", np.array([1, 4, 9], np.int32), np.array([0.5, 1.5, 2], np.float32)),
    ]
    check(cases, rtol=1e-5)


def test_infinities_of_one_sign() -> None:
    data = np.array([1, np.inf, -np.inf, np.nan], np.float32)
    cases = [case(f"{p}{n}", "IsInf", data, detect_positive=p, detect_negative=n) for p in (0, 1) for n in (0, 1)]
    check(cases)


def test_what_is_no_number_stays_so() -> None:
    data = np.array([np.nan, -1, 2, np.inf, -np.inf], np.float32)
    expected = np.array([np.nan, 0, 2, np.inf, 0], np.float32)
    check([One("relu", "Relu", [data], [expected])])


def test_bits_under_another_type() -> None:
    real, whole = np.array([1.5, -0.0, np.inf], np.float32), np.array([-1, 0, 127], np.int8)
    cases = [
        One("to_whole", "BitCast", [real], [real.view(np.int32)], attributes={"to": 6}),
        One("to_unsigned", "BitCast", [whole], [whole.view(np.uint8)], attributes={"to": 2}),
        One("truth", "BitCast", [np.array([True, False])], [np.array([1, 0], np.uint8)], attributes={"to": 2}),
    ]
    check(cases, opset=26)


def test_the_second_tensor_lies_along_named_axes_in_old_operator_sets() -> None:
    left, right = np.arange(24, dtype=np.float32).reshape(2, 3, 4), np.array([1, 2, 3], np.float32)
    cases = [
        One("middle", "Add", [left, right], [left + right[:, None]], attributes={"broadcast": 1, "axis": 1}),
        One("last", "Mul", [left, np.arange(4, dtype=np.float32)], [left * np.arange(4, dtype=np.float32)], attributes={"broadcast": 1}),
    ]
    check(cases, opset=6)


def test_slopes_are_those_of_channels_in_old_operator_sets() -> None:
    data, slope = np.arange(-12, 12, dtype=np.float32).reshape(2, 3, 4), np.array([0.5, 2, -1], np.float32)
    expected = np.where(data < 0, data * slope[:, None], data)
    check([One("channels", "PRelu", [data, slope], [expected])], opset=6)


def test_exponentials_of_every_floating_type() -> None:
    cases = []
    for dtype in (np.float16, np.float32, np.float64):
        data = np.array([-20, -2, -0.5, 0, 0.5, 3], dtype)
        wide = data.astype(np.float64)
        elu = np.where(wide < 0, 1.5 * np.expm1(wide), wide).astype(dtype)
        cases.append(One(f"elu_{np.dtype(dtype)}", "Elu", [data], [elu], attributes={"alpha": 1.5}))
    check(cases, opset=22, rtol=2e-3)


def test_nothing_is_dropped_outside_of_training() -> None:
    data = np.arange(6, dtype=np.float32).reshape(2, 3)
    ratio, training = np.array(0.5, np.float32), np.array(False)
    cases = [
        One("mask", "Dropout", [data, ratio], [data, np.ones((2, 3), bool)], constants=(1,)),
        One("told", "Dropout", [data, ratio, training], [data], constants=(1, 2)),
        One("none", "Dropout", [data, np.array(0, np.float32), np.array(True)], [data, np.ones((2, 3), bool)], constants=(1, 2)),
    ]
    check(cases, opset=22)
