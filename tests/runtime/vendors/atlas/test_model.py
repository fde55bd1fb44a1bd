from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from onnx import parser

from landbridge.runtime.driver import TensorRef
from landbridge.runtime.errors import DeviceError, InputError, PlanError, UnsupportedError
from landbridge.runtime.signature import Gears, Port, Signature
from landbridge.runtime.vendors.atlas import AtlasVendor
from landbridge.runtime.vendors.atlas.driver import AtlasDriver
from landbridge.runtime.vendors.atlas.model import AtlasModel
from landbridge.simulators.ascend.make_om import make_om
from support.atlas_device import OnDevice, Simulator, call_of
from support.ge_graph import GeGraph, Value
from support.om_data import om_data_dir
from support.om_files import GEAR_SELECTOR, Op, data, result, simple_file

VENDOR = AtlasVendor()
OUT_ROW_NBYTES = 17 * 14 * 14 * 4


@pytest.fixture
def device(driver: AtlasDriver) -> Iterator[OnDevice]:
    arrays = OnDevice(driver)
    yield arrays
    arrays.free()


def read(name: str) -> tuple[bytes, Signature]:
    data = (om_data_dir() / name).read_bytes()
    return data, VENDOR.read_signature(data, {})


def load(driver: AtlasDriver, data: bytes) -> AtlasModel:
    return driver.load(data, VENDOR.read_signature(data, {}), {})


def convolution(x: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return what both real files compute: a 3x3 convolution without padding, of float16 values."""
    weights = np.load(om_data_dir() / "conv1_weights.npy").astype(np.float64)
    windows = np.lib.stride_tricks.sliding_window_view(x.astype(np.float16).astype(np.float64), (3, 3), axis=(2, 3))
    return np.asarray(np.einsum("nchwij,ocij->nohw", windows, weights), np.float64)


def assert_close(found: NDArray[Any], expected: NDArray[np.float64]) -> None:
    """Compare as float16 inside the model allows: rounding of inputs, products and results."""
    assert np.all(np.abs(found - expected) <= 2e-3 * np.maximum(1, np.abs(expected)))


def images(batch: int, seed: int = 0) -> NDArray[np.float32]:
    return np.random.default_rng(seed).standard_normal((batch, 3, 16, 16)).astype(np.float32)


@pytest.mark.parametrize("kind", ["ones", "random"])
def test_the_real_static_model_convolves(driver: AtlasDriver, device: OnDevice, kind: str) -> None:
    x = np.ones((4, 3, 16, 16), np.float32) if kind == "ones" else images(4)
    model = driver.load(*read("model_om.om"), {})
    y = device.empty("float32", (4, 17, 14, 14))
    with call_of(model, [device.put(x)], [y]) as call:
        assert call.launches == ()
        call()
        assert_close(device.get(y), convolution(x))


@pytest.mark.parametrize(("batch", "launches"), [(1, ()), (6, (4, 2)), (8, ()), (20, (8, 8, 4)), (9, (8, 1))])
def test_the_real_model_with_gears_takes_any_batch(driver: AtlasDriver, device: OnDevice, batch: int, launches: tuple[int, ...]) -> None:
    x = images(batch)
    model = driver.load(*read("model_dyn_om.om"), {})
    y = device.empty("float32", (batch, 17, 14, 14), slack_nbytes=7 * OUT_ROW_NBYTES)
    with call_of(model, [device.put(x)], [y]) as call:
        assert call.launches == launches
        call()
        assert_close(device.get(y), convolution(x))


def test_a_call_may_run_again_and_in_any_thread(driver: AtlasDriver, device: OnDevice) -> None:
    model = driver.load(*read("model_dyn_om.om"), {})
    x = device.put(images(6))
    y = device.empty("float32", (6, 17, 14, 14), slack_nbytes=7 * OUT_ROW_NBYTES)
    with call_of(model, [x], [y]) as call:
        for seed in range(3):
            fresh = images(6, seed)
            driver.copy_in(x.address, fresh.ctypes.data, fresh.nbytes)
            thread = threading.Thread(target=call)
            thread.start()
            thread.join()
            assert_close(device.get(y), convolution(fresh))


def test_one_model_called_from_many_threads_never_runs_twice_at_once(driver: AtlasDriver, device: OnDevice) -> None:
    model = driver.load(*read("model_om.om"), {})
    pairs = [(images(4, seed), device.empty("float32", (4, 17, 14, 14))) for seed in range(4)]
    calls = [model.prepare([device.put(x)], [y]) for x, y in pairs]
    failures: list[BaseException] = []

    def work(call: Any) -> None:
        try:
            for _ in range(5):
                call()
        except BaseException as error:
            failures.append(error)
            raise

    threads = [threading.Thread(target=work, args=(call,)) for call in calls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    for x, y in pairs:
        assert_close(device.get(y), convolution(x))


def test_no_launch_may_write_beyond_the_memory(driver: AtlasDriver, device: OnDevice) -> None:
    model = driver.load(*read("model_dyn_om.om"), {})
    enough = device.empty("float32", (6, 17, 14, 14), slack_nbytes=6 * OUT_ROW_NBYTES)
    tight = replace(enough, capacity=enough.capacity - 1)
    x = device.put(images(6))
    model.prepare([x], [enough]).close()
    with pytest.raises(PlanError) as caught:
        model.prepare([x], [tight])
    largest, start = 8 * OUT_ROW_NBYTES, 4 * OUT_ROW_NBYTES
    assert str(caught.value) == (
        f"output 'conv1:0:conv1': a launch may write {largest} bytes from byte {start} on, the buffer has {12 * OUT_ROW_NBYTES - 1}"
    )


def test_an_input_that_is_too_small_is_a_plan_error(driver: AtlasDriver, device: OnDevice) -> None:
    model = driver.load(*read("model_om.om"), {})
    short = replace(device.put(images(4)), capacity=12287)
    with pytest.raises(PlanError, match="input 'd': a launch reads 12288 bytes from byte 0 on, the buffer has 12287"):
        model.prepare([short], [device.empty("float32", (4, 17, 14, 14))])


def relu(gears: tuple[int, ...], shape: str = "float[n, 4]") -> bytes:
    text = f'<ir_version: 8, opset_import: ["" : 17]> g ({shape} x) => ({shape} y) {{ y = Relu(x) }}'
    return make_om(parser.parse_model(text), gears=gears)


def test_a_batch_that_no_sum_of_gears_reaches_is_an_error(driver: AtlasDriver, device: OnDevice) -> None:
    model = load(driver, relu((2, 4)))
    y = device.empty("float32", (9, 4), slack_nbytes=64)
    for batch, near in ((1, "2"), (3, "2 or 4"), (7, "6 or 8")):
        x = device.put(np.zeros((batch, 4), np.float32))
        with pytest.raises(InputError) as caught:
            model.prepare([x], [replace(y, shape=(batch, 4))])
        assert str(caught.value) == (
            f"input 'x': batch {batch} is not a sum of the batches that this model was compiled for (2, 4)\n"
            f"  hint: feed a batch of {near}, or allow padding with the option gears=split+pad, or compile the model with other gears"
        )


def test_gears_are_used_in_the_fewest_launches(driver: AtlasDriver, device: OnDevice) -> None:
    model = load(driver, relu((6, 4)))
    x = np.random.default_rng(1).standard_normal((8, 4)).astype(np.float32)
    y = device.empty("float32", (8, 4), slack_nbytes=2 * 16)
    with call_of(model, [device.put(x)], [y]) as call:
        assert call.launches == (4, 4)
        call()
        np.testing.assert_allclose(device.get(y), np.maximum(x, 0), rtol=1e-3)


@pytest.mark.parametrize(
    ("refs", "text"),
    [
        ([], "0 inputs, expected 1"),
        ([TensorRef(64, 9999, "float16", (4, 3, 16, 16))], "input 'd': float16 [4, 3, 16, 16], expected float32 [4, 3, 16, 16]"),
        ([TensorRef(64, 9999, "float32", (2, 3, 16, 16))], "input 'd': float32 [2, 3, 16, 16], expected float32 [4, 3, 16, 16]"),
        ([TensorRef(64, 9999, "float32", (4, 3))], "input 'd': float32 [4, 3], expected float32 [4, 3, 16, 16]"),
    ],
)
def test_inputs_that_do_not_match_are_named(driver: AtlasDriver, refs: list[TensorRef], text: str) -> None:
    model = driver.load(*read("model_om.om"), {})
    with pytest.raises(InputError) as caught:
        model.prepare(refs, [])
    assert str(caught.value) == text


def test_an_output_without_a_batch_cannot_be_put_together(driver: AtlasDriver, device: OnDevice) -> None:
    data, signature = read("model_dyn_om.om")
    model = driver.load(data, signature, {})
    fixed = replace(signature, outputs=(Port("conv1:0:conv1", "float32", (8, 17, 14, 14), "NCHW"),))
    model.signature = fixed
    y = device.empty("float32", (8, 17, 14, 14))
    with pytest.raises(UnsupportedError) as caught:
        model.prepare([device.put(images(6))], [y])
    assert str(caught.value) == (
        "output 'conv1:0:conv1': an output without a batch cannot be cut from padded launches or put together from several\n"
        "  hint: feed a batch that is itself a gear, or compile the model with one"
    )


@pytest.mark.parametrize(("batch", "spread", "launches"), [(3, "pad", (4,)), (3, "split+pad", (4,)), (9, "split+pad", (8, 1))])
def test_rows_that_nobody_asked_for_are_zero(
    driver: AtlasDriver, device: OnDevice, batch: int, spread: str, launches: tuple[int, ...]
) -> None:
    data, signature = read("model_dyn_om.om")
    model = driver.load(data, signature, {"gears": spread})
    x, y = images(batch), device.empty("float32", (batch, 17, 14, 14), slack_nbytes=7 * OUT_ROW_NBYTES)
    source = device.put(np.concatenate([x, np.full((7, 3, 16, 16), np.nan, np.float32)]))
    with call_of(model, [replace(source, shape=x.shape)], [y]) as call:
        assert call.launches == launches
        call()
        assert_close(device.get(y), convolution(x))
    padded = device.get(source)[batch : sum(launches)]
    np.testing.assert_array_equal(padded, np.zeros_like(padded))


def test_an_input_without_room_for_the_padding_is_a_plan_error(driver: AtlasDriver, device: OnDevice) -> None:
    data, signature = read("model_dyn_om.om")
    model = driver.load(data, signature, {"gears": "pad"})
    y = device.empty("float32", (3, 17, 14, 14), slack_nbytes=7 * OUT_ROW_NBYTES)
    with pytest.raises(PlanError, match="input 'd': a launch reads 12288 bytes from byte 0 on, the buffer has 9216"):
        model.prepare([device.put(images(3))], [y])


def test_a_model_that_is_not_what_was_compiled_for_is_refused_with_every_difference(driver: AtlasDriver) -> None:
    data, signature = read("model_om.om")
    d, y = signature.inputs[0], signature.outputs[0]
    other = replace(
        signature,
        inputs=(replace(d, dtype="float16"),),
        outputs=(replace(y, shape=(4, 17, 14, 15)),),
        gears=Gears("batch", ((4,),)),
    )
    with pytest.raises(DeviceError) as caught:
        driver.load(data, other, {})
    assert str(caught.value) == (
        "atlas0 (simulated): the loaded model is not what the program was compiled for: "
        "input 0 'd' is float32 [4, 3, 16, 16], expected float16 [4, 3, 16, 16]; "
        "output 0 'conv1:0:conv1' is float32 [4, 17, 14, 14], expected float32 [4, 17, 14, 15]; gears on one side only\n"
        "  hint: compile the program again with the file that is to run"
    )
    with pytest.raises(DeviceError, match="1 inputs, expected 2; 1 outputs, expected 0"):
        driver.load(data, replace(signature, inputs=(d, d), outputs=()), {})


def test_a_file_that_the_vendor_refuses_is_a_device_error(driver: AtlasDriver) -> None:
    data, signature = read("model_om.om")
    with pytest.raises(DeviceError) as caught:
        driver.load(data[:1000], signature, {})
    assert caught.value.vendor_code is not None
    assert caught.value.vendor_text


LOADING = (
    "aclmdlQuerySizeFromMem",
    "aclmdlCreateConfigHandle",
    "aclmdlSetConfigOpt",
    "aclmdlLoadWithConfig",
    "aclmdlCreateDesc",
    "aclmdlGetDesc",
    "aclmdlGetOutputDims",
)


@pytest.mark.parametrize("function", LOADING)
def test_a_failed_load_leaves_nothing(driver: AtlasDriver, simulator: Simulator, function: str) -> None:
    before = simulator.live()
    simulator.fault(function)
    with pytest.raises(DeviceError, match=function):
        driver.load(*read("model_om.om"), {})
    assert simulator.live() == before


@pytest.mark.parametrize("k", [1, 2])
def test_no_room_for_the_model_tells_the_sizes(driver: AtlasDriver, simulator: Simulator, k: int) -> None:
    before = simulator.live()
    simulator.fault("aclrtMalloc", k, "oom")
    with pytest.raises(DeviceError, match=rf"no room for {(150528, 9728)[k - 1]} bytes, \d+ are free"):
        driver.load(*read("model_om.om"), {})
    assert simulator.live() == before


PREPARING = [(name, k) for name in ("aclmdlCreateDataset", "aclCreateDataBuffer", "aclmdlAddDatasetBuffer") for k in (1, 2, 4)]


@pytest.mark.parametrize(("function", "k"), [*PREPARING, ("aclrtMalloc", 1)])
def test_a_failed_prepare_leaves_nothing(driver: AtlasDriver, device: OnDevice, simulator: Simulator, function: str, k: int) -> None:
    model = driver.load(*read("model_dyn_om.om"), {})
    x, y = device.put(images(6)), device.empty("float32", (6, 17, 14, 14), slack_nbytes=7 * OUT_ROW_NBYTES)
    before = simulator.live()
    simulator.fault(function, k)
    with pytest.raises(DeviceError, match=function):
        model.prepare([x], [y])
    assert simulator.live() == before


@pytest.mark.parametrize("function", ["aclmdlExecute", "aclmdlSetDynamicBatchSize", "aclrtSetCurrentContext"])
def test_a_failed_run_tells_why_and_the_next_one_works(driver: AtlasDriver, device: OnDevice, simulator: Simulator, function: str) -> None:
    model = driver.load(*read("model_dyn_om.om"), {})
    x = images(6)
    y = device.empty("float32", (6, 17, 14, 14), slack_nbytes=7 * OUT_ROW_NBYTES)
    with call_of(model, [device.put(x)], [y]) as call:
        simulator.fault(function)
        with pytest.raises(
            DeviceError, match=rf"atlas0 \(simulated\): {function} failed with error \d+ \(\w+\): .*injected fault"
        ) as caught:
            call()
        assert caught.value.vendor_code
        call()
        assert_close(device.get(y), convolution(x))


def test_closing_in_any_order_frees_all(simulator: Simulator) -> None:
    dynamic, static = read("model_dyn_om.om"), read("model_om.om")
    driver = AtlasDriver(2, simulate=True)
    device = OnDevice(driver)
    model = driver.load(*dynamic, {})
    x, y = device.put(images(2)), device.empty("float32", (2, 17, 14, 14), slack_nbytes=7 * OUT_ROW_NBYTES)
    call, forgotten = model.prepare([x], [y]), model.prepare([x], [y])
    assert simulator.live()["dataset"] == 4
    call.close()
    call.close()
    assert simulator.live()["dataset"] == 2
    with pytest.raises(PlanError, match="a call was used after it was closed"):
        call()
    model.close()
    model.close()
    forgotten.close()
    live = simulator.live()
    assert (live.get("dataset"), live.get("databuffer"), live.get("model"), live.get("desc")) == (None, None, None, None)
    driver.load(*static, {})
    device.free()
    driver.close()
    assert simulator.live() == {}


def sized(kind: int, dims: tuple[int, ...], *gears: tuple[int, ...]) -> bytes:
    """Return a Relu whose input's dimensions of -1 have several sizes."""
    largest = iter(gears[-1])
    shape = tuple(next(largest) if dim == -1 else dim for dim in dims)
    choices = {f"_pred_value_{index}": gear for index, gear in enumerate(gears)}
    rows = []
    for index, gear in enumerate(gears):
        extents = iter(gear)
        rows.append(",".join(map(str, (index, 0, *(next(extents) if dim == -1 else dim for dim in dims)))))
    return simple_file(
        data("x", shape, _mbatch_origin_input_dims=dims),
        replace(GEAR_SELECTOR, inputs=[(8, (len(gears[0]),), "ND")]),
        Op("case", "Case", (), {"_batch_num": len(gears), "mbatch_dynamic_type": kind, **choices}),
        Op("relu", "Relu", [(1, shape, "NCHW")], {}, [("x", 0)]),
        result(shape, source="relu", _dynamic_output_dims=rows),
    )


@pytest.mark.parametrize("kind", [2, 3])
@pytest.mark.parametrize("size", [(4, 6), (8, 6)])
def test_image_and_dims_gears_are_set_by_the_inputs_size(driver: AtlasDriver, device: OnDevice, kind: int, size: tuple[int, int]) -> None:
    model = load(driver, sized(kind, (1, 2, -1, -1), (4, 6), (8, 6)))
    x = np.random.default_rng(2).standard_normal((1, 2, *size)).astype(np.float32)
    y = device.empty("float32", x.shape, slack_nbytes=2 * 8 * 6 * 4 - x.nbytes)
    with call_of(model, [device.put(x)], [y]) as call:
        assert call.launches == ()
        call()
        np.testing.assert_array_equal(device.get(y), np.maximum(x, 0))


def test_a_size_that_is_no_gear_is_an_error(driver: AtlasDriver, device: OnDevice) -> None:
    model = load(driver, sized(2, (1, 2, -1, -1), (4, 6), (8, 6)))
    x = device.put(np.zeros((1, 2, 5, 6), np.float32))
    with pytest.raises(InputError) as caught:
        model.prepare([x], [x])
    assert str(caught.value) == (
        "input 'x': size 5x6 is none of those that this model was compiled for (4x6, 8x6)\n"
        "  hint: resize to 4x6 or 8x6, or compile the model with other sizes"
    )


def test_a_model_made_here_runs_and_says_so(driver: AtlasDriver, device: OnDevice) -> None:
    data = relu((), "float[2, 4]")
    signature = VENDOR.read_signature(data, {})
    assert signature.versions["platform"].startswith("landbridge-sim")
    x = np.array([[-1, 0, 1, 2], [3, -4, 5, -6]], np.float32)
    y = device.empty("float32", (2, 4))
    with call_of(load(driver, data), [device.put(x)], [y]) as call:
        call()
        np.testing.assert_array_equal(device.get(y), np.maximum(x, 0))


def open_ended(nbytes: int | None) -> bytes:
    """Return a model that finds what is not zero, whose file says how many bytes that takes at most."""
    graph = GeGraph()
    x = graph.data("x", "float32", (3, 4))
    found = graph.op("NonZero", [x], Value("y", "int64", (2, -1), nbytes=nbytes), {"transpose": True})
    graph.output(found)
    return graph.to_bytes()


def test_an_output_that_is_open_comes_back_as_long_as_it_is(driver: AtlasDriver, device: OnDevice, simulator: Simulator) -> None:
    model = load(driver, open_ended(2 * 12 * 8))
    assert model.signature.open_outputs == (True,)
    for x in (np.eye(3, 4, dtype=np.float32), np.zeros((3, 4), np.float32), np.ones((3, 4), np.float32)):
        source = device.put(x)
        before = simulator.live()
        (found,) = model.run_open([source], [None])
        np.testing.assert_array_equal(found, np.stack(np.nonzero(x)))
        assert simulator.live() == before


def test_an_open_output_without_a_bound_is_refused(driver: AtlasDriver, device: OnDevice) -> None:
    model = load(driver, open_ended(None))
    with pytest.raises(DeviceError, match=r"output '.*': only the data tells its shape, and the file does not say how large it may become"):
        model.run_open([device.put(np.ones((3, 4), np.float32))], [None])


def test_an_open_output_that_is_longer_than_the_file_says_is_an_error(driver: AtlasDriver, device: OnDevice) -> None:
    model = load(driver, open_ended(32))
    with pytest.raises(DeviceError, match="output 'output_0_y_0' has 192 bytes, the file says 32"):
        model.run_open([device.put(np.ones((3, 4), np.float32))], [None])


@pytest.mark.parametrize(
    "function", ["aclCreateTensorDesc", "aclmdlSetDatasetTensorDesc", "aclmdlExecute", "aclGetTensorDescDimV2", "aclrtMalloc"]
)
def test_a_failed_call_with_an_open_output_leaves_nothing(
    driver: AtlasDriver, device: OnDevice, simulator: Simulator, function: str
) -> None:
    model = load(driver, open_ended(192))
    source = device.put(np.eye(3, 4, dtype=np.float32))
    before = simulator.live()
    simulator.fault(function)
    with pytest.raises(DeviceError, match=function):
        model.run_open([source], [None])
    assert simulator.live() == before
    (found,) = model.run_open([source], [None])
    assert found.shape == (2, 3)
