"""Outputs of an engine whose shapes only the data tells: TensorRT asks for their memory while it runs, and then tells their shapes."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from landbridge.runtime.dtypes import holder, is_packed, nbytes_of, unpack
from landbridge.runtime.errors import DeviceError, DeviceLost
from landbridge.runtime.signature import Port

if TYPE_CHECKING:
    from landbridge.runtime.vendors.tensorrt.model import Gpu

_log = logging.getLogger(__name__)


class OpenOutputs:
    """The memory of one engine's open outputs: each grows to the most that it has taken so far, and stays for the next call.

    TensorRT has one thread in a context at a time, and so has this.

    Attributes:
        allocator: an ``IOutputAllocator`` that answers from here. TensorRT does not own it: it must outlive the contexts it is set in.
    """

    def __init__(self, gpu: Gpu) -> None:
        self._gpu = gpu
        self._blocks: dict[str, tuple[int, int]] = {}
        self._shapes: dict[str, tuple[int, ...]] = {}
        self._failure: DeviceError | None = None
        self.allocator: Any = _allocator_class(gpu.trt)(self)

    @contextmanager
    def serving(self, context: Any, names: Sequence[str]) -> Iterator[None]:
        """Serve these outputs of an execution context meanwhile.

        Raises:
            DeviceError: TensorRT takes no allocator for one; or there was no memory for one, which comes in place of what TensorRT made
                of that.
        """
        gpu = self._gpu
        self._shapes.clear()
        self._failure = None
        gpu.cuda.bind()
        gpu.messages.clear()
        served: list[str] = []
        try:
            for name in names:
                if not context.set_output_allocator(name, self.allocator):
                    raise gpu.failure(f"TensorRT takes no allocator for output '{name}'")
                served.append(name)
            yield
        except DeviceError as error:
            failure, self._failure = self._failure, None
            if failure is None or isinstance(error, DeviceLost):
                raise
            raise failure from error
        finally:
            for name in served:
                context.set_output_allocator(name, None)

    def reallocate(self, name: str, nbytes: int, alignment: int) -> int:
        """Return the address of at least ``nbytes`` bytes for an output, 0 where there are none. What it had before is lost.

        Every earlier call was waited for, so that its memory may be freed here, before there is more: both need not fit at once.
        """
        address, capacity = self._blocks.get(name, (0, 0))
        try:
            if nbytes > capacity:
                self._free(name)
                address = self._gpu.cuda.allocate(nbytes)
                self._blocks[name] = (address, nbytes)
            if alignment and address % alignment:
                raise DeviceError(f"TensorRT wants it aligned to {alignment} bytes, CUDA gave {address:#x}", at=self._gpu.at, code="LB4008")
        except DeviceError as error:
            error.message = f"output '{name}', whose size only the data tells: {error.message}"
            self._failure = error
            return 0
        return address

    def notify(self, name: str, shape: tuple[int, ...]) -> None:
        """Keep the shape that an output has in this call."""
        self._shapes[name] = shape

    def fetch(self, port: Port) -> NDArray[Any]:
        """Return on the host what an output became in the last call, which was waited for.

        Raises:
            DeviceError: TensorRT did not tell its shape, or the copy failed.
        """
        if port.name not in self._shapes or port.name not in self._blocks:
            raise DeviceError(f"TensorRT told neither size nor shape of output '{port.name}'", at=self._gpu.at, code="LB4010")
        shape, (address, _) = self._shapes[port.name], self._blocks[port.name]
        data = np.empty(nbytes_of(port.dtype, shape), np.uint8)
        self._gpu.cuda.copy_out(data.ctypes.data, address, data.nbytes)
        return unpack(data, port.dtype, shape) if is_packed(port.dtype) else data.view(holder(port.dtype)).reshape(shape)

    def close(self) -> None:
        """Free the memory. The contexts end before. Idempotent."""
        self.allocator = None
        for name in list(self._blocks):
            try:
                self._free(name)
            except DeviceError as error:
                _log.warning("while closing: %s", error)

    def _free(self, name: str) -> None:
        if name in self._blocks:
            self._gpu.cuda.free(self._blocks.pop(name)[0])


def _allocator_class(trt: Any) -> Any:
    class Allocator(trt.IOutputAllocator):  # type: ignore[misc]  # a class of the vendor's, which is known only here
        """Called by TensorRT in ``execute_async_v3``; an exception in it would be lost, and 0 is its way to fail."""

        def __init__(self, outputs: OpenOutputs) -> None:
            trt.IOutputAllocator.__init__(self)
            self._outputs = outputs

        def reallocate_output(self, tensor_name: str, memory: int, size: int, alignment: int) -> int:
            """Return an address; called up to TensorRT 9."""
            return self._outputs.reallocate(tensor_name, size, alignment)

        def reallocate_output_async(self, tensor_name: str, memory: int, size: int, alignment: int, stream: int) -> int:
            """Return an address; called since TensorRT 10. The memory is there at once, in the order of any stream."""
            return self._outputs.reallocate(tensor_name, size, alignment)

        def notify_shape(self, tensor_name: str, shape: Any) -> None:
            self._outputs.notify(tensor_name, tuple(int(extent) for extent in shape))

    return Allocator
