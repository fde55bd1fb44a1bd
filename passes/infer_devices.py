"""Give every value its device (R1, R2): an operator's results live where the operator runs.

Offline models run on their devices, copies end at their destinations, all else, conversions included, runs on the CPU. Inputs stay
where the front end declared them, the CPU where it did not. Operands may still be elsewhere than their operator: that is for the
passes after this one, or, in strict mode, the user's to mend.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import tvm
from tvm import relax

from landbridge.ir.body import Binding, Body, extern_symbol, is_copy, is_extern, substitute
from landbridge.ir.devices import VDevices, same_vdevice
from landbridge.ir.program import ModuleInfo
from landbridge.passes.rewrite import destination, home
from landbridge.runtime.device import CPU, Device


@dataclass(frozen=True)
class InferDevices:
    """Write each value's device into its type."""

    name: ClassVar[str] = "infer-devices"
    phase: ClassVar[str] = "devices"

    def run(self, module: tvm.IRModule) -> tvm.IRModule:
        """Return the module with a device in every type, or ``module`` itself when they are all there."""
        body, info, vdevices = Body.of(module), ModuleInfo.of(module), VDevices(module)
        moved: dict[Any, Any] = {}

        def retyped(var: Any, var_type: Any) -> Any:
            if not _same(var.ty, var_type):
                moved[var] = relax.Var(var.name, var_type)
            return moved.get(var, var)

        params = tuple(retyped(param, _on(param.ty, home(param), vdevices)) for param in body.params)
        bindings = []
        for binding in body.bindings:
            value = _with_listed_device(substitute(binding.value, moved), vdevices)
            if isinstance(value, relax.TupleGetItem):
                var_type = value.tuple_value.ty.fields[value.index]
            else:
                var_type = _on(binding.var.ty, _runs_on(value, info), vdevices)
            var = retyped(binding.var, var_type)
            bindings.append(binding if var is binding.var and value is binding.value else Binding(var, value))
        if not moved and tuple(bindings) == body.bindings:
            return module
        return Body(params, tuple(bindings), tuple(moved.get(output, output) for output in body.outputs)).write(module, vdevices)


def _runs_on(value: Any, info: ModuleInfo) -> Device:
    """Return the device of an operator's results."""
    if is_copy(value):
        return destination(value)
    return info.externs[extern_symbol(value)].device if is_extern(value) else CPU


def _with_listed_device(value: Any, vdevices: VDevices) -> Any:
    """Return ``value``; a copy with the module's own object of the device it goes to."""
    if is_copy(value):
        listed = vdevices.get(destination(value))
        return value if same_vdevice(value.attrs.dst_vdevice, listed) else relax.op.to_vdevice(value.args[0], listed)
    return value


def _on(value_type: Any, device: Device, vdevices: VDevices) -> Any:
    """Return the type on ``device``: itself where it is there already, or is of no tensor."""
    if isinstance(value_type, tvm.ir.TupleType):
        fields = [_on(field, device, vdevices) for field in value_type.fields]
        return value_type if all(map(_same, fields, value_type.fields)) else tvm.ir.TupleType(fields)
    if not isinstance(value_type, relax.TensorType):
        return value_type
    is_there = value_type.vdevice is not None and same_vdevice(value_type.vdevice, vdevices.get(device))
    return value_type if is_there else vdevices.on(value_type, device)


def _same(left: Any, right: Any) -> bool:
    return left is right or bool(left.same_as(right))
