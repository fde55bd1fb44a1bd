from __future__ import annotations

import sys
import threading
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pytest

from landbridge.runtime.driver import TensorRef
from landbridge.runtime.errors import DeviceError, DeviceLost, InputError, UnsupportedError
from landbridge.runtime.signature import Port, Signature
from landbridge.runtime.vendors import registry
from landbridge.runtime.vendors.tensorrt import cuda
from landbridge.runtime.vendors.tensorrt.driver import TensorrtDriver
from landbridge.runtime.vendors.tensorrt.model import TensorrtModel
from support.cuda_double import CudaDouble, use
from support.tensorrt_double import make_module, plan, tensor

Array = np.ndarray[Any, Any]

X, Y = tensor("x", [-1, 4]), tensor("y", [-1, 4], output=True)
PROFILES = [{"x": [[1, 4], [4, 4], [8, 4]]}, {"x": [[16, 4], [16, 4], [32, 4]]}]
DOUBLE = plan("double", [X, Y], PROFILES)
SIGNATURE = Signature((Port("x", "float32", ("batch", 4)),), (Port("y", "float32", ("batch", 4)),), versions={"tensorrt": "10.3.0.26"})


@pytest.fixture
def double(monkeypatch: pytest.MonkeyPatch) -> Iterator[CudaDouble]:
    made = use(monkeypatch)
    monkeypatch.setitem(sys.modules, "tensorrt", make_module(made))
    yield made
    assert made.live() == 0, "something on the GPU was not given back"


class Calls:
    """A model and arrays on its device."""

    def __init__(self, driver: TensorrtDriver, model: TensorrtModel) -> None:
        self.driver, self.model = driver, model

    def __call__(self, inputs: Sequence[Array], outputs: Sequence[Array], shift: int = 0) -> list[Array]:
        """Run once; ``shift`` bytes from an aligned address. Give everything back."""
        places = [(array, self.driver.allocate(max(array.nbytes, 1) + shift)) for array in (*inputs, *outputs)]
        refs = [TensorRef(address + shift, array.nbytes, array.dtype.name, array.shape) for array, address in places]
        prepared = None
        try:
            for array, ref in zip(inputs, refs, strict=False):
                self.driver.copy_in(ref.address, np.ascontiguousarray(array).ctypes.data, array.nbytes)
            prepared = self.model.prepare(refs[: len(inputs)], refs[len(inputs) :])
            prepared()
            for array, ref in zip(outputs, refs[len(inputs) :], strict=True):
                self.driver.copy_out(array.ctypes.data, ref.address, array.nbytes)
        finally:
            if prepared is not None:
                prepared.close()
            for _, address in places:
                self.driver.free(address)
        return list(outputs)


def rows(n: int) -> Array:
    return np.arange(n * 4, dtype=np.float32).reshape(n, 4)


def test_it_computes_at_every_extent_of_every_profile(driver: TensorrtDriver) -> None:
    run = Calls(driver, driver.load(DOUBLE, SIGNATURE, {}))
    for n in (1, 8, 16, 3, 32, 1):
        (y,) = run([rows(n)], [np.zeros((n, 4), np.float32)])
        np.testing.assert_array_equal(y, 2 * rows(n))


def test_a_shape_that_no_profile_takes_shows_all_of_them(driver: TensorrtDriver) -> None:
    run = Calls(driver, driver.load(DOUBLE, SIGNATURE, {}))
    with pytest.raises(InputError) as caught:
        run([rows(9)], [rows(9)])
    assert str(caught.value) == (
        "gpu0: no optimisation profile of the engine takes 'x' [9, 4]; profile 0: 'x' min [1, 4] opt [4, 4] max [8, 4]; "
        "profile 1: 'x' min [16, 4] opt [16, 4] max [32, 4]\n  hint: give a shape in one of these ranges"
    )


def test_ports_are_bound_by_name(driver: TensorrtDriver) -> None:
    blob = plan("add", [tensor("a", [2]), tensor("b", [2]), tensor("sum", [2], output=True)])
    turned = Signature((Port("b", "float32", (2,)), Port("a", "float32", (2,))), (Port("sum", "float32", (2,)),))
    (y,) = Calls(driver, driver.load(blob, turned, {}))(
        [np.array([1, 2], np.float32), np.array([10, 20], np.float32)], [np.zeros(2, np.float32)]
    )
    np.testing.assert_array_equal(y, [11, 22])


def test_calls_that_take_turns_each_have_their_own_shapes_and_addresses(driver: TensorrtDriver) -> None:
    model = driver.load(DOUBLE, SIGNATURE, {})
    calls = []
    for n in (2, 5):
        refs = [TensorRef(driver.allocate(n * 16), n * 16, "float32", (n, 4)) for _ in range(2)]
        driver.copy_in(refs[0].address, rows(n).ctypes.data, n * 16)
        calls.append((n, refs, model.prepare(refs[:1], refs[1:])))
    for n, refs, prepared in (calls[0], calls[1], calls[0]):
        found, zeros = np.zeros((n, 4), np.float32), np.zeros((n, 4), np.float32)
        driver.copy_in(refs[1].address, zeros.ctypes.data, zeros.nbytes)
        prepared()
        driver.copy_out(found.ctypes.data, refs[1].address, found.nbytes)
        np.testing.assert_array_equal(found, 2 * rows(n))
    for _, refs, prepared in calls:
        prepared.close()
        for ref in refs:
            driver.free(ref.address)


def test_tensors_that_are_not_aligned_are_copied_on_the_device(driver: TensorrtDriver) -> None:
    run = Calls(driver, driver.load(DOUBLE, SIGNATURE, {}))
    (y,) = run([rows(3)], [np.zeros((3, 4), np.float32)], shift=64)
    np.testing.assert_array_equal(y, 2 * rows(3))


def test_values_of_shape_tensors_are_read_at_each_call(driver: TensorrtDriver) -> None:
    blob = plan("first", [tensor("x", [6]), tensor("k", [], "INT64", host=True), tensor("y", [-1], output=True)])
    signature = Signature((Port("x", "float32", (6,)), Port("k", "int64", ())), (Port("y", "float32", ("k",)),))
    run = Calls(driver, driver.load(blob, signature, {}))
    x = np.arange(6, dtype=np.float32)
    np.testing.assert_array_equal(run([x, np.array(3)], [np.zeros(3, np.float32)])[0], x[:3])
    with pytest.raises(DeviceError, match=r"^gpu0: output 'y' will be \[4\], expected \[3\]\n  code: "):
        run([x, np.array(4)], [np.zeros(3, np.float32)])


def test_outputs_on_the_host_come_to_the_device(driver: TensorrtDriver) -> None:
    blob = plan("shape", [tensor("x", [2, 3]), tensor("s", [2], "INT64", output=True, host=True)])
    signature = Signature((Port("x", "float32", (2, 3)),), (Port("s", "int64", (2,)),))
    (found,) = Calls(driver, driver.load(blob, signature, {}))([np.zeros((2, 3), np.float32)], [np.zeros(2, np.int64)])
    np.testing.assert_array_equal(found, [2, 3])


def test_a_shape_that_only_the_data_tells_is_refused_where_the_program_knows_it(driver: TensorrtDriver) -> None:
    blob = plan("nonzero", [tensor("x", [6]), tensor("y", [-1], output=True)])
    signature = Signature((Port("x", "float32", (6,)),), (Port("y", "float32", ("n",)),))
    with pytest.raises(
        DeviceError, match=r"^gpu0: the shape of output 'y' depends on the data: \[-1\]; the program has \[6\]\n  hint: give that dim"
    ):
        Calls(driver, driver.load(blob, signature, {}))([np.zeros(6, np.float32)], [np.zeros(6, np.float32)])


def test_a_failed_run_has_tensorrts_words_and_code(driver: TensorrtDriver) -> None:
    blob = plan("fail", [tensor("x", [4]), tensor("y", [4], output=True)])
    signature = Signature((Port("x", "float32", (4,)),), (Port("y", "float32", (4,)),))
    with pytest.raises(DeviceError) as caught:
        Calls(driver, driver.load(blob, signature, {}))([np.zeros(4, np.float32)], [np.zeros(4, np.float32)])
    assert caught.value.message == "TensorRT failed: IExecutionContext::enqueueV3: Error Code 7: the kernel could not be launched"
    assert caught.value.vendor_code == 7


def test_a_failure_on_the_gpu_has_cudas_words(driver: TensorrtDriver, double: CudaDouble) -> None:
    run = Calls(driver, driver.load(DOUBLE, SIGNATURE, {}))
    model = run.model
    refs = [TensorRef(driver.allocate(32), 32, "float32", (2, 4)) for _ in range(2)]
    prepared = model.prepare(refs[:1], refs[1:])
    double.fail_on_stream(700)
    with pytest.raises(DeviceLost) as caught:
        prepared()
    assert caught.value.message == (
        "the GPU failed while the engine ran: cuStreamSynchronize failed with 700 (CUDA_ERROR_ILLEGAL_ADDRESS): "
        "an illegal memory access was encountered"
    )
    prepared.close()
    for ref in refs:
        driver.free(ref.address)


def test_a_context_without_memory_says_what_is_free(driver: TensorrtDriver) -> None:
    blob = plan("no context", [tensor("x", [4]), tensor("y", [4], output=True)])
    signature = Signature((Port("x", "float32", (4,)),), (Port("y", "float32", (4,)),))
    with pytest.raises(
        DeviceError, match=r"cannot make an execution context \(\d+ of 16777216 bytes are free\): Requested amount of GPU memory"
    ):
        Calls(driver, driver.load(blob, signature, {}))([np.zeros(4, np.float32)], [np.zeros(4, np.float32)])


def test_any_thread_may_call(driver: TensorrtDriver) -> None:
    found: list[Array] = []
    run = Calls(driver, driver.load(DOUBLE, SIGNATURE, {}))
    thread = threading.Thread(target=lambda: found.extend(run([rows(2)], [np.zeros((2, 4), np.float32)])))
    thread.start()
    thread.join()
    np.testing.assert_array_equal(found[0], 2 * rows(2))


def test_a_signature_that_is_not_the_engines_is_refused(driver: TensorrtDriver) -> None:
    wrong = Signature((Port("image", "float32", ("batch", 4)),), SIGNATURE.outputs)
    with pytest.raises(DeviceError) as caught:
        driver.load(DOUBLE, wrong, {})
    assert str(caught.value) == (
        "gpu0: the engine's inputs are 'x' float32 [-1, 4]; its signature says 'image' float32 [batch, 4]\n"
        "  hint: write the signature anew: landbridge capture"
    )


def test_a_plan_that_tensorrt_refuses(driver: TensorrtDriver) -> None:
    with pytest.raises(DeviceError) as caught:
        driver.load(DOUBLE[:28] + b"garbage", SIGNATURE, {})
    assert caught.value.vendor_code == 3
    assert caught.value.message == (
        "TensorRT refused the plan: IRuntime::deserializeCudaEngine: Error Code 1: Serialization; Serialization assertion failed"
    )
    assert caught.value.hint == "build it again on this GPU with TensorRT 10.3.0.26"


def test_another_version_is_refused_before_tensorrt_sees_it(driver: TensorrtDriver, monkeypatch: pytest.MonkeyPatch) -> None:
    blob = plan("double", [X, Y], PROFILES, version="8.6.1.6")
    with pytest.raises(DeviceError) as caught:
        driver.load(blob, SIGNATURE, {})
    assert str(caught.value) == (
        "gpu0: the plan was built by TensorRT 8.6.1.6, installed is 10.3.0.26\n  hint: build it again with the installed version, "
        "or install TensorRT 8.6.1; if it was built version-compatible, say so with the option version_compatible=yes"
    )
    driver.load(blob, SIGNATURE, {"version_compatible": "yes"})


def test_another_gpu_is_refused(driver: TensorrtDriver) -> None:
    elsewhere = {"gpu": "NVIDIA H200", "compute_capability": "9.0"}
    signature = Signature(SIGNATURE.inputs, SIGNATURE.outputs, versions=elsewhere)
    with pytest.raises(DeviceError) as caught:
        driver.load(DOUBLE, signature, {})
    assert str(caught.value) == (
        "gpu0: the plan was built for a GPU of compute capability 9.0 (NVIDIA H200), this one, Double GPU, has 8.6\n"
        "  hint: build it again on this GPU, or with a hardware compatibility level"
    )
    portable = Signature(SIGNATURE.inputs, SIGNATURE.outputs, versions={**elsewhere, "hardware_compatibility": "ampere_plus"})
    driver.load(DOUBLE, portable, {})


def test_a_plan_may_bring_its_runtime_only_where_an_option_says_so(driver: TensorrtDriver) -> None:
    allowed = []
    for options in ({}, {"engine_host_code_allowed": "yes"}, {}):
        driver.load(DOUBLE, SIGNATURE, options)
        allowed.append(driver._runtime.engine_host_code_allowed)
    assert allowed == [False, True, False]


def test_a_layout_that_is_not_linear_is_refused(driver: TensorrtDriver) -> None:
    odd = tensor("x", [-1, 4], layout="Two wide channel vectorized row major FP16 format")
    with pytest.raises(
        DeviceError, match=r"^gpu0: 'x' wants the memory layout 'Two wide channel vectorized row major FP16 format'\n  hint: "
    ):
        driver.load(plan("double", [odd, Y], PROFILES), SIGNATURE, {})


def test_versions(driver: TensorrtDriver) -> None:
    assert driver.versions == {"tensorrt": "10.3.0.26", "gpu": "Double GPU", "compute_capability": "8.6", "cuda_driver": "12.4"}
    assert not driver.simulated


def test_the_lean_package_is_second_choice(monkeypatch: pytest.MonkeyPatch, double: CudaDouble) -> None:
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    monkeypatch.setitem(sys.modules, "tensorrt_lean", make_module(double, "tensorrt_lean"))
    driver = TensorrtDriver(0)
    assert driver.package == "tensorrt_lean"
    with pytest.raises(DeviceError, match="hint: tensorrt_lean runs version-compatible plans only; build it again"):
        driver.load(DOUBLE[:28] + b"garbage", SIGNATURE, {})
    driver.close()


def test_without_a_package_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch, double: CudaDouble) -> None:
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    monkeypatch.setitem(sys.modules, "tensorrt_lean", None)
    with pytest.raises(
        DeviceError, match=r"^gpu0: TensorRT's Python package is missing .*\n  hint: pip install landbridge\[tensorrt\], or"
    ):
        TensorrtDriver(0)


def test_without_a_driver_nothing_of_tensorrt_is_called(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cuda, "LIBRARIES", ("libcuda-that-there-is-not.so.1",))
    monkeypatch.delitem(sys.modules, "tensorrt", raising=False)
    monkeypatch.delitem(sys.modules, "tensorrt_lean", raising=False)
    with pytest.raises(DeviceError, match="NVIDIA's driver is missing"):
        registry.vendor("tensorrt").open(0)
    assert not {"tensorrt", "tensorrt_lean"} & set(sys.modules)


def test_a_runtime_that_cannot_be_initialised_is_not_called_again(monkeypatch: pytest.MonkeyPatch, double: CudaDouble) -> None:
    monkeypatch.setattr(double, "is_current", lambda: False)
    with pytest.raises(
        DeviceError, match=r"^gpu0: TensorRT cannot be initialised: CUDA initialization failure with error: 35\n  hint: see whether"
    ):
        TensorrtDriver(0)


def test_there_is_no_simulator() -> None:
    with pytest.raises(UnsupportedError, match="tensorrt has no simulator"):
        registry.vendor("tensorrt").open(0, simulate=True)


def test_capture_gives_outputs_the_names_of_the_dimensions_they_follow(driver: TensorrtDriver) -> None:
    profiles = [{"x": [[2, 3], [2, 5], [2, 9]], "z": [[2, 1], [2, 1], [2, 1]]}]
    tensors = [tensor("x", [-1, -1]), tensor("z", [-1, -1]), tensor("y", [-1, -1], output=True)]
    assert driver.capture(plan("double", [X, Y], PROFILES[:1]), {}).outputs == (Port("y", "float32", ("batch", 4)),)
    signature = driver.capture(plan("add", tensors, profiles), {})
    assert signature.inputs == (Port("x", "float32", (2, "x_1")), Port("z", "float32", (2, 1)))
    assert signature.outputs == (Port("y", "float32", (2, "x_1")),)
    pairs = driver.capture(plan("pairs", [X, tensor("y", [4, -1], output=True)], PROFILES), {})
    assert pairs.outputs == (Port("y", "float32", (4, "y_1")),)  # twice the batch is a dimension of its own


def test_capture_tells_the_versions(driver: TensorrtDriver) -> None:
    signature = driver.capture(plan("double", [X, Y], PROFILES, level=1), {})
    assert signature.versions == {
        "tensorrt": "10.3.0.26",
        "gpu": "Double GPU",
        "compute_capability": "8.6",
        "hardware_compatibility": "ampere_plus",
    }
    assert signature.workspace_nbytes == 4096
    assert set(signature.origin.values()) == {"device"}
