"""The Cambricon driver against the simulator: calls, threads, refusals, and that every failure gives everything back."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from landbridge.runtime.driver import TensorRef
from landbridge.runtime.errors import DeviceError, InputError, PlanError, SignatureError
from landbridge.runtime.signature import Port, Signature
from landbridge.runtime.vendors import registry
from landbridge.runtime.vendors.cambricon import cnrt, driver
from landbridge.runtime.vendors.cambricon.copies import Copies
from landbridge.simulators.cambricon.make_cambricon import make_cambricon
from support.cambricon_device import OnDevice, Simulator, device
from support.small_onnx import node, small_model
from support.timing import least

VENDOR = registry.vendor("cambricon")
_ENVIRONMENT = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
MUTABLE = {"symbol": "subnet0", "tensor_dim_mutable": "true"}
X = np.linspace(-3, 3, 24).astype("float16").reshape(1, 2, 3, 4)


def relu(*shape: int | str) -> Any:
    return small_model([node("Relu", "x", "y")], {"x": ("float32", shape)}, {"y": ("float32", shape)})


FIXED = make_cambricon(relu(1, 4, 2, 3), input_dtype="float16", output_dtype="float16")
OPEN = make_cambricon(
    relu("n", 4, "h", "w"), tensor_dim_mutable=True, sizes={"h": 2, "w": 3}, input_dtype="float16", output_dtype="float16"
)
SIGNATURE = Signature((Port("x", "float16", (1, 2, 3, 4), "NHWC"),), (Port("y", "float16", (1, 2, 3, 4), "NHWC"),))
ANY = tuple(Port(name, "float16", ("batch", "height", "width", 4), "NHWC") for name in "xy")
OPEN_SIGNATURE = Signature(ANY[:1], ANY[1:])


@pytest.fixture
def on() -> Iterator[OnDevice]:
    with device(1) as found:
        yield found


def run(on: OnDevice, model: Any, x: NDArray[Any]) -> NDArray[Any]:
    y = on.empty("float16", x.shape)
    call = model.prepare([on.put(x)], [y])
    call()
    call.close()
    return on.get(y)


def test_a_function_runs_again_and_again(on: OnDevice) -> None:
    model = on.driver.load(FIXED, SIGNATURE, {})
    x, y = on.put(X), on.empty("float16", X.shape)
    call = model.prepare([x], [y])
    for scale in (1, -2):
        changed = (X * scale).astype("float16")
        on.driver.copy_in(x.address, changed.ctypes.data, changed.nbytes)
        call()
        assert (on.get(y) == np.maximum(changed, 0)).all()
    call.close()
    model.close()
    model.close()


def test_the_caller_chooses_extents(on: OnDevice) -> None:
    model = on.driver.load(OPEN, OPEN_SIGNATURE, MUTABLE)
    for shape in ((1, 2, 3, 4), (5, 1, 7, 4), (2, 16, 1, 4)):
        x = np.random.default_rng(0).standard_normal(shape).astype("float16")
        assert (run(on, model, x) == np.maximum(x, 0)).all()
    model.close()


def test_every_method_works_on_a_thread_that_never_saw_the_device(on: OnDevice) -> None:
    results: list[Any] = []

    def work() -> None:
        model = on.driver.load(OPEN, OPEN_SIGNATURE, MUTABLE)
        results.append(run(on, model, X))
        threading.Thread(target=results.append, args=(model,)).run()

    worker = threading.Thread(target=work)
    worker.start()
    worker.join()
    found, model = results
    assert (found == np.maximum(X, 0)).all()
    model.close()


def test_one_model_runs_once_at_a_time_and_two_beside_each_other(on: OnDevice) -> None:
    models = [on.driver.load(FIXED, SIGNATURE, {}) for _ in range(2)]
    failures: list[BaseException] = []
    outputs = []
    calls = []
    for index in range(4):
        outputs.append(on.empty("float16", X.shape))
        calls.append(models[index % 2].prepare([on.put(X)], [outputs[-1]]))

    def work(call: Any) -> None:
        try:
            for _ in range(25):
                call()
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(call,)) for call in calls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    for output in outputs:
        assert (on.get(output) == np.maximum(X, 0)).all()
    for model in models:
        model.close()


def test_what_the_driver_says_of_the_device(on: OnDevice) -> None:
    assert on.driver.simulated
    assert on.driver.versions == {"device": "MLU270 (simulated)", "core": "MLU270"}


# ---- pinned memory


def at(address: int, nbytes: int) -> NDArray[Any]:
    memory: Any = (ctypes.c_uint8 * nbytes).from_address(address)
    return np.frombuffer(memory, np.uint8)


@pytest.fixture
def pinned(on: OnDevice) -> Iterator[NDArray[Any]]:
    """Give an array in pinned memory."""
    address = on.driver.allocate_host(X.nbytes)
    yield at(address, X.nbytes).view(X.dtype).reshape(X.shape)
    on.driver.free_host(address)


def there_and_back(on: OnDevice, array: NDArray[Any]) -> None:
    """Copy X from ``array`` to the device, and from there to it."""
    device = on.empty("float16", X.shape)
    array[...] = X
    on.driver.copy_in(device.address, array.ctypes.data, array.nbytes)
    array[...] = 0
    on.driver.copy_out(array.ctypes.data, device.address, array.nbytes)
    assert (array == X).all()


def test_pinned_memory_is_copied_in_a_queue_and_other_memory_is_not(on: OnDevice, pinned: NDArray[Any]) -> None:
    assert on.driver.pins
    Simulator().fault("cnrtMemcpy", mode="lasting")
    there_and_back(on, pinned)
    part = pinned[0, 1]
    on.driver.copy_in(on.empty("float16", part.shape).address, part.ctypes.data, part.nbytes)
    with pytest.raises(DeviceError, match="cnrtMemcpy failed"):
        there_and_back(on, np.empty_like(X))


def test_copies_of_both_directions_and_a_model_go_on_at_the_same_time(on: OnDevice, pinned: NDArray[Any]) -> None:
    model = on.driver.load(FIXED, SIGNATURE, {})
    call = model.prepare([on.put(X)], [on.empty("float16", X.shape)])
    device = on.put(X)
    out = on.driver.allocate_host(X.nbytes)
    for what in ("copy in", "copy out", "execute"):
        Simulator().speed(what, 0.04)

    def elapsed() -> float:
        started = time.perf_counter()
        work: list[Callable[[], None]] = [
            lambda: on.driver.copy_in(device.address, pinned.ctypes.data, X.nbytes),
            lambda: on.driver.copy_out(out, device.address, X.nbytes),
            call,
        ]
        threads = [threading.Thread(target=one) for one in work]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return time.perf_counter() - started

    assert 0.04 <= least(elapsed, enough=0.075) < 0.075, "two after each other take 0.08"
    on.driver.free_host(out)
    model.close()


def test_many_threads_copy_at_once(on: OnDevice) -> None:
    failures: list[BaseException] = []

    def work(seed: int) -> None:
        try:
            host = [on.driver.allocate_host(4096) for _ in range(2)]
            device = on.driver.allocate(4096)
            arrays = [at(address, 4096) for address in host]
            for _ in range(50):
                arrays[0][...] = seed
                on.driver.copy_in(device, host[0], 4096)
                on.driver.copy_out(host[1], device, 4096)
                assert (arrays[1] == seed).all()
            on.driver.free(device)
            for address in host:
                on.driver.free_host(address)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(1, 7)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []


@pytest.mark.parametrize(("version", "expected"), [("4.3.0", 1), ("4.7.11", 1), ("4.7.12", 0), ("4.10.4", 0)])
def test_the_type_of_pinned_memory_is_that_of_the_release(monkeypatch: pytest.MonkeyPatch, version: str, expected: int) -> None:
    types = []

    class Traced(cnrt.Cnrt):
        def get(self, name: str, *arguments: Any) -> int:
            if name == "cnrtMallocHost":
                types.append(arguments[2])
            return super().get(name, *arguments)

    monkeypatch.setenv("LANDBRIDGE_SIM_CAMBRICON_VERSION", version)
    monkeypatch.setattr(driver, "Cnrt", Traced)
    with device() as on:
        on.driver.free_host(on.driver.allocate_host(64))
    assert types == [expected]


@pytest.mark.parametrize(
    ("core", "version", "queues"),
    [("MLU220", "4.10.4", {}), ("MLU270", "4.2.0", {"queue": 2}), ("MLU290", "4.7.12", {}), ("MLU290", "4.10.4", {"queue": 2})],
)
def test_a_card_that_copies_only_synchronously(monkeypatch: pytest.MonkeyPatch, core: str, version: str, queues: dict[str, int]) -> None:
    monkeypatch.setenv("LANDBRIDGE_SIM_CAMBRICON_CORE", core)
    monkeypatch.setenv("LANDBRIDGE_SIM_CAMBRICON_VERSION", version)
    with device() as on:
        address = on.driver.allocate_host(X.nbytes)
        there_and_back(on, at(address, X.nbytes).view(X.dtype).reshape(X.shape))
        assert Simulator().live() == {"bytes": X.nbytes, "buffer": 1, "host": 1, **queues}
        on.driver.free_host(address)


@pytest.mark.parametrize(
    ("missing", "pins", "queues"),
    [("cnrtMallocHost", False, 0), ("cnrtGetVersion", False, 0), ("cnrtMemcpyAsync", True, 0), ("cnrtNothing", True, 2)],
)
def test_a_release_without_what_it_takes_does_less(on: OnDevice, missing: str, pins: bool, queues: int) -> None:
    copies = Copies(cnrt.Cnrt(Old(missing), "cambricon1"), "MLU270")  # type: ignore[arg-type]  # looks like a library
    assert copies.pins == pins
    if pins:
        copies.free(copies.allocate(8))
    found = copies.take_queues()
    assert len(found) == queues
    for queue in found:
        on.driver.quietly("cnrtDestroyQueue", queue)


@pytest.mark.parametrize("function", ["cnrtSetCurrentDevice", "cnrtCreateQueue", "cnrtGetVersion", "cnrtMallocHost"])
def test_pinned_memory_that_is_not_given_is_given_the_next_time(on: OnDevice, function: str) -> None:
    """The fixture checks that nothing lives."""
    Simulator().fault(function, 2 if function == "cnrtCreateQueue" else 1)
    with pytest.raises(DeviceError, match=f"{function} failed with error 632011"):
        on.driver.allocate_host(64)
    assert "host" not in Simulator().live()
    on.driver.free_host(on.driver.allocate_host(64))


@pytest.mark.parametrize("function", ["cnrtSetCurrentDevice", "cnrtMemcpyAsync", "cnrtSyncQueue"])
def test_a_copy_that_fails_is_told_and_is_not_under_way_any_more(on: OnDevice, pinned: NDArray[Any], function: str) -> None:
    Simulator().fault(function)
    with pytest.raises(DeviceError, match=f"{function} failed with error 632011"):
        there_and_back(on, pinned)
    there_and_back(on, pinned)
    Simulator().fault(function, 2)
    with pytest.raises(DeviceError, match=f"{function} failed with error 632011"):
        there_and_back(on, pinned)
    pinned[...] = 1
    there_and_back(on, pinned)


def test_a_copy_that_is_interrupted_is_not_under_way_any_more(on: OnDevice, pinned: NDArray[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    call = on.driver.cnrt.call

    def interrupted(name: str, *arguments: Any) -> None:
        call(name, *arguments)
        if name == "cnrtMemcpyAsync":
            raise KeyboardInterrupt

    device = on.put(np.zeros_like(X))
    pinned[...] = X
    with monkeypatch.context() as patch:
        patch.setattr(on.driver.cnrt, "call", interrupted)
        with pytest.raises(KeyboardInterrupt):
            on.driver.copy_in(device.address, pinned.ctypes.data, X.nbytes)
    pinned[...] = 0  # were it under way still, zeros would arrive
    assert (on.get(device) == X).all()


def test_pinned_memory_of_a_device_that_was_closed(on: OnDevice) -> None:
    address = on.driver.allocate_host(64)
    on.driver.free_host(address)
    on.driver.close()
    for late in (lambda: on.driver.allocate_host(64), lambda: on.driver.free_host(address), lambda: on.driver.copy_in(64, address, 8)):
        with pytest.raises(DeviceError, match="the device was closed before this call"):
            late()


# ---- refusals


def test_the_signature_must_be_the_model_s(on: OnDevice) -> None:
    port = SIGNATURE.inputs[0]
    cases = {
        "input 'x' is float16 [1, 2, 3, 4] on the device, its signature says float32 [1, 2, 3, 4]": replace(
            SIGNATURE, inputs=(replace(port, dtype="float32"),)
        ),
        "input 'x' is float16 [1, 2, 3, 4] on the device, its signature says float16 [batch, 2, 3, 4]": replace(
            SIGNATURE, inputs=(replace(port, shape=("batch", 2, 3, 4)),)
        ),
        "output 'y' is float16 [1, 2, 3, 4] on the device, its signature says float16 [1, 24]": replace(
            SIGNATURE, outputs=(replace(port, shape=(1, 24)),)
        ),
        "the model has 1 inputs, its signature 2": replace(SIGNATURE, inputs=(port, port)),
    }
    for words, signature in cases.items():
        with pytest.raises(DeviceError) as caught:
            on.driver.load(FIXED, signature, {})
        hint = "capture the signature again from this blob, and compile the artifact again"
        assert str(caught.value) == f"cambricon1 (simulated): {words}\n  hint: {hint}"


def test_another_core_and_an_unknown_symbol(on: OnDevice) -> None:
    with pytest.raises(DeviceError, match="the offline model was compiled for MLU220, this device is MLU270"):
        on.driver.load(FIXED, replace(SIGNATURE, versions={"core": "MLU220"}), {})
    with pytest.raises(DeviceError, match="it has no function 'main'\n  hint: give one of its symbols: subnet0"):
        on.driver.load(FIXED, SIGNATURE, {"symbol": "main"})
    with pytest.raises(SignatureError, match="unknown option 'threads'"):
        on.driver.load(FIXED, SIGNATURE, {"threads": "2"})


def test_a_model_that_is_cut_off_never_reaches_the_library(on: OnDevice) -> None:
    with pytest.raises(DeviceError, match=rf"the offline model is cut off: 100 bytes, it says {len(FIXED)}\n  hint: copy the file again"):
        on.driver.load(FIXED[:100], SIGNATURE, {})


def test_a_length_that_the_library_cannot_tell_is_not_checked(on: OnDevice, caplog: pytest.LogCaptureFixture) -> None:
    Simulator().fault("cnrtGetModelSize")
    with caplog.at_level("INFO"):
        on.driver.load(FIXED, SIGNATURE, {}).close()
    assert "the length of the model is not checked: cambricon1 (simulated): cnrtGetModelSize failed with error 632011" in caplog.text


def test_arguments_that_do_not_fit(on: OnDevice) -> None:
    model = on.driver.load(FIXED, SIGNATURE, {})
    x = on.put(X)
    with pytest.raises(InputError, match=r"input 'x': float16 \[2, 3, 4\], expected float16 \[1, 2, 3, 4\]"):
        model.prepare([replace(x, shape=(2, 3, 4))], [x])
    with pytest.raises(PlanError, match=r"a tensor float16 \[1, 2, 3, 4\] in 47 bytes of memory"):
        model.prepare([x], [TensorRef(x.address, 47, "float16", X.shape)])
    model.close()
    model = on.driver.load(OPEN, OPEN_SIGNATURE, MUTABLE)
    with pytest.raises(InputError, match=r"output 'y' becomes \[1, 2, 3, 4\], expected \[1, 3, 2, 4\]"):
        model.prepare([x], [replace(x, shape=(1, 3, 2, 4))])
    model.close()


def test_a_closed_call_and_a_closed_device(on: OnDevice) -> None:
    model = on.driver.load(FIXED, SIGNATURE, {})
    x = on.put(X)
    call = model.prepare([x], [x])
    call.close()
    call.close()
    with pytest.raises(PlanError, match="a call was used after it was closed"):
        call()
    on.free()
    on.driver.close()
    on.driver.close()
    with pytest.raises(DeviceError, match="the device was closed before this call"):
        on.driver.allocate(8)


def test_memory_that_runs_out(on: OnDevice) -> None:
    with pytest.raises(DeviceError) as caught:
        on.driver.allocate(1 << 40)
    assert str(caught.value) == (
        "cambricon1 (simulated): no room for 1099511627776 bytes: cnrtMalloc failed with error 632008 (NOMEM): CNRT_RET_ERR_NOMEM: "
        "cnrtMalloc: device 1: 1099511627776 bytes requested, 1073741824 of 1073741824 free\n"
        "  hint: use a smaller batch, or close other sessions on this device"
    )


@pytest.mark.parametrize(
    "function",
    [
        "cnrtSetCurrentDevice",
        "cnrtLoadModelFromMem",
        "cnrtGetFunctionNumber",
        "cnrtGetFunctionSymbol",
        "cnrtCreateFunction",
        "cnrtExtractFunction",
        "cnrtGetInputAndOutputNamesFromFunction",
        "cnrtGetInputDataSize",
        "cnrtGetOutputDataType",
        "cnrtGetOutputDataShape",
        "cnrtGetSupportedParamShapeByName",
        "cnrtCreateQueue",
        "cnrtCreateRuntimeContext",
        "cnrtSetRuntimeContextDeviceId",
        "cnrtInitRuntimeContext",
    ],
)
def test_every_failure_of_a_load_gives_everything_back(on: OnDevice, function: str) -> None:
    """The fixture checks that nothing lives."""
    Simulator().fault(function)
    with pytest.raises(DeviceError, match=f"{function} failed with error 632011") as caught:
        on.driver.load(OPEN, OPEN_SIGNATURE, MUTABLE)
    assert caught.value.vendor_code == 632011


@pytest.mark.parametrize(
    "function", ["cnrtCreateParamDesc", "cnrtSetShapeToParamDesc", "cnrtInferFunctionOutputShape", "cnrtGetShapeFromParamDesc"]
)
def test_every_failure_of_a_preparation_gives_everything_back(on: OnDevice, function: str) -> None:
    model = on.driver.load(OPEN, OPEN_SIGNATURE, MUTABLE)
    x = on.put(X)
    for k in (1, 2):
        Simulator().fault(function, k if function.startswith(("cnrtCreate", "cnrtSet")) else 1)
        with pytest.raises(DeviceError, match=f"{function} failed"):
            model.prepare([x], [x])
    model.close()


@pytest.mark.parametrize("function", ["cnrtInvokeRuntimeContext", "cnrtSyncQueue"])
def test_a_failed_run_is_told_and_the_next_one_works(on: OnDevice, function: str) -> None:
    model = on.driver.load(FIXED, SIGNATURE, {})
    x, y = on.put(X), on.empty("float16", X.shape)
    call = model.prepare([x], [y])
    Simulator().fault(function)
    with pytest.raises(DeviceError, match=f"{function} failed with error 632011 .SYS.: CNRT_RET_ERR_SYS: {function}: simulator: injected"):
        call()
    call()
    assert (on.get(y) == np.maximum(X, 0)).all()
    model.close()


def test_what_a_failed_run_put_into_the_queue_is_done_when_it_is_told(on: OnDevice) -> None:
    """So that everything may be freed at once; the simulator says when something that waits is."""
    model = on.driver.load(FIXED, SIGNATURE, {})
    call = model.prepare([on.put(X)], [on.empty("float16", X.shape)])
    Simulator().fault("cnrtSyncQueue")
    with pytest.raises(DeviceError, match="cnrtSyncQueue failed"):
        call()
    on.free()
    model.close()


def test_closing_the_device_closes_its_models() -> None:
    with device() as on:
        on.driver.load(OPEN, OPEN_SIGNATURE, MUTABLE).prepare([on.put(X)], [on.put(X)])


# ---- opening


def test_the_library_is_initialised_once_and_ended_with_the_process() -> None:
    """Sessions that are open at the end keep it; what lives could not be freed after it."""
    code = (
        "import ctypes\n"
        "from landbridge.runtime.vendors.cambricon import cnrt\n"
        "calls = []\n"
        "class Traced(cnrt.Cnrt):\n"
        "    def get(self, name, *arguments):\n"
        "        if name in ('cnrtInit', 'cnrtMalloc'): calls.append(name)\n"
        "        return super().get(name, *arguments)\n"
        "    def destroy(self): calls.append('cnrtDestroy')\n"
        "cnrt.Cnrt = Traced\n"
        "import atexit; atexit.register(lambda: print(*calls))\n"
        "from landbridge.runtime.vendors import registry\n"
        "for ordinal in (0, 1, 0):\n"
        "    driver = registry.vendor('cambricon').open(ordinal, simulate=True)\n"
        "    driver.free(driver.allocate(64))\n"
        "    {close}\n"
    )
    printed = []
    for close in ("driver.close()", "pass"):
        done = subprocess.run(
            [sys.executable, "-c", code.format(close=close)], capture_output=True, text=True, check=True, env=_ENVIRONMENT
        )
        printed.append(done.stdout.split())
    assert printed[0] == ["cnrtInit", "cnrtMalloc", "cnrtMalloc", "cnrtMalloc", "cnrtDestroy"]
    assert printed[1] == ["cnrtInit", "cnrtMalloc", "cnrtMalloc", "cnrtMalloc"]


def test_a_device_that_is_not_there() -> None:
    Simulator().reset()
    with pytest.raises(DeviceError) as caught:
        VENDOR.open(4, simulate=True)
    assert str(caught.value) == (
        "cambricon4 (simulated): there is no such device; Cambricon devices here: cambricon0, cambricon1, cambricon2, cambricon3\n"
        "  hint: name one of them"
    )


def test_without_the_library_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cnrt, "library_places", lambda: [Path("libcnrt-that-is-not-here.so")])
    monkeypatch.setattr(driver, "_processes", {})
    with pytest.raises(DeviceError) as caught:
        VENDOR.open(0)
    assert str(caught.value) == (
        "cambricon0: the Cambricon library libcnrt.so does not load: libcnrt-that-is-not-here.so: cannot open shared object file: "
        "No such file or directory\n"
        "  hint: install the Cambricon Neuware of your card (CNRT 4, for MLU220, MLU270 and MLU290) and set NEUWARE_HOME, such as "
        '/usr/local/neuware; without a device, simulate one: --simulate cambricon, simulate=["cambricon"] or LANDBRIDGE_SIMULATE=cambricon'
    )


def test_the_library_is_looked_for_where_neuware_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NEUWARE_HOME", "/opt/neuware")
    assert cnrt.library_places()[0] == Path("/opt/neuware/lib64/libcnrt.so")
    assert cnrt.library_places()[-1] == Path("libcnrt.so")


def test_a_simulated_model_is_not_for_a_real_device(on: OnDevice) -> None:
    on.driver.simulated = False
    with pytest.raises(DeviceError, match="this offline model was made by Landbridge for its simulator; a real device cannot run it"):
        on.driver.load(FIXED, SIGNATURE, {})
    on.driver.simulated = True


class Old:
    """A library of another release: it lacks functions that the simulator has."""

    def __init__(self, without: str) -> None:
        self._without = without
        self._library = Simulator().library

    def __getattr__(self, name: str) -> Any:
        if name.startswith(self._without):
            raise AttributeError(name)
        return getattr(self._library, name)


def test_a_release_that_has_less_degrades(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without names, supported shapes, sizes and core versions a model still runs, when it is of one size."""
    missing = ("cnrtGetInputAndOutputNames", "cnrtGetSupportedParam", "cnrtGetModelSize", "cnrtQueryCoreVersion", "cnrtGetDeviceInfo")
    for name in missing:
        with device() as on:
            monkeypatch.setattr(on.driver, "cnrt", cnrt.Cnrt(Old(name), "cambricon0"))  # type: ignore[arg-type]  # looks like a library
            model = on.driver.load(FIXED, SIGNATURE, {"symbol": "subnet0"})
            assert (run(on, model, X) == np.maximum(X, 0)).all()
            model.close()


def test_a_missing_function_is_named_when_it_is_needed() -> None:
    old = cnrt.Cnrt(Old("cnrtInvokeRuntimeContext"), "cambricon0")  # type: ignore[arg-type]  # looks like a library
    with pytest.raises(DeviceError) as caught:
        old.call("cnrtInvokeRuntimeContext")
    assert str(caught.value) == (
        "cambricon0: this release of libcnrt.so has no cnrtInvokeRuntimeContext\n  hint: install a newer CNRT 4, such as 4.10"
    )


def test_cnrt_5_is_told_from_cnrt_4() -> None:
    new = cnrt.Cnrt(ctypes.CDLL(None), "cambricon0")
    with pytest.raises(DeviceError) as caught:
        new.call("cnrtInit", 0)
    assert str(caught.value) == (
        "cambricon0: this libcnrt.so has no cnrtInit: CNRT 5 and later run no offline models of CNRT 4\n"
        "  hint: compile the model with MagicMind (lb.MagicMindRuntimeSubgraph), or install CNRT 4 for an MLU220, MLU270 or MLU290"
    )
