"""Run a module once on symbolic tensors and keep what it did."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import tvm
from tvm import relax
from tvm.relax.frontend import nn as relax_nn
from tvm.relax.frontend.nn import Tensor
from tvm.relax.frontend.nn.core import _attribute_finder

from landbridge.frontends.names import NameTable
from landbridge.frontends.runtime_subgraph import subgraphs
from landbridge.frontends.trace import COPY, Trace
from landbridge.frontends.traced_error import explain
from landbridge.ir.body import MAIN, Binding, Body, extern_symbol, is_extern
from landbridge.ir.devices import VDevices
from landbridge.ir.one_at_a_time import one_at_a_time
from landbridge.ir.program import EXTERNS, MODEL, NAMES, OUTPUTS, Program, extern_entry
from landbridge.runtime.device import Device
from landbridge.runtime.dtypes import BITS, is_dtype
from landbridge.runtime.errors import ModelError, UsageError, did_you_mean
from landbridge.runtime.signature import Dim


@dataclass(frozen=True)
class TensorSpec:
    """An input of a module.

    Attributes:
        shape: extents; a string names a dimension that the caller of the session chooses.
        dtype: such as "float32".
        device: where the caller puts it.

    Example:
        >>> image = lb.TensorSpec(("n", 8, 8, 1), "uint8")
    """

    shape: tuple[Dim, ...]
    dtype: str
    device: str = "cpu"


@one_at_a_time
def from_module(module: Any, inputs: Mapping[str, TensorSpec], *, name: str | None = None) -> Program:
    """Return the program that ``module.forward`` describes.

    Args:
        module: an ``nn.Module``; its parameters must have data.
        inputs: for each argument of ``forward``, by name, what the caller of the session gives.
        name: what to call the model in messages; the class's name by default.

    Raises:
        UsageError: ``inputs`` are not the arguments of ``forward``, or an unknown device.
        ModelError: a parameter has no data, or ``forward`` does not return tensors.
        SignatureError: an offline model cannot be called like this.

    Example:
        >>> class Net(lb.nn.Module):
        ...     def forward(self, x):
        ...         return lb.nn.relu(x)
        >>> program = lb.from_module(Net(), {"x": lb.TensorSpec((1, 3), "float32")})
    """
    title = name or type(module).__name__
    arguments = list(inspect.signature(module.forward).parameters)
    if arguments != list(inputs):
        raise UsageError(
            f"inputs {list(inputs)} given, forward takes {arguments}", at=title, hint="give a TensorSpec for each argument, in order"
        )
    dims: dict[str, Any] = {}
    params = [relax.Var(key, _relax_type(spec, dims, at=key)) for key, spec in inputs.items()]
    devices = [Device.parse(spec.device) for spec in inputs.values()]
    with Trace({id(part): path for path, part in subgraphs(module, "")}, devices=dict(zip(params, devices, strict=True))) as trace:
        traced, returned = _run(module, params, title)
    return _to_program(traced, returned, devices, trace, title)


def _run(module: Any, params: Sequence[Any], title: str) -> tuple[tvm.IRModule, list[str]]:
    """Return the Relax module that ``forward`` makes, and the user's names of its outputs."""
    without_data = [key for key, p in _attribute_finder(module, "", lambda v: isinstance(v, relax_nn.Parameter)) if p.data is None]
    if without_data:
        raise ModelError(
            f"parameters without data: {', '.join(without_data)}", at=title, hint="set parameter.data, or load_state_dict", code="LB2011"
        )
    for _, parameter in _attribute_finder(module, "", lambda v: isinstance(v, relax_nn.Parameter)):
        parameter._expr = relax.const(parameter.data)
    builder = relax.BlockBuilder()
    with builder.function(MAIN, list(params)):
        with builder.dataflow():
            try:
                result = module.forward(*[Tensor(_expr=param) for param in params])
            except Exception as error:  # TVM raises anything; errors of the user's own go through
                explained = explain(error, title)
                if explained is None:
                    raise
                raise explained from error
            named = _named_outputs(result, title)
            outputs = builder.emit_output(relax.Tuple([tensor._expr for tensor in named.values()]))
        builder.emit_func_output(outputs)
    return builder.finalize(), list(named)


def _named_outputs(result: Any, title: str) -> dict[str, Any]:
    if isinstance(result, dict):
        named = {str(key): value for key, value in result.items()}
    elif isinstance(result, list | tuple):
        named = {"output": result[0]} if len(result) == 1 else {f"output_{i}": value for i, value in enumerate(result)}
    else:
        named = {"output": result}
    for key, value in named.items():
        if not isinstance(value, Tensor):
            raise ModelError(f"forward returns a {type(value).__name__} for '{key}', expected a tensor", at=title, code="LB2011")
    if not named:
        raise ModelError("forward returns nothing", at=title, code="LB2011")
    return named


def _to_program(traced: tvm.IRModule, returned: Sequence[str], devices: Sequence[Device], trace: Trace, title: str) -> Program:
    vdevices, table = VDevices(), NameTable()
    body = Body.of(traced)
    types = [vdevices.on(p.ty, device) for p, device in zip(body.params, devices, strict=True)]
    params = [relax.Var(table.identifier(p.name), t) for p, t in zip(body.params, types, strict=True)]
    renamed = dict(zip(body.params, params, strict=True))
    bindings = []
    for binding in body.bindings:
        value, result_type = binding.value, binding.var.ty
        if _is_written_copy(value):
            device = Device.parse(extern_symbol(value).removeprefix(COPY))
            value, result_type = relax.op.to_vdevice(value.args[1].fields[0], vdevices.get(device)), vdevices.on(result_type, device)
        renamed[binding.var] = relax.Var(table.identifier(binding.var.name), result_type)
        bindings.append(Binding(binding.var, value))
    module = Body(body.params, tuple(bindings), body.outputs).renamed(renamed).write(tvm.IRModule(), vdevices)
    externs = {symbol: replace(subgraph.model, name=trace.name_of(subgraph)) for symbol, (subgraph, _) in trace.calls.items()}
    entries = {symbol: extern_entry(externs[symbol], device) for symbol, (_, device) in trace.calls.items()}
    copied = {b.var: extern_symbol(b.value).removeprefix(COPY) for b in body.bindings if _is_written_copy(b.value)}
    wanted = [[key, copied.get(output, "")] for key, output in zip(returned, body.outputs, strict=True)]
    attributes = {EXTERNS: entries, NAMES: table.names, OUTPUTS: wanted, MODEL: title}
    return Program(module.with_attrs(attributes), externs)


def _is_written_copy(value: Any) -> bool:
    return is_extern(value) and extern_symbol(value).startswith(COPY)


def _relax_type(spec: TensorSpec, dims: dict[str, Any], *, at: str) -> Any:
    where = f"input '{at}'"
    if not isinstance(spec, TensorSpec):
        raise UsageError(f"expected a TensorSpec, found {type(spec).__name__}", at=where, code="LB1110")
    if not is_dtype(spec.dtype):
        raise UsageError(f"unknown dtype '{spec.dtype}'", at=where, hint=did_you_mean(str(spec.dtype), BITS))
    for axis, dim in enumerate(spec.shape):
        if not ((isinstance(dim, str) and dim) or (isinstance(dim, int) and dim >= 0)):
            message = f"{dim!r} on axis {axis}, expected an extent of 0 or more, or a name"
            raise UsageError(message, at=where, hint='name a dimension that the caller chooses, such as "n"')
    shape = [dims.setdefault(dim, tvm.tirx.Var(dim, "int64")) if isinstance(dim, str) else dim for dim in spec.shape]
    return relax.TensorType(shape, spec.dtype)
