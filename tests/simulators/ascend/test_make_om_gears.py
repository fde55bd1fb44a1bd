"""Gears of all three kinds in files of the maker: what the reader finds, what the simulator computes, what is refused."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from onnx import parser

from landbridge.runtime.driver import Driver
from landbridge.runtime.errors import ModelError, UnsupportedError
from landbridge.runtime.signature import Gears
from landbridge.runtime.vendors.atlas import AtlasVendor
from landbridge.simulators.ascend.make_om import make_om
from support.run_om import run_om, run_onnx

VENDOR = AtlasVendor()
HEAD = '<ir_version: 8, opset_import: ["" : 17]> g '


@pytest.fixture(scope="module")
def driver() -> Iterator[Driver]:
    opened = VENDOR.open(0, simulate=True)
    yield opened
    opened.close()


def model(body: str, x: str = "[1,2,h,w]", y: str = "[1,c,p,q]", more: str = "") -> Any:
    return parser.parse_model(f"{HEAD} (float{x} x{more}) => (float{y} y) {{ {body} }}")


SIZES = ((4, 4), (6, 4), (4, 10))
BODIES = {
    "elements": "y = Sigmoid(x)",
    "window": "y = MaxPool<kernel_shape = [2, 2], strides = [2, 2]>(x)",
    "average": "p = GlobalAveragePool(x)  y = Add(p, x)",
    "transposed": "y = Transpose<perm = [0, 1, 3, 2]>(x)",
    "joined": "t = Relu(x)  y = Concat<axis = 1>(x, t)",
    "same padding": "y = MaxPool<kernel_shape = [3, 3], auto_pad = 'SAME_UPPER'>(x)".replace("'", '"'),
}
"""What the maker has no operator for."""


@pytest.mark.parametrize("tiny", [False, True])
@pytest.mark.parametrize("name", BODIES)
def test_every_image_size_gives_what_onnxruntime_gives(driver: Driver, name: str, tiny: bool) -> None:
    network = model(BODIES[name])
    blob = make_om(network, image_gears=SIZES, fp16=False, tiny=tiny)
    for height, width in SIZES:
        x = np.random.default_rng(height + width).standard_normal((1, 2, height, width)).astype(np.float32)
        (expected,) = run_onnx(network, {"x": x})
        (found,) = run_om(driver, blob, [x], outputs=[expected.shape])
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("tiny", [False, True])
def test_the_reader_finds_sizes_and_the_outputs_in_each(tiny: bool) -> None:
    signature = VENDOR.read_signature(make_om(model(BODIES["window"]), image_gears=SIZES, tiny=tiny), {})
    assert signature.inputs[0].shape == (1, 2, "height", "width")
    assert signature.outputs[0].shape == (1, 2, "output0_dim2", "output0_dim3")
    assert signature.gears == Gears("image", SIZES, (((1, 2, 2, 2),), ((1, 2, 3, 2),), ((1, 2, 2, 5),)))


@pytest.mark.parametrize("tiny", [False, True])
def test_gears_of_any_dimensions(driver: Driver, tiny: bool) -> None:
    network = model("t = Transpose<perm = [1, 0]>(z)  y = Mul(x, t)", "[a,b]", "[a,b]", ", float[b,a] z")
    gears = ((1, 5, 5, 1), (4, 2, 2, 4))
    blob = make_om(network, dims_gears=gears, fp16=False, tiny=tiny)
    signature = VENDOR.read_signature(blob, {})
    assert [port.shape for port in signature.inputs] == [("dim0", "dim1"), ("dim2", "dim3")]
    assert signature.outputs[0].shape == ("dim0", "dim1")
    for a, b, _, _ in gears:
        x, z = np.random.default_rng(a).standard_normal((a, b)).astype(np.float32), np.ones((b, a), np.float32) * 3
        (found,) = run_om(driver, blob, [x, z], outputs=[(a, b)])
        np.testing.assert_array_equal(found, x * 3)


@pytest.mark.parametrize(
    ("network", "options", "message"),
    [
        (model("y = Relu(x)"), {"image_gears": ((4, 4),), "gears": (1, 2)}, "gears of 2 kinds, expected one of gears, image_gears"),
        (model("y = Relu(x)"), {"image_gears": ((4, 4), (4, 4))}, r"gears \[\(4, 4\), \(4, 4\)\], expected different positive pairs"),
        (model("y = Relu(x)"), {"image_gears": ((4, 0),)}, "expected different positive pairs of height and width"),
        (model("y = Relu(x)"), {"dims_gears": ((4, 4, 4),)}, "expected different positive tuples of 2 extents"),
        (model("y = Relu(x)", "[1,2,4,4]"), {"image_gears": ((4, 4),)}, "gears for a model without a dynamic size"),
        (model("y = Relu(x)", "[n,2,h,w]"), {"image_gears": ((4, 4),)}, r"image sizes are for inputs \[n, c, height, width\]"),
        (model("y = Relu(x)", "[n,2,h,w]"), {"gears": (1, 2)}, r"input 'x' has the shape \['n', 2, 'h', 'w'\]\n  hint: fix all"),
    ],
)
def test_gears_that_do_not_fit_are_refused(network: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ModelError, match=message):
        make_om(network, **options)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (
            'y = MaxPool<kernel_shape = [3, 3], strides = [3, 3], auto_pad = "SAME_UPPER">(x)',
            "auto_pad means .* rows or columns of padding in the model's gears",
        ),
        ("y = Flatten(x)", r"a result \[1, 32\] for size 4x4, \[1, 80\] for size 4x10: with gears only its first dimension may vary"),
    ],
)
def test_what_depends_on_the_size_otherwise_is_refused(body: str, message: str) -> None:
    with pytest.raises(UnsupportedError, match=message):
        make_om(model(body, y="[1,c]" if "Flatten" in body else "[1,2,p,q]"), image_gears=SIZES)
