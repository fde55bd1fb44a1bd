from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from tvm import relax

from landbridge.ir.body import Binding
from landbridge.ir.images import image_chain, permuted, raw_image
from landbridge.runtime.signature import Aipp, Port

RGB = Port("image", "uint8", ("batch", 4, 6, 3), "NHWC", Aipp("static", "RGB888_U8"))
SIZES = Port("image", "uint8", (1, "height", "width", 3), "NHWC", Aipp("static", "RGB888_U8"))


@pytest.mark.parametrize(
    ("port", "shape", "expected"),
    [
        (RGB, (2, 3, 4, 6), (2, 4, 6, 3)),
        (RGB, ("n", 3, 4, 6), ("n", 4, 6, 3)),
        (RGB, (2, 4, 6, 3), None),
        (RGB, (2, 3, 6, 4), None),
        (RGB, (2, 3, 24), None),
        (RGB, None, None),
        (SIZES, (1, 3, 10, 20), (1, 10, 20, 3)),
        (SIZES, (1, 3, 10, 3), None),  # a picture of 3 x 10 as it is
        (SIZES, (1, 4, 10, 20), None),
        (Port("image", "uint8", (1, 4, 6, 3), "NHWC"), (1, 3, 4, 6), None),  # no image: only the vendor's layout
        (Port("image", "uint8", (1, 24, 16, 1), "NHWC", Aipp("static", "YUV420SP_U8")), (1, 1, 24, 16), (1, 24, 16, 1)),
    ],
)
def test_what_is_nchw_is_permuted_only_where_it_fits_no_other_way(port: Port, shape: Any, expected: Any) -> None:
    assert permuted(port, shape, {}) == expected


def test_a_dimension_that_is_known_already_counts() -> None:
    assert permuted(RGB, (2, 3, 4, 6), {"batch": 2}) == (2, 4, 6, 3)
    assert permuted(RGB, (2, 3, 4, 6), {"batch": 1}) is None


def chain(*steps: Any, dtype: str = "uint8") -> tuple[dict[Any, Binding], Any, Any]:
    """Return producers, the first value and the last of a chain of operators on one image."""
    first = value = relax.Var("image", relax.TensorType((1, 3, 4, 6), dtype))
    producers = {}
    for number, step in enumerate(steps):
        call = step(value)
        var = relax.Var(f"v{number}", relax.TensorType((1, 3, 4, 6), "float32"))
        producers[var] = Binding(var, call)
        value = var
    return producers, first, value


def widen(value: Any) -> Any:
    return relax.op.astype(value, "float32")


def shift(value: Any) -> Any:
    return relax.op.subtract(value, relax.const(np.float32(1)))


def square(value: Any) -> Any:
    return relax.op.multiply(value, value)


def test_the_raw_image_is_found_through_what_aipp_does() -> None:
    producers, first, last = chain(widen, shift)
    assert raw_image(producers, last, RGB) == first
    assert [str(binding.var.name) for binding in image_chain(producers, last)[1]] == ["v1", "v0"]


@pytest.mark.parametrize(
    ("steps", "dtype"),
    [
        ((), "uint8"),  # the value itself is it
        ((widen, relax.op.nn.relu), "uint8"),  # AIPP does no relu
        ((widen, square), "uint8"),  # two operands that vary
        ((shift,), "float32"),  # not bytes
    ],
)
def test_what_is_no_preprocessing_of_a_raw_image(steps: Any, dtype: str) -> None:
    producers, _, last = chain(*steps, dtype=dtype)
    assert raw_image(producers, last, RGB) is None
