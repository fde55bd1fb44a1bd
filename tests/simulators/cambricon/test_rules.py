"""Each rule of CNRT, broken: the simulator detects it, and says which one it is.

That no driver ever breaks one is the affair of the whole suite: `strict_simulators` in ``tests/conftest.py`` asks after every test.
"""

from __future__ import annotations

import ctypes as C
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from landbridge.simulators.cambricon.make_cambricon import make_cambricon
from support.cnrt import (
    BUSY,
    D2D,
    D2H,
    FLOAT16,
    FLOAT32,
    H2D,
    INIT,
    INVALID,
    INVALID_POINTER,
    MEMCPY,
    MLU,
    NODEV,
    QUEUE,
    UNSUPPORTED,
    Cnrt,
    Loaded,
    params,
)
from support.other_thread import elsewhere
from support.small_onnx import node, small_model

X = np.linspace(-3, 3, 24).astype("float16").reshape(1, 2, 3, 4)
SIZE = C.c_size_t(48)


@pytest.fixture(scope="module")
def blob() -> bytes:
    shape = ("float32", ("n", 4, 2, 3))
    model = small_model([node("Relu", "x", "y")], {"x": shape}, {"y": shape})
    return make_cambricon(model, tensor_dim_mutable=True, input_dtype="float16", output_dtype="float16")


class Call:
    """A function that can be called, on device 0."""

    def __init__(self, cnrt: Cnrt, blob: bytes) -> None:
        self.cnrt, self.loaded, self.queue = cnrt, Loaded(cnrt, blob), cnrt.make("cnrtCreateQueue")
        self.context, self.x, self.y = self.loaded.context(0), cnrt.put(X), cnrt.put(X)

    def __call__(self, x: Any = None, y: Any = None, context: Any = None, queue: Any = None, dtype: int = FLOAT16, expect: int = 0) -> None:
        descs = (C.c_void_p * 2)()
        for index in range(2):
            desc = self.cnrt.make("cnrtCreateParamDesc")
            self.cnrt("cnrtSetShapeToParamDesc", desc, (C.c_int * 4)(*X.shape), 4)
            self.cnrt("cnrtSetDataTypeToParamDesc", desc, dtype)
            descs[index] = desc.value
        where = params(x or self.x, y or self.y)
        self.cnrt("cnrtInvokeRuntimeContext_V2", context or self.context, descs, where, queue or self.queue, None, expect=expect)


def host(array: Any) -> Any:
    return array.ctypes.data_as(C.c_void_p)


def _freed_while_it_waits(call: Call) -> None:
    call()
    call.cnrt("cnrtFree", call.y)
    call.cnrt("cnrtSyncQueue", call.queue, expect=MLU)


def _on_two_queues(call: Call) -> None:
    call()
    call(queue=call.cnrt.make("cnrtCreateQueue"), expect=BUSY)
    call.cnrt("cnrtSyncDevice")


def _destroyed_while_it_waits(call: Call) -> None:
    call()
    call.cnrt("cnrtDestroyRuntimeContext", call.context, expect=BUSY)
    call.cnrt("cnrtDestroyQueue", call.queue, expect=BUSY)
    call.cnrt("cnrtSyncQueue", call.queue)


def _copied(call: Call, *ends: Any, direction: int = H2D, expect: int = 0) -> None:
    call.cnrt("cnrtMemcpyAsync", *ends, SIZE, call.queue, direction, expect=expect)


def _freed_while_its_copy_waits(call: Call) -> None:
    _copied(call, call.x, host(X))
    call.cnrt("cnrtFree", call.x)
    call.cnrt("cnrtSyncQueue", call.queue, expect=MEMCPY)


def _host_freed_while_its_copy_waits(call: Call) -> None:
    pinned = call.cnrt.make("cnrtMallocHost", C.c_size_t(100), 0)
    _copied(call, C.c_void_p(pinned.value + 32), call.x, direction=D2H)
    call.cnrt("cnrtFreeHost", pinned, expect=BUSY)
    call.cnrt("cnrtSyncQueue", call.queue)
    call.cnrt("cnrtFreeHost", pinned)


def _queue_destroyed_while_a_copy_waits(call: Call) -> None:
    _copied(call, call.x, host(X))
    call.cnrt("cnrtDestroyQueue", call.queue, expect=BUSY)
    call.cnrt("cnrtSyncQueue", call.queue)


def _queue_of_another_device(call: Call) -> None:
    call.cnrt.set_device(1)
    _copied(call, call.cnrt.put(X), host(X), expect=QUEUE)
    call.cnrt.set_device(0)


def _freed_twice(call: Call) -> None:
    call.cnrt("cnrtFree", call.x)
    call.cnrt("cnrtFree", call.x, expect=INVALID_POINTER)


def _on_another_device(call: Call) -> None:
    call.cnrt.set_device(1)
    call(expect=NODEV)
    call.cnrt.set_device(0)


def _memory_of_another_device(call: Call) -> None:
    call.cnrt.set_device(1)
    other = call.cnrt.put(X)
    call.cnrt.set_device(0)
    call(x=other, expect=INVALID_POINTER)


def _context_before_its_device(call: Call) -> None:
    context = call.cnrt.make("cnrtCreateRuntimeContext", call.loaded.function, None)
    call.cnrt("cnrtInitRuntimeContext", context, None, expect=INVALID)
    call(context=context, expect=INVALID)


def _function_that_is_not_extracted(call: Call) -> None:
    function = call.cnrt.make("cnrtCreateFunction")
    call.cnrt("cnrtCreateRuntimeContext", C.byref(C.c_void_p()), function, None, expect=INVALID)


def _out_of_order(call: Call) -> None:
    call.cnrt("cnrtUnloadModel", call.loaded.model, expect=BUSY)
    call.cnrt("cnrtDestroyFunction", call.loaded.function, expect=BUSY)


def _destroyed(call: Call) -> None:
    call.cnrt("cnrtDestroyRuntimeContext", call.context)
    call(expect=INVALID)


RULES: dict[str, tuple[Callable[[Call], object], str]] = {
    "a device is current on each thread": (
        lambda call: elsewhere(lambda: call.cnrt("cnrtMalloc", C.byref(C.c_void_p()), SIZE, expect=NODEV)),
        "this thread has no current device",
    ),
    "the device of a call is the current one": (_on_another_device, "the context is on device 0, this thread's current device is 1"),
    "memory is of the device of the call": (
        _memory_of_another_device,
        "x 0x",
    ),
    "a handle, not an ordinal, makes a device current": (
        lambda call: call.cnrt("cnrtSetCurrentDevice", C.c_uint64(0), expect=NODEV),
        "is no device handle",
    ),
    "one context runs once at a time": (_on_two_queues, "one context must not run twice at once"),
    "a buffer lives until its call is done": (_freed_while_it_waits, "is not in any live device buffer"),
    "a buffer lives until its copy is done": (_freed_while_its_copy_waits, "is not in any live device buffer"),
    "memory of the host lives until its copy is done": (_host_freed_while_its_copy_waits, "waits in a queue"),
    "a queue lives until its copies are done": (_queue_destroyed_while_a_copy_waits, "work waits in queue"),
    "a queue is of the device of the copy": (_queue_of_another_device, "is on device 0, this thread's current device is 1"),
    "the direction of a copy in a queue": (
        lambda call: _copied(call, call.x, host(X), direction=D2H, expect=MEMCPY),
        "memory, but the direction is DEV2HOST (2)",
    ),
    "memory of the host has a type that there is": (
        lambda call: call.cnrt("cnrtMallocHost", C.byref(C.c_void_p()), SIZE, 1, expect=INVALID),
        "type 1 is none that this release supports",
    ),
    "a buffer is freed once": (_freed_twice, "is freed already"),
    "a freed buffer is not copied from": (
        lambda call: (
            call.cnrt("cnrtFree", call.x),
            call.cnrt("cnrtMemcpy", host(X.copy()), call.x, SIZE, D2H, expect=MEMCPY),
        ),
        "is not in any live device buffer",
    ),
    "the direction is in": (
        lambda call: call.cnrt("cnrtMemcpy", call.x, host(X), SIZE, D2H, expect=MEMCPY),
        "memory, but the direction is DEV2HOST (2)",
    ),
    "the direction is out": (
        lambda call: call.cnrt("cnrtMemcpy", host(X.copy()), call.x, SIZE, D2D, expect=MEMCPY),
        "is host memory, but the direction is DEV2DEV (1)",
    ),
    "the direction is one that there is": (lambda call: call.cnrt("cnrtMemcpy", call.x, host(X), SIZE, 4, expect=INVALID), "direction 4"),
    "a copy stays within its buffer": (
        lambda call: call.cnrt("cnrtMemcpy", call.x, host(np.zeros(49, "u1")), C.c_size_t(49), H2D, expect=MEMCPY),
        "do not fit in the device buffer of 48 bytes",
    ),
    "a buffer has room for its parameter": (
        lambda call: call(y=call.cnrt.make("cnrtMalloc", C.c_size_t(47)), expect=INVALID_POINTER),
        "do not fit in the device buffer of 47 bytes",
    ),
    "parameters are device memory": (lambda call: call(x=host(X), expect=INVALID_POINTER), "is not device memory"),
    "a descriptor has the type of its parameter": (lambda call: call(dtype=FLOAT32, expect=INVALID), "input 'x' has type 0x13"),
    "nothing is allocated with no bytes": (
        lambda call: call.cnrt("cnrtMalloc", C.byref(C.c_void_p()), C.c_size_t(0), expect=INVALID),
        "bytes is 0",
    ),
    "a context has its device before it is initialised": (_context_before_its_device, "call cnrtSetRuntimeContextDeviceId first"),
    "a function is extracted before it is used": (_function_that_is_not_extracted, "was not extracted from a model"),
    "contexts end before functions, these before models": (_out_of_order, "call cnrtDestroyFunction first"),
    "nothing ends while its work waits": (_destroyed_while_it_waits, "waits in a queue"),
    "what is destroyed is not used": (_destroyed, "does not exist"),
    "a queue is one that there is": (lambda call: call.cnrt("cnrtSyncQueue", C.c_void_p(64), expect=QUEUE), "queue 0x40 does not exist"),
    "what the library gave is given back to it once": (
        lambda call: call.cnrt("cnrtReleaseInternalResource", host(X), expect=INVALID_POINTER),
        "is none of the library's",
    ),
}


@pytest.fixture(autouse=True)
def forgotten(loaded: Cnrt) -> Iterator[None]:
    """No test here sees what another has broken, nor does any test after these."""
    loaded.misuse()
    yield
    loaded.misuse()


@pytest.mark.parametrize("rule", RULES)
def test_a_broken_rule_is_detected_and_named(rule: str, cnrt: Cnrt, blob: bytes) -> None:
    break_it, words = RULES[rule]
    call = Call(cnrt, blob)
    call()
    cnrt("cnrtSyncQueue", call.queue)
    assert cnrt.misuse() == ""
    break_it(call)
    assert words in cnrt.misuse()
    assert cnrt.misuse() == "", "it is told once"


@pytest.mark.parametrize(("core", "version"), [("MLU220", "4.10.4"), ("MLU290", "4.7.12")])
def test_some_devices_copy_only_synchronously(bare: Cnrt, monkeypatch: pytest.MonkeyPatch, core: str, version: str) -> None:
    monkeypatch.setenv("LANDBRIDGE_SIM_CAMBRICON_CORE", core)
    monkeypatch.setenv("LANDBRIDGE_SIM_CAMBRICON_VERSION", version)
    bare("cnrtInit", 0)
    bare.set_device(0)
    queue, device = bare.make("cnrtCreateQueue"), bare.put(X)
    bare("cnrtMemcpyAsync", device, host(X), SIZE, queue, H2D, expect=UNSUPPORTED)
    assert bare.misuse() == "cnrtMemcpyAsync: this device copies only synchronously"


def test_nothing_goes_before_cnrtInit(bare: Cnrt) -> None:
    bare("cnrtMalloc", C.byref(C.c_void_p()), SIZE, expect=INIT)
    assert bare.misuse() == "cnrtMalloc: cnrt is not initialised; call cnrtInit first"


def test_what_is_right_and_what_is_only_refused_is_no_misuse(cnrt: Cnrt, blob: bytes) -> None:
    call = Call(cnrt, blob)
    call()
    cnrt("cnrtSyncQueue", call.queue)
    cnrt("cnrtGetDeviceHandle", C.byref(C.c_uint64()), 9, expect=NODEV)  # how many there are is found out so
    assert cnrt.lib.sim_fault(b"cnrtMalloc", 1, b"oom") == 0
    assert cnrt.lib.cnrtMalloc(C.byref(C.c_void_p()), SIZE) != 0
    assert cnrt.misuse() == ""
