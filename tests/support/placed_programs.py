"""Placed programs for tests of codegen, from TVMScript without devices."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import tvm
from tvm import relax

from landbridge.ir.body import Binding, Body, extern_symbol, is_copy, is_extern
from landbridge.ir.devices import VDevices
from landbridge.ir.program import EXTERNS, NAMES, OUTPUTS, ExternModel, Program, extern_entry
from landbridge.runtime.device import CPU, Device
from landbridge.runtime.signature import Gears, Port, Signature

_VDEVICES = VDevices()
"""One object a device while programs are written; `placed` gives each program its own."""

Inputs = Mapping[str, tuple[Sequence[Any], str]]


def signature(
    inputs: Sequence[Sequence[Any]], outputs: Sequence[Sequence[Any]], dtype: str = "float32", gears: Sequence[int] = ()
) -> Signature:
    """Return a signature; each port is given by its shape."""
    ports = [tuple(Port(f"p{i}", dtype, tuple(shape)) for i, shape in enumerate(shapes)) for shapes in (inputs, outputs)]
    return Signature(ports[0], ports[1], gears=Gears("batch", tuple((gear,) for gear in gears)) if gears else None)


def placed(
    module: tvm.IRModule,
    externs: Mapping[str, tuple[ExternModel, str]] | None = None,
    inputs: Mapping[str, str] | None = None,
    outputs: Sequence[str] | None = None,
    names: Mapping[str, str] | None = None,
) -> Program:
    """Return the program in which every value has its device.

    Args:
        module: its ``main`` returns a tuple; `build_main` makes such modules.
        externs: for each symbol the offline model and its device.
        inputs: the device of each input that is not on the CPU.
        outputs: the user's names of the outputs.
        names: the user's names of variables.
    """
    externs = externs or {}
    vdevices = VDevices(module)
    body = Body.of(module)
    device_of: dict[Any, Device] = {param: Device.parse((inputs or {}).get(str(param.name), "cpu")) for param in body.params}
    for binding in body.bindings:
        device_of[binding.var] = _device_of(binding, externs, device_of)
    fresh = {var: type(var)(var.name, vdevices.on(var.ty, device)) for var, device in device_of.items()}
    entries = {symbol: extern_entry(model, Device.parse(device)) for symbol, (model, device) in externs.items()}
    result = body.renamed(fresh).write(module, vdevices).with_attr(EXTERNS, entries).with_attr(NAMES, dict(names or {}))
    if outputs is not None:
        result = result.with_attr(OUTPUTS, [[name, ""] for name in outputs])
    return Program(result, {symbol: model for symbol, (model, _) in externs.items()})


def _device_of(binding: Binding, externs: Mapping[str, tuple[ExternModel, str]], known: Mapping[Any, Device]) -> Device:
    value = binding.value
    if is_copy(value):
        return Device(str(value.attrs.dst_vdevice.memory_scope), int(value.attrs.dst_vdevice.vdevice_id)) if not _to_cpu(value) else CPU
    if is_extern(value):
        return Device.parse(externs[extern_symbol(value)][1])
    if isinstance(value, relax.TupleGetItem):
        return known[value.tuple_value]
    return known[value] if isinstance(value, relax.Var) else CPU


def _to_cpu(copy: Any) -> bool:
    return bool(copy.attrs.dst_vdevice.target.kind.name == "llvm")


def build_main(inputs: Inputs, make: Callable[..., Sequence[Any]]) -> tvm.IRModule:
    """Return a module whose ``main`` has the ``inputs`` and returns what ``make(emit, *params)`` returns.

    Args:
        make: gets a function that binds an expression to a name and returns the variable, and the parameters.
    """
    builder = relax.BlockBuilder()
    dims: dict[str, Any] = {}

    def extent(size: Any) -> Any:
        return dims.setdefault(size, tvm.tirx.Var(size, "int64")) if isinstance(size, str) else size

    params = [relax.Var(name, relax.TensorType([extent(size) for size in shape], dtype)) for name, (shape, dtype) in inputs.items()]
    with builder.function("main", params):
        with builder.dataflow():
            results = make(lambda expr, name="": builder.emit(expr, name), *params)
            result = builder.emit_output(relax.Tuple(list(results)))
        builder.emit_func_output(result)
    return builder.get()


def copy_to(value: Any, device: str) -> Any:
    """Return the copy of ``value`` to ``device``."""
    return relax.op.to_vdevice(value, _VDEVICES.get(Device.parse(device)))


def call_model(symbol: str, args: Sequence[Any], *types: Any) -> Any:
    """Return the call of an offline model with outputs of these types."""
    return relax.op.call_dps_packed(symbol, relax.Tuple(list(args)), list(types) if len(types) > 1 else types[0])
