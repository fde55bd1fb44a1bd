"""Models compiled for several image sizes, or for several extents of any dimensions: from a network to results."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from numpy.typing import NDArray
from onnx import parser

import landbridge as lb
from landbridge.ir.program import Program
from landbridge.runtime.errors import InputError, SignatureError
from landbridge.simulators.ascend.make_om import make_om
from support.aipp_reference import config_text

HEAD = '<ir_version: 8, opset_import: ["" : 17]> g '
SIZES = ((8, 8), (8, 12), (16, 12))
KERNEL = "float[4,2,3,3] w = {" + ", ".join(f"{0.01 * (i % 17 - 8):.2f}" for i in range(72)) + "}"
CONV = "feat = Conv<strides = [2, 2], pads = [1, 1, 1, 1]>(t, w)"


def detector(height: int | str = "h", width: int | str = "w") -> Any:
    """A network whose features have half the image's size."""
    shape = f"[1,2,{height},{width}]"
    return parser.parse_model(f"{HEAD} (float{shape} x) => (float[1,4,p,q] y) <{KERNEL}> {{ t = Relu(x)  {CONV}  y = Neg(feat) }}")


def backbone(sizes: Any = SIZES, **options: Any) -> lb.ExternModel:
    model = parser.parse_model(f"{HEAD} (float[1,2,h,w] t) => (float[1,4,p,q] feat) <{KERNEL}> {{ {CONV} }}")
    return lb.ExternModel.from_bytes(make_om(model, image_gears=sizes, fp16=False, **options), name="backbone.om")


def reference(model: Any, inputs: dict[str, NDArray[Any]]) -> NDArray[Any]:
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return np.asarray(session.run(None, inputs)[0])


def saved(program: Program, folder: Path) -> Path:
    compiled = lb.compile(program)
    assert len(compiled.report.copies) == compiled.report.minimum_copies == 2
    compiled.save(folder / "net.lbr")
    return folder / "net.lbr"


def test_every_image_size_of_the_gears(tmp_path: Path) -> None:
    model = detector()
    program = lb.replace(lb.from_onnx(model), inputs=["t"], outputs=["feat"], by=backbone())
    with lb.load(saved(program, tmp_path), simulate=["atlas"]) as session:
        for size in (*SIZES, SIZES[0]):
            x = np.random.default_rng(1).standard_normal((1, 2, *size)).astype(np.float32)
            found = session.run({"x": x})["y"]
            assert found.shape == (1, 4, size[0] // 2, size[1] // 2)
            np.testing.assert_allclose(found, reference(model, {"x": x}), rtol=1e-5, atol=1e-6)


def test_another_image_size_is_refused_with_the_nearest(tmp_path: Path) -> None:
    program = lb.replace(lb.from_onnx(detector()), inputs=["t"], outputs=["feat"], by=backbone())
    with lb.load(saved(program, tmp_path), simulate=["atlas"]) as session:
        with pytest.raises(InputError) as caught:
            session.run({"x": np.zeros((1, 2, 16, 10), np.float32)})
        assert caught.value.message == "size 16x10 is none of those that this model was compiled for (8x8, 8x12, 16x12)"
        assert caught.value.hint == "resize to 16x12 or 8x8, or compile the model with other sizes"
        assert session.run({"x": np.zeros((1, 2, 8, 8), np.float32)})["y"].shape == (1, 4, 4, 4)


def test_a_fixed_size_that_is_no_gear_is_refused_when_compiling() -> None:
    with pytest.raises(SignatureError) as caught:
        lb.replace(lb.from_onnx(detector(8, 10)), inputs=["t"], outputs=["feat"], by=backbone())
    assert str(caught.value) == (
        "g:feat: backbone.om, input 0 't': value 't' is float32 [1, 2, 8, 10], expected [1, 2, height, width] with one of its sizes "
        "8x8, 8x12, 16x12 for height, width\n  hint: resize to 8x8 or 8x12, or compile the model with other sizes"
    )


@pytest.mark.parametrize("size", [("h", "w"), (16, 12)])
def test_the_module_api_finds_the_size_of_the_features(tmp_path: Path, size: Any) -> None:
    blob = backbone().data

    class Net(lb.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.backbone = lb.AtlasRuntimeSubgraph(blob)

        def forward(self, x: Any) -> Any:
            return lb.nn.negative(self.backbone(lb.nn.relu(x))[0])

    program = lb.from_module(Net(), {"x": lb.TensorSpec((1, 2, *size), "float32")})
    x = np.random.default_rng(2).standard_normal((1, 2, 16, 12)).astype(np.float32)
    with lb.load(saved(program, tmp_path), simulate=["atlas"]) as session:
        (found,) = session.run({"x": x}).values()
    np.testing.assert_allclose(found, reference(detector(), {"x": x}), rtol=1e-5, atol=1e-6)


def test_image_sizes_of_a_raw_image(tmp_path: Path) -> None:
    made = backbone(aipp="")
    model = parser.parse_model(f"{HEAD} (float[1,3,h,w] t) => (float[1,3,h,w] feat) {{ feat = Relu(t) }}")
    blob = make_om(model, image_gears=SIZES, aipp=config_text({"input_format": "RGB888_U8", "mean_chn_1": 100}))
    made = lb.ExternModel.from_bytes(blob, name="camera.om")
    text = f"{HEAD} (uint8[1,3,h,w] x) => (float[1,3,h,w] y) {{ t = Cast<to = 1>(x)  feat = Relu(t)  y = Neg(feat) }}"
    program = lb.replace(lb.from_onnx(parser.parse_model(text)), inputs=["x"], outputs=["feat"], by=made)
    with lb.load(saved(program, tmp_path), simulate=["atlas"]) as session:
        for size in SIZES:
            x = np.random.default_rng(3).integers(0, 256, (1, 3, *size), np.uint8)
            shifted = x.astype(np.float32) - np.array([0, 100, 0], np.float32)[:, None, None]
            np.testing.assert_array_equal(session.run({"x": x})["y"], -np.maximum(shifted, 0))


DIMS = ((1, 16, 4), (3, 8, 16), (2, 32, 1))
"""Rows, inner extent and columns: none of the gears is the largest in all of them."""
PRODUCT = f"{HEAD} (float[m,k] a, float[k2,n] b) => (float[m,n] y) {{ s = Relu(a)  c = MatMul(s, b)  y = Neg(c) }}"


def product(gears: Any) -> lb.ExternModel:
    model = parser.parse_model(f"{HEAD} (float[m,k] s, float[k,n] b) => (float[m,n] c) {{ c = MatMul(s, b) }}")
    return lb.ExternModel.from_bytes(make_om(model, dims_gears=gears, fp16=False), name="product.om")


def test_every_choice_of_dims_gears(tmp_path: Path) -> None:
    made = product([(m, k, k, n) for m, k, n in DIMS])
    assert made.signature.gears is not None
    assert [port.shape for port in made.signature.inputs] == [("dim0", "dim1"), ("dim2", "dim3")]
    model = parser.parse_model(PRODUCT.replace("k2", "k"))
    program = lb.replace(lb.from_onnx(model), inputs=["s", "b"], outputs=["c"], by=made)
    compiled = lb.compile(program)
    compiled.save(tmp_path / "product.lbr")
    with lb.load(tmp_path / "product.lbr", simulate=["atlas"]) as session:
        for m, k, n in DIMS:
            rng = np.random.default_rng(m)
            inputs = {name: rng.standard_normal(shape).astype(np.float32) for name, shape in (("a", (m, k)), ("b", (k, n)))}
            np.testing.assert_allclose(session.run(inputs)["y"], reference(model, inputs), rtol=1e-4, atol=1e-5)
        with pytest.raises(InputError) as caught:
            session.run({"a": np.zeros((3, 8), np.float32), "b": np.zeros((8, 4), np.float32)})
        assert caught.value.message == ("size 3x8x8x4 is none of those that this model was compiled for (1x16x16x4, 3x8x8x16, 2x32x32x1)")
        assert caught.value.hint.startswith("resize to 3x8x8x16 or 1x16x16x4, ")
