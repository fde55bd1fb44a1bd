"""Outputs whose shapes only the data tells: memory that grows, is used again, and is given back, whatever fails."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from landbridge.runtime.driver import TensorRef
from landbridge.runtime.errors import DeviceError, DeviceLost
from landbridge.runtime.signature import Port, Signature
from landbridge.runtime.vendors.tensorrt.driver import TensorrtDriver
from landbridge.runtime.vendors.tensorrt.model import TensorrtModel
from support.cuda_double import CudaDouble, use
from support.tensorrt_double import make_module, plan, tensor

Array = np.ndarray[Any, Any]

TENSORS = [tensor("x", [-1, 4]), tensor("kept", [-1, 4], output=True), tensor("where", [2, -1], "INT64", output=True)]
PROFILES = [{"x": [[1, 4], [4, 4], [8, 4]]}, {"x": [[9, 4], [9, 4], [99, 4]]}]
FINDER = plan("finder", TENSORS, PROFILES)
"""Gives the positive part of x, and where that is not zero."""

SIGNATURE = Signature((Port("x", "float32", ("batch", 4)),), (Port("kept", "float32", ("batch", 4)), Port("where", "int64", (2, "found"))))
ROOM = 16 << 20
"""Bytes of the double's GPU."""


@pytest.fixture(params=["10.3.0.26", "8.6.1.6"])
def double(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Iterator[CudaDouble]:
    """Versions of TensorRT that ask by either of an allocator's two functions."""
    made = use(monkeypatch)
    monkeypatch.setitem(sys.modules, "tensorrt", make_module(made, version=request.param))
    yield made
    assert made.live() == 0, "something on the GPU was not given back"


@pytest.fixture
def model(driver: TensorrtDriver) -> TensorrtModel:
    return driver.load(FINDER, SIGNATURE, {"version_compatible": "yes"})


def find(driver: TensorrtDriver, model: TensorrtModel, x: Array, shift: int = 0) -> tuple[Array, Array]:
    """Run once, with memory ``shift`` bytes from an aligned address; return both outputs, and give the arguments' memory back."""
    places = [driver.allocate(x.nbytes + shift) for _ in range(2)]
    source, kept = (TensorRef(place + shift, x.nbytes, "float32", x.shape) for place in places)
    try:
        driver.copy_in(source.address, np.ascontiguousarray(x).ctypes.data, x.nbytes)
        nothing, where = model.run_open([source], [kept, None])
        assert nothing is None
        result = np.empty_like(x)
        driver.copy_out(result.ctypes.data, kept.address, x.nbytes)
        return result, where
    finally:
        for place in places:
            driver.free(place)


def with_positives(n: int, rows: int = 8) -> Array:
    x = np.full(rows * 4, -1, np.float32)
    x[np.random.default_rng(n).permutation(rows * 4)[:n]] = 1 + np.arange(n)
    return x.reshape(rows, 4)


def check(driver: TensorrtDriver, model: TensorrtModel, x: Array, shift: int = 0) -> None:
    kept, where = find(driver, model, x, shift)
    np.testing.assert_array_equal(kept, np.maximum(x, 0))
    assert where.dtype == np.int64
    np.testing.assert_array_equal(where, np.stack(np.nonzero(np.maximum(x, 0))))


def test_an_output_is_as_long_as_the_data_say(driver: TensorrtDriver, model: TensorrtModel, double: CudaDouble) -> None:
    assert SIGNATURE.open_outputs == (False, True)
    blocks = []
    for n in (3, 0, 32, 1, 32, 7, 0):
        check(driver, model, with_positives(n))
        blocks.append(dict(model._open._blocks))
    sizes = [block["where"][1] for block in blocks]
    assert sizes == [3 * 16, 3 * 16, *[32 * 16] * 5], "grown to the most so far, and kept"
    assert len({block["where"][0] for block in blocks[2:]}) == 1, "what is large enough is used again"
    before = double.live()
    model.close()
    assert double.live() == before - 1
    model.close()


def test_nothing_found_at_first(driver: TensorrtDriver, model: TensorrtModel) -> None:
    _, where = find(driver, model, with_positives(0))
    assert where.shape == (2, 0)


def test_contexts_of_several_profiles_share_the_memory(driver: TensorrtDriver, model: TensorrtModel) -> None:
    for rows, n in ((1, 2), (99, 300), (8, 5), (9, 36)):
        check(driver, model, with_positives(n, rows))
    assert model._open._blocks["where"][1] == 300 * 16


def test_arguments_that_are_not_aligned(driver: TensorrtDriver, model: TensorrtModel) -> None:
    check(driver, model, with_positives(5), shift=64)


def test_after_a_call_the_context_has_no_allocator(driver: TensorrtDriver, model: TensorrtModel) -> None:
    check(driver, model, with_positives(5))
    assert model.slot(0).context._allocators == {}


def test_every_output_may_be_open(driver: TensorrtDriver) -> None:
    """Also one that is other arithmetic of the input's extents, and one of a dimension that values of a shape tensor tell."""
    pairs = plan("pairs", [tensor("x", [-1, 4]), tensor("y", [4, -1], output=True)], PROFILES)
    signature = Signature((Port("x", "float32", ("batch", 4)),), (Port("y", "float32", (4, "twice")),))
    x = with_positives(7)
    source = TensorRef(driver.allocate(x.nbytes), x.nbytes, "float32", x.shape)
    driver.copy_in(source.address, x.ctypes.data, x.nbytes)
    (y,) = driver.load(pairs, signature, {"version_compatible": "yes"}).run_open([source], [None])
    np.testing.assert_array_equal(y, np.concatenate([x, x]).T)
    first = plan("first", [tensor("x", [32]), tensor("k", [], "INT64", host=True), tensor("y", [-1], output=True)])
    ports = (Port("x", "float32", (32,)), Port("k", "int64", ()))
    counted = driver.load(first, Signature(ports, (Port("y", "float32", ("y_0",)),)), {"version_compatible": "yes"})
    flat, number = TensorRef(source.address, x.nbytes, "float32", (32,)), TensorRef(driver.allocate(8), 8, "int64", ())
    for k in (5, 0, 32):
        value = np.array(k, np.int64)
        driver.copy_in(number.address, value.ctypes.data, 8)
        np.testing.assert_array_equal(counted.run_open([flat, number], [None])[0], x.ravel()[:k])
    for ref in (source, number):
        driver.free(ref.address)


@pytest.mark.parametrize("shift", [0, 64])
def test_an_allocation_that_fails_is_the_error_and_the_next_call_runs(
    driver: TensorrtDriver, model: TensorrtModel, double: CudaDouble, shift: int
) -> None:
    check(driver, model, with_positives(3))
    before = double.live()
    free, _ = driver._cuda.memory()
    large = with_positives(390, 99)
    double.budget(ROOM - free + 4 * (large.nbytes + shift) + 48 + 100)  # the arguments and their copies, and what is freed to grow
    with pytest.raises(
        DeviceError, match=r"^gpu0: output 'where', whose size only the data tells: no room for 6240 bytes, \d+ are free\n  hint: use a"
    ) as caught:
        find(driver, model, large, shift)
    assert caught.value.code == "LB4003"
    assert caught.value.vendor_code == 2
    assert isinstance(caught.value.__cause__, DeviceError)
    assert "the output allocator has no memory for where" in caught.value.__cause__.message
    assert double.live() == before - 1, "the block that was too small is gone, and nothing else was left"
    double.budget(ROOM)
    check(driver, model, large)
    assert double.live() == before


def test_a_shape_that_is_not_told_is_not_the_last_call_s(
    driver: TensorrtDriver, model: TensorrtModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    check(driver, model, with_positives(3))
    monkeypatch.setattr(model._open, "notify", lambda name, shape: None)
    with pytest.raises(DeviceError, match=r"^gpu0: TensorRT told neither size nor shape of output 'where'\n"):
        find(driver, model, with_positives(3))


@pytest.fixture
def arguments(driver: TensorrtDriver) -> Iterator[tuple[TensorRef, TensorRef]]:
    """An input with nine that are found, and memory for the output of known shape."""
    x = with_positives(9)
    source, kept = (TensorRef(driver.allocate(x.nbytes), x.nbytes, "float32", x.shape) for _ in range(2))
    driver.copy_in(source.address, x.ctypes.data, x.nbytes)
    yield source, kept
    for ref in (source, kept):
        driver.free(ref.address)


def test_a_lost_gpu_is_said_and_leaves_no_allocator(
    driver: TensorrtDriver, model: TensorrtModel, double: CudaDouble, arguments: tuple[TensorRef, TensorRef]
) -> None:
    source, kept = arguments
    double.fail_on_stream(700)
    with pytest.raises(DeviceLost, match=r"the GPU failed while the engine ran: .*CUDA_ERROR_ILLEGAL_ADDRESS.*the stream failed"):
        model.run_open([source], [kept, None])
    assert model.slot(0).context._allocators == {}
    check(driver, model, with_positives(4))


@pytest.mark.parametrize(("function", "times"), [("cuMemAlloc_v2", 2), ("cuMemcpyDtoHAsync_v2", 1), ("cuMemcpyDtoDAsync_v2", 1)])
def test_each_call_of_cuda_may_fail_and_the_next_run_is_right(
    driver: TensorrtDriver, double: CudaDouble, arguments: tuple[TensorRef, TensorRef], function: str, times: int
) -> None:
    """Of those that `TensorrtModel.run_open` makes for an input that is to be aligned and an output that grows, each fails once."""
    odd, kept = (TensorRef(ref.address + shift, 64, "float32", (4, 4)) for ref, shift in zip(arguments, (64, 0), strict=True))
    for k in range(1, times + 1):
        model = driver.load(FINDER, SIGNATURE, {"version_compatible": "yes"})
        check(driver, model, with_positives(0))
        double.fail(function, k=k)
        with pytest.raises(DeviceError, match=function):
            model.run_open([odd], [kept, None])
        check(driver, model, with_positives(20))
        model.close()
    model = driver.load(FINDER, SIGNATURE, {"version_compatible": "yes"})
    check(driver, model, with_positives(0))
    double.fail(function, k=times + 1)
    model.run_open([odd], [kept, None])
    double.fail("none of them")


def test_capture_names_what_is_open(driver: TensorrtDriver) -> None:
    assert driver.capture(FINDER, {}).outputs == (Port("kept", "float32", ("batch", 4)), Port("where", "int64", (2, "where_1")))
    rows = plan("nonzero", [tensor("x", [-1]), tensor("y", [-1], output=True)], [{"x": [[1], [4], [8]]}])
    found = driver.capture(rows, {})
    assert found.outputs == (Port("y", "float32", ("y_0",)),), "not the batch, which the input's first dimension is"
    assert found.open_outputs == (True,)
