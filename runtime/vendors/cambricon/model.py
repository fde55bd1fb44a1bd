"""Load a function of a Cambricon offline model and call it.

The parameters of a call (addresses, and descriptors where the caller chooses extents) are made once, when the call is prepared.
A run puts the function into the model's queue and waits for it.
"""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from ctypes import byref, c_void_p
from typing import TYPE_CHECKING, Any

from landbridge.runtime.dims import render_shape
from landbridge.runtime.driver import LoadedModel, PreparedCall, TensorRef
from landbridge.runtime.dtypes import nbytes_of
from landbridge.runtime.errors import InputError, PlanError
from landbridge.runtime.signature import Signature
from landbridge.runtime.vendors.cambricon.format import MUTABLE, SYMBOL
from landbridge.runtime.vendors.cambricon.function import (
    Interface,
    ParameterDescs,
    choose_symbol,
    compare,
    extract,
    infer,
    load_model,
    read_interface,
)
from landbridge.runtime.vendors.host_memory import check_arguments

if TYPE_CHECKING:
    from landbridge.runtime.vendors.cambricon.driver import CambriconDriver


class CambriconModel(LoadedModel):
    """A function of an offline model on a device, with a queue and a runtime context of its own.

    Attributes:
        driver: the device.
        signature: what was recorded when the program was compiled; the library's description agrees with it.
        interface: what the library says of the function.
        mutable: the caller chooses extents that the function leaves open.
        lock: held while the function runs: a runtime context is not to be used twice at once.
    """

    def __init__(self, driver: CambriconDriver, blob: bytes, signature: Signature, options: Mapping[str, str]) -> None:
        """Load ``blob``.

        Raises:
            DeviceError: the vendor refused it, or describes the function otherwise than ``signature``.
        """
        self.driver = driver
        self.signature = signature
        self.mutable = options.get(MUTABLE) == "true"
        self.lock = threading.Lock()
        self._calls: set[CambriconCall] = set()
        cnrt = driver.cnrt
        driver.bind()
        with ExitStack() as stack:
            self._blob = ctypes.create_string_buffer(blob, len(blob))  # the model may point into it
            model = load_model(cnrt, ctypes.addressof(self._blob), stack, driver.quietly)
            self.function = extract(cnrt, model, choose_symbol(cnrt, model, options.get(SYMBOL, "")), stack, driver.quietly)
            self.interface: Interface = read_interface(cnrt, self.function, mutable=self.mutable)
            compare(self.interface, signature, cnrt.at)
            self.queue = self._create("cnrtCreateQueue", "cnrtDestroyQueue", stack)
            self.context = self._create("cnrtCreateRuntimeContext", "cnrtDestroyRuntimeContext", stack, self.function, None)
            cnrt.call("cnrtSetRuntimeContextDeviceId", self.context, driver.device.ordinal)
            cnrt.call("cnrtInitRuntimeContext", self.context, None)
            self._stack = stack.pop_all()

    def _create(self, create: str, destroy: str, stack: ExitStack, *arguments: Any) -> int:
        handle = c_void_p()
        self.driver.cnrt.call(create, byref(handle), *arguments)
        stack.callback(self.driver.quietly, destroy, handle.value)
        return handle.value or 0

    def prepare(self, inputs: Sequence[TensorRef], outputs: Sequence[TensorRef]) -> CambriconCall:
        """Bind the arguments."""
        call = CambriconCall(self, inputs, outputs)
        self._calls.add(call)
        return call

    def forget(self, call: CambriconCall) -> None:
        """Take note that ``call`` is closed."""
        self._calls.discard(call)

    def close(self) -> None:
        """Free the calls that are left, the context, the queue, the function and the model."""
        for call in list(self._calls):
            call.close()
        with self.lock:
            self._stack.close()
        self.driver.forget(self)


class CambriconCall(PreparedCall):
    """A call of a function with its arguments bound."""

    def __init__(self, model: CambriconModel, inputs: Sequence[TensorRef], outputs: Sequence[TensorRef]) -> None:
        """Make the list of addresses, and the descriptors of a function whose extents the caller chooses.

        Raises:
            InputError: shapes that the function cannot take.
            DeviceError: the vendor refused.
            PlanError: a tensor has less memory than it takes.
        """
        self._model = model
        at = model.driver.cnrt.at
        check_arguments(model.signature.inputs, inputs, "input", at)
        check_arguments(model.signature.outputs, outputs, "output", at)
        for ref in (*inputs, *outputs):
            if ref.capacity < nbytes_of(ref.dtype, ref.shape):
                raise PlanError(f"a tensor {ref.dtype} {render_shape(ref.shape)} in {ref.capacity} bytes of memory", at=at)
        self._addresses: ctypes.Array[c_void_p] | None = (c_void_p * (len(inputs) + len(outputs)))(
            *(ref.address for ref in (*inputs, *outputs))
        )
        with ExitStack() as stack:
            self._descs = self._describe(inputs, outputs, stack) if model.mutable else None
            self._stack = stack.pop_all()

    def _describe(self, inputs: Sequence[TensorRef], outputs: Sequence[TensorRef], stack: ExitStack) -> ParameterDescs:
        model, driver = self._model, self._model.driver
        driver.bind()
        inferred = infer(driver.cnrt, model.function, model.interface, [ref.shape for ref in inputs], driver.quietly)
        for parameter, shape, ref in zip(model.interface.outputs, inferred, outputs, strict=True):
            if shape != ref.shape:
                raise InputError(
                    f"output '{parameter.name}' becomes {render_shape(shape)}, expected {render_shape(ref.shape)}",
                    at=driver.cnrt.at,
                    hint="feed a size that the signature's outputs are right for",
                    code="LB1203",
                )
        parameters = (*model.interface.inputs, *model.interface.outputs)
        descs = ParameterDescs(driver.cnrt, len(parameters), stack, driver.quietly)
        for index, (parameter, ref) in enumerate(zip(parameters, (*inputs, *outputs), strict=True)):
            descs.set(index, parameter.code, ref.shape)
        return descs

    def __call__(self) -> None:
        """Run the function and wait for it."""
        model = self._model
        cnrt = model.driver.cnrt
        with model.lock:
            if self._addresses is None:
                raise PlanError("a call was used after it was closed")
            model.driver.bind()
            if self._descs is None:
                cnrt.call("cnrtInvokeRuntimeContext", model.context, self._addresses, model.queue, None)
            else:
                cnrt.call("cnrtInvokeRuntimeContext_V2", model.context, self._descs.array, self._addresses, model.queue, None)
            cnrt.wait(model.queue)

    def close(self) -> None:
        """Free the descriptors."""
        with self._model.lock:
            self._addresses = None
            self._stack.close()
        self._model.forget(self)
