"""Devices in Relax types.

A device is a Relax `VDevice`: the CPU with target kind ``llvm``, an accelerator with ``ext_dev`` and its kind in the memory
scope. Relax compares them by object identity in places, so a module has one object per device, all of them listed in its
global infos; `VDevices` hands them out.
"""

from __future__ import annotations

from typing import Any

import tvm
from tvm import relax

from landbridge.runtime.device import Device

_CPU_SCOPE = "global"


def device_of(type_or_expr: Any) -> Device | None:
    """Return the device in a tensor type, or in the type of an expression, or None where it has none.

    A tuple is where its tensors are; where these are on several devices, it has none.
    """
    of_type = type_or_expr if isinstance(type_or_expr, tvm.ir.Type) else type_or_expr.ty
    vdevices = [tensor_type.vdevice for tensor_type in tensor_types(of_type)]
    if not vdevices or any(vdevice is None for vdevice in vdevices):
        return None
    devices = {from_vdevice(vdevice) for vdevice in vdevices}
    return devices.pop() if len(devices) == 1 else None


def tensor_types(of_type: Any) -> tuple[Any, ...]:
    """Return the tensor types in a type: itself, or those in a (nested) tuple type, in order."""
    if isinstance(of_type, tvm.ir.TupleType):
        return tuple(tensor_type for field in of_type.fields for tensor_type in tensor_types(field))
    return (of_type,) if isinstance(of_type, relax.TensorType) else ()


def from_vdevice(vdevice: Any) -> Device:
    """Return the device that a Relax `VDevice` stands for."""
    if vdevice.target.kind.name == "llvm":
        return Device("cpu")
    return Device(str(vdevice.memory_scope), int(vdevice.vdevice_id))


def same_vdevice(left: Any, right: Any) -> bool:
    """Return whether two `VDevice` are one object; their own ``same_as`` and ``==`` recurse for ever."""
    return bool(tvm.runtime.Object.same_as(left, right))


class VDevices:
    """The one `VDevice` object of each device in a module."""

    def __init__(self, module: tvm.IRModule | None = None) -> None:
        """Start from the devices that ``module`` lists, if any."""
        listed = () if module is None else module.global_infos.get("vdevice", ())
        self._objects = {from_vdevice(vdevice): vdevice for vdevice in listed}

    def get(self, device: Device) -> Any:
        """Return the `VDevice` of ``device``, always the same object."""
        if device not in self._objects:
            kind, scope = ("llvm", _CPU_SCOPE) if device.is_cpu else ("ext_dev", device.kind)
            self._objects[device] = relax.VDevice(tvm.target.Target({"kind": kind}), device.ordinal, scope)
        return self._objects[device]

    def listed_in(self, module: tvm.IRModule) -> tvm.IRModule:
        """Return ``module`` with every device handed out so far in its global infos, in the order of their names."""
        result = tvm.IRModule(module.functions, attrs=module.attrs)
        for name, infos in module.global_infos.items():
            result.update_global_info(name, infos)
        if self._objects:
            result.update_global_info("vdevice", [self._objects[device] for device in sorted(self._objects)])
        return result

    def on(self, tensor_type: Any, device: Device) -> Any:
        """Return ``tensor_type`` on ``device``; a tuple type with every tensor in it on ``device``."""
        if isinstance(tensor_type, tvm.ir.TupleType):
            return tvm.ir.TupleType([self.on(field, device) for field in tensor_type.fields])
        return on_vdevice(tensor_type, self.get(device))


def on_vdevice(tensor_type: Any, vdevice: Any) -> Any:
    """Return ``tensor_type`` with another device, or with none where ``vdevice`` is None."""
    if tensor_type.shape is None:
        return relax.TensorType(dtype=tensor_type.dtype, vdevice=vdevice, ndim=tensor_type.ndim)
    return relax.TensorType(tensor_type.shape, tensor_type.dtype, vdevice)
