"""A prepared ONNX graph as the front end looks at it: nodes by index, who makes and who uses a value, its type.

The graph has no functions, no ``Constant`` nodes and no sparse weights (`landbridge.frontends.onnx.prepare` sees to that), and the
name of every symbolic dimension is an identifier that some input has.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import onnx

from landbridge.runtime.dtypes import is_dtype
from landbridge.runtime.errors import ModelError, UsageError
from landbridge.runtime.opaque import STRING
from landbridge.runtime.vendors import onnx_model

DOMAINS = ("", "ai.onnx")
"""The spellings of the domain of ONNX's own operators."""

DTYPES: dict[int, str] = {**onnx_model.DTYPES, 8: STRING}
"""The name of each element type of `TensorProto.DataType`; types that came later are unknown here."""

ELEMENT_TYPES: dict[str, int] = {name: number for number, name in DTYPES.items()}
"""The number of each element type."""


NATIVE_DTYPES = frozenset(
    ("bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", "float16", "float32", "float64")
)
"""Element types that native code computes with: what NumPy and LLVM both know."""

NARROW_DTYPES = frozenset(
    (
        *("bfloat16", "float8_e4m3fn", "float8_e4m3fnuz", "float8_e5m2", "float8_e5m2fnuz", "float8_e8m0fnu", "float4_e2m1fn"),
        *("int4", "uint4", "int2", "uint2"),
    )
)
"""Element types that native code reads and writes, and computes with in a wider type (`landbridge.frontends.onnx.operators.narrow`)."""


def is_program_dtype(dtype: str) -> bool:
    """Return whether a program can have tensors of an element type; strings and complex numbers are opaque to it."""
    return is_dtype(dtype) and not dtype.startswith("complex")


@dataclass(frozen=True)
class ValueType:
    """What is known of a value.

    Attributes:
        dtype: "" where unknown.
        shape: None where not even the rank is known; an extent is None where unknown.
        tensor: False for sequences, optionals and maps.
        proto: of these the serialised `TypeProto`.
    """

    dtype: str = ""
    shape: tuple[int | str | None, ...] | None = None
    tensor: bool = True
    proto: bytes = b""

    @property
    def opaque(self) -> str:
        """The dtype (`landbridge.runtime.opaque`) of what is no tensor of numbers of known rank, "" where it is one or is unknown."""
        if not self.tensor:
            return opaque_dtype(onnx.TypeProto.FromString(self.proto)) if self.proto else ""
        if not self.dtype or (is_program_dtype(self.dtype) and self.shape is not None):
            return ""
        return STRING if self.dtype == STRING and self.shape is not None else f"tensor({self.dtype})"

    @property
    def known(self) -> bool:
        """Whether this is a tensor with every extent known or named."""
        return self.tensor and bool(self.dtype) and self.shape is not None and None not in self.shape


@dataclass(frozen=True)
class Node:
    """One operator.

    Attributes:
        index: its place in the graph's order.
        proto: the `NodeProto`.
        inputs: the values it reads, "" where an optional one is left out.
        captured: values that its subgraphs read from this graph.
        outputs: the values it makes, "" where one is not wanted.
    """

    index: int
    proto: Any
    inputs: tuple[str, ...]
    captured: tuple[str, ...]
    outputs: tuple[str, ...]

    @property
    def type(self) -> str:
        """The operator type, with the domain where it is not ONNX's own."""
        domain = self.proto.domain
        return str(self.proto.op_type if domain in DOMAINS else f"{domain}::{self.proto.op_type}")

    @property
    def name(self) -> str:
        """What the user calls it: its name, or that of its first output."""
        return str(self.proto.name) or next((output for output in self.outputs if output), "")

    @property
    def label(self) -> str:
        """Name and type, as reports and messages have it."""
        return f"{self.name} ({self.type})"

    @property
    def reads(self) -> tuple[str, ...]:
        """Every value it needs, each once."""
        return tuple(dict.fromkeys(value for value in (*self.inputs, *self.captured) if value))

    @property
    def makes(self) -> tuple[str, ...]:
        """Every value it makes."""
        return tuple(value for value in self.outputs if value)

    def attribute(self, name: str) -> Any:
        """Return the `AttributeProto` called ``name``, or None."""
        return next((attribute for attribute in self.proto.attribute if attribute.name == name), None)


@dataclass(frozen=True)
class OnnxGraph:
    """A prepared model.

    Attributes:
        model: the `ModelProto`; not to be changed.
        title: what messages call the model.
        dims: the names of the symbolic dimensions, in the order in which inputs have them.
    """

    model: Any
    title: str
    dims: tuple[str, ...] = ()
    _types: dict[str, ValueType] = field(default_factory=dict)

    @cached_property
    def nodes(self) -> tuple[Node, ...]:
        """The operators in order."""
        return tuple(
            Node(index, proto, tuple(proto.input), captured_by(proto), tuple(proto.output))
            for index, proto in enumerate(self.model.graph.node)
        )

    @cached_property
    def initializers(self) -> dict[str, Any]:
        """The constants, as `TensorProto`, by name."""
        return {tensor.name: tensor for tensor in self.model.graph.initializer}

    @cached_property
    def inputs(self) -> tuple[str, ...]:
        """The names of the inputs."""
        return tuple(value.name for value in self.model.graph.input)

    @cached_property
    def outputs(self) -> tuple[str, ...]:
        """The names of the outputs."""
        return tuple(value.name for value in self.model.graph.output)

    @cached_property
    def producer(self) -> dict[str, Node]:
        """The node that makes each value."""
        return {value: node for node in self.nodes for value in node.makes}

    @cached_property
    def users(self) -> dict[str, list[Node]]:
        """The nodes that read each value, in order."""
        found: dict[str, list[Node]] = {}
        for node in self.nodes:
            for value in node.reads:
                found.setdefault(value, []).append(node)
        return found

    @cached_property
    def opset(self) -> int:
        """The version of ONNX's own operators."""
        return max((int(entry.version) for entry in self.model.opset_import if entry.domain in DOMAINS), default=1)

    @cached_property
    def types(self) -> dict[str, ValueType]:
        """What shape inference found of each value; an unlisted value is unknown."""
        return {**declared_types(self.model.graph, self.dims), **self._types}

    def type_of(self, value: str) -> ValueType:
        """Return what is known of ``value``."""
        return self.types.get(value, ValueType())

    def require(self, names: Iterable[str], what: str, known: Sequence[str] | None = None) -> None:
        """Check that every name is one of a value in this graph.

        Raises:
            ModelError: one is not; the hint has the closest that is.
        """
        values = known if known is not None else (*self.inputs, *self.producer, *self.initializers)
        for name in names:
            if name not in values:
                raise unknown_name(name, what, values, self.title)


@dataclass(frozen=True)
class Between:
    """The nodes between some values: by index, and every value that they read."""

    members: frozenset[int]
    reads: frozenset[str]


def between(graph: OnnxGraph, inputs: Sequence[str], outputs: Sequence[str]) -> Between:
    """Return the nodes on which ``outputs`` depend, as far as ``inputs`` do not already give what they need."""
    members: set[int] = set()
    reads: set[str] = set()
    waiting = list(outputs)
    while waiting:
        name = waiting.pop()
        if name in inputs or name not in graph.producer or graph.producer[name].index in members:
            continue
        node = graph.producer[name]
        members.add(node.index)
        reads.update(node.reads)
        waiting.extend(node.reads)
    return Between(frozenset(members), frozenset(reads))


def check_names(inputs: Sequence[str], outputs: Sequence[str]) -> None:
    """Check that the values at a region's border are given as sequences of names.

    Raises:
        UsageError: one of them is a single name, whose letters would be taken for names.
    """
    for kind, names in (("inputs", inputs), ("outputs", outputs)):
        if isinstance(names, str):
            raise UsageError(f"{kind}: expected a list of names, found '{names}'", hint=f'{kind}=["{names}"]', code="LB1110")


def unknown_name(name: str, what: str, known: Iterable[str], title: str) -> ModelError:
    """Return the error that says that nothing is called ``name``, with the closest known name as its hint."""
    names = list(known)
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    hint = f"did you mean '{close[0]}'?" if close else f"there are: {', '.join(sorted(names)[:8]) or 'none'}"
    return ModelError(f"no {what} is called '{name}'", at=title, hint=hint, code="LB2005")


def captured_by(proto: Any) -> tuple[str, ...]:
    """Return the values of the outer graph that the subgraphs of a node read, in order."""
    found: dict[str, None] = {}
    for attribute in proto.attribute:
        for graph in (*([attribute.g] if attribute.HasField("g") else []), *attribute.graphs):
            found.update(dict.fromkeys(free_values(graph)))
    return tuple(found)


def free_values(graph: Any) -> list[str]:
    """Return the values that a subgraph (`GraphProto`) reads and does not make."""
    bound = {value.name for value in graph.input} | {tensor.name for tensor in graph.initializer}
    bound |= {sparse.values.name for sparse in graph.sparse_initializer}
    free: list[str] = []
    for node in graph.node:
        free.extend(value for value in (*node.input, *captured_by(node)) if value and value not in bound)
        bound.update(node.output)
    free.extend(value.name for value in graph.output if value.name not in bound)
    return free


def declared_types(graph: Any, dims: Sequence[str] | Mapping[str, Any] = ()) -> dict[str, ValueType]:
    """Return what a `GraphProto` says of its values; symbolic extents that are not in ``dims`` are unknown."""
    constants = {tensor.name: ValueType(DTYPES.get(tensor.data_type, ""), tuple(tensor.dims)) for tensor in graph.initializer}
    return {**constants, **{info.name: value_type(info.type, dims) for info in (*graph.value_info, *graph.output, *graph.input)}}


def value_type(proto: Any, dims: Sequence[str] | Mapping[str, Any] = ()) -> ValueType:
    """Return what a `TypeProto` says; symbolic extents that are not in ``dims`` are unknown."""
    if not proto.HasField("tensor_type"):
        other = any(proto.HasField(kind) for kind in ("sequence_type", "optional_type", "map_type", "sparse_tensor_type"))
        return ValueType(tensor=False, proto=proto.SerializeToString(deterministic=True)) if other else ValueType()
    tensor = proto.tensor_type
    dtype = DTYPES.get(tensor.elem_type, "")
    if not tensor.HasField("shape"):
        return ValueType(dtype)
    return ValueType(dtype, tuple(_extent(dim, dims) for dim in tensor.shape.dim))


def opaque_dtype(proto: Any) -> str:
    """Return the dtype (`landbridge.runtime.opaque`) of a value of a type, or "" where it cannot have one."""
    kind = proto.WhichOneof("value")
    if kind == "tensor_type":
        name = DTYPES.get(proto.tensor_type.elem_type, "")
        return f"tensor({name})" if name else ""
    if kind == "map_type":
        key, inner = DTYPES.get(proto.map_type.key_type, ""), opaque_dtype(proto.map_type.value_type)
        return f"map({key},{inner})" if key and inner else ""
    if kind not in ("sequence_type", "optional_type"):
        return ""
    inner = opaque_dtype(getattr(proto, kind).elem_type)
    return f"{kind.removesuffix('_type')}({inner})" if inner else ""


def _extent(dim: Any, dims: Sequence[str] | Mapping[str, Any]) -> int | str | None:
    if dim.HasField("dim_value"):
        return int(dim.dim_value) if dim.dim_value >= 0 else None
    return str(dim.dim_param) if dim.dim_param in dims else None
