"""A stand-in for ``magicmind.python.runtime`` with the calls of public code, and no others.

Its models are ONNX models, executed by ONNX Runtime when somebody waits for the queue. What a card would not forgive fails: a call on
a thread where the device is not active, reading a result that was not waited for, an engine after the system is closed.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from enum import Enum
from types import ModuleType
from typing import Any

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray

MISUSES: list[str] = []
"""How rules of the interface were broken, in this process."""

MAGIC = b"landbridge simulated magicmind\n"
"""The first bytes of a simulated model; the ONNX model follows."""

DEVICES = 2

Array = NDArray[Any]


def make_magicmind(model: Any) -> bytes:
    """Return a simulated offline model: it carries the ONNX model, and says that it is simulated."""
    return MAGIC + bytes(model.SerializeToString())


class DataType(Enum):
    """The types that the models here have."""

    FLOAT16 = onnx.TensorProto.FLOAT16
    FLOAT32 = onnx.TensorProto.FLOAT
    INT8 = onnx.TensorProto.INT8
    INT32 = onnx.TensorProto.INT32
    INT64 = onnx.TensorProto.INT64
    UINT8 = onnx.TensorProto.UINT8
    BOOL = onnx.TensorProto.BOOL
    FLOAT64 = onnx.TensorProto.DOUBLE


class Status:
    """What a call says."""

    def __init__(self, text: str = "") -> None:
        self._text = text

    def ok(self) -> bool:
        return not self._text

    def __str__(self) -> str:
        return self._text or "OK"


class Dims:
    def __init__(self, extents: list[int]) -> None:
        self._extents = extents

    def GetDims(self) -> list[int]:
        return list(self._extents)


class System:
    """Open while devices are in use."""

    open_count = 0

    def __enter__(self) -> System:
        System.open_count += 1
        return self

    def __exit__(self, *_: object) -> None:
        System.open_count -= 1

    def device_count(self) -> int:
        return DEVICES


_active = threading.local()


class Device:
    def __init__(self) -> None:
        self.id = 0

    def active(self) -> Status:
        _active.id = self.id
        return Status()

    def create_queue(self) -> Queue:
        return Queue(self.id)


def _check_active(device: int) -> Status:
    if not System.open_count:
        return _misused("the system is closed")
    found = getattr(_active, "id", None)
    return Status() if found == device else _misused(f"device {device} is not active on this thread, but {found}")


def _misused(text: str) -> Status:
    MISUSES.append(text)
    return Status(text)


class Queue:
    def __init__(self, device: int) -> None:
        self.device = device
        self.jobs: list[Any] = []

    def sync(self) -> Status:
        status = _check_active(self.device)
        if not status.ok():
            return status
        while self.jobs:
            try:
                self.jobs.pop(0)()
            except Exception as error:  # whatever ONNX Runtime raises, a vendor would put into its status
                return Status(f"internal error: {error}")
        return Status()


class Tensor:
    def __init__(self, dtype: DataType) -> None:
        self.dtype = dtype
        self.array: Array | None = None
        self.on: int | None = None

    def from_numpy(self, array: Array) -> Status:
        if array.dtype != onnx.helper.tensor_dtype_to_np_dtype(self.dtype.value):
            return Status(f"the array is {array.dtype}, the tensor {self.dtype.name}")
        self.array, self.on = array.copy(), None
        return Status()

    def to(self, device: Device) -> Status:
        status = _check_active(device.id)
        if status.ok():
            self.on = device.id
        return status

    def asnumpy(self) -> Array:
        if self.array is None:
            MISUSES.append("read before the queue was waited for")
            raise AssertionError(MISUSES[-1])
        return self.array


class Context:
    def __init__(self, model: Model) -> None:
        self._model = model
        self._runs = False

    def create_inputs(self) -> list[Tensor]:
        return [Tensor(dtype) for dtype in self._model.get_input_data_types()]

    def enqueue(self, inputs: list[Tensor], outputs: list[Tensor], queue: Queue) -> Status:
        status = _check_active(queue.device)
        if not status.ok():
            return status
        away = [index for index, tensor in enumerate(inputs) if tensor.on != queue.device]
        if away:
            return _misused(f"input {away[0]} is not on device {queue.device}")
        if self._runs:
            return _misused("the context runs already")
        self._runs = True
        assert outputs == []
        outputs.extend(Tensor(dtype) for dtype in self._model.get_output_data_types())
        queue.jobs.append(lambda: self._run(inputs, outputs))
        return Status()

    def _run(self, inputs: list[Tensor], outputs: list[Tensor]) -> None:
        self._runs = False
        feeds = {name: tensor.array for name, tensor in zip(self._model.get_input_names(), inputs, strict=True)}
        for tensor, result in zip(outputs, self._model.session.run(None, feeds), strict=True):
            tensor.array = np.asarray(result)


class Engine:
    def __init__(self, model: Model) -> None:
        self._model = model

    def create_i_context(self) -> Context:
        return Context(self._model)


class Model:
    class EngineConfig:
        def __init__(self) -> None:
            self.device_type = ""

    def __init__(self) -> None:
        self.session: Any = None
        self._graph: Any = None

    def deserialize_from_file(self, path: str) -> Status:
        with open(path, "rb") as file:
            data = file.read()
        if not data.startswith(MAGIC):
            return Status("not a model, or one of another version")
        content = data[len(MAGIC) :]
        self._graph = onnx.load_from_string(content).graph
        self.session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
        return Status()

    def get_input_num(self) -> int:
        return len(self._graph.input)

    def get_output_num(self) -> int:
        return len(self._graph.output)

    def get_input_names(self) -> list[str]:
        return [value.name for value in self._graph.input]

    def get_output_names(self) -> list[str]:
        return [value.name for value in self._graph.output]

    def get_input_dimensions(self) -> list[Dims]:
        return [_dims(value) for value in self._graph.input]

    def get_output_dimensions(self) -> list[Dims]:
        return [_dims(value) for value in self._graph.output]

    def get_input_data_types(self) -> list[DataType]:
        return [DataType(value.type.tensor_type.elem_type) for value in self._graph.input]

    def get_output_data_types(self) -> list[DataType]:
        return [DataType(value.type.tensor_type.elem_type) for value in self._graph.output]

    def create_i_engine(self, config: EngineConfig) -> Engine | Status:
        if config.device_type != "MLU":
            return Status(f"device type '{config.device_type}'")
        return Engine(self)


def _dims(value: Any) -> Dims:
    return Dims([dim.dim_value if dim.HasField("dim_value") else -1 for dim in value.type.tensor_type.shape.dim])


@contextmanager
def installed() -> Iterator[ModuleType]:
    """Make the double importable as the vendor's package; afterwards every system must be closed."""
    names = ("magicmind", "magicmind.python", "magicmind.python.runtime")
    modules = {name: ModuleType(name) for name in names}
    runtime = modules[names[-1]]
    vars(runtime).update(Model=Model, System=System, Device=Device, Status=Status, DataType=DataType)
    before = {name: sys.modules.get(name) for name in names}
    sys.modules.update(modules)
    try:
        yield runtime
    finally:
        for name, module in before.items():
            if module is None:
                del sys.modules[name]
            else:
                sys.modules[name] = module
    assert System.open_count == 0, "a system was left open"
