"""Put an array on a device of a session, as large as the models that may take it read."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from landbridge.runtime import dtypes
from landbridge.runtime.device import Device
from landbridge.runtime.dims import evaluate, names
from landbridge.runtime.errors import InputError, UsageError
from landbridge.runtime.execute import copy_to_device
from landbridge.runtime.gate import TensorInfo, as_array
from landbridge.runtime.memory import DeviceTensor
from landbridge.runtime.opaque import is_opaque
from landbridge.runtime.plan import Plan

if TYPE_CHECKING:
    import numpy as np

    from landbridge.runtime.lifecycle import Lifecycle


def to_device(life: Lifecycle, inputs: Sequence[TensorInfo], value: Any, device: str | Device) -> DeviceTensor:
    """Return a copy of ``value`` on ``device``; see `landbridge.runtime.session.Session.to_device`."""
    name = str(Device.parse(device))
    opened = life.opened.devices.get(name)
    if opened is None:
        known = ", ".join(life.opened.devices) or "none besides the CPU"
        raise UsageError(f"this session has no device {name}", hint=f"devices of '{life.name}': {known}")
    array = as_array(value, "value")
    if not dtypes.is_dtype(array.dtype.name):
        raise InputError(
            f"elements of {array.dtype}, expected plain numbers", at="value", hint="convert it: array.astype(…)", code="LB1203"
        )
    array = array.astype(array.dtype.newbyteorder("="), copy=False)
    info = next((info for info in inputs if info.device == name and _fits(info, array)), None)
    reserved = _reserved(life.opened.artifact.plan, info, array.shape) if info else 0
    with life.aside:
        life.check()
        block = opened.allocate(max(array.nbytes, reserved))
        copy_to_device(opened, block.address, array)
    return DeviceTensor(opened, block, block.address, info.dtype if info else array.dtype.name, array.shape)


def _fits(info: TensorInfo, array: np.ndarray[Any, Any]) -> bool:
    """Return whether an array may be this input, as far as its dtype and shape tell."""
    same = (not is_opaque(info.dtype) and dtypes.holder(info.dtype) == array.dtype) or info.dtype == array.dtype.name
    if not same or len(info.shape) != array.ndim:
        return False
    return all(not isinstance(expected, int) or expected == extent for expected, extent in zip(info.shape, array.shape, strict=True))


def _reserved(plan: Plan, info: TensorInfo, shape: tuple[int, ...]) -> int:
    """Return the bytes that a plan reserves for an input, where its own shape tells: the model may read beyond the tensor."""
    entry = next(entry for entry in plan.inputs if entry.name == info.name)
    extents = {name: extent for name, extent in zip(info.shape, shape, strict=True) if isinstance(name, str)}
    nbytes = plan.buffers[entry.buffer].nbytes
    return evaluate(nbytes, extents) if all(dim in extents for dim in names(nbytes)) else 0
