"""Models that preprocess their images themselves (static AIPP), from a network to results."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from onnx import parser

import landbridge as lb
from landbridge.ir.program import Program
from landbridge.runtime.errors import PlacementError, SignatureError
from landbridge.simulators.ascend.make_om import make_om
from support.aipp_reference import config_text, preprocess, raw_shape
from support.ge_graph import GeGraph, Value

HEAD = '<ir_version: 8, opset_import: ["" : 17]> g '
MEAN, FACTOR = (104, 117, 123), 0.017
NORMAL = {f"mean_chn_{c}": MEAN[c] for c in range(3)} | {f"var_reci_chn_{c}": FACTOR for c in range(3)}
RGB = {"input_format": "RGB888_U8", **NORMAL}


def network(batch: int | str = 1) -> Program:
    """A network as it was trained: floats, normalised by itself, from bytes NCHW."""
    text = f"""{HEAD} (uint8[{batch},3,8,6] image) => (float[{batch},3,8,6] y)
    <float[1,3,1,1] mean = {{{", ".join(f"{float(m)}" for m in MEAN)}}}, float factor = {{{FACTOR}}}>
    {{ wide = Cast<to = 1>(image)  shifted = Sub(wide, mean)  scaled = Mul(shifted, factor)  feat = Relu(scaled)  y = Neg(feat) }}"""
    return lb.from_onnx(parser.parse_model(text))


def backbone(shape: str = "[1,3,8,6]", aipp: str = "", gears: tuple[int, ...] = ()) -> lb.ExternModel:
    text = f"{HEAD} (float{shape} scaled) => (float{shape} feat) {{ feat = Relu(scaled) }}"
    return lb.ExternModel.from_bytes(make_om(parser.parse_model(text), aipp=aipp, gears=gears), name="backbone.om")


def pictures(*shape: int) -> NDArray[np.uint8]:
    return np.random.default_rng(5).integers(0, 256, shape, np.uint8)


def run(program: Program, folder: Path, image: NDArray[Any]) -> tuple[NDArray[Any], Any]:
    """Return the result and the report."""
    compiled = lb.compile(program)
    compiled.save(folder / "net.lbr")
    with lb.load(folder / "net.lbr", simulate=["atlas"]) as session:
        return session.run({"image": image})["y"], compiled.report


def expected(image: NDArray[np.uint8]) -> NDArray[Any]:
    raw = image.transpose(0, 2, 3, 1)
    return -np.maximum(preprocess(raw, RGB, 3).astype(np.float32), 0)


def test_what_the_remedy_promises_is_so(tmp_path: Path) -> None:
    image = pictures(1, 3, 8, 6)
    plain, before = run(lb.replace(network(), inputs=["scaled"], outputs=["feat"], by=backbone()), tmp_path, image)
    there = before.copies[0]
    assert there.remedy == "re-make backbone.om with AIPP to feed 'image' as uint8: 4x fewer bytes"
    made = backbone(aipp=config_text(RGB))
    raw, after = run(lb.replace(network(), inputs=["image"], outputs=["feat"], by=made), tmp_path, image)
    assert (after.copies[0].value, after.copies[0].dtype, after.copies[0].shape) == ("image", "uint8", (1, 8, 6, 3))
    assert after.copies[0].nbytes * 4 == there.nbytes
    assert (len(after.copies), after.minimum_copies, after.casts) == (2, 2, ())
    np.testing.assert_array_equal(raw, expected(image))
    np.testing.assert_allclose(raw, plain, rtol=2**-10)  # the normalisation is rounded to float16 on the device in both


def test_the_report_says_that_the_axes_are_permuted(tmp_path: Path) -> None:
    program = lb.replace(network(), inputs=["image"], outputs=["feat"], by=backbone(aipp=config_text(RGB)))
    _, report = run(program, tmp_path, pictures(1, 3, 8, 6))
    assert report.copies[0].producer == "input"
    assert report.copies[0].reason == "needed on atlas0 by backbone.om; its axes are permuted to NHWC on the CPU"
    assert "its axes are permuted to NHWC on the CPU" in report.render()


@pytest.mark.parametrize("batch", [1, 5])
def test_batches_of_images_are_split_over_gears(tmp_path: Path, batch: int) -> None:
    made = backbone("[n,3,8,6]", config_text(RGB), gears=(1, 2))
    image = pictures(batch, 3, 8, 6)
    found, report = run(lb.replace(network("n"), inputs=["image"], outputs=["feat"], by=made), tmp_path, image)
    np.testing.assert_array_equal(found, expected(image))
    assert report.launches == {"backbone.om": "n over gears 1, 2"}


def test_a_camera_gives_yuv(tmp_path: Path) -> None:
    settings = {"input_format": "YUV420SP_U8", "csc_switch": True, "matrix_r0c0": 256, "matrix_r1c0": 256, "matrix_r2c0": 256}
    settings |= {"matrix_r0c2": 359, "matrix_r1c1": -88, "matrix_r1c2": -183, "matrix_r2c1": 454, "input_bias_1": 128, "input_bias_2": 128}
    made = backbone(aipp=config_text(settings))

    class Camera(lb.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.backbone = lb.AtlasRuntimeSubgraph(made.data)

        def forward(self, image: Any) -> Any:
            return lb.nn.relu(self.backbone(image)[0])

    raw = pictures(*raw_shape("YUV420SP_U8", 1, 8, 6))
    compiled = lb.compile(lb.from_module(Camera(), {"image": lb.TensorSpec(raw.shape, "uint8")}))
    compiled.save(tmp_path / "camera.lbr")
    with lb.load(tmp_path / "camera.lbr", simulate=["atlas"]) as session:
        (found,) = session.run({"image": raw}).values()
    np.testing.assert_array_equal(found, np.maximum(preprocess(raw, settings, 3).astype(np.float32), 0))


def test_what_is_computed_of_the_image_is_refused_and_the_image_named() -> None:
    with pytest.raises(SignatureError) as caught:
        lb.replace(network(), inputs=["scaled"], outputs=["feat"], by=backbone(aipp=config_text(RGB)))
    assert str(caught.value) == (
        "g:feat: backbone.om, input 0 'scaled': value 'scaled' is float32 [1, 3, 8, 6], expected uint8 [1, 8, 6, 3], "
        "the NHWC image in RGB888_U8 (the model does its own image preprocessing, AIPP)\n"
        "  hint: begin the region at 'image', uint8 [1, 3, 8, 6]: the model does what the program does between that and this call"
    )


def test_a_float_that_comes_from_no_bytes_is_refused() -> None:
    text = f"{HEAD} (float[1,3,8,6] image) => (float[1,3,8,6] y) {{ feat = Relu(image)  y = Neg(feat) }}"
    program, made = lb.from_onnx(parser.parse_model(text)), backbone(aipp=config_text(RGB))
    with pytest.raises(SignatureError, match="hint: feed the raw image and leave out the preprocessing that the program does before"):
        lb.replace(program, inputs=["image"], outputs=["feat"], by=made)


def test_strict_mode_names_the_lines_to_add() -> None:
    program = lb.replace(network(), inputs=["image"], outputs=["feat"], by=backbone(aipp=config_text(RGB)))
    with pytest.raises(PlacementError) as caught:
        lb.compile(program, mode="strict")
    assert (
        "g:feat: backbone.om runs on atlas0 and takes NHWC, its operand 'image' is on cpu and NCHW; before it add: "
        'image = lb.nn.permute_dims(image, [0, 2, 3, 1]); image = lb.copy(image, "atlas0")'
    ) in str(caught.value)


def test_dynamic_aipp_is_refused_with_the_reason() -> None:
    graph = GeGraph()
    x = graph.data("x", "uint8", (1, 4, 4, 3), "NHWC", _data_related_aipp_mode="dynamic_aipp")
    graph.output(graph.op("Identity", [x], Value("y", "uint8", (1, 4, 4, 3), "NHWC")))
    with pytest.raises(SignatureError) as caught:
        lb.ExternModel.from_bytes(graph.to_bytes(), name="net.om")
    assert str(caught.value) == (
        "net.om: input 'x' has dynamic AIPP, which is set call by call and cannot be used here\n"
        "  hint: compile with static AIPP (aipp_mode: static) or without AIPP"
    )


def test_without_the_device_the_region_takes_the_same_raw_image_on_the_cpu(tmp_path: Path) -> None:
    image = pictures(1, 3, 8, 6)
    model = backbone(aipp=config_text({**RGB, "src_image_size_w": 6, "src_image_size_h": 8}))
    program = lb.replace(network(), inputs=["image"], outputs=["feat"], by=model, fallback="onnxruntime")
    on_device, _ = run(program, tmp_path, image)
    with lb.load(tmp_path / "net.lbr") as session:  # no simulator
        assert session.choices[0].vendor == "onnxruntime"
        on_cpu = session.run({"image": image})["y"]
    np.testing.assert_allclose(on_cpu, expected(image), rtol=1e-3, atol=1e-3)
    np.testing.assert_allclose(on_device, on_cpu, rtol=2e-3, atol=2e-3)  # the simulated device works in float16
