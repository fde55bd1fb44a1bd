"""Initialisation, devices, memory, copies, queues and faults of the Cambricon simulator."""

from __future__ import annotations

import ctypes as C
import subprocess
import sys
import time
from typing import Any

import numpy as np
import pytest

from landbridge.simulators.cambricon import library
from support.cnrt import (
    BUSY,
    D2D,
    D2H,
    FAKE_DEVICE,
    H2D,
    H2H,
    INIT,
    INVALID,
    INVALID_POINTER,
    MEMCPY,
    NODEV,
    NOMEM,
    NOT_READY,
    QUEUE,
    SYS,
    Cnrt,
    Info,
)
from support.other_thread import elsewhere

DATA = np.arange(64, dtype="uint8")


def address(array: Any) -> Any:
    return array.ctypes.data_as(C.c_void_p)


def test_nothing_goes_before_cnrtInit(bare: Cnrt) -> None:
    handle, count = C.c_void_p(), C.c_uint()
    assert bare("cnrtMalloc", C.byref(handle), C.c_size_t(8), expect=INIT) == (
        "CNRT_RET_ERR_INIT: cnrtMalloc: cnrt is not initialised; call cnrtInit first"
    )
    bare("cnrtGetDeviceCount", C.byref(count), expect=INIT)
    bare("cnrtInit", 2, expect=INVALID)


def test_a_device_must_be_current_on_each_thread(cnrt: Cnrt) -> None:
    handle = C.c_void_p()
    elsewhere(lambda: cnrt("cnrtMalloc", C.byref(handle), C.c_size_t(8), expect=NODEV))
    elsewhere(lambda: cnrt("cnrtCreateQueue", C.byref(handle), expect=NODEV))


def test_an_ordinal_is_no_device_handle(cnrt: Cnrt) -> None:
    cnrt("cnrtSetCurrentDevice", C.c_uint64(0), expect=NODEV)
    device = C.c_uint64()
    assert "the range is [0, 4)" in cnrt("cnrtGetDeviceHandle", C.byref(device), 4, expect=NODEV)


def test_the_devices_say_what_they_are(cnrt: Cnrt) -> None:
    count, info = C.c_uint(), Info()
    cnrt("cnrtGetDeviceCount", C.byref(count))
    cnrt("cnrtGetDeviceInfo", C.byref(info), 1)
    assert (count.value, info.name, info.core) == (4, b"MLU270 (simulated)", 5)


def test_the_core_is_that_of_the_environment(bare: Cnrt, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LANDBRIDGE_SIM_CAMBRICON_CORE", "MLU220")
    bare("cnrtInit", 0)
    info = Info()
    bare("cnrtGetDeviceInfo", C.byref(info), 0)
    assert (info.name, info.core) == (b"MLU220 (simulated)", 6)


def test_the_fake_device_executes_nothing(bare: Cnrt) -> None:
    bare("cnrtInit", 1, expect=FAKE_DEVICE)
    bare("cnrtInit", 0, expect=INIT)
    count, handle = C.c_uint(9), C.c_void_p()
    bare("cnrtGetDeviceCount", C.byref(count))
    assert count.value == 0
    device = C.c_uint64()
    bare("cnrtGetDeviceHandle", C.byref(device), 0, expect=NODEV)
    bare.set_device(-1)
    bare("cnrtMalloc", C.byref(handle), C.c_size_t(8), expect=NODEV)
    bare("cnrtCreateQueue", C.byref(handle), expect=NODEV)


# ---- memory and copies


def test_bytes_go_in_across_and_out(cnrt: Cnrt) -> None:
    first = cnrt.put(DATA)
    second = cnrt.make("cnrtMalloc", C.c_size_t(64))
    assert first.value is not None
    assert first.value % 64 == 0
    assert (cnrt.live("buffer"), cnrt.live("bytes")) == (2, 128)
    assert (cnrt.get(second, DATA) == 0xCD).all()
    cnrt("cnrtMemcpy", second, first, C.c_size_t(64), D2D)
    assert (cnrt.get(second, DATA) == DATA).all()
    cnrt("cnrtFree", first)
    cnrt("cnrtFree", second)
    assert (cnrt.live("buffer"), cnrt.live("bytes")) == (0, 0)


def test_the_host_cannot_dereference_device_memory() -> None:
    code = (
        f"import ctypes as C; lib = C.CDLL({str(library())!r}); lib.cnrtInit(0); d = C.c_uint64(); p = C.c_void_p()\n"
        "lib.cnrtGetDeviceHandle(C.byref(d), 0); lib.cnrtSetCurrentDevice(d); assert lib.cnrtMalloc(C.byref(p), C.c_size_t(64)) == 0\n"
        "C.string_at(p, 1)\n"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == -11


@pytest.mark.parametrize(
    ("to_device", "from_device", "wrong"), [(True, False, D2H), (True, False, 4), (False, True, H2D), (True, True, H2H)]
)
def test_a_wrong_direction_is_detected(cnrt: Cnrt, to_device: bool, from_device: bool, wrong: int) -> None:
    ends = [cnrt.put(DATA) if on_device else address(DATA.copy()) for on_device in (to_device, from_device)]
    cnrt("cnrtMemcpy", *ends, C.c_size_t(64), wrong, expect=INVALID if wrong > H2H else MEMCPY)


def test_the_direction_of_acl_is_called_by_its_name(cnrt: Cnrt) -> None:
    device = cnrt.put(DATA)
    text = cnrt("cnrtMemcpy", device, address(DATA), C.c_size_t(64), 1, expect=MEMCPY)
    assert text.endswith("is host memory, but the direction is DEV2DEV (1)")
    text = cnrt("cnrtMemcpy", address(DATA.copy()), device, C.c_size_t(64), 1, expect=MEMCPY)
    assert text.endswith("is host memory, but the direction is DEV2DEV (1)")


def test_copies_stay_within_a_live_buffer_of_the_current_device(cnrt: Cnrt) -> None:
    device = cnrt.put(DATA)
    assert "do not fit in the device buffer of 64 bytes" in cnrt(
        "cnrtMemcpy", device, address(np.zeros(65, "u1")), C.c_size_t(65), H2D, expect=MEMCPY
    )
    cnrt.set_device(1)
    assert "is memory of device 0, the current device is 1" in cnrt("cnrtMemcpy", device, address(DATA), C.c_size_t(64), H2D, expect=MEMCPY)
    cnrt.set_device(0)
    cnrt("cnrtFree", device)
    assert "is not in any live device buffer" in cnrt("cnrtMemcpy", device, address(DATA), C.c_size_t(64), H2D, expect=MEMCPY)
    cnrt("cnrtFree", device, expect=INVALID_POINTER)
    cnrt("cnrtMemcpy", None, address(DATA), C.c_size_t(64), H2D, expect=INVALID_POINTER)
    cnrt("cnrtMemcpy", device, address(DATA), C.c_size_t(0), H2D, expect=INVALID)


def test_memory_runs_out(bare: Cnrt, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LANDBRIDGE_SIM_CAMBRICON_MEMORY", "4K")
    bare("cnrtInit", 0)
    bare.set_device(2)
    handle = C.c_void_p()
    bare.make("cnrtMalloc", C.c_size_t(4000))
    assert bare("cnrtMalloc", C.byref(handle), C.c_size_t(97), expect=NOMEM) == (
        "CNRT_RET_ERR_NOMEM: cnrtMalloc: device 2: 97 bytes requested, 96 of 4096 free"
    )
    bare("cnrtMalloc", C.byref(handle), C.c_size_t(0), expect=INVALID)
    bare.make("cnrtMalloc", C.c_size_t(96))


def test_a_copy_in_a_queue_is_done_when_somebody_waits(cnrt: Cnrt) -> None:
    queue, device = cnrt.make("cnrtCreateQueue"), cnrt.put(np.zeros_like(DATA))
    source, back = DATA.copy(), np.zeros_like(DATA)
    cnrt("cnrtMemcpyAsync", device, address(source), C.c_size_t(64), queue, H2D)
    cnrt("cnrtMemcpyAsync", address(back), device, C.c_size_t(64), queue, D2H)
    assert (cnrt.get(device, DATA) == 0).all()
    cnrt("cnrtQueryQueue", queue, expect=NOT_READY)
    source += 1
    cnrt("cnrtSyncQueue", queue)
    assert (back == DATA + 1).all()
    assert cnrt.lib.sim_fault(b"cnrtMemcpyAsync", 1, b"no write") == 0
    cnrt("cnrtMemcpyAsync", address(back), cnrt.put(DATA), C.c_size_t(64), queue, D2H)
    cnrt("cnrtSyncDevice")
    assert (back == DATA + 1).all()


def test_copies_in_a_queue_take_their_time_when_they_are_done(cnrt: Cnrt) -> None:
    queue, device = cnrt.make("cnrtCreateQueue"), cnrt.put(DATA)
    assert cnrt.lib.sim_speed(b"copy in", C.c_double(0.02), C.c_double(0)) == 0
    started = time.perf_counter()
    cnrt("cnrtMemcpyAsync", device, address(DATA), C.c_size_t(64), queue, H2D)
    given = time.perf_counter()
    cnrt("cnrtSyncQueue", queue)
    assert time.perf_counter() - given >= 0.02 > given - started


def test_a_queue_holds_so_many_copies(cnrt: Cnrt) -> None:
    queue, device = cnrt.make("cnrtCreateQueue"), cnrt.put(DATA)
    copy = ("cnrtMemcpyAsync", device, address(DATA), C.c_size_t(64), queue, H2D)
    for _ in range(256):
        cnrt(*copy)
    assert "256 calls wait" in cnrt(*copy, expect=BUSY)
    cnrt("cnrtSyncQueue", queue)
    cnrt(*copy)


def test_a_copy_in_a_queue_is_checked_twice(cnrt: Cnrt) -> None:
    queue, device = cnrt.make("cnrtCreateQueue"), cnrt.put(DATA)
    for ends, nbytes, direction, code in (
        ((device, address(DATA)), 65, H2D, MEMCPY),
        ((device, address(DATA)), 64, D2H, MEMCPY),
        ((address(DATA), address(DATA)), 64, H2H, INVALID),
        ((device, address(DATA)), 0, H2D, INVALID),
        ((device, None), 64, H2D, INVALID_POINTER),
    ):
        cnrt("cnrtMemcpyAsync", *ends, C.c_size_t(nbytes), queue, direction, expect=code)
    cnrt("cnrtQueryQueue", queue)
    cnrt("cnrtMemcpyAsync", device, address(DATA), C.c_size_t(64), queue, H2D)
    cnrt("cnrtFree", device)
    cnrt("cnrtSyncQueue", queue, expect=MEMCPY)
    cnrt("cnrtSyncQueue", queue)


@pytest.mark.parametrize(("given", "version", "types"), [(None, 41004, [0]), ("4.3.0", 40300, [0, 1]), ("4.7.12", 40712, [0, 1])])
def test_releases_have_other_types_of_host_memory(
    bare: Cnrt, monkeypatch: pytest.MonkeyPatch, given: str | None, version: int, types: list[int]
) -> None:
    if given is not None:
        monkeypatch.setenv("LANDBRIDGE_SIM_CAMBRICON_VERSION", given)
    bare("cnrtInit", 0)
    bare.set_device(0)
    found = C.c_uint()
    bare("cnrtGetVersion", C.byref(found))
    assert found.value == version
    for kind in range(3):
        if kind in types:
            assert bare.make("cnrtMallocHost", C.c_size_t(64), kind).value % 4096 == 0
        else:
            bare("cnrtMallocHost", C.byref(C.c_void_p()), C.c_size_t(64), kind, expect=INVALID)


def test_host_memory_and_memset(cnrt: Cnrt) -> None:
    host = cnrt.make("cnrtMallocHost", C.c_size_t(64), 0)
    device = cnrt.put(DATA)
    cnrt("cnrtMemset", device, 7, C.c_size_t(64))
    cnrt("cnrtMemcpy", host, device, C.c_size_t(64), D2H)
    assert C.string_at(host, 64) == b"\7" * 64
    assert cnrt.live("host") == 1
    cnrt("cnrtFreeHost", host)
    cnrt("cnrtFreeHost", host, expect=INVALID_POINTER)
    cnrt("cnrtMemset", host, 7, C.c_size_t(64), expect=INVALID_POINTER)


# ---- queues and faults


def test_a_queue_belongs_to_its_device(cnrt: Cnrt) -> None:
    queue = cnrt.make("cnrtCreateQueue")
    cnrt("cnrtSyncQueue", queue)
    cnrt("cnrtQueryQueue", queue)
    cnrt.set_device(1)
    assert "is on device 0, this thread's current device is 1" in cnrt("cnrtSyncQueue", queue, expect=QUEUE)
    cnrt.set_device(0)
    assert cnrt.live("queue") == 1
    cnrt("cnrtDestroyQueue", queue)
    cnrt("cnrtSyncQueue", queue, expect=QUEUE)
    cnrt("cnrtDestroyQueue", queue, expect=QUEUE)


def test_faults_come_when_they_are_asked_for(cnrt: Cnrt) -> None:
    handle = C.c_void_p()
    assert cnrt.lib.sim_fault(b"cnrtMalloc", 2, b"oom") == 0
    cnrt.make("cnrtMalloc", C.c_size_t(8))
    cnrt("cnrtMalloc", C.byref(handle), C.c_size_t(8), expect=NOMEM)
    cnrt.make("cnrtMalloc", C.c_size_t(8))
    assert cnrt.lib.sim_fault(b"cnrtSyncDevice", 1, b"lasting") == 0
    for _ in range(2):
        assert cnrt("cnrtSyncDevice", expect=SYS) == "CNRT_RET_ERR_SYS: cnrtSyncDevice: simulator: injected fault"
    assert cnrt.lib.sim_fault(b"cnrtNothing", 1, b"fail") == -1
    assert cnrt.lib.sim_fault(b"cnrtMalloc", 0, b"fail") == -1
    assert cnrt.lib.sim_fault(b"cnrtMalloc", 1, b"often") == -1


def test_the_text_of_a_code_alone(bare: Cnrt) -> None:
    assert bare.lib.cnrtGetErrorStr(0) == b"CNRT_RET_SUCCESS"
    assert bare.lib.cnrtGetErrorStr(BUSY) == b"CNRT_RET_ERR_BUSY"
    assert bare.lib.cnrtGetErrorStr(12345) == b"CNRT_RET_ERR_UNKNOWN"
    assert bare.lib.sim_live(b"dragons") == -1
