"""The four documented files (static, batches, RGB and YUV images) are read and executed as the documents say."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from landbridge.runtime.driver import Driver
from landbridge.runtime.errors import DeviceError
from landbridge.runtime.signature import Aipp, Gears, Port
from landbridge.runtime.vendors.atlas import AtlasVendor
from landbridge.simulators.ascend.make_om import make_om
from support.aipp_reference import config_text, preprocess
from support.documented_om import GEARS, SOURCES, documented
from support.ge_graph import GeGraph, Value, named
from support.om_data import om_data_dir
from support.run_om import run_om

VENDOR = AtlasVendor()
RESULT = Port("conv1:0:conv1", "float32", ("batch", 17, 14, 14), "NCHW")
BATCHES = Gears("batch", tuple((gear,) for gear in GEARS))


@pytest.fixture(scope="module")
def driver() -> Iterator[Driver]:
    opened = VENDOR.open(0, simulate=True)
    yield opened
    opened.close()


def convolution(x: NDArray[Any]) -> NDArray[np.float64]:
    weights = np.load(om_data_dir() / "conv1_weights.npy").astype(np.float64)
    windows = np.lib.stride_tricks.sliding_window_view(x.astype(np.float16).astype(np.float64), (3, 3), axis=(2, 3))
    return np.asarray(np.einsum("nchwij,ocij->nohw", windows, weights), np.float64)


def assert_close(found: NDArray[Any], expected: NDArray[np.float64]) -> None:
    """Compare as float16 results allow: half a unit in their last place, 2^-11 of the value, and what the sum of 27 products loses."""
    assert np.all(np.abs(found - expected) <= 2e-3 * np.maximum(1, np.abs(expected)))


@pytest.mark.parametrize("name", ["static", "dynamic"])
@pytest.mark.parametrize("batch", [1, 4, 6, 20])
def test_floating_images(driver: Driver, name: str, batch: int) -> None:
    batch = 4 if name == "static" else batch
    x = np.random.default_rng(batch).standard_normal((batch, 3, 16, 16)).astype(np.float32)
    (found,) = run_om(driver, documented(name), [x], batch)
    assert_close(found, convolution(x))


@pytest.mark.parametrize(("name", "source_format"), [("rgb", "RGB888_U8"), ("yuv", "YUV420SP_U8")])
def test_the_files_with_aipp_are_read_as_documented(name: str, source_format: str) -> None:
    signature = VENDOR.read_signature(documented(name), {})
    assert signature.inputs == (Port("d", "uint8", ("batch", *SOURCES[name]), "NHWC", Aipp("static", source_format, 16, 16)),)
    assert (signature.outputs, signature.gears) == ((RESULT,), BATCHES)
    assert (signature.workspace_nbytes, signature.weight_nbytes) == (150528, 9728)


@pytest.mark.parametrize(("name", "source_format"), [("rgb", "RGB888_U8"), ("yuv", "YUV420SP_U8")])
@pytest.mark.parametrize("batch", [1, 3, 6])
def test_raw_images_in_files_with_fused_preprocessing(driver: Driver, name: str, source_format: str, batch: int) -> None:
    raw = np.random.default_rng(batch).integers(0, 256, (batch, *SOURCES[name]), np.uint8)
    (found,) = run_om(driver, documented(name), [raw], batch)
    assert_close(found, convolution(preprocess(raw, {"input_format": source_format}, 3)))


@pytest.mark.parametrize(("name", "source_format"), [("rgb", "RGB888_U8"), ("yuv", "YUV420SP_U8")])
@pytest.mark.parametrize("tiny", [False, True])
def test_the_maker_gives_files_of_the_same_interface_and_results(driver: Driver, name: str, source_format: str, tiny: bool) -> None:
    weights = np.load(om_data_dir() / "conv1_weights.npy").astype(np.float32)
    ports = [helper.make_tensor_value_info(p, 1, ["n", *rest]) for p, rest in (("d", (3, 16, 16)), ("conv1", (17, 14, 14)))]
    node = helper.make_node("Conv", ["d", "w"], ["conv1"], name="conv1")
    graph = helper.make_graph([node], "g", ports[:1], ports[1:], [numpy_helper.from_array(weights, "w")])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    settings = {"input_format": source_format, "src_image_size_w": 16, "src_image_size_h": 16, "crop": True}
    blob = make_om(model, gears=GEARS, aipp=config_text(settings), tiny=tiny)
    made, real = VENDOR.read_signature(blob, {}), VENDOR.read_signature(documented(name), {})
    assert (made.inputs, made.outputs, made.gears) == (real.inputs, real.outputs, real.gears)
    raw = np.random.default_rng(7).integers(0, 256, (6, *SOURCES[name]), np.uint8)
    ours, theirs = (run_om(driver, data, [raw], 6)[0] for data in (blob, documented(name)))
    np.testing.assert_array_equal(ours, theirs)


def test_a_fused_kernel_whose_stride_is_open_says_so(driver: Driver) -> None:
    graph = GeGraph()
    image = graph.data("d", "uint8", (1, 16, 16, 3), "NHWC", aipp=named({"input_format": 3}))
    filter_ = graph.const("w", np.ones((2, 3, 3, 3), np.float16), "NCHW")
    graph.output(graph.op("Conv2D", [image, filter_], Value("y", "float16", (1, 2, 8, 8), "NCHW")))
    with pytest.raises(DeviceError, match="it keeps no strides and pads, and its shapes leave open which: 16 -> 8 with a window of 3"):
        run_om(driver, graph.to_bytes(), [np.zeros((1, 16, 16, 3), np.uint8)])
