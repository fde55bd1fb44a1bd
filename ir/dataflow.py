"""A program as a graph, for the passes and reports that are graph problems.

A node is a `Value` or an `Operation`; an edge leads from a value to each operation that reads it and from an operation to each
value it makes. Parts of tuples are values of their own, made by the operation that makes the tuple.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import networkx as nx
import tvm
from tvm import relax

from landbridge.ir.body import Binding, Body, extern_symbol, is_cast, is_copy, is_extern, operands, operator_name
from landbridge.ir.devices import device_of
from landbridge.ir.location import CONSTANT, value_name
from landbridge.ir.program import ModuleInfo, Program
from landbridge.ir.sizes import dtype_of, nbytes_of, shape_of
from landbridge.runtime.device import CPU, Device
from landbridge.runtime.dims import Size, render, render_shape

Origin = Literal["input", "constant", "result"]
Kind = Literal["operator", "copy", "cast", "offline model"]


@dataclass(frozen=True)
class Value:
    """A tensor of the program.

    Attributes:
        key: the variable's identifier; ``%0`` … for constants, in the order of their first use; unique in the program.
        name: what the user calls it.
        device: where it lives, None where its type does not say; constants live on the CPU.
        dtype: element type.
        shape: sizes over named dimensions, None where only the data will tell.
        nbytes: bytes; 0 where only the data will tell.
        origin: "input", "constant" or "result".
    """

    key: str
    name: str
    device: Device | None
    dtype: str
    shape: tuple[Any, ...] | None
    nbytes: Size
    origin: Origin

    def __hash__(self) -> int:
        return hash(self.key)  # sizes are lists

    def __str__(self) -> str:
        shape = "" if self.shape is None else f" {render_shape(self.shape)}"
        return f"{self.name}: {self.dtype}{shape} on {self.device}"


@dataclass(frozen=True)
class Operation:
    """An operator, a copy, a cast, or the call of an offline model.

    Attributes:
        index: its place in the program.
        name: what the user calls it: an offline model's name, else the name of its result.
        operator: such as "nn.relu"; the symbol of an offline model.
        kind: what it is.
        device: where it runs; a copy where it leads to, None where the type of its result does not say.
    """

    index: int
    name: str
    operator: str
    kind: Kind
    device: Device | None


@dataclass(frozen=True)
class Move:
    """A value that crosses a link.

    Attributes:
        value: what crosses, as it is before.
        source: the device it leaves.
        destination: the device it arrives at.
        producer: the user's name of what made the value in the first place; "input" or "constant".
        consumers: the user's names of what reads it there or further on, "output" for an output, each once.
    """

    value: Value
    source: Device
    destination: Device
    producer: str
    consumers: tuple[str, ...]

    @property
    def nbytes(self) -> Size:
        """The bytes that cross in a run."""
        return self.value.nbytes

    def __str__(self) -> str:
        route = f"{self.source} -> {self.destination}"
        return f"{self.value.name} {route}, {render(self.nbytes)} bytes, from {self.producer} to {', '.join(self.consumers)}"


class Dataflow:
    """The graph of a program, and what is asked of it most.

    Attributes:
        graph: the networkx graph; an edge into an operation has the attribute ``positions``, which operands the value is.
        outputs: the values that the program returns, in order.
    """

    def __init__(self, program: Program | tvm.IRModule) -> None:
        """Read ``program``; time and memory are linear in its size."""
        module = program.module if isinstance(program, Program) else program
        self._info = ModuleInfo.of(module)
        body = Body.of(module)
        self.graph = nx.DiGraph()
        self._by_key: dict[str, Value] = {}
        self._trees: dict[Any, Any] = {}
        self._constants = 0
        self._part_names: dict[tuple[Any, int], Any] = {}
        for binding in body.bindings:
            if isinstance(binding.value, relax.TupleGetItem):
                self._part_names.setdefault((binding.value.tuple_value, binding.value.index), binding.var)
        for param in body.params:
            self._trees[param] = self._make(param, param.ty, "input")
        for index, binding in enumerate(body.bindings):
            self._read(index, binding)
        self.outputs: tuple[Value, ...] = tuple(leaf for output in body.outputs for leaf in _leaves(self._tree(output)))

    def __getitem__(self, key: str) -> Value:
        """Return the value whose variable is called ``key``."""
        return self._by_key[key]

    @cached_property
    def values(self) -> tuple[Value, ...]:
        """Every value, in the order of the program."""
        return tuple(self._by_key.values())

    @cached_property
    def operations(self) -> tuple[Operation, ...]:
        """Every operation, in the order of the program."""
        return tuple(node for node in self.graph if isinstance(node, Operation))

    def producer(self, value: Value) -> Operation | None:
        """Return what makes ``value``, or None for an input or a constant."""
        return next(iter(self.graph.predecessors(value)), None)

    def consumers(self, value: Value) -> tuple[Operation, ...]:
        """Return what reads ``value``, in the order of the program."""
        return tuple(sorted(self.graph.successors(value), key=lambda operation: operation.index))

    def source(self, value: Value) -> Value:
        """Return the value that ``value`` is a copy of, over any number of copies; ``value`` itself where it is none."""
        while (operation := self.producer(value)) is not None and operation.kind == "copy":
            value = next(iter(self.graph.predecessors(operation)))
        return value

    def crossings(self) -> tuple[Move, ...]:
        """Return every copy of the program as what moves, where, and for whom."""
        return tuple(self._move(operation) for operation in self.operations if operation.kind == "copy")

    def _move(self, operation: Operation) -> Move:
        before, after = next(iter(self.graph.predecessors(operation))), next(iter(self.graph.successors(operation)))
        made_by = self.producer(self.source(before))
        producer = made_by.name if made_by is not None else self.source(before).origin
        consumers = tuple(dict.fromkeys(self._readers(after)))
        return Move(before, before.device or CPU, after.device or CPU, producer, consumers)

    def _readers(self, value: Value) -> Iterator[str]:
        """Yield who reads ``value``, here or after further copies."""
        waiting = [value]
        while waiting:
            here = waiting.pop()
            copies = [operation for operation in self.consumers(here) if operation.kind == "copy"]
            yield from (operation.name for operation in self.consumers(here) if operation.kind != "copy")
            yield from ("output" for output in self.outputs if output == here)
            waiting += [next(iter(self.graph.successors(copy))) for copy in reversed(copies)]

    def _read(self, index: int, binding: Binding) -> None:
        if not isinstance(binding.value, relax.Call):
            self._trees[binding.var] = self._tree(binding.value)  # another name of what is there
            return
        call = binding.value
        operation = Operation(index, self._operation_name(binding), _operator(call), _kind(call), device_of(binding.var))
        self.graph.add_node(operation)
        sources = [value for operand in operands(call) for value in _leaves(self._tree(operand))]
        for position, source in enumerate(sources):
            if self.graph.has_edge(source, operation):
                self.graph.edges[source, operation]["positions"] += (position,)
            else:
                self.graph.add_edge(source, operation, positions=(position,))
        self._trees[binding.var] = self._make(binding.var, binding.var.ty, "result")
        for made in _leaves(self._trees[binding.var]):
            self.graph.add_edge(operation, made)

    def _tree(self, expr: Any) -> Any:
        """Return the value of an expression, or a tuple of values (or of tuples)."""
        if isinstance(expr, relax.Tuple):
            return tuple(self._tree(field) for field in expr.fields)
        if isinstance(expr, relax.TupleGetItem):
            return self._tree(expr.tuple_value)[expr.index]
        if expr not in self._trees:
            self._trees[expr] = self._add(expr.ty, f"%{self._constants}", CONSTANT, "constant")
            self._constants += 1
        return self._trees[expr]

    def _make(self, variable: Any, of_type: Any, origin: Origin) -> Any:
        """Add the value of a variable; for a tuple the values of its parts, called as the program calls them."""
        if not isinstance(of_type, tvm.ir.TupleType):
            return self._add(of_type, str(variable.name), value_name(self._info, variable), origin)
        tree = []
        for index, field in enumerate(of_type.fields):
            part = self._part_names.get((variable, index))
            if part is not None:
                tree.append(self._make(part, field, origin))
            else:
                tree.append(self._add(field, f"{variable.name}.{index}", f"{value_name(self._info, variable)}[{index}]", origin))
        return tuple(tree)

    def _add(self, of_type: Any, key: str, name: str, origin: Origin) -> Value:
        device = CPU if origin == "constant" else device_of(of_type)
        value = Value(key, name, device, dtype_of(of_type), shape_of(of_type), nbytes_of(of_type), origin)
        self._by_key[key] = value
        self.graph.add_node(value)
        return value

    def _operation_name(self, binding: Binding) -> str:
        if is_extern(binding.value) and (entry := self._info.externs.get(extern_symbol(binding.value))) is not None:
            return entry.name
        return value_name(self._info, binding.var)


def _leaves(tree: Any) -> list[Value]:
    return [leaf for branch in tree for leaf in _leaves(branch)] if isinstance(tree, tuple) else [tree]


def _operator(call: Any) -> str:
    return extern_symbol(call) if is_extern(call) else operator_name(call)


def _kind(call: Any) -> Kind:
    if is_extern(call):
        return "offline model"
    if is_copy(call):
        return "copy"
    return "cast" if is_cast(call) else "operator"
