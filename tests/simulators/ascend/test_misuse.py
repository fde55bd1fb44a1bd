"""One test for each rule of Ascend's interface: the simulator says so when it is broken.

``sim_misuse`` tells the first rule that was broken. `support.strict` asks it after each test, so that
all of these show that the driver breaks none. The rules are the keys of `BREAKERS` below.
"""

from __future__ import annotations

import ctypes as C
import re
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from support.acl import D2H, H2D, HW, Acl
from support.ge_graph import GeGraph, Value, small_model

Breaker = Callable[[Acl], None]
BREAKERS: dict[str, tuple[Breaker, str]] = {}
"""By the rule's name: what breaks it, and what the simulator says."""


def breaks(rule: str, says: str) -> Callable[[Breaker], Breaker]:
    def add(function: Breaker) -> Breaker:
        BREAKERS[rule] = (function, says)
        return function

    return add


@pytest.fixture(autouse=True)
def forgotten(loaded: Acl) -> Iterator[None]:
    """No test here sees what another has broken, nor does any test after these."""
    loaded.lib.sim_misuse()
    yield
    loaded.lib.sim_misuse()


def misuse(acl: Acl) -> str:
    return str(acl.lib.sim_misuse().decode())


def in_thread(work: Callable[[], Any]) -> None:
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()


def gears_model() -> bytes:
    graph = GeGraph()
    x = graph.data("x", "float32", (4, 3), _mbatch_origin_input_dims=[-1, 3])
    graph.gears([1], [4], kind=1)
    graph.output(graph.op("Relu", [x], Value("y", "float32", (4, 3))))
    return graph.to_bytes()


def slow_model() -> bytes:
    graph = GeGraph()
    value = x = graph.data("x", "float32", (400, 400))
    for index in range(4):
        value = graph.op("MatMulV2", [value, x], Value(f"y{index}", "float32", (400, 400)))
    graph.output(value)
    return graph.to_bytes()


def execute(acl: Acl, model: int, sizes: tuple[int, int] = (24, 24), free: int = -1) -> None:
    """Execute with buffers of these sizes, the one of number ``free`` freed before."""
    pointers = [acl.malloc(size) for size in sizes]
    with acl.dataset((pointers[0], sizes[0])) as inputs, acl.dataset((pointers[1], sizes[1])) as outputs:
        if free >= 0:
            acl("aclrtFree", pointers[free])
        acl.code("aclmdlExecute", model, inputs, outputs)
    for index, pointer in enumerate(pointers):
        if index != free:
            acl("aclrtFree", pointer)


# --- life of the process, the device and the threads


@breaks("initialise first", "aclrtSetDevice: ")
def _(acl: Acl) -> None:
    acl("aclFinalize")
    acl.code("aclrtSetDevice", 0)


@breaks("finalise once", "aclFinalize: ")
def _(acl: Acl) -> None:
    acl("aclFinalize")
    acl.code("aclFinalize")


@breaks("a device that is there", "aclrtSetDevice: ")
def _(acl: Acl) -> None:
    acl.code("aclrtSetDevice", 9)


@breaks("a context on the calling thread", "aclrtMalloc: ")
def _(acl: Acl) -> None:
    in_thread(lambda: acl.code("aclrtMalloc", C.byref(C.c_void_p()), 8, 0))


@breaks("a model runs in the context it was loaded in", "aclmdlExecute: model N is not in current ctx")
def _(acl: Acl) -> None:
    model, context = acl.load(small_model()), C.c_void_p()
    acl("aclrtCreateContext", C.byref(context), 0)
    execute(acl, model)


@breaks("a stream stays in its context", "aclrtSynchronizeStream: ")
def _(acl: Acl) -> None:
    stream, context = C.c_void_p(), C.c_void_p()
    acl("aclrtCreateStream", C.byref(stream))
    acl("aclrtCreateContext", C.byref(context), 0)
    acl.code("aclrtSynchronizeStream", stream)


# --- memory


@breaks("no allocation of nothing", "aclrtMalloc: size is 0")
def _(acl: Acl) -> None:
    acl.code("aclrtMalloc", C.byref(C.c_void_p()), 0, 0)


@breaks("free what was allocated, once", "aclrtFree: devPtr ")
def _(acl: Acl) -> None:
    pointer = acl.malloc(8)
    acl("aclrtFree", pointer)
    acl.code("aclrtFree", pointer)


@breaks("no copy of nothing", "aclrtMemcpy: count is 0")
def _(acl: Acl) -> None:
    acl.code("aclrtMemcpy", acl.malloc(8), 8, (C.c_byte * 8)(), 0, H2D)


@breaks("no copy beyond the destination", "aclrtMemcpy: count 9 is greater than destMax 8")
def _(acl: Acl) -> None:
    acl.code("aclrtMemcpy", acl.malloc(8), 8, (C.c_byte * 9)(), 9, H2D)


@breaks("the direction of a copy", "aclrtMemcpy: ")
def _(acl: Acl) -> None:
    acl.code("aclrtMemcpy", acl.malloc(8), 8, (C.c_byte * 8)(), 8, D2H)


@breaks("no copy to freed memory", "aclrtMemcpy: ")
def _(acl: Acl) -> None:
    pointer = acl.malloc(8)
    acl("aclrtFree", pointer)
    acl.code("aclrtMemcpy", pointer, 8, (C.c_byte * 8)(), 8, H2D)


@breaks("memory of the device itself", "aclrtMemcpy: ")
def _(acl: Acl) -> None:
    pointer = acl.malloc(8)
    acl("aclrtSetDevice", 1)
    acl.code("aclrtMemcpy", pointer, 8, (C.c_byte * 8)(), 8, H2D)


# --- models


@breaks("a model's file in host memory", "aclmdlLoadFromMem: model ")
def _(acl: Acl) -> None:
    blob = np.frombuffer(small_model(), np.uint8)
    acl.code("aclmdlLoadFromMem", C.cast(acl.upload(blob), C.c_char_p), blob.nbytes, C.byref(C.c_uint32()))


@breaks("no unloaded model", "aclmdlExecute: model id N does not exist")
def _(acl: Acl) -> None:
    model = acl.load(small_model())
    acl("aclmdlUnload", model)
    execute(acl, model)


@breaks("one model at a time", "aclmdlExecute: one model must not run twice at once")
def _(acl: Acl) -> None:
    model = acl.load(slow_model())

    def work() -> None:
        acl("aclrtSetDevice", 0)
        execute(acl, model, (640_000, 640_000))

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


@breaks("no unloading of a model that runs", "aclmdlUnload: a model must not be unloaded while it runs")
def _(acl: Acl) -> None:
    model, about_to = acl.load(slow_model()), threading.Event()
    assert acl.lib.sim_speed(b"execute", 1.5, 0) == 0

    def work() -> None:
        acl("aclrtSetDevice", 0)
        about_to.set()
        execute(acl, model, (640_000, 640_000))

    thread = threading.Thread(target=work)
    thread.start()
    about_to.wait()
    time.sleep(0.5)  # it runs by now, and for another second
    acl.code("aclmdlUnload", model)
    thread.join()


@breaks("an input of the size that the model takes", "aclmdlExecute: the data buffer of 'x' (index 0) has 23 bytes, the model needs 24")
def _(acl: Acl) -> None:
    execute(acl, acl.load(small_model()), (23, 24))


@breaks("an output as large as the largest gear's", "aclmdlExecute: the data buffer of 'output_0_y_0' (index 0) has 23 bytes")
def _(acl: Acl) -> None:
    execute(acl, acl.load(small_model()), (24, 23))


@breaks("no execution on freed memory", "aclmdlExecute: ")
def _(acl: Acl) -> None:
    execute(acl, acl.load(small_model()), free=0)


@breaks("no data buffer that is destroyed", "aclmdlExecute: the data buffer of 'x' (index 0) was destroyed")
def _(acl: Acl) -> None:
    model, pointer = acl.load(small_model()), acl.malloc(24)
    dataset = acl.lib.aclmdlCreateDataset()
    buffer = acl.lib.aclCreateDataBuffer(pointer, 24)
    acl("aclmdlAddDatasetBuffer", dataset, buffer)
    acl("aclDestroyDataBuffer", buffer)
    acl.code("aclmdlExecute", model, dataset, dataset)


@breaks("as many buffers as inputs", "aclmdlExecute: the dataset has 2 buffers, model N has 1 inputs")
def _(acl: Acl) -> None:
    model, pointer = acl.load(small_model()), acl.malloc(24)
    with acl.dataset((pointer, 24), (pointer, 24)) as inputs, acl.dataset((pointer, 24)) as outputs:
        acl.code("aclmdlExecute", model, inputs, outputs)


# --- gears


@breaks("the gear's buffer before the gear", "aclmdlSetDynamicBatchSize: the dataset has 1 buffers, none at index 1")
def _(acl: Acl) -> None:
    model = acl.load(gears_model())
    with acl.dataset((acl.malloc(48), 48)) as inputs:
        acl.code("aclmdlSetDynamicBatchSize", model, inputs, 1, 4)


@breaks("a gear before the execution", "aclmdlExecute: input 'ascend_mbatch_shape_data' holds no gear of model N")
def _(acl: Acl) -> None:
    model = acl.load(gears_model())
    buffers = [(acl.malloc(size), size) for size in (48, 8, 48)]
    with acl.dataset(*buffers[:2]) as inputs, acl.dataset(buffers[2]) as outputs:
        acl.code("aclmdlExecute", model, inputs, outputs)


@breaks("a gear that the model has", "aclmdlSetDynamicBatchSize: batch size 3 is not a gear of model N")
def _(acl: Acl) -> None:
    model = acl.load(gears_model())
    with acl.dataset((acl.malloc(48), 48), (acl.malloc(8), 8)) as inputs:
        acl.code("aclmdlSetDynamicBatchSize", model, inputs, 1, 3)


@breaks("the kind of gear that the model has", "aclmdlSetDynamicHWSize: the gears of model N are set by aclmdlSetDynamicBatchSize")
def _(acl: Acl) -> None:
    model = acl.load(gears_model())
    with acl.dataset((acl.malloc(48), 48), (acl.malloc(8), 8)) as inputs:
        acl.code("aclmdlSetDynamicHWSize", model, inputs, 1, 4, 4)


@breaks("no gear for a model without gears", "aclmdlSetDynamicBatchSize: model N has no gears")
def _(acl: Acl) -> None:
    model = acl.load(small_model())
    with acl.dataset((acl.malloc(24), 24)) as inputs:
        acl.code("aclmdlSetDynamicBatchSize", model, inputs, 0, 2)


@breaks("a gear's buffer that has room", "aclmdlSetDynamicBatchSize: the buffer of input 'ascend_mbatch_shape_data' has less than 8 bytes")
def _(acl: Acl) -> None:
    model = acl.load(gears_model())
    with acl.dataset((acl.malloc(48), 48), (acl.malloc(4), 4)) as inputs:
        acl.code("aclmdlSetDynamicBatchSize", model, inputs, 1, 4)


@breaks("image sizes are asked for the whole model", "aclmdlGetDynamicHW: index 0 must be -1")
def _(acl: Acl) -> None:
    with acl.desc(acl.load(small_model())) as desc:
        acl.code("aclmdlGetDynamicHW", desc, 0, C.byref(HW()))


@pytest.mark.parametrize("rule", BREAKERS)
def test_a_broken_rule_is_told(acl: Acl, rule: str) -> None:
    breaker, says = BREAKERS[rule]
    assert misuse(acl) == ""
    breaker(acl)
    assert re.sub(r"(model|model id) \d+", r"\1 N", misuse(acl)).startswith(says)
    assert misuse(acl) == "", "asking forgets"
    acl.lib.sim_reset()


def test_the_page_about_vendors_lists_every_rule() -> None:
    page = (Path(__file__).parents[3] / "docs" / "vendors.md").read_text(encoding="utf-8")
    rows = [line.split("|")[2] for line in page.partition("## Rules of the Ascend interface")[2].splitlines() if line.startswith("|")]
    listed = [rule.strip() for row in rows[2:] for rule in row.split(";")]
    assert sorted(listed) == sorted(BREAKERS)


def test_what_is_no_misuse(acl: Acl) -> None:
    acl.code("aclInit", None)  # somebody else may have done so
    assert acl.code("aclmdlLoadFromMem", b"IMOD" + bytes(300), 304, C.byref(C.c_uint32())) != 0
    assert acl.code("aclrtMalloc", C.byref(C.c_void_p()), 1 << 40, 0) != 0
    with acl.desc(acl.load(small_model())) as desc:
        assert acl.code("aclmdlGetInputIndexByName", desc, b"ascend_mbatch_shape_data", C.byref(C.c_size_t())) != 0
    acl.code("sim_fault", b"aclrtMalloc", 1, b"fail")
    assert acl.code("aclrtMalloc", C.byref(C.c_void_p()), 8, 0) != 0
    assert misuse(acl) == ""
    acl.lib.sim_reset()


def test_a_message_lives_until_the_next_call(acl: Acl) -> None:
    """The driver must copy it at once; here the pointer's bytes are looked at after another call."""
    acl.code("aclrtFree", 12345)
    acl.lib.aclGetRecentErrMsg.restype = C.c_void_p
    try:
        pointer = acl.lib.aclGetRecentErrMsg()
        assert b"devPtr" in C.string_at(pointer)
        acl.code("aclrtSetDevice", 0)
        assert C.string_at(pointer) == b""
    finally:
        acl.lib.aclGetRecentErrMsg.restype = C.c_char_p
