"""Initialisation, contexts, streams and device memory, with the codes and texts that a driver meets."""

from __future__ import annotations

import ctypes as C
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from landbridge.simulators.ascend import library
from support.acl import (
    CONTEXT_NULL,
    D2D,
    D2H,
    DEVICE_ID,
    H2D,
    H2H,
    INVALID_PARAM,
    OUT_OF_MEMORY,
    PROTOTYPES,
    REPEAT_FINALIZE,
    REPEAT_INITIALIZE,
    RT_PARAM,
    STREAM_CONTEXT,
    UNINITIALIZE,
    Acl,
)


def on_thread(call: Callable[[], Any]) -> Any:
    """Return what ``call`` returns on another thread, which has no context of its own."""
    results: list[Any] = []
    thread = threading.Thread(target=lambda: results.append(call()))
    thread.start()
    thread.join()
    return results[0]


def test_every_function_of_the_table_is_exported(loaded: Acl) -> None:
    assert len(PROTOTYPES) > 80
    assert all(hasattr(loaded.lib, name) for name in PROTOTYPES)


def test_only_the_interface_is_exported() -> None:
    done = subprocess.run(["nm", "-D", "--defined-only", str(library())], capture_output=True, text=True, check=True)
    names = [line.split()[-1] for line in done.stdout.splitlines()]
    assert names
    assert [name for name in names if not name.startswith(("acl", "sim_"))] == []


# --- initialisation


def test_calls_before_init_are_refused(bare: Acl) -> None:
    code, text = bare.error("aclrtSetDevice", 0)
    assert code == UNINITIALIZE
    assert "acl is not initialised; call aclInit first" in text
    assert bare.code("aclFinalize") == UNINITIALIZE


def test_init_and_finalize_come_in_pairs(bare: Acl) -> None:
    bare("aclInit", None)
    assert bare.code("aclInit", None) == REPEAT_INITIALIZE
    bare("aclFinalize")
    assert bare.code("aclFinalize") == REPEAT_FINALIZE
    assert bare.code("aclrtSetDevice", 0) == UNINITIALIZE
    bare("aclInit", None)
    bare("aclFinalize")


def test_versions_run_mode_and_device_count(acl: Acl) -> None:
    numbers = [C.c_int32() for _ in range(3)]
    acl("aclrtGetVersion", *map(C.byref, numbers))
    assert [number.value for number in numbers] == [1, 8, 0]
    mode, count = C.c_int(), C.c_uint32()
    acl("aclrtGetRunMode", C.byref(mode))
    acl("aclrtGetDeviceCount", C.byref(count))
    assert (mode.value, count.value) == (1, 4)
    assert acl.lib.aclrtGetSocName() == b"Ascend310"


def test_the_environment_names_the_chip(bare: Acl, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LANDBRIDGE_SIM_ATLAS_SOC", "Ascend910B3")
    bare("aclInit", None)
    assert bare.lib.aclrtGetSocName() == b"Ascend910B3"


# --- contexts


NEEDING_A_CONTEXT: list[tuple[str, tuple[Any, ...]]] = [
    ("aclrtMalloc", (C.byref(C.c_void_p()), 64, 0)),
    ("aclrtFree", (None,)),
    ("aclrtMemcpy", (None, 0, None, 0, H2H)),
    ("aclrtMemset", (None, 0, 0, 0)),
    ("aclrtCreateStream", (C.byref(C.c_void_p()),)),
    ("aclrtSynchronizeStream", (None,)),
    ("aclrtSynchronizeDevice", ()),
    ("aclrtGetDevice", (C.byref(C.c_int32()),)),
    ("aclrtGetCurrentContext", (C.byref(C.c_void_p()),)),
    ("aclrtGetMemInfo", (0, C.byref(C.c_size_t()), C.byref(C.c_size_t()))),
    ("aclmdlLoadFromMem", (b"", 0, C.byref(C.c_uint32()))),
    ("aclmdlUnload", (1,)),
    ("aclmdlExecute", (1, None, None)),
]


@pytest.mark.parametrize(("function", "arguments"), NEEDING_A_CONTEXT)
def test_a_thread_without_a_context_is_refused(acl: Acl, function: str, arguments: tuple[Any, ...]) -> None:
    code, text = on_thread(lambda: acl.error(function, *arguments))
    assert code == CONTEXT_NULL
    assert text == (
        "EE1001: The argument is invalid. Reason: this thread has no current context; call aclrtSetDevice or aclrtSetCurrentContext "
        f"on it first\n        [FUNC:{function}][ERROR:107002]\n"
    )


def test_threads_share_the_default_context_of_a_device(acl: Acl) -> None:
    def current() -> int | None:
        context = C.c_void_p()
        acl("aclrtSetDevice", 0)
        acl("aclrtGetCurrentContext", C.byref(context))
        return context.value

    assert current() == on_thread(current)
    assert acl.live() == {"context": 1}


def test_a_context_is_current_on_the_thread_that_made_or_set_it(acl: Acl) -> None:
    context, device = C.c_void_p(), C.c_int32()
    acl("aclrtCreateContext", C.byref(context), 2)
    acl("aclrtGetDevice", C.byref(device))
    assert device.value == 2
    assert on_thread(lambda: acl.code("aclrtSetCurrentContext", context) or acl.code("aclrtGetDevice", C.byref(device))) == 0
    acl("aclrtDestroyContext", context)
    assert acl.code("aclrtGetDevice", C.byref(device)) == CONTEXT_NULL
    assert acl.code("aclrtSetCurrentContext", context) == CONTEXT_NULL
    assert acl.code("aclrtDestroyContext", context) == CONTEXT_NULL


def test_the_default_context_goes_with_the_last_reset_of_the_device(acl: Acl) -> None:
    context = C.c_void_p()
    acl("aclrtGetCurrentContext", C.byref(context))
    code, text = acl.error("aclrtDestroyContext", context)
    assert (code, "call aclrtResetDevice" in text) == (RT_PARAM, True)
    acl("aclrtSetDevice", 0)
    acl("aclrtResetDevice", 0)
    assert acl.live() == {"context": 1}
    acl("aclrtResetDevice", 0)
    assert acl.live() == {}
    assert acl.code("aclrtSynchronizeDevice") == CONTEXT_NULL
    assert acl.code("aclrtResetDevice", 0) == DEVICE_ID


@pytest.mark.parametrize("device", [-1, 4])
def test_a_device_that_is_not_there(acl: Acl, device: int) -> None:
    code, text = acl.error("aclrtSetDevice", device)
    assert code == DEVICE_ID
    assert f"Invalid device ID {device}, the range is [0, 4)" in text
    assert acl.code("aclrtCreateContext", C.byref(C.c_void_p()), device) == DEVICE_ID


def test_a_stream_belongs_to_its_context(acl: Acl) -> None:
    stream, context = C.c_void_p(), C.c_void_p()
    acl("aclrtCreateStream", C.byref(stream))
    acl("aclrtSynchronizeStream", stream)
    acl("aclrtSynchronizeStreamWithTimeout", stream, 100)
    acl("aclrtCreateContext", C.byref(context), 0)
    assert acl.code("aclrtSynchronizeStream", stream) == STREAM_CONTEXT
    assert acl.code("aclrtDestroyStream", stream) == STREAM_CONTEXT
    acl("aclrtDestroyContext", context)
    acl("aclrtSetDevice", 0)
    acl("aclrtDestroyStream", stream)
    assert acl.code("aclrtSynchronizeStream", stream) == RT_PARAM
    assert acl.live() == {"context": 1}


# --- memory


def test_a_copy_there_and_back(acl: Acl) -> None:
    data = np.arange(1000, dtype=np.uint8)
    source = acl.upload(data)
    target = acl.malloc(1000)
    acl("aclrtMemcpy", target, 1000, source, 1000, D2D)
    assert acl.download(target, 1000) == data.tobytes()
    assert acl.download(target + 100, 7) == data[100:107].tobytes()
    acl("aclrtMemset", target, 1000, 3, 10)
    assert acl.download(target, 12) == bytes([3] * 10) + data[10:12].tobytes()
    acl("aclrtFree", source)
    acl("aclrtFree", target)
    assert acl.live() == {"context": 1}


def test_addresses_are_aligned_to_64_and_to_nothing_more(acl: Acl) -> None:
    pointers = [acl.malloc(n) for n in (1, 64, 5000, 1 << 20)]
    assert [pointer % 128 for pointer in pointers] == [64] * 4
    for pointer in pointers:
        acl("aclrtFree", pointer)


def test_fresh_memory_is_not_zero(acl: Acl) -> None:
    pointer = acl.malloc(8)
    assert acl.download(pointer, 8) != bytes(8)
    acl("aclrtFree", pointer)


def test_freed_addresses_are_used_again_and_buffers_never_touch(acl: Acl) -> None:
    pointers = [acl.malloc(100) for _ in range(200)]
    for pointer in pointers[::2]:
        acl("aclrtFree", pointer)
    again = [acl.malloc(100) for _ in range(100)]
    assert sorted(again) == sorted(pointers[::2])
    everything = sorted(pointers[1::2] + again)
    assert min(b - a for a, b in pairwise(everything)) > 4096
    for pointer in everything:
        acl("aclrtFree", pointer)
    assert acl.live() == {"context": 1}


def host(nbytes: int = 64) -> tuple[Any, int]:
    buffer = C.create_string_buffer(nbytes)
    return buffer, C.addressof(buffer)


@pytest.mark.parametrize(
    ("kind", "name"), [(H2H, "host to host"), (H2D, "host to device"), (D2D, "device to device"), (D2H, "device to host")]
)
def test_the_direction_of_a_copy_is_checked_against_the_pointers(acl: Acl, kind: int, name: str) -> None:
    device = acl.malloc(64)
    _keep, address = host()
    right = {H2H: (address, address), H2D: (device, address), D2H: (address, device), D2D: (device, device)}
    for other, (dst, src) in right.items():
        code = acl.code("aclrtMemcpy", dst, 64, src, 64, kind)
        assert (code == 0) == (other == kind), f"{name} with pointers of kind {other}"
        assert code in {0, RT_PARAM}
        if code:
            text = acl.message()
            assert "is not device memory" in text or f"is device memory, but the kind is {name} ({kind})" in text
    acl("aclrtFree", device)


def test_the_bounds_of_a_copy_are_checked(acl: Acl) -> None:
    device = acl.malloc(64)
    _keep, address = host(256)
    code, text = acl.error("aclrtMemcpy", device, 64, address, 65, H2D)
    assert (code, "count 65 is greater than destMax 64" in text) == (INVALID_PARAM, True)
    code, text = acl.error("aclrtMemcpy", device, 128, address, 65, H2D)
    assert (code, "65 bytes from offset 0 on do not fit in the device buffer of 64 bytes" in text) == (RT_PARAM, True)
    code, text = acl.error("aclrtMemcpy", address, 64, device + 60, 8, D2H)
    assert (code, "8 bytes from offset 60 on do not fit in the device buffer of 64 bytes" in text) == (RT_PARAM, True)
    code, text = acl.error("aclrtMemcpy", address, 64, device + 64, 8, D2H)
    assert (code, "is not in any live device buffer" in text) == (RT_PARAM, True)
    assert acl.code("aclrtMemcpy", device, 64, address, 0, H2D) == INVALID_PARAM
    assert acl.code("aclrtMemcpy", None, 64, address, 8, H2D) == INVALID_PARAM
    assert acl.code("aclrtMemcpy", device, 64, address, 8, 4) == INVALID_PARAM
    assert acl.code("aclrtMemset", device, 128, 0, 65) == RT_PARAM
    acl("aclrtFree", device)
    assert acl.code("aclrtMemcpy", device, 64, address, 8, H2D) == RT_PARAM


def test_freeing_twice_or_in_the_middle_is_refused(acl: Acl) -> None:
    pointer = acl.malloc(64)
    assert acl.code("aclrtFree", pointer + 8) == RT_PARAM
    acl("aclrtFree", pointer)
    code, text = acl.error("aclrtFree", pointer)
    assert code == RT_PARAM
    assert "was not returned by aclrtMalloc, or is freed already" in text
    assert acl.code("aclrtFree", None) == INVALID_PARAM
    assert acl.code("aclrtMalloc", C.byref(C.c_void_p()), 0, 0) == INVALID_PARAM


def test_memory_of_another_device_is_refused(acl: Acl) -> None:
    pointer = acl.malloc(64)
    _keep, address = host()
    acl("aclrtSetDevice", 1)
    code, text = acl.error("aclrtMemcpy", address, 64, pointer, 64, D2H)
    assert code == RT_PARAM
    assert "is memory of device 0, the current context is on device 1" in text
    acl("aclrtSetDevice", 0)
    acl("aclrtFree", pointer)


@pytest.mark.parametrize(("setting", "total"), [("1000", 1000), ("64K", 65536), ("2M", 1 << 21)])
def test_a_device_has_as_much_memory_as_the_environment_says(bare: Acl, monkeypatch: pytest.MonkeyPatch, setting: str, total: int) -> None:
    monkeypatch.setenv("LANDBRIDGE_SIM_ATLAS_MEMORY", setting)
    bare("aclInit", None)
    bare("aclrtSetDevice", 3)
    free, found = C.c_size_t(), C.c_size_t()
    pointer = bare.malloc(100)
    bare("aclrtGetMemInfo", 0, C.byref(free), C.byref(found))
    assert (free.value, found.value) == (total - 160, total)  # 100 rounded up to 32, and 32 more
    code, text = bare.error("aclrtMalloc", C.byref(C.c_void_p()), total, 0)
    assert code == OUT_OF_MEMORY
    assert f"Reason: device 3: {(total + 31) // 32 * 32 + 32} bytes requested, {total - 160} of {total} free\n" in text
    assert text.startswith("EL0004: Failed to allocate memory.")
    bare("aclrtFree", pointer)
    assert bare.live() == {"context": 1}


def test_default_memory_is_a_gibibyte(acl: Acl) -> None:
    free, total = C.c_size_t(), C.c_size_t()
    acl("aclrtGetMemInfo", 0, C.byref(free), C.byref(total))
    assert free.value == total.value == 1 << 30
    assert acl.code("aclrtMalloc", C.byref(C.c_void_p()), 1 << 62, 0) == OUT_OF_MEMORY


def test_pinned_host_memory_is_host_memory(acl: Acl) -> None:
    pointer = C.c_void_p()
    acl("aclrtMallocHost", C.byref(pointer), 100)
    assert pointer.value is not None
    C.memset(pointer.value, 7, 100)
    device = acl.malloc(100)
    acl("aclrtMemcpyAsync", device, 100, pointer, 100, H2D, None)
    assert acl.download(device, 100) == bytes([7] * 100)
    assert acl.live()["host"] == 1
    assert acl.code("aclrtFree", pointer) == RT_PARAM
    acl("aclrtFreeHost", pointer)
    assert acl.code("aclrtFreeHost", pointer) == RT_PARAM
    acl("aclrtFree", device)


@pytest.mark.parametrize("access", ["C.string_at(pointer, 1)", "C.memset(pointer, 0, 1)"])
def test_the_host_cannot_touch_device_memory(access: str) -> None:
    script = f"""
import ctypes as C
lib = C.CDLL({str(library())!r})
pointer = C.c_void_p()
assert lib.aclInit(None) == 0 and lib.aclrtSetDevice(0) == 0
assert lib.aclrtMalloc(C.byref(pointer), C.c_size_t(4096), 0) == 0
print("allocated", flush=True)
{access}
print("touched")
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False, timeout=60)
    assert done.stdout == "allocated\n"
    assert done.returncode == -signal.SIGSEGV


# --- messages


def test_the_message_is_fetched_and_cleared_newest_first(acl: Acl) -> None:
    assert acl.lib.aclGetRecentErrMsg() is None
    acl.code("aclrtSetDevice", 8)
    acl.code("aclrtSetDevice", 9)
    text = acl.message()
    assert text.index("Invalid device ID 9") < text.index("Invalid device ID 8")
    assert acl.lib.aclGetRecentErrMsg() is None


def test_messages_belong_to_their_thread(acl: Acl) -> None:
    acl.code("aclrtSetDevice", 8)
    assert on_thread(acl.message) == ""
    assert "Invalid device ID 8" in acl.message()


def test_many_messages_keep_the_newest(acl: Acl) -> None:
    for device in range(10, 40):
        acl.code("aclrtSetDevice", device)
    text = acl.message()
    assert "Invalid device ID 39" in text
    assert "Invalid device ID 10," not in text


def test_the_pointer_to_a_message_dies_at_the_next_call(acl: Acl) -> None:
    acl.code("aclrtSetDevice", 8)
    fetch = C.CDLL(str(library())).aclGetRecentErrMsg
    fetch.restype = C.c_void_p
    pointer = fetch()
    assert C.string_at(pointer).startswith(b"EE1001")
    acl("aclrtSetDevice", 0)
    assert C.string_at(pointer) == b""


# --- faults and reset


def test_the_kth_call_from_now_fails(acl: Acl) -> None:
    assert acl.code("sim_fault", b"aclrtSynchronizeDevice", 3, b"fail") == 0
    codes = [acl.code("aclrtSynchronizeDevice") for _ in range(5)]
    assert codes == [0, 0, 500003, 0, 0]
    assert acl.message() == "E19999: Inner Error! Reason: simulator: injected fault\n        [FUNC:aclrtSynchronizeDevice][ERROR:500003]\n"


def test_a_lasting_fault_stays_until_the_reset(acl: Acl) -> None:
    assert acl.code("sim_fault", b"aclrtSynchronizeDevice", 2, b"lasting") == 0
    assert [acl.code("aclrtSynchronizeDevice") for _ in range(4)] == [0, 500003, 500003, 500003]
    acl.lib.sim_reset()
    acl("aclInit", None)
    acl("aclrtSetDevice", 0)
    acl("aclrtSynchronizeDevice")


def test_faults_of_several_functions_count_on_their_own(acl: Acl) -> None:
    for function, k, mode in (
        (b"aclrtMalloc", 1, b"oom"),
        (b"aclrtMalloc", 2, b"fail"),
        (b"aclrtFree", 1, b"fail"),
        (b"aclCreateDataBuffer", 1, b"fail"),
    ):
        assert acl.code("sim_fault", function, k, mode) == 0
    pointer = C.c_void_p()
    assert [acl.code("aclrtMalloc", C.byref(pointer), 64, 0) for _ in range(3)] == [OUT_OF_MEMORY, 500003, 0]
    assert [acl.code("aclrtFree", pointer) for _ in range(2)] == [500003, 0]
    assert acl.lib.aclCreateDataBuffer(None, 0) is None


@pytest.mark.parametrize(
    ("function", "k", "mode"),
    [
        (b"aclNothing", 1, b"fail"),
        (b"malloc", 1, b"fail"),
        (b"aclrtMalloc", 0, b"fail"),
        (b"aclrtMalloc", 1, b"never"),
    ],
)
def test_a_fault_that_cannot_be(acl: Acl, function: bytes, k: int, mode: bytes) -> None:
    assert acl.lib.sim_fault(function, k, mode) == -1


def test_the_reset_frees_what_was_left(acl: Acl) -> None:
    acl.malloc(100)
    acl.lib.aclCreateDataBuffer(None, 0)
    acl.lib.aclmdlCreateDataset()
    acl.lib.aclmdlCreateDesc()
    acl.lib.aclmdlCreateConfigHandle()
    acl("aclrtCreateStream", C.byref(C.c_void_p()))
    assert acl.live() == {"buffer": 1, "context": 1, "stream": 1, "desc": 1, "dataset": 1, "databuffer": 1, "config": 1, "bytes": 160}
    acl.lib.sim_reset()
    assert acl.live() == {}
    assert acl.lib.sim_live(b"unknown") == -1


def test_threads_allocate_and_copy_at_the_same_time(acl: Acl) -> None:
    failures: list[str] = []

    def work(seed: int) -> None:
        acl("aclrtSetDevice", seed % 2)
        for i in range(50):
            data = np.full(64 + i, (seed * 50 + i) % 256, np.uint8)
            pointer = acl.upload(data)
            if acl.download(pointer, data.nbytes) != data.tobytes():
                failures.append(f"{seed}:{i}")
            acl("aclrtFree", pointer)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert acl.live() == {"context": 2}
