"""Static image preprocessing, from ATC's configuration file to pixels; what they must be is computed by `support.aipp_reference`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from onnx import parser

from landbridge.runtime.driver import Driver
from landbridge.runtime.errors import DeviceError, ModelError, UnsupportedError
from landbridge.runtime.signature import Aipp, Gears, Port
from landbridge.runtime.vendors.atlas import AtlasVendor
from landbridge.simulators.ascend.__main__ import main
from landbridge.simulators.ascend.make_om import make_om
from support.aipp_reference import config_text, preprocess, raw_shape
from support.ge_graph import GeGraph, Value, named
from support.run_om import run_om

VENDOR = AtlasVendor()
FORMATS = ("YUV420SP_U8", "XRGB8888_U8", "RGB888_U8", "YUV400_U8", "ARGB8888_U8", "YUYV_U8", "YUV422SP_U8", "AYUV444_U8")
CHROMA = ("YUV420SP_U8", "YUV422SP_U8", "YUYV_U8")


@pytest.fixture(scope="module")
def driver() -> Iterator[Driver]:
    opened = VENDOR.open(0, simulate=True)
    yield opened
    opened.close()


def network(channels: int, height: int | str, width: int | str, batch: int | str = 1) -> Any:
    """A network that gives its image."""
    shape = f"[{batch}, {channels}, {height}, {width}]"
    return parser.parse_model(f'<ir_version: 8, opset_import: ["" : 17]> g (float{shape} x) => (float{shape} y) {{ y = Identity(x) }}')


def images(shape: tuple[int, ...], seed: int = 0) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, shape, np.uint8)


def channels_of(source_format: str) -> int:
    return {"YUV400_U8": 1, "RGB888_U8": 3}.get(source_format, 3 if source_format in CHROMA else 4)


@st.composite
def configurations(draw: st.DrawFn) -> tuple[dict[str, Any], int, tuple[int, int], tuple[int, int]]:
    """Draw settings, the channels of the network, the source image's size and the network's."""
    source_format = draw(st.sampled_from(FORMATS))
    step = 2 if source_format in CHROMA else 1
    source = [step * draw(st.integers(2, 6)) for _ in "hw"]
    settings: dict[str, Any] = {"input_format": source_format, "src_image_size_h": source[0], "src_image_size_w": source[1]}
    size = list(source)
    if draw(st.booleans()):
        settings["crop"] = True
        for index, axis in enumerate("hw"):
            start = step * draw(st.integers(0, (source[index] - 1) // step))
            size[index] = draw(st.integers(1, source[index] - start))
            settings |= {f"load_start_pos_{axis}": start, f"crop_size_{axis}": size[index]}
    if draw(st.booleans()):
        pads = {f"{side}_padding_size": draw(st.integers(0, 3)) for side in ("left", "right", "top", "bottom")}
        settings |= {"padding": True, "padding_value": draw(st.sampled_from([0.0, -1.5, 7.25])), **pads}
        size[0] += pads["top_padding_size"] + pads["bottom_padding_size"]
        size[1] += pads["left_padding_size"] + pads["right_padding_size"]
    settings |= {name: draw(st.booleans()) for name in ("rbuv_swap_switch", "ax_swap_switch")}
    if source_format != "YUV400_U8" and draw(st.booleans()):
        settings["csc_switch"] = True
        settings |= {f"matrix_r{r}c{c}": draw(st.integers(-600, 600)) for r in range(3) for c in range(3)}
        settings |= {f"{kind}_bias_{c}": draw(st.integers(0, 255)) for kind in ("input", "output") for c in range(3)}
    channels = draw(st.sampled_from([3, 4])) if channels_of(source_format) == 4 else channels_of(source_format)
    for channel in range(channels):
        settings[f"mean_chn_{channel}"] = draw(st.integers(0, 255))
        settings[f"min_chn_{channel}"] = draw(st.sampled_from([0.0, 0.5, -3.0]))
        settings[f"var_reci_chn_{channel}"] = draw(st.sampled_from([1.0, 0.017, 1 / 255]))
    return settings, channels, (source[0], source[1]), (size[0], size[1])


@given(configurations(), st.integers(0, 3))
def test_every_configuration_gives_the_references_pixels(driver: Driver, drawn: Any, seed: int) -> None:
    settings, channels, source, size = drawn
    blob = make_om(network(channels, size[0], size[1], 2), aipp=config_text(settings))
    raw = images(raw_shape(settings["input_format"], 2, *source), seed)
    (found,) = run_om(driver, blob, [raw])
    np.testing.assert_array_equal(found, preprocess(raw, settings, channels).astype(np.float32))


@pytest.mark.parametrize("source_format", FORMATS)
@pytest.mark.parametrize("tiny", [False, True])
def test_the_reader_asks_for_the_source_image(source_format: str, tiny: bool) -> None:
    model = network(channels_of(source_format), 4, 6, "n")
    signature = VENDOR.read_signature(make_om(model, gears=(1, 4), aipp=config_text({"input_format": source_format}), tiny=tiny), {})
    shape: tuple[int | str, ...] = ("batch", *raw_shape(source_format, 1, 4, 6)[1:])
    assert signature.inputs == (Port("x", "uint8", shape, "NHWC", Aipp("static", source_format, 4, 6)),)


@pytest.mark.parametrize("batch", [1, 3, 6])
def test_batches_are_split_over_gears(driver: Driver, batch: int) -> None:
    settings = {"input_format": "YUV420SP_U8", "mean_chn_1": 3}
    blob = make_om(network(3, 8, 4, "n"), gears=(1, 2), aipp=config_text(settings))
    raw = images(raw_shape("YUV420SP_U8", batch, 8, 4))
    (found,) = run_om(driver, blob, [raw], batch)
    np.testing.assert_array_equal(found, preprocess(raw, settings, 3).astype(np.float32))


def test_image_sizes_are_those_of_the_source() -> None:
    settings = config_text({"input_format": "RGB888_U8"})
    blob = make_om(network(3, "h", "w"), image_gears=((4, 4), (8, 6)), aipp=settings)
    signature = VENDOR.read_signature(blob, {})
    assert signature.inputs[0].shape == (1, "height", "width", 3)
    assert signature.outputs[0].shape == (1, 3, "height", "width")
    assert signature.gears == Gears("image", ((4, 4), (8, 6)), (((1, 3, 4, 4),), ((1, 3, 8, 6),)))


def test_comments_and_several_blocks() -> None:
    shape = "[1, 3, 4, 4]"
    model = parser.parse_model(
        f'<ir_version: 8, opset_import: ["" : 17]> g (float{shape} a, float{shape} b) => (float{shape} y) {{ y = Add(a, b) }}'
    )
    text = """
    # the second input
    aipp_op { aipp_mode: static related_input_name: "b" input_format: RGB888_U8  # bytes
    }
    aipp_op{aipp_mode:static related_input_rank:0 input_format:XRGB8888_U8 resize: false}
    """
    inputs = VENDOR.read_signature(make_om(model, aipp=text), {}).inputs
    assert [(port.name, port.shape) for port in inputs] == [("a", (1, 4, 4, 4)), ("b", (1, 4, 4, 3))]


STATIC = "aipp_op { aipp_mode: static input_format: RGB888_U8 "


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "it has no block"),
        ("aipp {", "found 'aipp {', expected 'aipp_op {'"),
        ("aipp_op { aipp_mode: static", "a block has no '}'"),
        ("aipp_op { aipp_mode static }", "expected 'key: value' and each key once"),
        (STATIC + "mean_chn_0: 1 mean_chn_0: 2 }", "expected 'key: value' and each key once"),
        ("aipp_op { aipp_mode: static; }", "cannot be read from '; }' on"),
        (STATIC + "mean_chan_0: 1 }", "unknown setting 'mean_chan_0'"),
        (STATIC + "crop: 1 }", "crop is '1', expected true or false"),
        (STATIC + "mean_chn_0: 1.5 }", "mean_chn_0 is '1.5', expected a whole number"),
        (STATIC + "min_chn_0: x }", "min_chn_0 is 'x', expected a number"),
        (STATIC + "related_input_rank: 1 }", "a block for input number 1, expected one for each of x at most"),
        (STATIC + 'related_input_name: "y" }', "a block for input 'y', expected one for each of x at most"),
        (STATIC + "src_image_size_h: 9 }", "AIPP makes a height of 9 pixels, with 0 more as padding; the network takes 8"),
        (
            STATIC + "crop: true src_image_size_w: 20 load_start_pos_w: 3 crop_size_w: 5 }",
            "AIPP makes a width of 20 pixels, cropped to 5 from 3 on, with 0 more as padding; the network takes 8",
        ),
        (STATIC + "padding: true left_padding_size: 9 }", "AIPP makes a width of -1 pixels"),
        (
            "aipp_op { aipp_mode: static input_format: YUV400_U8 }",
            r"AIPP of YUV400_U8 gives a floating image \[n, 1, height, width\], the network takes float32 \[1, 3, 8, 8\]",
        ),
        (
            "aipp_op { aipp_mode: static input_format: YUV420SP_U8 crop: true src_image_size_h: 10 load_start_pos_h: 1 crop_size_h: 8 }",
            "a YUV420SP_U8 image is cropped from an odd place on",
        ),
        (
            "aipp_op { aipp_mode: static input_format: YUV420SP_U8 crop: true src_image_size_h: 9 crop_size_h: 8 }",
            "a YUV420SP_U8 image of 9 x 8, expected even numbers",
        ),
    ],
)
def test_a_configuration_that_does_not_fit_says_what(text: str, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        make_om(network(3, 8, 8), aipp=text or " ")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("aipp_op { aipp_mode: dynamic }", "dynamic AIPP is set call by call, which the simulator does not do; expected static"),
        ("aipp_op { aipp_mode: static input_format: RAW10 }", "input_format is 'RAW10', expected one of YUV420SP_U8, "),
        (STATIC + "resize: true }", "resize: resizing is not simulated"),
    ],
)
def test_what_is_not_simulated_is_refused(text: str, message: str) -> None:
    with pytest.raises(UnsupportedError, match=message):
        make_om(network(3, 8, 8), aipp=text)


def test_gears_that_aipp_does_not_go_with_are_refused() -> None:
    with pytest.raises(ModelError, match="image sizes cannot be gears of a YUV420SP_U8 image, whose rows are not its height"):
        make_om(network(3, "h", "w"), image_gears=((4, 4), (8, 8)), aipp=config_text({"input_format": "YUV420SP_U8"}))
    text = config_text({"input_format": "RGB888_U8", "src_image_size_h": 8})
    with pytest.raises(ModelError, match="with image sizes as gears AIPP cannot crop, pad or fix the source image's size"):
        make_om(network(3, "h", "w"), image_gears=((4, 4), (8, 8)), aipp=text)
    with pytest.raises(UnsupportedError, match="AIPP together with dims_gears"):
        make_om(network(3, 4, 4, "n"), dims_gears=((1,), (2,)), aipp=config_text({"input_format": "RGB888_U8"}))


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"resize": True}, "resize of AIPP is not simulated"),
        ({"single_line_mode": True}, "single_line_mode of AIPP is not simulated"),
        ({"src_image_size_w": 5}, "AIPP's source image is 0 x 5, the input's is 4 x 4"),
        ({"crop": True, "load_start_pos_h": 2, "crop_size_h": 3}, r"AIPP crops 3 x 4 at \(2, 0\) of an image of 4 x 4"),
        ({"padding": True, "top_padding_size": -1}, "AIPP pads by less than nothing"),
        ({"input_format": 11}, "AIPP's input format 11 is not simulated"),
        ({"input_format": 2}, r"AIPP reads an image uint8 \[n, h, w, 4\] here"),
    ],
)
def test_a_file_of_anothers_making_is_refused_when_it_runs(driver: Driver, settings: dict[str, Any], reason: str) -> None:
    graph = GeGraph()
    x = graph.data("x", "uint8", (1, 4, 4, 3), "NHWC", aipp=named({"input_format": 3, **settings}))
    graph.output(graph.op("Aipp", [x], Value("y", "float16", (1, 3, 4, 4), "NCHW")))
    with pytest.raises(DeviceError, match=rf"operator 'y' \(Aipp\): {reason}"):
        run_om(driver, graph.to_bytes(), [images((1, 4, 4, 3))])


def test_the_command_line_reads_the_configuration(tmp_path: Path) -> None:
    onnx.save(network(3, "h", "w"), tmp_path / "net.onnx")
    (tmp_path / "aipp.cfg").write_text(config_text({"input_format": "RGB888_U8"}))
    arguments = [str(tmp_path / "net.onnx"), "-o", str(tmp_path / "net.om"), "--insert-op-conf", str(tmp_path / "aipp.cfg")]
    assert main([*arguments, "--image-gears", "4,4;8,6"]) == 0
    signature = VENDOR.read_signature((tmp_path / "net.om").read_bytes(), {})
    assert signature.inputs[0].aipp == Aipp("static", "RGB888_U8")
    assert main([*arguments[:-1], str(tmp_path / "none.cfg")]) == 1
