"""Vendors for tests of the runtime, whose blobs are JSON: an element-wise function and a signature.

- ``toy``: device memory that the host cannot dereference (addresses are handles), batch gears of at most `MAX_LAUNCH` rows, and
  outputs that are written in whole gears, beyond the tensor;
- ``toyhost``: a device that works in the host's memory;
- ``toycpu``: on the CPU, and able to have outputs whose shape depends on the data.

Every misuse that real hardware would not forgive is an assertion: a foreign address, a range that leaves its allocation, a call
after close, a leak.
"""

from __future__ import annotations

import json
import threading
import time
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, ClassVar

import numpy as np

from landbridge.runtime import dtypes
from landbridge.runtime.driver import Driver, LoadedModel, PreparedCall, TensorRef, Vendor
from landbridge.runtime.errors import DeviceError, DeviceLost, InputError
from landbridge.runtime.memory import allocate_host, view
from landbridge.runtime.signature import Port, Signature
from landbridge.runtime.vendors import registry

Array = np.ndarray[Any, Any]

MAX_LAUNCH = 4
"""Rows of the only gear of ``toy``: other batches are split, and padded to whole gears."""

_FIRST_ADDRESS = 0x10_0000_0000_0000
"""Far outside of what a process may map: reading there is a crash."""

NAP_S = 0.02
"""How long "nap" sleeps."""

HANG = threading.Event()
"""What "hang" waits for."""


def _nap(x: Array) -> list[Array]:
    time.sleep(NAP_S)
    return [x * 2]


def _hang(x: Array) -> list[Array]:
    assert HANG.wait(30), "nobody ended the hang"
    return [x * 2]


FUNCTIONS: dict[str, Any] = {
    "nap": _nap,
    "hang": _hang,
    "double": lambda x: [x * 2],
    "add": lambda x, y: [x + y],
    "both": lambda x: [x + 1, x - 1],
    "fill": lambda: [np.full((4, 3), 7, np.float32)],
    "nonzero": lambda x: [x[x != 0]],
    "length": lambda x: [np.array([len(x)], np.int64)],
    "wrong": lambda x: [np.zeros(3, np.int32)],
}


def toy_blob(function: str) -> bytes:
    """Return a blob that computes one of `FUNCTIONS`; "fail" and "refuse" fail when called and when loaded, "lose" loses the device."""
    return json.dumps({"toy": function}).encode()


def signature(*shapes: tuple[int | str, ...], outputs: int = 1, dtype: str = "float32") -> Signature:
    """Return a signature with inputs of these shapes, and outputs of the first one's shape."""
    ports = tuple(Port(f"in{i}", dtype, shape) for i, shape in enumerate(shapes))
    return Signature(ports, tuple(Port(f"out{i}", dtype, shapes[0] if shapes else (4, 3)) for i in range(outputs)))


class ToyMemory:
    """Memory behind handles."""

    def __init__(self, budget: int) -> None:
        self.blocks: dict[int, bytearray] = {}
        self.budget = budget
        self._next = _FIRST_ADDRESS

    def allocate(self, nbytes: int) -> int:
        assert nbytes > 0
        if sum(map(len, self.blocks.values())) + nbytes > self.budget:
            raise DeviceError(f"out of memory: {nbytes} bytes requested", vendor_code=2)
        address, self._next = self._next, self._next + (-(-nbytes // 4096) + 1) * 4096
        self.blocks[address] = bytearray(b"\xa5" * nbytes)
        return address

    def slice(self, address: int, nbytes: int) -> memoryview:
        starts = sorted(self.blocks)
        index = bisect_right(starts, address) - 1
        assert index >= 0, f"{address:#x} is no address of this device"
        start = starts[index]
        assert address + nbytes <= start + len(self.blocks[start]), "outside of its allocation"
        return memoryview(self.blocks[start])[address - start : address - start + nbytes]


class ToyDriver(Driver):
    """One toy device; ``calls`` records what was done with it."""

    def __init__(self, vendor: ToyVendor, simulated: bool, at: str) -> None:
        self.simulated = simulated
        self.versions: Mapping[str, str] = {}
        self.at = at
        self.memory = ToyMemory(vendor.budget)
        self.calls: list[str] = []
        self.models = 0
        self.prepared = 0
        self.closed = False
        self.vendor = vendor
        self._host: dict[int, Any] = {}

    def allocate(self, nbytes: int) -> int:
        assert not self.closed
        self.vendor.enter("allocate")
        if self.vendor.host_memory:
            block = allocate_host(nbytes)
            self._host[block.address] = block
            return block.address
        return self.memory.allocate(nbytes)

    def free(self, address: int) -> None:
        assert not self.closed
        del (self._host if self.vendor.host_memory else self.memory.blocks)[address]
        self.vendor.enter("free")

    def copy_in(self, destination: int, source: int, nbytes: int) -> None:
        self.calls.append(f"copy in {nbytes}")
        self.vendor.enter("copy in")
        self.memory.slice(destination, nbytes)[:] = view(source, "uint8", (nbytes,)).tobytes()

    def copy_out(self, destination: int, source: int, nbytes: int) -> None:
        self.calls.append(f"copy out {nbytes}")
        self.vendor.enter("copy out")
        view(destination, "uint8", (nbytes,))[:] = np.frombuffer(self.memory.slice(source, nbytes), np.uint8)

    def load(self, blob: bytes, signature: Signature, options: Mapping[str, str]) -> LoadedModel:
        assert type(blob) is bytes
        self.vendor.enter("load")
        function = json.loads(blob)["toy"]
        if function == "refuse":
            raise DeviceError("this blob is for another toy", vendor_code=5)
        return ToyModel(self, function)

    def array(self, ref: TensorRef, shape: Sequence[int], shift: int = 0) -> Array:
        """Return the memory of a tensor, where rows from ``shift`` bytes on have ``shape``."""
        nbytes = dtypes.nbytes_of(ref.dtype, shape)
        assert shift + nbytes <= ref.capacity, "beyond the reserved bytes"
        if self.vendor.host_memory:
            return view(ref.address + shift, ref.dtype, tuple(shape))
        return np.frombuffer(self.memory.slice(ref.address + shift, nbytes), dtypes.holder(ref.dtype)).reshape(shape)

    def close(self) -> None:
        if not self.closed:
            assert (self.models, self.prepared) == (0, 0), "closed with models or prepared calls"
            assert not self.memory.blocks, "closed with memory in use"
            self.closed = True


class ToyModel(LoadedModel):
    def __init__(self, driver: ToyDriver, function: str) -> None:
        self.driver = driver
        self.function = function
        self.concurrent = driver.vendor.concurrent
        self.open = True
        driver.models += 1

    def prepare(self, inputs: Sequence[TensorRef], outputs: Sequence[TensorRef]) -> PreparedCall:
        for ref in (*inputs, *outputs):
            assert ref.address % 64 == 0
            assert ref.capacity >= dtypes.nbytes_of(ref.dtype, ref.shape)
        if inputs and inputs[0].shape and inputs[0].shape[0] > 100:
            raise InputError(f"a batch of {inputs[0].shape[0]}, at most 100", hint="give fewer rows")
        self.driver.calls.append(f"prepare {self.function}")
        self.driver.vendor.enter("prepare")
        return ToyCall(self, inputs, outputs)

    def run_late(self, inputs: Sequence[Any]) -> list[Any]:
        self.driver.vendor.enter("run")
        if self.function == "fail":
            raise DeviceError("the toy broke", vendor_code=9, vendor_text="toy error 9")
        return list(FUNCTIONS[self.function](*inputs))

    def close(self) -> None:
        if self.open:
            self.open = False
            self.driver.models -= 1


class ToyCall(PreparedCall):
    def __init__(self, model: ToyModel, inputs: Sequence[TensorRef], outputs: Sequence[TensorRef]) -> None:
        self.model, self.inputs, self.outputs = model, inputs, outputs
        self.open = True
        if model.driver.vendor.gears and inputs and inputs[0].shape:
            batch = inputs[0].shape[0]
            self.launches = (MAX_LAUNCH,) * -(-batch // MAX_LAUNCH)
        model.driver.prepared += 1

    def __call__(self) -> None:
        assert self.open
        assert self.model.open
        driver = self.model.driver
        driver.calls.append(self.model.function)
        driver.vendor.enter("run")
        if self.model.function == "lose":
            raise DeviceLost("the toy is gone", vendor_code=13)
        if self.model.function == "fail":
            raise DeviceError("the toy broke", vendor_code=9, vendor_text="toy error 9")
        if not self.launches:
            self._launch([driver.array(ref, ref.shape) for ref in self.inputs], [driver.array(ref, ref.shape) for ref in self.outputs])
        for index in range(len(self.launches)):
            self._launch([self._rows(ref, index) for ref in self.inputs], [self._rows(ref, index) for ref in self.outputs])

    def _rows(self, ref: TensorRef, index: int) -> Array:
        """Return a whole gear of rows, which may lie beyond the tensor."""
        shape = (MAX_LAUNCH, *ref.shape[1:])
        return self.model.driver.array(ref, shape, index * dtypes.nbytes_of(ref.dtype, shape))

    def _launch(self, inputs: Sequence[Array], outputs: Sequence[Array]) -> None:
        with np.errstate(over="ignore"):  # rows of a gear beyond the tensor hold anything, such as what earlier runs doubled
            for array, value in zip(outputs, FUNCTIONS[self.model.function](*inputs), strict=True):
                array[...] = value

    def close(self) -> None:
        if self.open:
            self.open = False
            self.model.driver.prepared -= 1


class ToyVendor(Vendor):
    """Attributes: ``drivers``: every driver that was opened; ``missing``: whether `open` finds no device; ``budget``: bytes of memory;
    ``concurrent``: whether its models may run at once; ``entered``: names of the calls that may fail; ``failing``: from which of them on,
    counted from 1, and until which, they do.
    """

    name: ClassVar[str] = "toy"
    device_kind: ClassVar[str] = "toy"
    suffixes: ClassVar[tuple[str, ...]] = (".toy",)
    gears: ClassVar[bool] = True

    def __init__(self) -> None:
        self.drivers: list[ToyDriver] = []
        self.missing = False
        self.budget = 1 << 20
        self.concurrent = False
        self.entered: list[str] = []
        self.failing = range(0)

    def enter(self, name: str) -> None:
        self.entered.append(name)
        if len(self.entered) in self.failing:
            raise DeviceError(f"{name} was told to fail", vendor_code=77, vendor_text="toy error 77")

    def recognises(self, data: bytes) -> bool:
        return data.startswith(b'{"toy"')

    def read_signature(self, data: bytes, options: Mapping[str, str]) -> Signature:
        return signature((4, 3))

    def open(self, ordinal: int, *, simulate: bool = False) -> Driver:
        if self.missing and not simulate:
            raise DeviceError(f"no {self.name} here", hint=f"install {self.name}")
        self.enter("open")
        self.drivers.append(ToyDriver(self, simulate, f"{self.device_kind}{ordinal}"))
        return self.drivers[-1]


class ToyHostVendor(ToyVendor):
    name: ClassVar[str] = "toyhost"
    device_kind: ClassVar[str] = "toyhost"
    host_memory: ClassVar[bool] = True
    gears: ClassVar[bool] = False


class ToyCpuVendor(ToyVendor):
    name: ClassVar[str] = "toycpu"
    device_kind: ClassVar[str] = "cpu"
    host_memory: ClassVar[bool] = True
    gears: ClassVar[bool] = False


@contextmanager
def toy_vendors() -> Iterator[dict[str, ToyVendor]]:
    """Register the three vendors; afterwards every driver must have been closed."""
    made: list[ToyVendor] = [ToyVendor(), ToyHostVendor(), ToyCpuVendor()]
    registry.vendors()
    for vendor in made:
        registry.register(vendor)
    try:
        yield {vendor.name: vendor for vendor in made}
    finally:
        for vendor in made:
            registry.unregister(vendor.name)
    for vendor in made:
        assert all(driver.closed for driver in vendor.drivers), f"a driver of {vendor.name} was left open"
