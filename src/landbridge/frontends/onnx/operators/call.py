"""One ONNX node as a rule of ours sees it, and how a rule says no."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import tvm
from onnx import helper
from tvm import relax

from landbridge.frontends.onnx.graph import Node, ValueType
from landbridge.ir.body import is_constant
from landbridge.ir.sizes import dtype_of

Array = np.ndarray[Any, Any]


class Declined(Exception):  # it is not an error: it is why a node goes to the fallback
    """A node that cannot be native.

    Attributes:
        reason: why.
        types: the Relax types of its outputs, where the importer found them.
    """

    def __init__(self, reason: str, types: Sequence[Any] | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.types = types


_INJECTIVE = 2
"""What TVM's fusion calls a step of which each element of the result comes from one place of what it reads, or a few."""

LATE = "its output's shape is known only when it runs"
"""The reason of a node whose output's extents follow from the data, where the model declares none."""


@dataclass(frozen=True)
class Result:
    """What the model says of an output.

    Attributes:
        dtype: its element type, "" where unknown.
        type: its Relax type, where every extent is known or follows from the inputs' shapes; else None.
    """

    dtype: str
    type: Any

    @staticmethod
    def of(found: ValueType, relax_type: Callable[[ValueType], Any]) -> Result:
        """Return what is known of an output."""
        return Result(found.dtype, relax_type(found) if found.known and not found.opaque else None)


@dataclass(frozen=True, eq=False)
class Trimmed:
    """An output that is as large as the data say: the front of a tensor.

    Attributes:
        tensor: as large as the output can be.
        extents: a tensor of the output's extents, int64.
    """

    tensor: Any
    extents: Any


@dataclass(frozen=True)
class Call:
    """A node, its arguments, and the function that is being built.

    Attributes:
        node: the node.
        opset: the version of ONNX's operators.
        arguments: for each input a variable, a constant, a shape or an extent, or None where it is left out.
        results: what the model says of each output, in the node's order.
        builder: of the function.
        refused: why TVM's importer is not to be asked for this node, or "".
        importer: asks TVM's importer for a `NodeProto` and its arguments; returns its first output.
    """

    node: Node
    opset: int
    arguments: tuple[Any, ...]
    results: tuple[Result, ...]
    builder: Any
    refused: str
    importer: Callable[[Any, Sequence[Any]], Any]

    # ---- inputs --------------------------------------------------------------------------------------------------------------

    def has(self, index: int) -> bool:
        """Return whether an input is there."""
        return index < len(self.arguments) and self.arguments[index] is not None

    def tensor(self, index: int) -> Any:
        """Return an input as a tensor."""
        argument = self.arguments[index]
        if isinstance(argument, relax.Var) or is_constant(argument):
            return argument
        raise Declined(f"its input {index} is a shape")

    def constant(self, index: int) -> Array | None:
        """Return the elements of an input, or None where it is no constant."""
        return self.arguments[index].value.numpy() if self.has(index) and is_constant(self.arguments[index]) else None

    def integers(self, index: int) -> list[Any] | None:
        """Return the elements of a small integer input, numbers or symbolic extents; None where only the data will tell them."""
        argument = self.arguments[index]
        if isinstance(argument, relax.ShapeExpr):
            return [int(extent) if isinstance(extent, tvm.tirx.IntImm) else extent for extent in argument.values]
        if tvm.ir.is_prim_expr(argument):
            return [argument]
        array = self.constant(index)
        return None if array is None else [int(value) for value in array.reshape(-1)]

    def dtype(self, index: int) -> str:
        """Return the element type of an input."""
        return dtype_of(self.tensor(index).ty)

    def shape(self, index: int) -> list[Any]:
        """Return the extents of an input: ``int`` where they are known, else expressions."""
        return extents_of(self.tensor(index))

    def axis(self, name: str, default: int, rank: int) -> int:
        """Return an attribute that counts axes, from the front."""
        found = self.number(name, default)
        if not -rank <= found < max(rank, 1):
            raise Declined(f"{name} {found} of a tensor of {rank} dimensions")
        return found % rank if rank else 0

    # ---- attributes ----------------------------------------------------------------------------------------------------------

    def number(self, name: str, default: int) -> int:
        """Return an integer attribute."""
        attribute = self.node.attribute(name)
        return default if attribute is None else int(attribute.i)

    def real(self, name: str, default: float) -> float:
        """Return a floating attribute."""
        attribute = self.node.attribute(name)
        return default if attribute is None else float(attribute.f)

    def text(self, name: str, default: str) -> str:
        """Return a string attribute."""
        attribute = self.node.attribute(name)
        return default if attribute is None else str(attribute.s.decode("utf-8", "replace"))

    def numbers(self, name: str) -> list[int] | None:
        """Return an attribute of integers, or None where it is left out."""
        attribute = self.node.attribute(name)
        return None if attribute is None else [int(value) for value in attribute.ints]

    def reals(self, name: str) -> list[float] | None:
        """Return an attribute of floating numbers, or None where it is left out."""
        attribute = self.node.attribute(name)
        return None if attribute is None else [float(value) for value in attribute.floats]

    def texts(self, name: str) -> list[str] | None:
        """Return an attribute of strings, or None where it is left out."""
        attribute = self.node.attribute(name)
        return None if attribute is None else [text.decode("utf-8", "replace") for text in attribute.strings]

    # ---- outputs -------------------------------------------------------------------------------------------------------------

    def wants(self, index: int) -> bool:
        """Return whether an output is wanted."""
        return index < len(self.node.outputs) and bool(self.node.outputs[index])

    def declared(self, index: int = 0) -> list[Any]:
        """Return the extents that the model declares of an output.

        Raises:
            Declined: it does not, or not all of them.
        """
        if index >= len(self.results) or self.results[index].type is None:
            raise Declined(LATE)
        return [as_int(extent) for extent in self.results[index].type.shape.values]

    def emit(self, expr: Any) -> Any:
        """Bind an expression, and return its variable."""
        return self.builder.emit(expr)

    def compute(self, function: Callable[..., Any], *arguments: Any, name: str = "", fuses: bool = False) -> Any:
        """Bind a call of a kernel that a function of TE tensors describes; return its result.

        Args:
            fuses: it is an element-wise step, whatever TVM thinks of it: it may become one kernel with such steps before and after it.
        """
        attributes = {"op_pattern": _INJECTIVE} if fuses else None
        return self.builder.emit_te(
            function, *arguments, primfunc_name_hint=name or function.__name__.strip("_"), primfunc_attrs=attributes
        )

    def delegate(self, operator: str, arguments: Sequence[Any], *, without: Sequence[str] = ()) -> Any:
        """Return what TVM's importer makes of another operator with this node's attributes.

        Args:
            without: attributes that the other operator does not have.
        """
        names = [f"argument_{index}" for index in range(len(arguments))]
        proto = helper.make_node(operator, names, ["result"])
        proto.attribute.extend(attribute for attribute in self.node.proto.attribute if attribute.name not in without)
        return self.importer(proto, arguments)


Rule = Callable[[Call], Any]
"""Returns the output of a node, or a sequence of its outputs, None for those that are not wanted; `NotImplemented` where TVM's importer
is to be asked. Raises `Declined`."""


def as_int(extent: Any) -> Any:
    """Return an extent as an ``int`` where it is known."""
    return int(extent) if isinstance(extent, int | tvm.tirx.IntImm) else extent


def extents_of(tensor: Any) -> list[Any]:
    """Return the extents of a Relax tensor: ``int`` where they are known."""
    return [as_int(extent) for extent in tensor.ty.shape.values]


def product(extents: Sequence[Any]) -> Any:
    """Return the product of extents."""
    result: Any = 1
    for extent in extents:
        result = extent if isinstance(result, int) and result == 1 else result * extent
    return result


def constant(array: Any, dtype: str | None = None) -> Any:
    """Return an array as a Relax constant of its own dtype, or of another."""
    found = np.asarray(array, dtype=dtype)
    return relax.const(tvm.runtime.tensor(np.ascontiguousarray(found).reshape(found.shape)))
