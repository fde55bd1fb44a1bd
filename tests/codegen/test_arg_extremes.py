from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from tvm.relax import op

from landbridge.codegen.arg_extremes import _LANES
from support.kernels import Array, Case, case, compute
from support.other_targets import TARGETS

RNG = np.random.default_rng(2)


def _cases() -> list[Case]:
    found = []

    def add(name: str, x: Array, named: Any = None, **options: Any) -> None:
        for kind, make, numpy in (("max", op.argmax, np.argmax), ("min", op.argmin, np.argmin)):
            expected = numpy(x, options["axis"], keepdims=options.get("keepdims", False))
            found.append(case(f"{name}_{kind}", [x], lambda e, x, make=make: make(x, **options), expected, named))

    for count in (_LANES, _LANES + 1, 3 * _LANES - 1, 80):
        add(f"row_{count}", RNG.integers(-9, 9, (3, 2, count)).astype("float32"), axis=-1)  # many are the best: the first counts
    add("keepdims", RNG.standard_normal((4, 33)).astype("float32"), axis=1, keepdims=True)
    add("integers", RNG.integers(0, 255, (5, 40), "uint8"), axis=1)
    add("short", RNG.standard_normal((4, 5)).astype("float32"), axis=1)
    add("across", RNG.standard_normal((40, 5)).astype("float32"), axis=0)
    add("open", RNG.standard_normal((7, 20)).astype("float32"), {(0, 0): "rows"}, axis=1)
    add("parallel", RNG.standard_normal((600, 500)).astype("float32"), axis=1)
    x = RNG.standard_normal((2, 40)).astype("float32")
    x[0, :] = -np.inf
    x[1, 7] = np.inf
    add("infinite", x, axis=1)
    return found


@pytest.mark.parametrize("target", TARGETS)
def test_where_the_largest_and_the_smallest_are(target: str | None) -> None:
    cases = _cases()
    found = compute(cases, target)
    for one in cases:
        np.testing.assert_array_equal(found[one.name], one.expected, err_msg=one.name)


def test_of_what_is_no_number_it_is_some_place_of_the_row() -> None:
    x = np.full((1, 40), np.nan, "float32")
    (place,) = compute([case("nan", [x], lambda e, x: op.argmax(x, axis=1), np.zeros(1))])["nan"]
    assert 0 <= place < 40
