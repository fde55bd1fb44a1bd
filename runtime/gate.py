"""The gate that every input of a run goes through, before anything runs.

It takes NumPy arrays (any strides, alignment and byte order; read-only ones too), tensors of other libraries through DLPack, and
`DeviceTensor`. It converts nothing that would change a value: another dtype is an error that names the conversion. Extents of named
dimensions come from the shapes, and must agree over all inputs.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from landbridge.runtime import dtypes, opaque
from landbridge.runtime.dims import evaluate, render_shape
from landbridge.runtime.errors import InputError, did_you_mean
from landbridge.runtime.memory import DeviceTensor, OpenDevice
from landbridge.runtime.plan import LATE, Plan
from landbridge.runtime.records import dataclass

Value = Any
"""A NumPy array, a `DeviceTensor`, or what `landbridge.runtime.opaque` has for values that are no tensors of numbers."""

_ANY = np.dtype(object)
"""Stands for the dtype of inputs that are no tensors of numbers."""

_DLPACK_HOST = (1, 3)
"""The device types of DLPack whose memory is the host's: kDLCPU and kDLCUDAHost."""


@dataclass(frozen=True)
class TensorInfo:
    """What an input takes or an output is.

    Attributes:
        name: the user's name.
        dtype: its element type; what NumPy lacks is given and returned as unsigned integers of the same width. Strings, sequences and
            the like have one as `landbridge.runtime.opaque` writes them, such as ``sequence(tensor(float32))``.
        shape: extents, names of dimensions, or sizes that depend on them (`landbridge.runtime.dims`); -1 where only the data tells.
        device: "cpu", or where a `DeviceTensor` is taken and returned.
    """

    name: str
    dtype: str
    shape: tuple[Any, ...]
    device: str

    def __str__(self) -> str:
        place = "" if self.device == "cpu" else f" on {self.device}"
        return f"{self.dtype} {render_shape(self.shape)}{place}"


class Gate:
    """The inputs of one plan."""

    def __init__(self, plan: Plan, devices: Mapping[str, OpenDevice]) -> None:
        self.inputs = tuple(
            TensorInfo(entry.name, buffer.dtype, buffer.shape, buffer.device)
            for entry in plan.inputs
            for buffer in (plan.buffers[entry.buffer],)
        )
        self._opaque = tuple(index for index, info in enumerate(self.inputs) if opaque.is_opaque(info.dtype))
        self._holders = tuple(_ANY if opaque.is_opaque(info.dtype) else dtypes.holder(info.dtype) for info in self.inputs)
        self._packed = tuple(i for i, info in enumerate(self.inputs) if i not in self._opaque and dtypes.is_packed(info.dtype))
        self._names = frozenset(info.name for info in self.inputs)
        self._wanted = tuple(zip(self.inputs, self._holders, strict=True))
        self._last: tuple[list[tuple[int, ...]], tuple[int, ...]] | None = None
        self._dims = plan.dims
        self._ranges = plan.ranges
        self._devices = devices

    def admit(self, inputs: Mapping[str, Any]) -> tuple[list[Value], tuple[int, ...]]:
        """Return the inputs in the plan's order, of packed ones the bytes, and the extents of the plan's dimensions.

        Raises:
            InputError: names are missing or unknown, or an input has the wrong type, dtype, shape or place.
        """
        if type(inputs) is not dict and not isinstance(inputs, Mapping):
            raise InputError(f"{type(inputs).__name__}, expected inputs by name", hint='run({"name": array})', code="LB1204")
        if inputs.keys() != self._names:
            self._refuse_names(inputs)
        values: list[Value] = []
        for info, holder in self._wanted:
            value = inputs[info.name]
            is_plain = type(value) is np.ndarray and value.dtype is holder and holder is not _ANY  # as nearly always: nothing to look at
            values.append(value if is_plain else self._value(info, holder, value))
        shapes = [value.shape for value in values] if not self._opaque else [self._shape(*pair) for pair in enumerate(values)]
        last = self._last
        if last is not None and last[0] == shapes:
            extents = last[1]
        else:
            extents = self._extents(shapes)
            self._last = shapes, extents
        for index in self._packed:
            values[index] = dtypes.pack(np.asarray(values[index]), self.inputs[index].dtype)
        return values, extents

    def order(self, dims: Mapping[str, int], at: str) -> tuple[int, ...]:
        """Return the extents of the plan's dimensions in its order.

        Raises:
            InputError: a dimension is missing or unknown, or has less than no extent; ``at`` is who asks.
        """
        if set(dims) != set(self._dims):
            hint = f"give the extent of each dimension: {', '.join(self._dims) or 'none'}"
            raise InputError(f"extents of {', '.join(dims) or 'nothing'}", at=at, hint=hint, code="LB1210")
        for name, extent in dims.items():
            if extent < 0:
                raise InputError(f"{extent} for dimension '{name}'", at=at, hint="an extent is 0 or more", code="LB1210")
        return tuple(dims[name] for name in self._dims)

    def _refuse_names(self, inputs: Mapping[str, Any]) -> None:
        unknown = [name for name in inputs if name not in self._names]
        missing = [info for info in self.inputs if info.name not in inputs]
        if unknown:
            candidates = [info.name for info in missing] or [info.name for info in self.inputs]
            raise InputError(f"there is no input '{unknown[0]}'", hint=did_you_mean(str(unknown[0]), candidates), code="LB1202")
        names = ", ".join(f"'{info.name}'" for info in missing)
        raise InputError(
            f"no value for input{'s' if len(missing) > 1 else ''} {names}", hint=f"'{missing[0].name}' is {missing[0]}", code="LB1201"
        )

    def _value(self, info: TensorInfo, holder: np.dtype[Any], value: Any) -> Value:
        if holder is _ANY:
            return opaque.admit(value, info.dtype, f"input '{info.name}'")
        if isinstance(value, DeviceTensor):
            return self._device_tensor(info, value)
        array = value if type(value) is np.ndarray else as_array(value, f"input '{info.name}'")
        return array if array.dtype == holder else _reinterpret(info, array)

    def _device_tensor(self, info: TensorInfo, tensor: DeviceTensor) -> DeviceTensor:
        at = f"input '{info.name}'"
        if info.device != tensor.device:
            raise InputError(
                f"a tensor on {tensor.device}, expected one on {info.device}", at=at, hint="give an array, or .numpy() of it", code="LB1205"
            )
        if self._devices.get(tensor.device) is not tensor.on:
            raise InputError(
                f"a tensor on {tensor.device} of another session", at=at, hint="make it by to_device of this session", code="LB1205"
            )
        if tensor.dtype != info.dtype:
            raise InputError(
                f"{tensor.dtype} {list(tensor.shape)}, expected {info}", at=at, hint=f'convert it to "{info.dtype}" first', code="LB1203"
            )
        return tensor

    def _shape(self, index: int, value: Value) -> tuple[int, ...]:
        shape: tuple[int, ...] = opaque.extents(value, self.inputs[index].dtype) if index in self._opaque else value.shape
        return shape

    def _extents(self, shapes: list[tuple[int, ...]]) -> tuple[int, ...]:
        """Return the extent of each dimension; every shape fits them."""
        found: dict[str, tuple[int, int, int]] = {}
        for index, (info, shape) in enumerate(zip(self.inputs, shapes, strict=True)):
            if len(shape) != len(info.shape):
                raise self._shape_error(index, shape, f"{len(shape)} axes, expected {len(info.shape)}")
            for axis, (expected, extent) in enumerate(zip(info.shape, shape, strict=True)):
                if expected == extent:
                    continue
                if isinstance(expected, int) and expected != LATE:
                    raise self._shape_error(index, shape, f"{extent} on axis {axis}, expected {expected}")
                if isinstance(expected, str):
                    known = found.setdefault(expected, (extent, index, axis))
                    if known[0] != extent:
                        where = "" if known[1] == index else f" of input '{self.inputs[known[1]].name}'"
                        reason = f"dimension '{expected}' is {extent} on axis {axis}, but {known[0]} on axis {known[2]}{where}"
                        raise self._shape_error(index, shape, reason)
        extents = {name: value for name, (value, _, _) in found.items()}
        for name, (least, largest) in self._ranges.items():
            extent, index, axis = found[name]
            if not least <= extent <= largest:
                limit = f"at least {least}" if extent < least else f"at most {largest}"
                raise self._shape_error(index, shapes[index], f"dimension '{name}' is {extent} on axis {axis}, expected {limit}")
        self._check_expressions(shapes, extents)
        return tuple(extents[dim] for dim in self._dims)

    def _check_expressions(self, shapes: list[tuple[int, ...]], extents: Mapping[str, int]) -> None:
        for index, (info, shape) in enumerate(zip(self.inputs, shapes, strict=True)):
            for axis, (expected, extent) in enumerate(zip(info.shape, shape, strict=True)):
                if isinstance(expected, list) and evaluate(expected, extents) != extent:
                    reason = f"{extent} on axis {axis}, expected {evaluate(expected, extents)}"
                    raise self._shape_error(index, shape, reason)

    def _shape_error(self, index: int, shape: tuple[int, ...], reason: str) -> InputError:
        info = self.inputs[index]
        return InputError(
            f"{info.dtype} {list(shape)}, expected {info}: {reason}",
            at=f"input '{info.name}'",
            hint=f"give shape {render_shape(info.shape)}",
            code="LB1203",
        )


def as_array(value: Any, at: str) -> NDArray[Any]:
    """Return ``value`` as a NumPy array without a copy.

    Raises:
        InputError: it is neither an array nor a tensor on the host that DLPack can pass.
    """
    if isinstance(value, np.ma.MaskedArray):
        raise InputError("a masked array, whose mask would be lost", at=at, hint="give .filled(…) of it", code="LB1204")
    if isinstance(value, np.ndarray):
        return value.view(np.ndarray)
    if not hasattr(value, "__dlpack__") or not hasattr(value, "__dlpack_device__"):
        raise InputError(
            f"{type(value).__name__}, expected a NumPy array or a tensor with DLPack", at=at, hint="np.asarray(value, dtype)", code="LB1204"
        )
    kind = int(value.__dlpack_device__()[0])
    if kind not in _DLPACK_HOST:
        raise InputError(
            f"{type(value).__name__} on a device (DLPack type {kind}), expected one in host memory",
            at=at,
            hint="copy it to the CPU",
            code="LB1203",
        )
    try:
        return np.from_dlpack(value)
    except (BufferError, RuntimeError, TypeError, ValueError) as error:
        raise InputError(
            f"{type(value).__name__} cannot be passed by DLPack: {error}", at=at, hint="convert it to a NumPy array", code="LB1204"
        ) from error


def _reinterpret(info: TensorInfo, array: NDArray[Any]) -> NDArray[Any]:
    """Return an array whose dtype differs only in byte order, or is a type that NumPy lacks, with the dtype that holds it."""
    holder = dtypes.holder(info.dtype)
    if array.dtype.newbyteorder("=") == holder:
        return array.astype(holder)
    if array.dtype.name == info.dtype and array.dtype.itemsize == holder.itemsize:  # ml_dtypes' bfloat16 and the like
        return array.view(holder)
    if np.dtype(holder).name != info.dtype:
        hint = f"give the bits of {info.dtype} as {holder}"
    elif array.dtype.hasobject or array.dtype.fields:
        hint = f"give an array of {info.dtype}"
    else:
        hint = f'convert it: array.astype("{info.dtype}")'
    raise InputError(f"{array.dtype} {list(array.shape)}, expected {info}", at=f"input '{info.name}'", hint=hint, code="LB1203")
