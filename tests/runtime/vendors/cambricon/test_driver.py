"""The Cambricon driver against the simulator: calls, threads, refusals, and that every failure gives everything back."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
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
from landbridge.simulators.cambricon.make_cambricon import make_cambricon
from support.cambricon_device import OnDevice, Simulator, device
from support.small_onnx import node, small_model

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
