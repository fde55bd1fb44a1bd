"""Fallback regions: ONNX operators that are not native, cut out as a model that ONNX Runtime runs on the CPU."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import onnx
import tvm
from tvm import relax

from landbridge.frontends.onnx.extract import extract
from landbridge.frontends.onnx.graph import DOMAINS, DTYPES, Node, ValueType
from landbridge.frontends.onnx.reference import misrun
from landbridge.frontends.onnx.values import DimNames, Values
from landbridge.ir.body import Binding, extern_call
from landbridge.ir.program import ExternModel
from landbridge.ir.sizes import dtype_of
from landbridge.runtime.opaque import STRING
from landbridge.runtime.report import Fallback
from landbridge.runtime.signature import Port, Signature

VENDOR = "onnxruntime"
"""Who runs fallback regions."""


@dataclass(frozen=True)
class Region:
    """A fallback region as the program has it.

    Attributes:
        model: its ONNX model.
        report: what the report says of it.
        reads: the user's names of its inputs.
        bindings: the call.
    """

    model: ExternModel
    report: Fallback
    reads: tuple[str, ...]
    bindings: tuple[Binding, ...]


def value_problem(found: ValueType) -> str:
    """Return why a value cannot be one of a program, or ""."""
    if found.opaque:
        return ""
    if not found.tensor:
        return "it is a sparse tensor"
    return "" if found.dtype else "its type is not known"


def build_region(values: Values, members: Sequence[Node], results: Sequence[str], symbol: str, reason: str) -> Region:
    """Return the region of some nodes.

    Args:
        members: the nodes, in order.
        results: the values that are needed outside, variables of the program.
        symbol: what to call it in the program.
        reason: why the nodes are not native.
    """
    nodes, reads = _closed(values, members)
    border = (*reads, *results)
    variables = [values.variables[name] for name in border]
    names = DimNames(values.dims)
    types = [_border_type(values, *pair, names) for pair in zip(border, variables, strict=True)]
    inputs = {name: _named(name, found, values.graph.type_of(name)) for name, found in zip(reads, types, strict=False)}
    outputs = dict(zip(results, types[len(reads) :], strict=True))
    constants = [values.tensor(name) for node in members for name in node.reads if values.is_constant(name)]
    proto = extract(values.graph, nodes, inputs, outputs, constants, symbol)
    signature = Signature(_ports(inputs), _ports(outputs))
    value = ", ".join(results)
    wrong = tuple(dict.fromkeys(f"{problem}: in the reference evaluator" for node in members if (problem := misrun(node))))
    options = {"evaluator": "reference"} if wrong else {}
    model = ExternModel(VENDOR, proto.SerializeToString(deterministic=True), signature, options, name=f"fallback of {value}")
    report = Fallback(value, tuple(node.label for node in members), VENDOR, "; ".join((reason, *wrong)))
    return Region(model, report, reads, tuple(_call(values, symbol, variables[: len(reads)], results)))


def _border_type(values: Values, name: str, variable: Any, names: DimNames) -> ValueType:
    """Return the type of a variable, its extents by ``names``."""
    if name not in values.opaque:
        return ValueType(dtype_of(variable.ty), names.shape(variable.ty))
    found = values.opaque[name]
    return replace(found, shape=names.shape(variable.ty)) if found.opaque == STRING else found


def _closed(values: Values, nodes: Sequence[Node]) -> tuple[list[Any], tuple[str, ...]]:
    """Return the operators of a region, with those added that give a value its other names, and what it reads from outside."""
    made = {name for node in nodes for name in node.makes}
    protos: list[Any] = []
    reads: dict[str, None] = {}
    for node in nodes:
        for name in node.reads:
            if name in made or values.is_constant(name):
                continue
            if values.canonical(name) in made:
                protos.append(onnx.helper.make_node("Identity", [values.canonical(name)], [name]))
                made.add(name)
            else:
                reads[name] = None
        protos.append(node.proto)
    return protos, tuple(reads)


def _named(name: str, found: ValueType, declared: ValueType) -> ValueType:
    """Return the type of an input with every extent that only the data will tell as the model declares it, else as a name of its own."""
    if found.shape is None or declared.shape is None:
        return found if found.shape is None else replace(found, shape=_extents(name, found.shape))
    known = (other if extent is None else extent for extent, other in zip(found.shape, declared.shape, strict=True))
    return replace(found, shape=_extents(name, tuple(known)))


def _extents(name: str, shape: Sequence[int | str | None]) -> tuple[int | str, ...]:
    """Return a shape with names, of the value and the axis, for extents that have none."""
    return tuple(f"{name}.{axis}" if extent is None else extent for axis, extent in enumerate(shape))


def _ports(types: Mapping[str, ValueType]) -> tuple[Port, ...]:
    """Return the ports of values; each extent that only the data will tell has a name."""
    return tuple(Port(name, found.opaque or found.dtype, _extents(name, found.shape or ())) for name, found in types.items())


def _call(values: Values, symbol: str, arguments: Sequence[Any], results: Sequence[str]) -> list[Binding]:
    variables = [values.variables[name] for name in results]
    result_type = variables[0].ty if len(variables) == 1 else tvm.ir.TupleType([variable.ty for variable in variables])
    call = extern_call(symbol, arguments, result_type)
    if len(variables) == 1:
        return [Binding(variables[0], call)]
    whole = values.part(symbol, result_type)
    return [Binding(whole, call), *(Binding(variable, relax.TupleGetItem(whole, i)) for i, variable in enumerate(variables))]


def is_defined(node: Node) -> bool:
    """Return whether ONNX itself defines the operator."""
    return bool(onnx.defs.has(node.proto.op_type, "" if node.proto.domain in DOMAINS else node.proto.domain))


def operator_types(values: Values, node: Node, names: DimNames) -> tuple[dict[str, ValueType], str]:
    """Ask ONNX Runtime for the types of a node's outputs, where ONNX does not know them or the operator.

    Args:
        names: of extents; those of the outputs get them too.

    Returns:
        The types, and why they cannot be known, or "".
    """
    unknown = {name: ValueType() for name in node.makes}
    inputs = {name: _type_here(values, name, names) for name in node.reads if not values.is_constant(name)}
    missing = [name for name, found in inputs.items() if value_problem(found)]
    if missing:
        return unknown, f"the type of its input '{missing[0]}' is not known"
    try:
        import onnxruntime  # noqa: PLC0415 - an extra, needed only for operators that ONNX does not define
    except ImportError:
        return unknown, f"ONNX does not define {node.type}, and ONNX Runtime is not installed; install landbridge[onnxruntime]"
    proto = extract(values.graph, [node.proto], inputs, unknown, [values.tensor(name) for name in node.reads if values.is_constant(name)])
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 4
    try:
        session = onnxruntime.InferenceSession(proto.SerializeToString(), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # the classes of ONNX Runtime's exceptions are not public
        what = "its output's type is not known" if is_defined(node) else "neither ONNX nor ONNX Runtime defines it"
        words = str(error).strip().splitlines()[0].rpartition(" : ")[2]
        return unknown, f"{what}: {words[:200]}"
    return {output.name: _session_type(output, names) for output in session.get_outputs()}, ""


def _type_here(values: Values, name: str, names: DimNames) -> ValueType:
    """Return what is known of a value at this point of the walk."""
    if name not in values.variables:
        return values.graph.type_of(name)
    return _border_type(values, name, values.variables[name], names)


_SESSION_DTYPES = {
    "tensor(float)": "float32",
    "tensor(double)": "float64",
    **{f"tensor({name})": name for name in DTYPES.values() if name not in ("float32", "float64")},
}


def _session_type(output: Any, names: DimNames) -> ValueType:
    if not output.type.startswith("tensor("):
        return ValueType(tensor=False)
    known = tuple(extent if isinstance(extent, int) or extent in names.extents else None for extent in output.shape)
    return ValueType(_SESSION_DTYPES.get(output.type, ""), known)
