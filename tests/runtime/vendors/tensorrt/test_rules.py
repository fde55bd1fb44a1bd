"""Each rule of libcuda and of TensorRT, broken: the doubles detect it and note it.

That the driver never breaks one is the affair of all tests: `strict_simulators` in ``tests/conftest.py`` asks them after each.
"""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from landbridge.runtime.vendors.tensorrt.cuda import Cuda
from support import strict
from support.cuda_double import CudaDouble, use
from support.other_thread import elsewhere
from support.tensorrt_double import IErrorRecorder, ILogger, make_module, plan, tensor

OUT = np.zeros(64, np.uint8)
N = ctypes.c_size_t(64)


@pytest.fixture
def double(monkeypatch: pytest.MonkeyPatch) -> CudaDouble:
    made = use(monkeypatch)
    monkeypatch.setitem(sys.modules, "tensorrt", make_module(made))
    return made


@pytest.fixture
def gpu(double: CudaDouble) -> Iterator[Cuda]:
    opened = Cuda(0, "gpu0")
    yield opened
    opened.close()


class Raw:
    """libcuda without the driver."""

    def __init__(self, gpu: Cuda, double: CudaDouble) -> None:
        self.gpu, self.library = gpu, double.library
        gpu.bind()
        self.stream, self.address = ctypes.c_void_p(gpu.stream), ctypes.c_uint64(gpu.allocate(64))
        self.host = ctypes.c_void_p(OUT.ctypes.data)

    def copy_in(self, to: Any, source: Any, stream: Any = None) -> int:
        return int(self.library.cuMemcpyHtoDAsync_v2(to, source, N, stream or self.stream))

    def copy_out(self, to: Any, source: Any, stream: Any = None) -> int:
        return int(self.library.cuMemcpyDtoHAsync_v2(to, source, N, stream or self.stream))


def _freed_while_it_waits(raw: Raw) -> int:
    assert raw.copy_in(raw.address, raw.host) == 0
    assert raw.library.cuMemFree_v2(raw.address) == 0
    return int(raw.library.cuStreamSynchronize(raw.stream))


def _freed_twice(raw: Raw) -> int:
    assert raw.library.cuMemFree_v2(raw.address) == 0
    return int(raw.library.cuMemFree_v2(raw.address))


def _freed_and_read(raw: Raw) -> int:
    assert raw.library.cuMemFree_v2(raw.address) == 0
    return raw.copy_out(raw.host, raw.address)


CUDA_RULES: dict[str, tuple[Callable[[Raw], int], int, str]] = {
    "a context is current on each thread": (
        lambda raw: int(elsewhere(lambda: raw.library.cuMemFree_v2(raw.address))),
        201,
        "cuMemFree_v2: no context is current on this thread",
    ),
    "in is from the host": (lambda raw: raw.copy_in(raw.address, ctypes.c_void_p(raw.address.value)), 1, "wrong direction"),
    "out is to the host": (lambda raw: raw.copy_out(ctypes.c_void_p(raw.address.value), raw.address), 1, "wrong direction"),
    "in is to the device": (lambda raw: raw.copy_in(ctypes.c_uint64(OUT.ctypes.data), raw.host), 1, "the destination is in no live buffer"),
    "a copy stays within its buffer": (
        lambda raw: raw.copy_out(raw.host, ctypes.c_uint64(raw.address.value + 1)),
        1,
        "the source is in no live buffer",
    ),
    "a buffer lives until the stream was waited for": (_freed_while_it_waits, 700, "freed before the stream was waited for"),
    "a buffer is freed once": (_freed_twice, 1, "no live buffer begins at this address"),
    "a freed buffer is not read": (_freed_and_read, 1, "the source is in no live buffer"),
    "nothing is allocated with no bytes": (
        lambda raw: int(raw.library.cuMemAlloc_v2(ctypes.byref(ctypes.c_uint64()), ctypes.c_size_t(0))),
        1,
        "0 bytes",
    ),
    "a stream is one that there is": (lambda raw: raw.copy_out(raw.host, raw.address, ctypes.c_void_p(64)), 1, "no such stream"),
}


@pytest.mark.misuse
@pytest.mark.parametrize("rule", CUDA_RULES)
def test_a_broken_rule_of_cuda_is_detected_named_and_noted(rule: str, gpu: Cuda, double: CudaDouble) -> None:
    break_it, code, words = CUDA_RULES[rule]
    strict.broken()
    assert break_it(Raw(gpu, double)) == code
    (found,) = strict.broken()
    assert found.startswith("libcuda: ")
    assert words in found


@pytest.mark.misuse
def test_nothing_of_cuda_goes_before_cuInit(double: CudaDouble) -> None:
    strict.broken()
    assert double.library.cuDeviceGetCount(ctypes.byref(ctypes.c_int())) == 3
    assert strict.broken() == ["libcuda: cuDeviceGetCount: cuInit was not called"]


class Recorder(IErrorRecorder):
    def __init__(self) -> None:
        self.texts: list[str] = []

    def report_error(self, code: Any, desc: str) -> bool:
        self.texts.append(desc)
        return True


class Logger(ILogger):
    def log(self, severity: Any, msg: str) -> None:
        """Take no note."""


class Engine:
    """An engine and an execution context of it, with everything set."""

    def __init__(self, gpu: Cuda, tensors: Any = None, function: str = "double") -> None:
        self.gpu, self.trt = gpu, sys.modules["tensorrt"]
        runtime = self.trt.Runtime(Logger())
        runtime.error_recorder = Recorder()
        own = [tensor("x", [-1, 4]), tensor("y", [-1, 4], output=True)]
        data = plan(function, tensors or own, [{"x": [[1, 4], [2, 4], [4, 4]]}])
        self.engine = runtime.deserialize_cuda_engine(data)
        self.context = self.engine.create_execution_context()
        self.addresses = {name: gpu.allocate(4096) for name in ("x", "y")}

    def set(self) -> None:
        assert self.context.set_input_shape("x", (2, 4))
        assert all(self.context.set_tensor_address(*item) for item in self.addresses.items())

    def execute(self) -> bool:
        return bool(self.context.execute_async_v3(self.gpu.stream))


def _set_while_it_runs(engine: Engine) -> None:
    engine.set()
    assert engine.execute()
    engine.context.set_input_shape("x", (1, 4))
    engine.gpu.synchronize()


def _bound(engine: Engine) -> Engine:
    engine.gpu.bind()
    return engine


def _two_threads(engine: Engine) -> None:
    engine.set()
    with engine.context._entered("execute_async_v3"):  # as if another thread were inside
        elsewhere(lambda: _bound(engine).execute())
    engine.gpu.synchronize()


def _without_addresses(engine: Engine) -> None:
    assert engine.context.set_input_shape("x", (2, 4))
    assert not engine.execute()


def _without_shapes(engine: Engine) -> None:
    assert all(engine.context.set_tensor_address(*item) for item in engine.addresses.items())
    assert not engine.execute()


def _freed_under_it(engine: Engine) -> None:
    engine.set()
    assert engine.execute()
    engine.gpu.free(engine.addresses["x"])
    engine.gpu.synchronize()


OPEN = [tensor("x", [-1, 4]), tensor("y", [-1], output=True)]


def _allocating(gpu: Cuda, give: Callable[[int], int]) -> tuple[Engine, Any]:
    """Return an engine that finds what is not zero, with everything set; and an allocator that is not."""

    class Allocator(sys.modules["tensorrt"].IOutputAllocator):  # type: ignore[misc]  # a class of the double's module
        def reallocate_output_async(self, tensor_name: str, memory: int, size: int, alignment: int, stream: int) -> int:
            return give(size)

        def notify_shape(self, tensor_name: str, shape: Any) -> None:
            """Take no note."""

    engine = Engine(gpu, OPEN, "nonzero")
    ones = np.ones((2, 4), np.float32)
    gpu.copy_in(engine.addresses["x"], ones.ctypes.data, ones.nbytes)
    engine.set()
    return engine, Allocator()


def _no_allocator(gpu: Cuda) -> None:
    engine, _ = _allocating(gpu, gpu.allocate)
    assert not engine.execute()


def _unset_allocator(gpu: Cuda) -> None:
    """The memory that it gave is not the next call's."""
    engine, allocator = _allocating(gpu, gpu.allocate)
    assert engine.context.set_output_allocator("y", allocator)
    assert engine.execute()
    gpu.synchronize()
    assert engine.context.set_output_allocator("y", None)
    assert not engine.execute()


def _ended_allocator(gpu: Cuda) -> None:
    engine, allocator = _allocating(gpu, gpu.allocate)
    assert engine.context.set_output_allocator("y", allocator)
    del allocator
    assert not engine.execute()


def _allocator_of_an_input(gpu: Cuda) -> None:
    engine, allocator = _allocating(gpu, gpu.allocate)
    assert not engine.context.set_output_allocator("x", allocator)


def _memory_of_the_host(gpu: Cuda) -> None:
    engine, allocator = _allocating(gpu, gpu.allocate_host)
    assert engine.context.set_output_allocator("y", allocator)
    assert not engine.execute()


def _too_little_memory(gpu: Cuda) -> None:
    engine, allocator = _allocating(gpu, lambda size: gpu.allocate(size - 1))
    assert engine.context.set_output_allocator("y", allocator)
    assert engine.execute()
    gpu.synchronize()


def _set_allocator_while_it_runs(gpu: Cuda) -> None:
    engine, allocator = _allocating(gpu, gpu.allocate)
    assert engine.context.set_output_allocator("y", allocator)
    assert engine.execute()
    engine.context.set_output_allocator("y", allocator)


ALLOCATOR_RULES: dict[str, tuple[Callable[[Cuda], None], str]] = {
    "an output whose size only the data tells has one": (_no_allocator, "only the data tells the size of y, and it has no allocator"),
    "it is set for each call": (_unset_allocator, "not everything is set"),
    "it lives while it is set": (_ended_allocator, "the allocator of y ended while it was set"),
    "it is an output's": (_allocator_of_an_input, "x is no output: it takes no allocator"),
    "it gives memory of the device": (_memory_of_the_host, "what the allocator of y gave is not aligned, or not on the device"),
    "it gives what is asked for": (_too_little_memory, "a kernel: writes outside of live buffers"),
    "it is not set while the engine runs": (
        _set_allocator_while_it_runs,
        "the allocator of y is set while the context's work is on the stream",
    ),
}


@pytest.mark.misuse
@pytest.mark.parametrize("rule", ALLOCATOR_RULES)
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # the assertion in what the stream calls back
def test_a_broken_rule_of_allocators_is_detected_named_and_noted(rule: str, gpu: Cuda) -> None:
    break_it, words = ALLOCATOR_RULES[rule]
    strict.broken()
    break_it(gpu)
    found = strict.broken()
    assert any(words in text for text in found), found


TENSORRT_RULES: dict[str, tuple[Callable[[Engine], object], str]] = {
    "shapes are set before it is executed": (_without_shapes, "not everything is set"),
    "addresses are set before it is executed": (_without_addresses, "not everything is set"),
    "nothing is set while it runs": (_set_while_it_runs, "the shape of x is set while the context's work is on the stream"),
    "one thread at a time is in a context": (_two_threads, "another thread is in a method of this context"),
    "an address is aligned": (
        lambda engine: engine.context.set_tensor_address("x", engine.addresses["x"] + 64),
        "the address of x is not aligned to 256 bytes",
    ),
    "a tensor of the device is on it": (
        lambda engine: engine.context.set_tensor_address("x", 4096 * 256),
        "the address of x is not on the device",
    ),
    "a profile is used by one context": (lambda engine: engine.engine.create_execution_context()._use(0), "profile 0 is in use"),
    "a buffer lives until the stream was waited for": (_freed_under_it, "a kernel: reads outside of live buffers"),
}


@pytest.mark.misuse
@pytest.mark.parametrize("rule", TENSORRT_RULES)
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # the assertion in what the stream calls back
def test_a_broken_rule_of_tensorrt_is_detected_named_and_noted(rule: str, gpu: Cuda) -> None:
    break_it, words = TENSORRT_RULES[rule]
    engine = Engine(gpu)
    strict.broken()
    break_it(engine)
    found = strict.broken()
    assert any(words in text for text in found), found


@pytest.mark.misuse
def test_a_shape_tensor_is_on_the_host(gpu: Cuda) -> None:
    engine = Engine(gpu, [tensor("x", [-1, 4]), tensor("y", [2], "INT64", output=True, host=True)], "shape")
    strict.broken()
    assert not engine.context.set_tensor_address("y", engine.addresses["y"])
    assert strict.broken() == ["tensorrt_double: the address of y is not on the host"]


@pytest.mark.misuse
def test_nothing_is_deserialised_without_a_context(double: CudaDouble) -> None:
    runtime = sys.modules["tensorrt"].Runtime(Logger())
    strict.broken()
    with pytest.raises(AssertionError, match="a real TensorRT ends the process here"):
        elsewhere(lambda: runtime.deserialize_cuda_engine(plan("double", [])))
    assert strict.broken() == ["tensorrt_double: deserialize_cuda_engine without a context of CUDA"]
