"""A double of the Python module ``tensorrt``: the calls that Landbridge makes and no others, strict where TensorRT is or may be.

Its plans are a real head and JSON. It works on the memory of the double of libcuda, when the stream is waited for. A test compares its
surface with that of the real ``tensorrt_lean``. What TensorRT would not forgive is reported as TensorRT does, and noted in `MISUSES`.
"""

from __future__ import annotations

import ctypes
import json
import math
import threading
import types
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from enum import IntEnum
from functools import wraps
from typing import Any

import numpy as np

from support.cuda_double import CudaDouble

VERSION = "10.3.0.26"

TYPES = {"FLOAT": "float32", "HALF": "float16", "INT8": "int8", "INT32": "int32", "BOOL": "bool", "UINT8": "uint8", "INT64": "int64"}

MISUSES: list[str] = []
"""How rules of the interface were broken, in this process."""

DEVICE = 1 << 52
"""From here on addresses are those of the double of libcuda."""

Array = np.ndarray[Any, Any]
Shapes = list[tuple[int, ...]]


class TensorIOMode(IntEnum):
    NONE, INPUT, OUTPUT = 0, 1, 2


class TensorLocation(IntEnum):
    DEVICE, HOST = 0, 1


class DataType(IntEnum):
    FLOAT, HALF, INT8, INT32, BOOL, UINT8, FP8, BF16, INT64, INT4 = 0, 1, 2, 3, 4, 5, 6, 7, 8, 9


class HardwareCompatibilityLevel(IntEnum):
    NONE, AMPERE_PLUS, SAME_COMPUTE_CAPABILITY = 0, 1, 2


class ErrorCodeTRT(IntEnum):
    SUCCESS, UNSPECIFIED_ERROR, INTERNAL_ERROR, INVALID_ARGUMENT = 0, 1, 2, 3
    FAILED_ALLOCATION, FAILED_EXECUTION, INVALID_STATE = 5, 7, 9


class ILogger:
    class Severity(IntEnum):
        INTERNAL_ERROR, ERROR, WARNING, INFO, VERBOSE = 0, 1, 2, 3, 4

    def log(self, severity: Any, msg: str) -> None:
        raise NotImplementedError


class IErrorRecorder:
    def report_error(self, code: Any, desc: str) -> bool:
        raise NotImplementedError

    def num_errors(self) -> int:
        raise NotImplementedError

    def get_error_code(self, index: int) -> Any:
        raise NotImplementedError

    def get_error_desc(self, index: int) -> str:
        raise NotImplementedError

    def has_overflowed(self) -> bool:
        raise NotImplementedError

    def clear(self) -> None:
        raise NotImplementedError


class IOutputAllocator:
    """What TensorRT calls of a subclass, by name: ``reallocate_output`` (since 10 ``reallocate_output_async``) and ``notify_shape``.

    It has none of them itself, as the real one.
    """


def tensor(
    name: str, shape: Sequence[int], dtype: str = "FLOAT", *, output: bool = False, host: bool = False, layout: str = ""
) -> dict[str, Any]:
    """Return a tensor of an engine for `plan`."""
    form = layout or f"Row major linear {dtype} format"
    return {"name": name, "shape": list(shape), "dtype": dtype, "output": output, "host": host, "format": form}


def plan(
    function: str,
    tensors: Sequence[Mapping[str, Any]],
    profiles: Sequence[Mapping[str, Any]] = (),
    *,
    version: str = VERSION,
    level: int = 0,
) -> bytes:
    """Return a plan that computes one of `FUNCTIONS`; ``profiles`` have the least, best and greatest shape of each open input."""
    head = b"ftrt" + bytes(20) + bytes(int(part) for part in version.split("."))
    body = {"function": function, "tensors": list(tensors), "profiles": list(profiles) or [{}], "level": level}
    return head + json.dumps(body).encode()


def _same(shapes: Shapes, values: list[Array]) -> Shapes:
    return [shapes[0]]


FUNCTIONS: dict[str, tuple[Any, Any]] = {
    "double": (_same, lambda x: [x * 2]),
    "add": (_same, lambda x, y: [x + y]),
    "pairs": (lambda s, v: [(s[0][1], s[0][0] * 2)], lambda x: [np.concatenate([x, x]).T]),
    "first": (lambda s, v: [(int(v[1]),)], lambda x, k: [x[: int(k)]]),
    "shape": (lambda s, v: [(len(s[0]),)], lambda x: [np.array(x.shape, np.int64)]),
    "nonzero": (lambda s, v: [(-1,)], lambda x: [x[x != 0]]),
    "finder": (lambda s, v: [s[0], (len(s[0]), -1)], lambda x: [np.maximum(x, 0), np.stack(np.nonzero(np.maximum(x, 0)))]),
    "fail": (_same, None),
    "no context": (_same, None),
}
"""For each function the shapes of its outputs, given those of its inputs and the values of shape tensors; and what it computes."""


class Runtime:
    cuda: CudaDouble
    major: int

    def __init__(self, logger: Any) -> None:
        self._logger = logger
        self.error_recorder: Any = None
        self.engine_host_code_allowed = False
        if not self.cuda.is_current():
            logger.log(ILogger.Severity.ERROR, "CUDA initialization failure with error: 35")

    def deserialize_cuda_engine(self, serialized_engine: Any) -> Any:
        data = bytes(serialized_engine)
        if not self.cuda.is_current():
            MISUSES.append("deserialize_cuda_engine without a context of CUDA")
            raise AssertionError("a real TensorRT ends the process here")
        if data[28:29] != b"{":
            self._logger.log(ILogger.Severity.ERROR, "IRuntime::deserializeCudaEngine: Error Code 1: Serialization")
            self.error_recorder.report_error(ErrorCodeTRT.INVALID_ARGUMENT, "Serialization assertion failed")
            return None
        return ICudaEngine(self, json.loads(data[28:]))


class ICudaEngine:
    def __init__(self, runtime: Runtime, spec: Mapping[str, Any]) -> None:
        self._runtime = runtime
        self._spec = spec
        self._tensors = {entry["name"]: entry for entry in spec["tensors"]}
        self._profiles_in_use: set[int] = set()
        self.num_io_tensors = len(self._tensors)
        self.num_optimization_profiles = len(spec["profiles"])
        self.hardware_compatibility_level = HardwareCompatibilityLevel(spec["level"])
        self.device_memory_size_v2 = 4096

    def get_tensor_name(self, index: int) -> str:
        return str(list(self._tensors)[index])

    def get_tensor_mode(self, name: str) -> TensorIOMode:
        return TensorIOMode.OUTPUT if self._tensors[name]["output"] else TensorIOMode.INPUT

    def get_tensor_dtype(self, name: str) -> DataType:
        return DataType[self._tensors[name]["dtype"]]

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        return tuple(self._tensors[name]["shape"])

    def get_tensor_location(self, name: str) -> TensorLocation:
        return TensorLocation(self._tensors[name]["host"])

    def get_tensor_format_desc(self, name: str) -> str:
        return str(self._tensors[name]["format"])

    def get_tensor_profile_shape(self, name: str, profile_index: int) -> list[tuple[int, ...]]:
        return [tuple(shape) for shape in self._spec["profiles"][profile_index][name]]

    def create_execution_context(self) -> Any:
        runtime = self._runtime
        if not runtime.cuda.is_current() or self._spec["function"] == "no context":
            runtime.error_recorder.report_error(ErrorCodeTRT.FAILED_ALLOCATION, "Requested amount of GPU memory could not be allocated")
            return None
        return IExecutionContext(self)


def _alone(method: Callable[..., Any]) -> Callable[..., Any]:
    """Note where two threads are in methods of one context at once."""

    @wraps(method)
    def called(self: IExecutionContext, *arguments: Any) -> Any:
        with self._entered(method.__name__):
            return method(self, *arguments)

    return called


class IExecutionContext:
    def __init__(self, engine: ICudaEngine) -> None:
        self._engine = engine
        self._inside = threading.Lock()
        self._pending = False
        self._runtime = engine._runtime
        self._profile = -1
        self._shapes: dict[str, tuple[int, ...]] = {}
        self._addresses: dict[str, int] = {}
        self._allocators: dict[str, weakref.ref[Any]] = {}
        self._callbacks: list[Any] = []
        if 0 not in engine._profiles_in_use:
            self._use(0)

    def __del__(self) -> None:
        self._engine._profiles_in_use.discard(self._profile)

    def _use(self, profile: int) -> bool:
        if profile in self._engine._profiles_in_use:
            return self._misused(ErrorCodeTRT.INVALID_STATE, f"profile {profile} is in use by another context")
        self._engine._profiles_in_use.discard(self._profile)
        self._engine._profiles_in_use.add(profile)
        self._profile = profile
        return True

    @contextmanager
    def _entered(self, name: str) -> Iterator[None]:
        alone = self._inside.acquire(blocking=False)
        if not alone:
            MISUSES.append(f"{name}: another thread is in a method of this context")
        try:
            yield
        finally:
            if alone:
                self._inside.release()

    def _set(self, name: str) -> None:
        if self._pending:
            MISUSES.append(f"{name} is set while the context's work is on the stream")

    def _misused(self, code: ErrorCodeTRT, text: str) -> bool:
        MISUSES.append(text)
        return self._report(code, text)

    def _report(self, code: ErrorCodeTRT, text: str) -> bool:
        self._runtime.error_recorder.report_error(code, text)
        return False

    @_alone
    def set_optimization_profile_async(self, profile_index: int, stream_handle: int) -> bool:
        return self._use(profile_index)

    @_alone
    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        self._set(f"the shape of {name}")
        entry = self._engine._tensors[name]
        fits = len(shape) == len(entry["shape"]) and all(own in (-1, n) for own, n in zip(entry["shape"], shape, strict=True))
        ranges = self._engine._spec["profiles"][self._profile].get(name)
        if ranges is not None:
            fits = fits and all(low <= n <= high for low, n, high in zip(ranges[0], shape, ranges[2], strict=True))
        if entry["output"] or not fits:
            return self._report(ErrorCodeTRT.INVALID_ARGUMENT, f"Given shape {list(shape)} for {name} is not valid for this profile")
        self._shapes[name] = tuple(shape)
        return True

    @_alone
    def set_tensor_address(self, name: str, memory: int) -> bool:
        assert type(memory) is int
        self._set(f"the address of {name}")
        host = self._engine._tensors[name]["host"]
        if not memory or (memory % 256 and not host):
            return self._misused(ErrorCodeTRT.INVALID_ARGUMENT, f"the address of {name} is not aligned to 256 bytes")
        if (memory < DEVICE) != host:
            return self._misused(ErrorCodeTRT.INVALID_ARGUMENT, f"the address of {name} is not on the {'host' if host else 'device'}")
        self._addresses[name] = memory
        return True

    @_alone
    def set_output_allocator(self, name: str, output_allocator: Any) -> bool:
        self._set(f"the allocator of {name}")
        if name not in self._engine._tensors or not self._engine._tensors[name]["output"]:
            return self._misused(ErrorCodeTRT.INVALID_ARGUMENT, f"{name} is no output: it takes no allocator")
        self._allocators.pop(name, None)
        self._addresses.pop(name, None)  # what an allocator gave is not the next call's
        if output_allocator is not None:
            assert isinstance(output_allocator, IOutputAllocator)
            self._allocators[name] = weakref.ref(output_allocator)
        return True

    def infer_shapes(self) -> list[str]:
        tensors = self._engine._tensors
        inputs = [name for name in tensors if not tensors[name]["output"]]
        return [
            name
            for name in inputs
            if (name not in self._shapes and -1 in tensors[name]["shape"]) or (tensors[name]["host"] and name not in self._addresses)
        ]

    def _inputs(self) -> tuple[Shapes, list[Array]]:
        """Return the shapes of the inputs, and the values of those on the host."""
        shapes, values = [], []
        for name, entry in self._engine._tensors.items():
            if not entry["output"]:
                shape = self._shapes.get(name, tuple(entry["shape"]))
                shapes.append(shape)
                values.append(self._read(name, shape) if entry["host"] and name in self._addresses else np.empty(0))
        return shapes, values

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        tensors = self._engine._tensors
        if not tensors[name]["output"]:
            return self._shapes.get(name, tuple(tensors[name]["shape"]))
        shapes = FUNCTIONS[self._engine._spec["function"]][0](*self._inputs())
        found: tuple[int, ...] = shapes[self._outputs().index(name)]
        return found

    @_alone
    def execute_async_v3(self, stream_handle: int) -> bool:
        spec, tensors = self._engine._spec, self._engine._tensors
        if not self._runtime.cuda.is_current() or self.infer_shapes() or set(tensors) - set(self._addresses) - set(self._allocators):
            return self._misused(ErrorCodeTRT.INVALID_STATE, "not everything is set")
        for name in self._outputs():
            if -1 in self.get_tensor_shape(name) and name not in self._allocators:
                return self._misused(ErrorCodeTRT.INVALID_STATE, f"only the data tells the size of {name}, and it has no allocator")
        if spec["function"] == "fail":
            self._runtime._logger.log(
                ILogger.Severity.ERROR, "IExecutionContext::enqueueV3: Error Code 7: the kernel could not be launched"
            )
            return self._report(ErrorCodeTRT.FAILED_EXECUTION, "the kernel could not be launched")
        if self._allocators and not self._allocate(stream_handle):
            return False
        callback = ctypes.CFUNCTYPE(None, ctypes.c_void_p)(lambda _: self._compute())
        self._callbacks[:] = [callback]
        self._pending = True
        code = self._runtime.cuda.library.cuLaunchHostFunc(stream_handle, ctypes.cast(callback, ctypes.c_void_p), None)
        return bool(code == 0)

    def _allocate(self, stream: int) -> bool:
        """Find out the sizes that only the data tells, for which what is on the stream must be done, and ask for memory."""
        code = self._runtime.cuda.library.cuStreamSynchronize(ctypes.c_void_p(stream))
        if code != 0:
            self._runtime.cuda.fail_on_stream(code)  # whoever waits next is told too
            return self._report(ErrorCodeTRT.FAILED_EXECUTION, "the stream failed")
        for name, data in self._results().items():
            if name not in self._allocators:
                continue
            allocator = self._allocators[name]()
            if allocator is None:
                return self._misused(ErrorCodeTRT.INVALID_STATE, f"the allocator of {name} ended while it was set")
            wanted = (name, 0, max(data.nbytes, 1), 256)
            memory = (
                allocator.reallocate_output(*wanted) if self._runtime.major < 10 else allocator.reallocate_output_async(*wanted, stream)
            )
            assert type(memory) is int
            if memory == 0:
                return self._report(ErrorCodeTRT.FAILED_ALLOCATION, f"the output allocator has no memory for {name}")
            if memory % 256 or memory < DEVICE:
                return self._misused(
                    ErrorCodeTRT.INVALID_ARGUMENT, f"what the allocator of {name} gave is not aligned, or not on the device"
                )
            self._addresses[name] = memory
            allocator.notify_shape(name, data.shape)
        return True

    def _outputs(self) -> list[str]:
        return [name for name, entry in self._engine._tensors.items() if entry["output"]]

    def _results(self) -> dict[str, Array]:
        tensors = self._engine._tensors
        shapes, _ = self._inputs()
        names = [name for name in tensors if not tensors[name]["output"]]
        arrays = [self._read(name, shape) for name, shape in zip(names, shapes, strict=True)]
        results = FUNCTIONS[self._engine._spec["function"]][1](*arrays)
        outputs = zip(self._outputs(), results, strict=True)
        return {name: np.ascontiguousarray(result, TYPES[tensors[name]["dtype"]]) for name, result in outputs}

    def _compute(self) -> None:
        self._pending = False
        tensors = self._engine._tensors
        for name, data in self._results().items():
            if tensors[name]["host"]:
                ctypes.memmove(self._addresses[name], data.ctypes.data, data.nbytes)
            elif data.nbytes:
                assert self._runtime.cuda.library.double_write(self._addresses[name], data.ctypes.data, data.nbytes) == 0

    def _read(self, name: str, shape: tuple[int, ...]) -> Array:
        entry = self._engine._tensors[name]
        array = np.empty(shape, TYPES[entry["dtype"]])
        if entry["host"]:
            ctypes.memmove(array.ctypes.data, self._addresses[name], array.nbytes)
        elif math.prod(shape):
            assert self._runtime.cuda.library.double_read(self._addresses[name], array.ctypes.data, array.nbytes) == 0
        return array


CLASSES = (
    TensorIOMode,
    TensorLocation,
    DataType,
    HardwareCompatibilityLevel,
    ErrorCodeTRT,
    ILogger,
    IErrorRecorder,
    IOutputAllocator,
    Runtime,
    ICudaEngine,
    IExecutionContext,
)

FULL_ONLY = ("init_libnvinfer_plugins",)
"""What the lean package lacks."""


def make_module(cuda: CudaDouble, name: str = "tensorrt", version: str = VERSION) -> types.ModuleType:
    """Return the module, on this GPU; ``tensorrt_lean`` is without what the lean package lacks."""
    module = types.ModuleType(name)
    for kind in CLASSES:
        setattr(module, kind.__name__, kind)
    module.Runtime = type("Runtime", (Runtime,), {"cuda": cuda, "major": int(version.partition(".")[0])})  # type: ignore[attr-defined]  # a module of our own making
    module.__version__ = version  # type: ignore[attr-defined]
    if name == "tensorrt":
        module.init_libnvinfer_plugins = lambda logger, namespace: True  # type: ignore[attr-defined]
    return module
