"""Read a placed program as values and nodes, with every tuple taken apart and every rebinding resolved.

The steps after this one think in tensors: a `Value` is one tensor on one device, a `Node` computes some from others. What a
node computes stays the Relax expression it was.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import tvm
from tvm import relax, tirx

from landbridge.ir import body as ir_body
from landbridge.ir.devices import device_of
from landbridge.ir.program import OPAQUE_TYPES, OUTPUTS, Program, attribute, extern_device, user_name
from landbridge.ir.sizes import OPAQUE, dims_in, dtype_of, shape_of
from landbridge.runtime import dims
from landbridge.runtime.dims import Size
from landbridge.runtime.errors import PassError, UnsupportedError
from landbridge.runtime.opaque import is_opaque
from landbridge.runtime.plan import LATE

Kind = Literal["host", "view", "copy", "extern"]

_RESHAPES = ("relax.reshape", "relax.flatten", "relax.squeeze", "relax.expand_dims")
"""Operators that never change the bytes of their argument."""


@dataclass(frozen=True, eq=False)
class Value:
    """One tensor.

    Attributes:
        name: the user's name.
        device: where it lives, as in a plan.
        dtype: element type, or that of a value that is no tensor of numbers (`landbridge.runtime.opaque`).
        shape: sizes over the named dimensions of the inputs, `LATE` where only the data will tell.
        constant: its elements, where they are known.
    """

    name: str
    device: str
    dtype: str
    shape: tuple[Size, ...]
    constant: np.ndarray[Any, Any] | None = None

    @property
    def late(self) -> bool:
        """Whether its shape depends on the data, or it is no tensor of numbers."""
        return LATE in self.shape or is_opaque(self.dtype)


@dataclass(frozen=True, eq=False)
class Node:
    """A computation.

    Attributes:
        kind: "view" shows the bytes of its input in another shape; the others are the program's operators.
        name: the user's name of its first output.
        inputs: indices of values; a host operator's constants are not among them.
        outputs: indices of values.
        expr: the Relax call of a host operator; of a view the type of its result.
        symbol: the offline model that an extern calls.
    """

    kind: Kind
    name: str
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    expr: Any = None
    symbol: str = ""


@dataclass(frozen=True, eq=False)
class Graph:
    """A program, read.

    Attributes:
        dims: the named dimensions, each the whole extent of an axis of an input.
        values: all tensors; everything else refers to them by index.
        nodes: in the order of the program.
        inputs: the user's name and the value of each.
        outputs: the user's name and the value of each.
        values_of: for each variable of the program its values: one, or those of its tuple in order.
        variables: the program's own variable of each named dimension.
        functions: TensorIR functions that host operators call, by their variable.
    """

    dims: tuple[str, ...]
    values: tuple[Value, ...]
    nodes: tuple[Node, ...]
    inputs: tuple[tuple[str, int], ...]
    outputs: tuple[tuple[str, int], ...]
    values_of: dict[Any, tuple[int, ...]]
    variables: dict[str, Any]
    functions: dict[Any, Any]


def read_graph(program: Program) -> Graph:
    """Return the graph of a placed program.

    Raises:
        UnsupportedError: an extent of an input is neither a number nor a name.
        PassError: the program is not placed.
    """
    return _Reader(program).read()


class _Reader:
    def __init__(self, program: Program) -> None:
        self.module = program.module
        self.body = ir_body.Body.of(program.module)
        self.dims = _dims_of(self.module, self.body.params)
        self.opaque: dict[str, str] = attribute(self.module, OPAQUE_TYPES, {})
        self.values: list[Value] = []
        self.nodes: list[Node] = []
        self.values_of: dict[Any, tuple[int, ...]] = {}
        self.parts: dict[Any, dict[int, str]] = {}
        for binding in self.body.bindings:
            if isinstance(binding.value, relax.TupleGetItem):
                parts = self.parts.setdefault(binding.value.tuple_value, {})
                parts.setdefault(int(binding.value.index), user_name(self.module, binding.var))

    def read(self) -> Graph:
        for param in self.body.params:
            self.values_of[param] = (self.add(user_name(self.module, param), param.ty),)
        for binding in self.body.bindings:
            self.read_binding(binding.var, binding.value)
        names = [str(name) for name, _ in attribute(self.module, OUTPUTS, [])]
        names = names or [user_name(self.module, output) if isinstance(output, relax.Var) else "constant" for output in self.body.outputs]
        outputs = tuple((name, self.leaf(output)) for name, output in zip(names, self.body.outputs, strict=True))
        inputs = tuple((self.values[index].name, index) for param in self.body.params for index in self.values_of[param])
        variables = dims_in([param.ty for param in self.body.params])
        functions = {g: f.without_attr("global_symbol") for g, f in self.module.functions.items() if isinstance(f, tirx.PrimFunc)}
        return Graph(self.dims, tuple(self.values), tuple(self.nodes), inputs, outputs, self.values_of, variables, functions)

    def add(self, name: str, tensor_type: Any, constant: np.ndarray[Any, Any] | None = None) -> int:
        device = device_of(tensor_type)
        if device is None and constant is None:
            raise PassError("the value has no device: the program is not placed", at=name)
        shape = shape_of(tensor_type)
        sizes: tuple[Size, ...] = (LATE,) * max(tensor_type.ndim, 1) if shape is None else shape
        known = tuple(size if set(dims.names(size)) <= set(self.dims) else LATE for size in sizes)
        self.values.append(Value(name, "cpu" if device is None else str(device), self.dtype(name, tensor_type), known, constant))
        return len(self.values) - 1

    def dtype(self, name: str, tensor_type: Any) -> str:
        found = dtype_of(tensor_type)
        if found != OPAQUE:
            return found
        if name not in self.opaque:
            raise PassError("the value has no element type", at=name)
        return str(self.opaque[name])

    def leaves(self, expr: Any) -> tuple[int, ...]:
        """Return the values of an operand."""
        if ir_body.is_constant(expr):
            return (self.add("constant", expr.ty, expr.value.numpy()),)
        if isinstance(expr, relax.Tuple):
            return tuple(index for field in expr.fields for index in self.leaves(field))
        return self.values_of[expr]

    def leaf(self, expr: Any) -> int:
        """Return the value of an operand that is one tensor."""
        (index,) = self.leaves(expr)
        return index

    def read_binding(self, var: Any, value: Any) -> None:
        if isinstance(value, relax.TupleGetItem):
            self.values_of[var] = (self.leaves(value.tuple_value)[value.index],)
        elif isinstance(value, relax.Tuple | relax.Var) or ir_body.is_constant(value):
            self.values_of[var] = self.leaves(value)
        elif ir_body.is_copy(value):
            self.read_copy(var, value)
        elif ir_body.is_extern(value):
            self.read_extern(var, value)
        else:
            self.read_host(var, value)

    def read_copy(self, var: Any, value: Any) -> None:
        source = self.leaf(value.args[0])
        if self.values[source].device == str(device_of(var.ty)):
            self.values_of[var] = (source,)
            return
        self.define("copy", var, (source,))

    def read_extern(self, var: Any, value: Any) -> None:
        symbol = ir_body.extern_symbol(value)
        inputs = tuple(index for operand in ir_body.operands(value) for index in self.leaves(operand))
        device = str(extern_device(self.module, symbol))
        for index in inputs:
            if self.values[index].constant is not None and device == "cpu":
                continue
            if self.values[index].device != device:
                found = self.values[index]
                raise PassError(f"'{found.name}' is on {found.device}, expected {device}", at=user_name(self.module, var))
        self.define("extern", var, inputs, symbol=symbol)

    def read_host(self, var: Any, value: Any) -> None:
        operands = [operand for operand in ir_body.operands(value) if not ir_body.is_constant(operand)]
        inputs = tuple(index for operand in operands for index in self.leaves(operand))
        if not _is_view(value):
            self.define("host", var, inputs, expr=value)
            return
        source = self.leaf(value.args[0])
        known = self.values[source].constant
        shape = shape_of(var.ty)
        if known is not None and shape is not None and all(isinstance(size, int) for size in shape):
            self.values_of[var] = (self.add(user_name(self.module, var), var.ty, known.reshape(shape)),)
        elif self.values[source].shape == shape:
            self.values_of[var] = (source,)
        else:
            self.define("view", var, (source,), expr=var.ty)

    def define(self, kind: Kind, var: Any, inputs: tuple[int, ...], *, expr: Any = None, symbol: str = "") -> None:
        name = user_name(self.module, var)
        types = var.ty.fields if isinstance(var.ty, tvm.ir.TupleType) else [var.ty]
        parts = {0: name} if len(types) == 1 else self.parts.get(var, {})
        outputs = tuple(self.add(parts.get(i, f"{name}.{i}"), t) for i, t in enumerate(types))
        self.values_of[var] = outputs
        self.nodes.append(Node(kind, name, inputs, outputs, expr, symbol))


def _dims_of(module: tvm.IRModule, params: Sequence[Any]) -> tuple[str, ...]:
    found: dict[str, None] = {}
    for param in params:
        shape = shape_of(param.ty)
        if shape is None:
            raise UnsupportedError(
                "an input of unknown shape", at=f"input '{user_name(module, param)}'", hint="name its dimensions", code="LB2312"
            )
        for size in shape:
            if not isinstance(size, int | str):
                text = f"extent {dims.render(size)}, expected a number or a name"
                raise UnsupportedError(text, at=f"input '{user_name(module, param)}'", code="LB2312")
            found.update(dict.fromkeys(dims.names(size)))
    return tuple(found)


def _is_view(value: Any) -> bool:
    """Return whether the operator's result has the bytes of its argument."""
    operator = getattr(value.op, "name", "")
    if operator in _RESHAPES:
        return True
    if operator == "relax.astype":
        return bool(value.args[0].ty.dtype == value.attrs.dtype)
    return operator == "relax.permute_dims" and _keeps_order(shape_of(value.args[0].ty), value.attrs.axes)


def _keeps_order(shape: tuple[Size, ...] | None, axes: Sequence[Any] | None) -> bool:
    """Return whether a transposition moves axes of extent 1 only."""
    if shape is None:
        return False
    order = [int(axis) % len(shape) for axis in axes] if axes is not None else list(reversed(range(len(shape))))
    moved = [axis for axis in order if shape[axis] != 1]
    return moved == sorted(moved)
