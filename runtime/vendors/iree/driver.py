"""Run IREE modules through the ``iree-base-runtime`` package.

Inputs are handed over where they are; results come in memory of IREE's own and are copied out. A module's context is one that callers
must not use at once, though from any thread.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import metadata
from typing import Any

import numpy as np
from numpy.typing import NDArray

from landbridge.runtime.dims import render_shape
from landbridge.runtime.driver import LoadedModel, PreparedCall, TensorRef
from landbridge.runtime.errors import DeviceError, UsageError
from landbridge.runtime.signature import Signature
from landbridge.runtime.vendors.host_memory import HostDriver, check_arguments, view
from landbridge.runtime.vendors.iree.vmfb import Function, read_function
from landbridge.runtime.vendors.presence import import_package

_DEVICE = "iree0"
_PACKAGE = "iree-base-runtime"
VERSION_KEY = "iree"

_DRIVERS = ("local-sync", "local-task")

_ERRORS = (RuntimeError, ValueError, KeyError)
"""What the package raises."""

ELEMENTS: dict[str, str] = {
    "i1": "BOOL_8",
    "bf16": "BFLOAT_16",
    "f8E4M3FN": "FLOAT_8_E4M3_FN",
    "f8E4M3FNUZ": "FLOAT_8_E4M3_FNUZ",
    "f8E5M2": "FLOAT_8_E5M2",
    "f8E5M2FNUZ": "FLOAT_8_E5M2_FNUZ",
    "f8E8M0FNU": "FLOAT_8_E8M0_FNU",
    "complex<f32>": "COMPLEX_64",
    "complex<f64>": "COMPLEX_128",
    **{f"f{bits}": f"FLOAT_{bits}" for bits in (16, 32, 64)},
    **{f"{sign}i{bits}": f"{name}INT_{bits}" for sign, name in (("", ""), ("s", "S"), ("u", "U")) for bits in (8, 16, 32, 64)},
}
"""IREE's names of MLIR's element types."""


def open_driver() -> IreeDriver:
    """Return the driver of IREE's CPU.

    Raises:
        DeviceError: the package is missing or cannot be loaded.
    """
    runtime = import_package("iree.runtime", package=_PACKAGE, at=_DEVICE, hint="pip install landbridge[iree]")
    return IreeDriver(runtime, metadata.version(_PACKAGE))


class IreeDriver(HostDriver):
    """IREE on the CPU; ``runtime`` is its module."""

    def __init__(self, runtime: Any, version: str) -> None:
        super().__init__({VERSION_KEY: version})
        self._runtime = runtime

    def load(self, blob: bytes, signature: Signature, options: Mapping[str, str]) -> LoadedModel:
        """Load a module after checking that its function is that of ``signature``."""
        function = read_function(blob, options.get("function"), _DEVICE)
        for kind, typed, ports in (("inputs", function.inputs, signature.inputs), ("outputs", function.outputs, signature.outputs)):
            wanted = dict(enumerate(port.dtype for port in ports))
            found = [(_signed(own.dtype, element, wanted.get(i, "")), _extents(own.shape)) for i, (own, element) in enumerate(typed)]
            expected = [(port.dtype, _extents(port.shape)) for port in ports]
            if found != expected:
                raise DeviceError(
                    f"the {kind} of function '{function.name}' are {found}, its signature says {expected}",
                    at=_DEVICE,
                    hint="compile the artifact again",
                    code="LB4007",
                )
        driver = options.get("driver", _DRIVERS[0])
        if driver not in _DRIVERS:
            raise UsageError(f"option 'driver' is '{driver}', expected one of {', '.join(_DRIVERS)}", at=_DEVICE)
        return IreeModel(self._runtime, blob, signature, function, driver)


class IreeModel(LoadedModel):
    """A module in a context of its own."""

    def __init__(self, runtime: Any, blob: bytes, signature: Signature, function: Function, driver: str) -> None:
        self._runtime = runtime
        self._signature = signature
        self._function = function
        try:
            config = runtime.Config(driver)
            context = runtime.SystemContext(config=config)
            module = runtime.VmModule.copy_buffer(context.instance, blob)
            context.add_vm_module(module)
        except _ERRORS as error:
            text = _reason(error)
            raise DeviceError(
                f"IREE refused the module: {text}",
                at=_DEVICE,
                hint="compile it again for this machine",
                vendor_text=str(error),
                code="LB4008",
            ) from error
        self._context: Any = context
        self._allocator: Any = config.device.allocator
        self._device: Any = config.device
        self._entry: Any = module.lookup_function(function.name)

    def prepare(self, inputs: Sequence[TensorRef], outputs: Sequence[TensorRef]) -> PreparedCall:
        """Hand the inputs over."""
        check_arguments(self._signature.inputs, inputs, "input", _DEVICE)
        check_arguments(self._signature.outputs, outputs, "output", _DEVICE)
        arguments = self._runtime.VmVariantList(len(inputs))
        try:
            for (_, element), ref in zip(self._function.inputs, inputs, strict=True):
                arguments.push_ref(self._buffer(view(ref.address, ref.dtype, ref.shape), element))
        except _ERRORS as error:
            raise DeviceError(f"IREE refused the arguments: {_reason(error)}", at=_DEVICE, vendor_text=str(error), code="LB4009") from error
        gives = [(port.name, view(ref.address, ref.dtype, ref.shape)) for port, ref in zip(self._signature.outputs, outputs, strict=True)]
        return IreeCall(self._runtime, self._context.vm_context, self._entry, arguments, gives)

    def _buffer(self, array: NDArray[Any], element: str) -> Any:
        """Return IREE's view of an array, which is not copied unless it is empty: IREE imports no empty memory."""
        kinds, usage = self._runtime.MemoryType, self._runtime.BufferUsage.DEFAULT | self._runtime.BufferUsage.MAPPING
        element_type = getattr(self._runtime.HalElementType, ELEMENTS[element])
        if array.size == 0:
            return self._allocator.allocate_buffer_copy(
                memory_type=kinds.DEVICE_LOCAL, allowed_usage=usage, device=self._device, buffer=array, element_type=element_type
            )
        imported = self._allocator.import_host_allocation(array, kinds.HOST_LOCAL | kinds.DEVICE_VISIBLE, usage)
        return self._runtime.HalBufferView(imported, list(array.shape), element_type)

    def close(self) -> None:
        """Unload the module."""
        self._context = self._allocator = self._device = self._entry = None


class IreeCall(PreparedCall):
    """A function and its arguments; ``gives`` are the outputs' names and arrays."""

    def __init__(self, runtime: Any, context: Any, entry: Any, arguments: Any, gives: list[tuple[str, NDArray[Any]]]) -> None:
        self._runtime = runtime
        self._context = context
        self._entry = entry
        self._arguments = arguments
        self._gives = gives

    def __call__(self) -> None:
        """Call the function and copy its results."""
        results = self._runtime.VmVariantList(len(self._gives))
        try:
            self._context.invoke(self._entry, self._arguments, results)
        except _ERRORS as error:
            raise DeviceError(f"IREE failed: {_reason(error)}", at=_DEVICE, vendor_text=str(error), code="LB4009") from error
        for index, (name, array) in enumerate(self._gives):
            found = results.get_as_object(index, self._runtime.HalBufferView)
            if tuple(found.shape) != array.shape:
                raise DeviceError(
                    f"output '{name}' came out as {render_shape(found.shape)}, expected {render_shape(array.shape)}",
                    at=_DEVICE,
                    code="LB4010",
                )
            if array.size:
                np.copyto(array, found.map().asarray(found.shape, array.dtype))

    def close(self) -> None:
        """Let go of the arguments."""
        self._context = self._entry = self._arguments = None
        self._gives = []


def _signed(dtype: str, element: str, wanted: str) -> str:
    """Return the dtype of a port: where MLIR has an integer without a sign, such as i8, the caller may say that it has none."""
    return wanted if element.startswith("i") and wanted == f"u{dtype}" else dtype


def _extents(shape: Sequence[int | str]) -> list[int]:
    return [-1 if isinstance(extent, str) else extent for extent in shape]


def _reason(error: Exception) -> str:
    """Return IREE's words without the place in its source: ``…/archive.c:106: INVALID_ARGUMENT; FlatBuffer data is not present``."""
    first = next((line for line in str(error).splitlines() if line.strip()), "no reason given")
    return first.split("; while invoking")[0].split("; ", 1)[-1].strip()
