"""Determinants, norms, statistics of a batch, and old forms of operators, against NumPy and onnx's reference evaluator."""

from __future__ import annotations

from typing import Any

import numpy as np

from support.run_operators import One, check, evaluated

_random = np.random.default_rng(0)


def test_determinants() -> None:
    matrices = _random.standard_normal((2, 3, 4, 4)).astype(np.float32)
    swapped = np.array([[0, 2, 1], [1, 0, 0], [0, 0, 3]], np.float64)
    singular = np.array([[1, 2], [2, 4]], np.float32)
    nothing = np.zeros((2, 3, 3), np.float32)
    cases: dict[str, Any] = {
        "many": matrices,
        "pivots": swapped,
        "singular": singular,
        "nothing": nothing,
        "one": np.array([[-3]], np.float32),
    }
    check([One(name, "Det", [data], [np.asarray(np.linalg.det(data), data.dtype)]) for name, data in cases.items()], rtol=1e-4)


def test_what_has_no_norm_stays_zero() -> None:
    data = _random.standard_normal((3, 4, 5)).astype(np.float32)
    data[1, :, 2] = 0
    cases = []
    for p, axis in ((1, 1), (2, 1), (1, -1), (2, 0)):
        norm = np.linalg.norm(data, p, axis, keepdims=True)
        expected = np.divide(data, norm, out=np.zeros_like(data), where=norm != 0)
        cases.append(One(f"p{p}_axis{axis % 3}", "LpNormalization", [data], [expected], attributes={"p": p, "axis": axis}))
    check(cases, opset=22)


def test_statistics_of_the_batch_move_the_running_ones() -> None:
    inputs = [_random.standard_normal(shape).astype(np.float32) for shape in ((4, 3, 2, 5), (3,), (3,), (3,))] + [np.ones(3, np.float32)]
    attributes: dict[str, Any] = {"training_mode": 1, "momentum": 0.7, "epsilon": 1e-2}
    expected = evaluated("BatchNormalization", inputs, 15, 3, **attributes)
    check([One("training", "BatchNormalization", inputs, expected, attributes=attributes)], opset=15)


def test_a_product_with_a_bias_as_old_operator_sets_have_it() -> None:
    left, right, bias = (_random.standard_normal(shape).astype(np.float32) for shape in ((4, 2), (3, 4), (3,)))
    attributes = {"broadcast": 1, "transA": 1, "transB": 1, "alpha": 0.5, "beta": 2.0}
    check([One("product", "Gemm", [left, right, bias], [0.5 * left.T @ right.T + 2 * bias], attributes=attributes)], opset=6)
