"""What the passes share: reading where values are, and making copies and casts with names that lead back to the user's.

Only helpers: nothing here decides anything.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import tvm
from tvm import relax

from landbridge.ir.body import Binding, Body, extern_symbol, is_constant, is_copy, is_extern, is_value, operands, substitute
from landbridge.ir.devices import VDevices, device_of, from_vdevice
from landbridge.ir.program import DERIVED, ModuleInfo
from landbridge.runtime.device import CPU, Device


def home(value: Any) -> Device:
    """Return where a value lives; what has no device, as a constant, lives on the CPU."""
    return device_of(value) or CPU


def destination(copy: Any) -> Device:
    """Return the device to which a copy goes."""
    return from_vdevice(copy.attrs.dst_vdevice)


def operator_device(info: ModuleInfo, value: Any) -> Device | None:
    """Return where an operator needs its operands: an offline model on its device, another on the CPU (R2).

    None for what takes them wherever they are: a copy, and the choice of a tuple's part.
    """
    if is_extern(value):
        return info.externs[extern_symbol(value)].device
    return CPU if isinstance(value, relax.Call) and not is_copy(value) else None


def wanted_outputs(info: ModuleInfo, body: Body) -> list[Device]:
    """Return where each output is wanted: the CPU where the program leaves it open."""
    wanted = [wish.device or CPU for wish in info.outputs]
    return wanted + [CPU] * (len(body.outputs) - len(wanted))


def origins(body: Body) -> dict[Any, Any]:
    """Return for each copy the value that it is a copy of, through all copies."""
    found: dict[Any, Any] = {}
    for binding in body.bindings:
        if is_copy(binding.value):
            source = operands(binding.value)[0]
            found[binding.var] = found.get(source, source)
    return found


def with_operands(value: Any, replacements: Sequence[Any]) -> Any:
    """Return the call ``value`` with its operands, in the order of `landbridge.ir.body.operands`, replaced one by one."""
    remaining = iter(replacements)

    def rebuilt(expr: Any) -> Any:
        if isinstance(expr, relax.Tuple):
            return relax.Tuple([rebuilt(part) for part in expr.fields])
        return next(remaining) if is_value(expr) else expr

    return relax.Call(value.op, [rebuilt(argument) for argument in value.args], value.attrs, value.ty_args)


def reading(binding: Binding, replacements: Mapping[Any, Any]) -> Binding:
    """Return ``binding`` with each operand that ``replacements`` has replaced; ``binding`` itself where that changes nothing."""
    changes = {old: new for old, new in replacements.items() if old != new}
    value = substitute(binding.value, changes) if changes else binding.value
    return binding if value is binding.value else Binding(binding.var, value)


def rewritten(module: tvm.IRModule, body: Body, bindings: Sequence[Binding], outputs: Sequence[Any], vdevices: VDevices) -> tvm.IRModule:
    """Return ``module`` with new bindings and outputs, or ``module`` itself where they are the old ones."""
    if tuple(bindings) == body.bindings and tuple(outputs) == body.outputs:
        return module
    return Body(body.params, tuple(bindings), tuple(outputs)).write(module, vdevices)


def replaced(values: Sequence[Any], replacements: Mapping[Any, Any]) -> tuple[Any, ...]:
    """Return ``values``, each replaced where ``replacements`` has it."""
    return tuple(replacements.get(value, value) for value in values)


class Deriver:
    """Makes the values that a pass derives from others, with unique names: ``x__atlas0``, ``x__float16``."""

    def __init__(self, module: tvm.IRModule, body: Body) -> None:
        """Start from the names and devices of ``module``, whose body is ``body``."""
        self.vdevices = VDevices(module)
        self._taken = {str(param.name) for param in body.params} | {str(binding.var.name) for binding in body.bindings}

    def copy(self, value: Any, device: Device, *, of: Any = None) -> Binding:
        """Return a copy of ``value`` to ``device``, named after ``of``, or after ``value`` where that is None."""
        var = relax.Var(self._name(value if of is None else of, str(device)), self.vdevices.on(value.ty, device))
        return Binding(var, relax.op.to_vdevice(value, self.vdevices.get(device)))

    def cast(self, value: Any, dtype: str) -> Binding:
        """Return the conversion of ``value`` to ``dtype`` on the CPU."""
        before = value.ty
        shape, vdevice = before.shape, self.vdevices.get(CPU)
        unknown = {"ndim": before.ndim} if shape is None else {}
        after = relax.TensorType(shape, dtype, vdevice, **unknown)
        return Binding(relax.Var(self._name(value, dtype), after), relax.op.astype(value, dtype))

    def permutation(self, value: Any, order: Sequence[int], suffix: str) -> Binding:
        """Return ``value`` with its axes in this order, on the CPU; its name ends in ``suffix``."""
        extents = value.ty.shape.values
        after = relax.TensorType([extents[axis] for axis in order], value.ty.dtype, self.vdevices.get(CPU))
        return Binding(relax.Var(self._name(value, suffix), after), relax.op.permute_dims(value, list(order)))

    def part(self, value: Any, index: int) -> Binding:
        """Return part ``index`` of the tuple ``value``."""
        return Binding(relax.Var(self._name(value, str(index)), value.ty.fields[index]), relax.TupleGetItem(value, index))

    def _name(self, value: Any, suffix: str) -> str:
        base = "constant" if is_constant(value) else str(value.name)
        name = wanted = f"{base}{DERIVED}{suffix}"
        number = 1
        while name in self._taken:
            number += 1
            name = f"{wanted}_{number}"
        self._taken.add(name)
        return name
