"""Walk a prepared ONNX graph once: each node becomes bindings, a call of an offline model, or a reason why it is not native.

What comes out are `Unit`s; `landbridge.frontends.onnx.assemble` makes a program of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import tvm
from tvm import relax

from landbridge.frontends import ep_context
from landbridge.frontends.names import NameTable
from landbridge.frontends.offline_call import Place, call_offline
from landbridge.frontends.onnx.extents import facts
from landbridge.frontends.onnx.fallback import is_defined, operator_types, value_problem
from landbridge.frontends.onnx.graph import DOMAINS, NARROW_DTYPES, NATIVE_DTYPES, Node, OnnxGraph
from landbridge.frontends.onnx.native import Converted, Converter
from landbridge.frontends.onnx.operators.call import Declined, Result, Trimmed
from landbridge.frontends.onnx.scout import Scout
from landbridge.frontends.onnx.shapes import FOLLOWED, constant_of, is_static, reshaped, shape_extents
from landbridge.frontends.onnx.support import CONTROL_FLOW, importer_refusal, refusal
from landbridge.frontends.onnx.values import DimNames, Values, contradiction
from landbridge.ir.body import Binding, Body, extern_call
from landbridge.ir.dtypes import convertible
from landbridge.ir.program import ExternModel, extern_entry
from landbridge.ir.sizes import dtype_of
from landbridge.runtime.device import CPU, Device
from landbridge.runtime.errors import SignatureError
from landbridge.runtime.signature import Port, Signature
from landbridge.runtime.vendors.own import OWN, TRIM

_SHAPE_INPUTS: dict[str, tuple[int, ...]] = {
    "Reshape": (1,),
    "Expand": (1,),
    "ConstantOfShape": (0,),
    "Slice": (1, 2, 3, 4),
    "Resize": (3,),
    "Range": (0, 1, 2),
    "Tile": (1,),
    "Pad": (1,),
    "TopK": (1,),
}
"""The inputs that are taken as shapes, by operator."""


_NEVER_EMPTY = frozenset(("Conv", "ConvTranspose", "MaxPool", "AveragePool", "LpPool", "QLinearConv", "ConvInteger"))
"""Operators that are an error where a window does not fit in the input once."""


@dataclass(frozen=True)
class Offline:
    """An offline model that a unit calls.

    Attributes:
        symbol: by which the call refers to it.
        model: the blob.
        device: where it runs.
        entry: what the program's table says of it.
    """

    symbol: str
    model: ExternModel
    device: Device
    entry: dict[str, Any]


@dataclass
class Unit:
    """A piece of a program.

    Attributes:
        rank: where it stands in the model.
        reads: the values it needs, by the user's names.
        makes: the values it makes.
        bindings: empty where it is not native.
        node: what it was made of; None for the tensor of a shape.
        reason: why it is not native, or "".
        cause: the input that the reason is about, or "".
        late: only sizes that the data tell keep it from being native: once they are known, it may be.
        control: it is control flow whose way the data tell, on tensors of numbers.
        offline: the offline models that it calls: that of an EPContext node, or one for each output that is cut out.
    """

    rank: int
    reads: tuple[str, ...]
    makes: tuple[str, ...]
    bindings: list[Binding] = field(default_factory=list)
    node: Node | None = None
    reason: str = ""
    cause: str = ""
    late: bool = False
    control: bool = False
    offline: tuple[Offline, ...] = ()


class Build:
    """The walk over one graph.

    Attributes:
        values: what the values became.
        units: what the nodes became, in the order of the model.
        problems: nodes for which there is no way to run them, with the reason.
        functions: TensorIR functions that the units call.
        symbols: hands out names of offline models.
        refused: by one of its outputs each operator that must not be native whatever it is, with the reason.
    """

    def __init__(self, graph: OnnxGraph, refused: Mapping[str, str] | None = None) -> None:
        self.graph = graph
        self.refused = refused or {}
        self.values = Values(graph)
        self.units: list[Unit] = []
        self.problems: list[tuple[Node, str]] = []
        self.functions = Functions()
        self.symbols = NameTable()
        self._converter = Converter(graph.opset, list(self.values.dims.values()), Scout(graph.title))
        self._position = 0
        self._late: set[str] = set()
        self._sizes: set[str] = set()
        self._read = {*graph.outputs, *(name for node in graph.nodes for name in node.reads)}
        needed = _needed(graph)
        self._way = _sizes_late(graph, [node for node in graph.nodes if node.index in needed])

    def walk(self) -> list[Any]:
        """Visit every node that the outputs need; return the outputs as variables and constants."""
        with facts(self.values.facts):
            self._walk_from(0)
        for name in self.graph.outputs:
            if self.values.is_missing(name) and not self.problems:
                self.problems.append((self.graph.producer[name], f"output '{name}': {value_problem(self.graph.type_of(name))}"))
        return [self.expr(name, len(self.graph.nodes)) for name in self.graph.outputs if not self.values.is_missing(name)]

    def _walk_from(self, start: int) -> None:
        for position in range(start, len(self._way)):
            self._position = position
            self._visit(self._way[position])

    def _visit(self, node: Node) -> None:
        if ep_context.is_ep_context(node.proto):
            self._offline(node)
            return
        if self.values.fold(node) or self.values.follow(node) or self.values.empty(node):
            return
        told = next((self.refused[name] for name in node.makes if name in self.refused), "")
        reason, cause, types = told or refusal(node, self.values), "", None
        if not reason:
            reason, cause = self._input_problem(node)
        if not reason:
            reason, cause = self._late_size(node)
        if not reason:
            try:
                self._native(node)
            except Declined as declined:
                reason, types = declined.reason, declined.types
        if reason:
            self._leave(node, reason, cause, types)

    def _input_problem(self, node: Node) -> tuple[str, str]:
        """Return why a node cannot be native because of one of its inputs, and which, or nothing."""
        values = self.values
        for name in node.reads:
            if values.is_missing(name):
                return f"'{name}' is no tensor that a program can have", name
            if name in values.opaque:
                return f"'{name}' is no tensor of numbers", name
            if name in values.variables and values.shape(name) is None:
                return f"the shape of '{name}' is known only when it runs", name
            if name in values.variables and values.element_type(name) not in NATIVE_DTYPES | NARROW_DTYPES:
                return f"native code has no {values.element_type(name)}", name
        return "", ""

    def _late_size(self, node: Node) -> tuple[str, str]:
        """Return that a node computes with the size of something whose size only the data tell, and the input, or nothing.

        Shapes are made of such sizes: who has the one should have the other.
        """
        found = self.graph.type_of(node.makes[0]) if node.makes else None
        if node.type not in FOLLOWED or found is None or found.dtype not in ("int32", "int64", "bool"):
            return "", ""
        name = next((name for name in node.reads if name in self._sizes), "")
        return (f"'{name}' is a size that is known only when it runs", name) if name else ("", "")

    def _native(self, node: Node) -> None:
        arguments = [self._argument(node, index) for index in range(len(node.inputs))]
        results = [Result.of(self.graph.type_of(name), self.values.relax_type) for name in node.outputs]
        refused = importer_refusal(node, self.values)
        converted = self._converter.convert(node, arguments, results, refused, lambda: self._walk_from(self._position))
        outputs = dict(zip(node.makes, converted.outputs, strict=False))
        for name, output in outputs.items():
            tensor = not isinstance(output, Trimmed) and isinstance(output.ty, relax.TensorType)
            problem = contradiction(output.ty, self.graph.type_of(name)) if tensor else ""
            if problem:
                raise Declined(problem)
        if len(outputs) < len(node.makes):
            raise Declined("TVM's importer does not make all of its outputs")
        self._add(node, converted, outputs)

    def _add(self, node: Node, converted: Converted, outputs: dict[str, Any]) -> None:
        """Keep what a node became, under the user's names."""
        values = self.values
        inner = {binding.var for binding in converted.bindings}
        renamed: dict[Any, Any] = {}
        offline: list[Offline] = []
        trimming: list[Binding] = []
        for name, output in outputs.items():
            if isinstance(output, Trimmed):
                step, binding = self._trim(name, output)
                offline.append(step)
                trimming.append(binding)
            elif isinstance(output, relax.Var) and output in inner and output not in renamed:
                renamed[output] = values.variable(name, output.ty)
            elif isinstance(output, relax.Var):
                values.set_alias(name, renamed.get(output, output))
            elif isinstance(output, relax.ShapeExpr):
                values.set_extents(name, shape_extents(list(output.values)), "int64")
            elif isinstance(output, tvm.ir.Constant):
                values.set_constant(name, output)
            else:
                values.set_extents(name, shape_extents([output]).reshape(()), "int64")
        if not renamed and not trimming:
            return
        for binding in converted.bindings:
            if binding.var not in renamed:
                renamed[binding.var] = values.part(node.makes[0], binding.var.ty)
        body = Body((), (*self.functions.adopt(converted), *trimming), ()).renamed(renamed)
        makes = tuple(name for name in outputs if name in values.variables and name not in values.alias)
        self.units.append(Unit(node.index, node.reads, makes, list(body.bindings), node, offline=tuple(offline)))
        for extent in values.shape(makes[0]) or () if node.type in _NEVER_EMPTY else ():
            values.facts.learn(extent)

    def _trim(self, name: str, output: Trimmed) -> tuple[Offline, Binding]:
        """Return the step that cuts an output out of a tensor, and its call; only the data tell the shape of the output."""
        source = output.tensor.ty
        dtype, rank = dtype_of(source), len(source.shape)
        sizes = tuple(int(extent) if isinstance(extent, tvm.tirx.IntImm) else f"{name}.{axis}" for axis, extent in enumerate(source.shape))
        late = tuple(f"{name}..{axis}" for axis in range(rank))
        signature = Signature((Port("tensor", dtype, sizes), Port("extents", "int64", (rank,))), (Port(name, dtype, late),))
        model = ExternModel(OWN, TRIM, signature, name=f"the part of {name} that counts")
        symbol = self.symbols.identifier(f"trim_{len(self.units)}")
        variable = self.values.variable(name, relax.TensorType(dtype=dtype, ndim=rank))
        call = extern_call(symbol, [output.tensor, output.extents], variable.ty)
        return Offline(symbol, model, CPU, extern_entry(model, CPU)), Binding(variable, call)

    def _argument(self, node: Node, index: int) -> Any:
        """Return what the importer gets for an input of a node."""
        name, values = node.inputs[index], self.values
        if not name:
            return None
        if node.proto.op_type == "Reshape" and index == 1:
            target, source = values.extents(name), values.shape(node.inputs[0])
            if target is not None and source is not None and target.ndim == 1:
                allow_zero = node.attribute("allowzero")
                shape = reshaped(target, source, allow_zero is not None and bool(allow_zero.i))
                return constant_of(np.array(shape.tolist(), np.int64)) if is_static(shape) else relax.ShapeExpr(list(shape))
        if node.proto.op_type == "Pow" and index == 1 and values.is_constant(name):
            return constant_of(values.array(name).astype(values.element_type(node.inputs[0])))  # ONNX allows two types here, Relax one
        if values.is_symbolic(name) and index in _SHAPE_INPUTS.get(node.proto.op_type, ()):
            extents = values.extents(name)
            if extents is not None and extents.ndim == 1:
                return relax.ShapeExpr(list(extents))
            if extents is not None and extents.ndim == 0:
                return extents.item()
        return self.expr(name, node.index)

    def expr(self, name: str, rank: int) -> Any:
        """Return a value as a tensor: a variable or a constant."""
        values = self.values
        if values.is_constant(name):
            return values.constant(name)
        if name in values.variables:
            return values.variables[name]
        if values.is_symbolic(name):
            self.units.append(Unit(rank, (), (name,), values.materialise(name)))
        return values.variables[name]

    def _leave(self, node: Node, reason: str, cause: str, types: Sequence[Any] | None) -> None:
        """Keep a node for a fallback region."""
        values = self.values
        for name in node.reads:
            if not values.is_constant(name) and not values.is_missing(name):
                self.expr(name, node.index)
        found = {name: self.graph.type_of(name) for name in node.makes}
        names = DimNames(values.dims)
        if not is_defined(node) or any(known.tensor and not known.dtype for known in found.values()):
            found, problem = operator_types(values, node, names)
            if problem and not (is_defined(node) and self.problems):  # what follows from another operator's problem is none of its own
                self.problems.append((node, problem))
        for index, name in enumerate(node.makes):
            native = types[index] if types is not None and index < len(types) else None
            if native is not None and values.computable(native) and not contradiction(native, found[name]):
                values.variable(name, native)
            elif not value_problem(found[name]):
                values.declare(name, found[name], names)
            else:
                values.set_missing(name)
        plain = self._is_plain(node)
        late = plain and self._is_late(node)
        control = plain and node.proto.op_type in CONTROL_FLOW and node.proto.domain in DOMAINS
        self._late.update(node.makes if late else ())
        self._sizes.update(node.makes if late and (node.type in ("Shape", "Size") or cause in self._sizes) else ())
        self.units.append(Unit(node.index, node.reads, node.makes, node=node, reason=reason, cause=cause, late=late, control=control))

    def _is_plain(self, node: Node) -> bool:
        """Return whether a node takes and gives tensors of numbers, of known rank."""
        values, border = self.values, [*node.reads, *(name for name in node.makes if name in self._read)]
        if any(values.is_missing(name) or name in values.opaque for name in border):
            return False
        found = [values.variables[name].ty for name in border if name in values.variables]
        return all(known.ndim >= 0 and dtype_of(known) in NATIVE_DTYPES | NARROW_DTYPES for known in found)

    def _is_late(self, node: Node) -> bool:
        """Return whether a node that is left reads something whose size only the data tell."""
        values = self.values
        open_ended = (name for name in node.reads if name in values.variables and values.shape(name) is None)
        return any(name in self._late for name in node.reads) or any(open_ended)

    def _offline(self, node: Node) -> None:
        """Keep an EPContext node: a call of an offline model, its results converted to what the model declares of them."""
        values, model = self.values, ep_context.read_model(node, self.graph)
        device, symbol = Device(model.device_kind), self.symbols.identifier(node.name)
        arguments = [self.expr(name, node.index) for name in node.inputs]
        place = Place(self.graph.title, values.table.names, node.makes[0])
        call = call_offline(model, device, symbol, arguments, len(node.makes), place)
        renamed: dict[Any, Any] = {}
        casts: list[Binding] = []
        for name, output in zip(node.makes, call.outputs, strict=True):
            declared, given = self.graph.type_of(name).dtype, dtype_of(output.ty)
            if not declared or declared == given:
                renamed[output] = values.variable(name, output.ty)
                continue
            if not convertible(given, declared):
                raise SignatureError(
                    f"{model.name} gives {given}, the model declares {declared}", at=f"{self.graph.title}:{name}", code="LB2108"
                )
            wanted = values.variable(name, relax.TensorType(output.ty.shape, declared))
            renamed[output] = values.part(name, output.ty)
            casts.append(Binding(wanted, relax.op.astype(renamed[output], declared)))
        for binding in call.bindings:
            if binding.var not in renamed:
                renamed[binding.var] = values.part(node.name, binding.var.ty)
        bindings = [*Body((), call.bindings, ()).renamed(renamed).bindings, *casts]
        self.units.append(Unit(node.index, node.reads, node.makes, bindings, node, offline=(Offline(symbol, model, device, call.entry),)))


class Functions:
    """TensorIR functions of the program: equal ones once, each with a name of its own."""

    def __init__(self) -> None:
        self._builder = relax.BlockBuilder()

    def adopt(self, converted: Converted) -> tuple[Binding, ...]:
        """Return the bindings of a node with the functions that they call as the program has them."""
        found = {var: self._builder.add_func(function, var.name_hint) for var, function in converted.functions.items()}
        return tuple(Binding(binding.var, _recalled(binding.value, found)) for binding in converted.bindings)

    def used(self, bindings: Iterable[Binding]) -> dict[Any, Any]:
        """Return the functions that ``bindings`` call."""
        called = {b.value.args[0] for b in bindings if isinstance(b.value, relax.Call) and b.value.args}
        return {var: function for var, function in self._builder.get().functions.items() if var in called}


def _recalled(value: Any, functions: dict[Any, Any]) -> Any:
    if isinstance(value, relax.Call) and value.args and value.args[0] in functions:
        return relax.Call(value.op, [functions[value.args[0]], *value.args[1:]], value.attrs, value.ty_args)
    return value


def _sizes_late(graph: OnnxGraph, nodes: Sequence[Node]) -> list[Node]:
    """Return nodes in an order in which arithmetic on shapes stands right before what needs it.

    Exporters put it at the front, where nothing is known of the dimensions yet (`landbridge.frontends.onnx.extents.Facts`).
    """
    sizes: set[int] = set()
    for node in nodes:
        made = [graph.producer[name].index in sizes for name in node.reads if name in graph.producer]
        given = any(name in graph.inputs for name in node.reads)
        if node.type in ("Shape", "Size") or (node.type in FOLLOWED and made and all(made) and not given):
            sizes.add(node.index)
    order: dict[int, Node] = {}

    def place(node: Node) -> None:
        waiting = [node]
        while waiting:
            sources = [graph.producer[name] for name in waiting[-1].reads if name in graph.producer]
            missing = [source for source in sources if source.index in sizes and source.index not in order]
            if missing:
                waiting += missing
            else:
                placed = waiting.pop()
                order[placed.index] = placed

    for node in nodes:
        if node.index not in sizes:
            place(node)
    return [*order.values(), *(node for node in nodes if node.index not in order)]


def _needed(graph: OnnxGraph) -> set[int]:
    """Return the nodes that the outputs depend on."""
    needed: set[int] = set()
    waiting = [graph.producer[name] for name in graph.outputs if name in graph.producer]
    while waiting:
        node = waiting.pop()
        if node.index not in needed:
            needed.add(node.index)
            waiting.extend(graph.producer[name] for name in node.reads if name in graph.producer)
    return needed
