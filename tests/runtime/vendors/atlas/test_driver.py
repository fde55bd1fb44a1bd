from __future__ import annotations

import ctypes
import os
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from landbridge.runtime.errors import DeviceError
from landbridge.runtime.vendors import registry
from landbridge.runtime.vendors.atlas import AtlasVendor, acl
from landbridge.runtime.vendors.atlas.driver import AtlasDriver
from support.atlas_device import OnDevice, Simulator
from support.om_data import om_data_dir
from support.strict import broken

VENDOR = AtlasVendor()
SOURCES = str(Path(__file__).resolve().parents[4] / "src")


def test_the_vendor_opens_the_simulator(simulator: Simulator) -> None:
    opened = VENDOR.open(1, simulate=True)
    assert opened.simulated
    assert opened.versions == {"soc": "Ascend310", "acl": "1.8.0"}
    opened.close()
    opened.close()


def test_bytes_go_to_the_device_and_back(driver: AtlasDriver) -> None:
    device = OnDevice(driver)
    array = np.arange(1000, dtype=np.int32)
    ref = device.put(array)
    assert ref.address % 64 == 0
    np.testing.assert_array_equal(device.get(ref), array)
    driver.copy_in(ref.address, array.ctypes.data, 0)
    driver.copy_out(array.ctypes.data, ref.address, 0)
    device.free()


def test_every_thread_may_call(driver: AtlasDriver) -> None:
    device, results = OnDevice(driver), []

    def work() -> None:
        results.append(device.get(device.put(np.full(7, 3.5))))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    np.testing.assert_array_equal(results[0], np.full(7, 3.5))
    device.free()


def test_two_drivers_of_one_device_do_not_disturb_each_other(simulator: Simulator) -> None:
    first, second = AtlasDriver(0, simulate=True), AtlasDriver(0, simulate=True)
    first.close()
    device = OnDevice(second)
    device.put(np.zeros(4))
    device.free()
    second.close()


def test_a_device_that_is_not_there_is_an_error(simulator: Simulator) -> None:
    with pytest.raises(DeviceError) as caught:
        AtlasDriver(9, simulate=True)
    assert str(caught.value) == (
        "atlas9 (simulated): there is no such device; Ascend devices here: atlas0, atlas1, atlas2, atlas3\n  hint: name one of them"
    )


def test_out_of_memory_tells_requested_and_free(simulator: Simulator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LANDBRIDGE_SIM_ATLAS_MEMORY", "64K")
    opened = AtlasDriver(0, simulate=True)
    with pytest.raises(DeviceError) as caught:
        opened.allocate(1 << 20)
    assert caught.value.message.startswith(
        "no room for 1048576 bytes, 65536 are free: aclrtMalloc failed with error 207001 (RT_MEMORY_ALLOCATION): EL0004"
    )
    assert caught.value.vendor_code == 207001
    assert "1048608 bytes requested" in caught.value.vendor_text
    assert caught.value.hint == "use a smaller batch, or close other sessions on this device"
    opened.close()


def test_a_closed_driver_says_so(driver: AtlasDriver) -> None:
    driver.close()
    with pytest.raises(DeviceError, match=r"atlas0 \(simulated\): the device was closed before this call"):
        driver.allocate(8)


@pytest.mark.misuse
def test_an_error_has_code_name_and_the_vendors_words(driver: AtlasDriver, simulator: Simulator) -> None:
    with pytest.raises(DeviceError) as caught:
        driver.free(12345)
    assert caught.value.vendor_code == 107000
    assert str(caught.value).startswith(
        "atlas0 (simulated): aclrtFree failed with error 107000 (RT_PARAM_INVALID): EE1001: The argument is invalid."
    )
    (told,) = broken()
    assert told.startswith("atlas: aclrtFree: devPtr 0x3039 was not returned by aclrtMalloc"), "no test would notice a broken rule"


@pytest.mark.parametrize(
    "function", ["aclInit", "aclrtGetDeviceCount", "aclrtSetDevice", "aclrtCreateContext", "aclrtGetRunMode", "aclrtGetVersion"]
)
def test_a_failed_open_leaves_nothing(simulator: Simulator, function: str) -> None:
    simulator.fault(function)
    with pytest.raises(DeviceError, match=f"{function} failed with error"):
        AtlasDriver(0, simulate=True)
    assert simulator.live() == {}
    opened = AtlasDriver(0, simulate=True)
    opened.close()


def test_closing_frees_all_it_can_and_logs_the_rest(
    static_model: tuple[bytes, Any], simulator: Simulator, caplog: pytest.LogCaptureFixture
) -> None:
    opened = AtlasDriver(0, simulate=True)
    opened.load(*static_model, {})
    simulator.fault("aclmdlUnload")
    opened.close()
    assert "while freeing: atlas0 (simulated): aclmdlUnload failed with error 500002 (GE_FAILURE)" in caplog.text
    assert set(simulator.live()) <= {"model", "bytes"}
    simulator.reset()


@pytest.fixture
def static_model() -> tuple[bytes, Any]:
    """A real file, or the test is skipped: before it opens anything."""
    data = (om_data_dir() / "model_om.om").read_bytes()
    return data, VENDOR.read_signature(data, {})


def test_a_model_for_another_chip_is_refused_with_both_names(
    static_model: tuple[bytes, Any], simulator: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LANDBRIDGE_SIM_ATLAS_SOC", "Ascend910B1")
    opened = AtlasDriver(0, simulate=True)
    with pytest.raises(DeviceError) as caught:
        opened.load(*static_model, {})
    assert str(caught.value) == (
        "atlas0 (simulated): the offline model was compiled for Ascend310, this device is Ascend910B1\n"
        "  hint: compile the model again: atc --soc_version=Ascend910B1"
    )
    opened.close()


class Library:
    """A library that lacks some functions, or answers some in another way."""

    def __init__(self, library: ctypes.CDLL, lacks: tuple[str, ...] = (), **answers: Any) -> None:
        self._library, self._lacks, self._answers = library, lacks, answers

    def __getattr__(self, name: str) -> Any:
        if name in self._lacks:
            raise AttributeError(name)
        return self._answers.get(name) or getattr(self._library, name)


def test_a_real_device_does_not_run_the_simulators_files(
    static_model: tuple[bytes, Any], simulator: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("landbridge.runtime.vendors.atlas.driver.open_library", lambda at: ctypes.CDLL(str(registry.simulator("atlas"))))
    monkeypatch.setattr("landbridge.runtime.vendors.atlas.driver._processes", {})
    opened = AtlasDriver(0)
    assert not opened.simulated
    data, signature = static_model
    with pytest.raises(DeviceError) as caught:
        opened.load(data, replace(signature, versions={"platform": "landbridge-sim 1"}), {})
    assert str(caught.value) == (
        "atlas0: this offline model was made by Landbridge for its simulator; a real device cannot run it\n"
        "  hint: compile the model with ATC: atc --soc_version=Ascend310"
    )
    opened.close()


OLD_LACKS = (
    "aclGetRecentErrMsg",
    "aclrtGetVersion",
    "aclrtGetSocName",
    "aclmdlLoadWithConfig",
    "aclmdlCreateConfigHandle",
    "aclrtGetMemInfo",
    "aclmdlGetInputDimsV2",
)


def test_an_old_library_is_enough(static_model: tuple[bytes, Any], simulator: Simulator, monkeypatch: pytest.MonkeyPatch) -> None:
    old = Library(ctypes.CDLL(str(registry.simulator("atlas"))), OLD_LACKS)
    monkeypatch.setattr("landbridge.runtime.vendors.atlas.driver.open_library", lambda at: old)
    monkeypatch.setattr("landbridge.runtime.vendors.atlas.driver._processes", {})
    opened = AtlasDriver(0)
    assert opened.versions == {}
    model = opened.load(*static_model, {})
    model.close()
    with pytest.raises(
        DeviceError, match=r"atlas0: no room for \d+ bytes: aclrtMalloc failed with error 207001 \(RT_MEMORY_ALLOCATION\)\n"
    ):
        opened.allocate(1 << 50)
    opened.close()


def test_a_function_that_is_missing_is_an_error_where_it_is_needed(simulator: Simulator) -> None:
    library = acl.Acl(Library(ctypes.CDLL(str(registry.simulator("atlas"))), ("aclmdlExecute",)), "atlas0")  # type: ignore[arg-type]  # a double
    with pytest.raises(DeviceError) as caught:
        library.function("aclmdlExecute")
    assert str(caught.value) == "atlas0: this release of libascendcl.so has no aclmdlExecute\n  hint: install a newer CANN or Ascend driver"


@pytest.mark.misuse
def test_a_process_on_the_device_loads_from_device_memory(
    static_model: tuple[bytes, Any], simulator: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = ctypes.CDLL(str(registry.simulator("atlas")))
    copies: list[int] = []

    def run_mode(mode: Any) -> int:
        mode._obj.value = acl.RUN_ON_DEVICE
        return 0

    def memcpy(destination: int, most: int, source: int, nbytes: int, kind: int) -> int:
        copies.append(kind)
        real.aclrtMemcpy.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
        return int(real.aclrtMemcpy(destination, most, source, nbytes, acl.HOST_TO_DEVICE))

    library = Library(real, aclrtGetRunMode=Function(run_mode), aclrtMemcpy=Function(memcpy))
    monkeypatch.setattr("landbridge.runtime.vendors.atlas.driver.open_library", lambda at: library)
    monkeypatch.setattr("landbridge.runtime.vendors.atlas.driver._processes", {})
    opened = AtlasDriver(0)
    with pytest.raises(DeviceError):  # the simulator takes host memory only
        opened.load(*static_model, {})
    assert copies == [acl.DEVICE_TO_DEVICE]
    opened.close()


class Function:
    """A Python function in the place of one of a library."""

    restype: Any = None
    argtypes: Any = None

    def __init__(self, function: Any) -> None:
        self.function = function

    def __call__(self, *arguments: Any) -> Any:
        return self.function(*arguments)


def test_a_missing_library_names_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ASCEND_HOME_PATH", raising=False)
    monkeypatch.setattr(acl, "LIBRARY", "libascendcl-not-here.so")
    monkeypatch.setattr("landbridge.runtime.vendors.atlas.driver._processes", {})
    with pytest.raises(DeviceError) as caught:
        AtlasDriver(0)
    message, hint = str(caught.value).split("\n  hint: ")
    assert message.startswith("atlas0: the Ascend library libascendcl-not-here.so does not load: libascendcl-not-here.so: cannot open")
    assert hint == (
        "install CANN (or its nnrt package) and run `source /usr/local/Ascend/ascend-toolkit/set_env.sh` before starting; "
        'without a device, simulate one: --simulate atlas, simulate=["atlas"] or LANDBRIDGE_SIMULATE=atlas'
    )


def test_the_library_is_looked_for_where_the_vendors_environment_says(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("ASCEND_HOME_PATH", str(tmp_path))
    places = acl.library_places()
    assert places[0] == tmp_path / "lib64" / "libascendcl.so"
    assert Path("/usr/local/Ascend/ascend-toolkit/latest/lib64/libascendcl.so") in places
    assert places[-1] == Path("libascendcl.so")
    (tmp_path / "lib64").mkdir()
    (tmp_path / "lib64" / "libascendcl.so").write_bytes(registry.simulator("atlas").read_bytes())
    assert hasattr(acl.open_library("atlas0"), "aclInit")


@pytest.mark.parametrize("close", ["driver.close()", "pass"])
def test_a_process_ends_quietly_whether_it_closed_the_device_or_not(close: str) -> None:
    code = f"from landbridge.runtime.vendors.atlas.driver import AtlasDriver; driver = AtlasDriver(0, simulate=True); {close}"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, env={**os.environ, "PYTHONPATH": SOURCES}
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize(
    ("built", "here", "same"),
    [
        ("Ascend310", "Ascend310", True),
        ("Ascend310P1", "Ascend310P3", True),
        ("Ascend910B1", "Ascend910B4", True),
        ("Ascend310", "Ascend310P3", False),
        ("Ascend910", "Ascend910B1", False),
        ("Kirin", "Ascend310", False),
    ],
)
def test_a_chips_family_is_its_number_and_letter(
    static_model: tuple[bytes, Any], driver: AtlasDriver, built: str, here: str, same: bool
) -> None:
    data, signature = static_model
    driver.versions = {"soc": here}
    other = replace(signature, versions={"soc": built})
    if same:
        driver.load(data, other, {}).close()
    else:
        with pytest.raises(DeviceError, match=f"the offline model was compiled for {built}, this device is {here}"):
            driver.load(data, other, {})
