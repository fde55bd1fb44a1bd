from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import landbridge as lb
from support.run_operators import One, check
from support.small_onnx import node, small_model

RNG = np.random.default_rng(6)


def _sorted(data: Any, k: int, axis: int, largest: int) -> list[Any]:
    """Return values and places from a stable sort: of equal ones the first comes first, what is no number is the largest."""
    keys = np.moveaxis(data, axis, -1).astype("float64")
    rows = []
    for row in keys.reshape(-1, keys.shape[-1]):
        sign = -1 if largest else 1
        order = sorted((sign * int(np.isnan(x)), 0.0 if np.isnan(x) else sign * x, i) for i, x in enumerate(row))
        rows.append([i for _, _, i in order[:k]])
    places = np.moveaxis(np.array(rows).reshape(*keys.shape[:-1], k), -1, axis)
    return [np.take_along_axis(data, places, axis), places.astype("int64")]


def test_the_best_of_rows_with_many_equal_elements() -> None:
    cases = []
    for number, (shape, axis, k, dtype) in enumerate(
        [
            ((3, 40), 1, 7, "float32"),
            ((50, 2), 0, 50, "int32"),
            ((2, 33, 3), 1, 1, "uint8"),
            ((300,), -1, 120, "float16"),
            ((4, 9), 1, 8, "float64"),
        ]
    ):
        data = RNG.integers(0, 12, shape).astype(dtype)
        if dtype.startswith("float"):
            data[RNG.random(shape) < 0.1] = np.nan
        for largest in (0, 1):
            attributes = {"axis": axis, "largest": largest}
            inputs = [data, np.array([k])]
            cases.append(
                One(f"top_{number}_{largest}", "TopK", inputs, _sorted(data, k, axis, largest), constants=[1], attributes=attributes)
            )
    check(cases)


@pytest.mark.parametrize("k", [1, 5, 1000])
def test_rows_of_any_length(k: int) -> None:
    model = small_model(
        [node("TopK", "x k", "v i")],
        {"x": ("float32", ("rows", "n"))},
        {"v": ("float32", ("rows", k)), "i": ("int64", ("rows", k))},
        {"k": np.array([k])},
    )
    with lb.compile(lb.from_onnx(model), check="off").load() as session:
        for rows, n in ((1, 1000), (3, 1234)):
            x = RNG.standard_normal((rows, n)).astype("float32")
            found = session.run({"x": x})
            np.testing.assert_array_equal(found["i"], np.argsort(-x, -1, kind="stable")[:, :k])
            np.testing.assert_array_equal(found["v"], -np.sort(-x, -1)[:, :k])


def test_the_few_best_of_rows_of_any_numbers() -> None:
    """Rows as long as the tournament is wide and longer, with and without a rest; equal numbers, infinities, zeros of both signs, NaN."""
    odd = np.array([np.inf, -np.inf, 0.0, -0.0, 1.5, np.nan])
    cases = []
    narrow = [(64, 1, "float32"), (65, 8, "float32"), (95, 5, "float64"), (200, 3, "float64")]
    for extent, k, dtype in (*narrow, (512, 8, "float32"), (575, 4, "float64"), (1000, 5, "float32")):
        rows = RNG.integers(-4, 5, (6, extent)).astype(dtype)
        rows[1] = RNG.standard_normal(extent)
        rows[2], rows[3] = RNG.choice(odd[:5], extent), RNG.choice(odd, extent)
        rows[4] = -np.inf
        rows[5, RNG.permutation(extent)[: k - 1]] = np.inf
        rows[5, :1] = np.nan
        for largest in (0, 1):
            inputs, attributes = [rows, np.array([k])], {"axis": -1, "largest": largest}
            expected = _sorted(rows, k, -1, largest)
            cases.append(One(f"few_{extent}_{largest}", "TopK", inputs, expected, constants=[1], attributes=attributes))
    check(cases)
