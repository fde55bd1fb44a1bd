"""A TensorRT engine on its GPU, and calls of it.

There is one execution context for each optimisation profile, which all calls of that profile share: before TensorRT 10 two contexts
may not use one profile, and each takes memory. A call sets its shapes and addresses anew where another one has used the context.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from landbridge.runtime.dims import render_shape
from landbridge.runtime.driver import LoadedModel, PreparedCall, TensorRef
from landbridge.runtime.dtypes import nbytes_of
from landbridge.runtime.errors import DeviceError, DeviceLost
from landbridge.runtime.signature import Signature
from landbridge.runtime.vendors.host_memory import check_arguments
from landbridge.runtime.vendors.tensorrt.cuda import Cuda
from landbridge.runtime.vendors.tensorrt.engine import Interface, check_signature, choose_profile, read_interface
from landbridge.runtime.vendors.tensorrt.messages import Messages
from landbridge.runtime.vendors.tensorrt.open_outputs import OpenOutputs

_log = logging.getLogger(__name__)

_ALIGNMENT = 256
"""In bytes; what TensorRT asks of the address of a tensor."""


@dataclass
class Gpu:
    """What everything on one GPU shares.

    Attributes:
        at: its name, such as "gpu0".
        cuda: its memory and its stream.
        trt: the module ``tensorrt`` or ``tensorrt_lean``.
        messages: what TensorRT said.
    """

    at: str
    cuda: Cuda
    trt: Any
    messages: Messages

    def failure(self, message: str, hint: str = "") -> DeviceError:
        """Return an error with TensorRT's own words."""
        code, text = self.messages.take()
        return DeviceError(f"{message}: {text or 'no reason given'}", at=self.at, hint=hint, vendor_code=code, vendor_text=text)


@dataclass
class Slot:
    """An execution context, and the call whose shapes and addresses are set in it."""

    context: Any
    user: object = None


class TensorrtModel(LoadedModel):
    """An engine; ``interface`` is what it expects."""

    def __init__(self, gpu: Gpu, engine: Any, signature: Signature | None) -> None:
        """Look at an engine; without a ``signature`` there is nothing to compare it with.

        Raises:
            DeviceError: it cannot be called from here, or is not of this signature.
        """
        self.gpu = gpu
        self.engine = engine
        self.interface: Interface = read_interface(gpu.trt, engine, gpu.at)
        if signature is not None:
            check_signature(self.interface, signature, gpu.at)
        self._signature = signature
        self._slots: dict[int, Slot] = {}
        self._open = OpenOutputs(gpu)

    def prepare(self, inputs: Sequence[TensorRef], outputs: Sequence[TensorRef]) -> PreparedCall:
        """Choose the optimisation profile, and bind the arguments by name."""
        call = self._bind(inputs, outputs)
        try:
            call.check()
        except DeviceError:
            call.close()
            raise
        return call

    def run_open(self, inputs: Sequence[TensorRef], outputs: Sequence[TensorRef | None]) -> list[Any]:
        """Run once, with memory for the outputs of unknown shape that is taken when TensorRT asks for it."""
        with closing(self._bind(inputs, outputs)) as call:
            pairs = list(zip(self._ports().outputs, outputs, strict=True))
            with self._open.serving(call.slot.context, [port.name for port, ref in pairs if ref is None]):
                call()
            return [self._open.fetch(port) if ref is None else None for port, ref in pairs]

    def _bind(self, inputs: Sequence[TensorRef], outputs: Sequence[TensorRef | None]) -> TensorrtCall:
        signature = self._ports()
        known = [(port, ref) for port, ref in zip(signature.outputs, outputs, strict=True) if ref is not None]
        check_arguments(signature.inputs, inputs, "input", self.gpu.at)
        check_arguments([port for port, _ in known], [ref for _, ref in known], "output", self.gpu.at)
        takes = {port.name: ref for port, ref in zip(signature.inputs, inputs, strict=True)}
        gives = {port.name: ref for port, ref in known}
        slot = self.slot(choose_profile(self.interface, takes, self.gpu.at))
        return TensorrtCall(self.gpu, slot, self.interface, takes, gives)

    def _ports(self) -> Signature:
        if self._signature is None:
            raise DeviceError("an engine that was loaded without its signature cannot be called", at=self.gpu.at, code="LB4007")
        return self._signature

    def slot(self, profile: int) -> Slot:
        """Return the context of an optimisation profile.

        Raises:
            DeviceError: there is no memory for it, with what is free.
        """
        if profile not in self._slots:
            gpu = self.gpu
            gpu.cuda.bind()
            gpu.messages.clear()
            context = self.engine.create_execution_context()
            if context is None:
                free, total = gpu.cuda.memory()
                raise gpu.failure(f"TensorRT cannot make an execution context ({free} of {total} bytes are free)", "use a smaller profile")
            if profile:
                if not context.set_optimization_profile_async(profile, gpu.cuda.stream):
                    raise gpu.failure(f"TensorRT refused optimisation profile {profile}")
                gpu.cuda.synchronize()
            self._slots[profile] = Slot(context)
        return self._slots[profile]

    def close(self) -> None:
        """Unload the engine."""
        if self.engine is not None:
            self.gpu.cuda.bind()
            for slot in self._slots.values():
                slot.context = slot.user = None
            self._slots.clear()
            self._open.close()
            self.engine = None


class TensorrtCall(PreparedCall):
    """Arguments of an engine; outputs that are not among them have an allocator in the context while it is called.

    Shape tensors, whose values TensorRT reads and writes on the host, have a copy there. A tensor that is not aligned as TensorRT asks
    has a copy on the GPU that is.
    """

    def __init__(self, gpu: Gpu, slot: Slot, interface: Interface, takes: Mapping[str, TensorRef], gives: Mapping[str, TensorRef]) -> None:
        self._gpu = gpu
        self.slot = slot
        self._takes = takes
        self._gives = gives
        self._on_host: dict[str, NDArray[np.uint8]] = {}
        self._aligned: dict[str, int] = {}
        hosted = {tensor.name for tensor in (*interface.inputs, *interface.outputs) if tensor.on_host}
        self._reads_values = any(name in hosted for name in takes)
        try:
            for name, ref in {**takes, **gives}.items():
                if name in hosted:
                    self._on_host[name] = np.zeros(max(nbytes_of(ref.dtype, ref.shape), 1), np.uint8)
                elif ref.address % _ALIGNMENT:
                    _log.debug("%s: '%s' is at an address that TensorRT does not take: it is copied on the device", gpu.at, name)
                    self._aligned[name] = gpu.cuda.allocate(max(nbytes_of(ref.dtype, ref.shape), 1))
        except DeviceError:
            self.close()
            raise

    def check(self) -> None:
        """Set everything, and compare the shapes of the outputs, as far as they do not depend on values.

        Raises:
            DeviceError: TensorRT refuses a shape, or an output has another one.
        """
        self._gpu.cuda.bind()
        if not self._reads_values:
            self._set()

    def __call__(self) -> None:
        """Run the engine and wait for it."""
        gpu = self._gpu
        gpu.cuda.bind()
        for name, array in self._on_host.items():
            if name in self._takes:
                gpu.cuda.copy_out(array.ctypes.data, self._takes[name].address, nbytes_of(self._takes[name].dtype, self._takes[name].shape))
        if self._reads_values or self.slot.user is not self:
            self._set()
        for name, address in self._aligned.items():
            if name in self._takes:
                gpu.cuda.enqueue_copy(address, self._takes[name].address, nbytes_of(self._takes[name].dtype, self._takes[name].shape))
        gpu.messages.clear()
        if not self.slot.context.execute_async_v3(gpu.cuda.stream):
            self._wait()  # for what is on the stream already, and uses the arguments
            raise gpu.failure("TensorRT failed")
        for name, address in self._aligned.items():
            if name in self._gives:
                gpu.cuda.enqueue_copy(self._gives[name].address, address, nbytes_of(self._gives[name].dtype, self._gives[name].shape))
        self._wait()
        for name, array in self._on_host.items():
            if name in self._gives:
                gpu.cuda.copy_in(self._gives[name].address, array.ctypes.data, nbytes_of(self._gives[name].dtype, self._gives[name].shape))

    def _wait(self) -> None:
        gpu = self._gpu
        try:
            gpu.cuda.synchronize()
        except DeviceError as error:
            _, text = gpu.messages.take()
            words = "; ".join(filter(None, (text, error.vendor_text)))
            raise type(error)(
                f"the GPU failed while the engine ran: {error.message}: {words}",
                at=gpu.at,
                vendor_code=error.vendor_code,
                code=error.code if isinstance(error, DeviceLost) else "LB4009",
            ) from error

    def _set(self) -> None:
        """Set the shapes and addresses in the context, and see that the outputs have the shapes that were promised."""
        gpu, context = self._gpu, self.slot.context
        self.slot.user = None
        gpu.messages.clear()
        for name, ref in self._takes.items():
            if not context.set_input_shape(name, ref.shape):
                raise gpu.failure(f"TensorRT refused input '{name}' {render_shape(ref.shape)}")
        for name, ref in {**self._takes, **self._gives}.items():
            if not context.set_tensor_address(name, self._address(name, ref)):
                raise gpu.failure(f"TensorRT refused the address of '{name}'")
        try:
            missing = context.infer_shapes()
        except RuntimeError as error:
            raise gpu.failure(f"TensorRT cannot infer the shapes ({error})") from error
        if missing:
            raise gpu.failure(f"TensorRT lacks the shapes or values of {', '.join(missing)}")
        for name, ref in self._gives.items():
            found = tuple(int(extent) for extent in context.get_tensor_shape(name))
            if -1 in found:
                raise DeviceError(
                    f"the shape of output '{name}' depends on the data: {render_shape(found)}; the program has {render_shape(ref.shape)}",
                    at=gpu.at,
                    hint="give that dimension a name that no input has, in the signature (landbridge capture does) and in the program",
                    code="LB4010",
                )
            if found != ref.shape:
                raise DeviceError(
                    f"output '{name}' will be {render_shape(found)}, expected {render_shape(ref.shape)}", at=gpu.at, code="LB4010"
                )
        self.slot.user = self

    def _address(self, name: str, ref: TensorRef) -> int:
        if name in self._on_host:
            return int(self._on_host[name].ctypes.data)
        return self._aligned.get(name, ref.address)

    def close(self) -> None:
        """Free the copies."""
        if self.slot.user is self:
            self.slot.user = None
        while self._aligned:
            self._gpu.cuda.free(self._aligned.popitem()[1])
        self._on_host.clear()
