"""What each ONNX value is while a model is imported: a variable, a constant, or the extents of a shape."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import ml_dtypes
import numpy as np
import onnx
from onnx import numpy_helper
from onnx.reference import ReferenceEvaluator
from tvm import relax, tirx

from landbridge.codegen.pack_integers import BYTES
from landbridge.frontends.names import NameTable
from landbridge.frontends.onnx.extents import Facts
from landbridge.frontends.onnx.extract import extract
from landbridge.frontends.onnx.graph import DOMAINS, NARROW_DTYPES, NATIVE_DTYPES, Node, OnnxGraph, ValueType
from landbridge.frontends.onnx.known import RANDOM
from landbridge.frontends.onnx.operators.narrow import widened
from landbridge.frontends.onnx.shapes import MAX_ELEMENTS, Extents, constant_of, elements, evaluate, is_static, shape_extents
from landbridge.ir.body import Binding, infer_type, is_constant
from landbridge.ir.sizes import dims_in, dtype_of, shape_of
from landbridge.runtime.opaque import STRING

_NO_NUMBERS = "void"
"""The element type that Relax has for values that are no tensors of numbers."""

_FOLDED = NATIVE_DTYPES | {"bfloat16"}
"""The element types on which operators are worked out at once."""

MAX_FOLDED = 65536
"""The most elements that an operator on constants may read for its result to be worked out at once."""


@dataclass(frozen=True)
class Symbolic:
    """A small integer tensor of extents, known but for the symbolic dimensions."""

    extents: Extents
    dtype: str = "int64"


class Values:
    """The values of one graph, by the user's names.

    Attributes:
        dims: the variable of each symbolic dimension.
        table: hands out identifiers.
        variables: what is a tensor of the program.
        alias: for a value that is the same as another, that other.
        opaque: the types of variables that are no tensors of numbers.
        facts: what the operators so far say of the dimensions.
    """

    def __init__(self, graph: OnnxGraph) -> None:
        self.graph = graph
        self.table = NameTable()
        self.dims = {name: tirx.Var(self.table.identifier(name), "int64") for name in graph.dims}
        self.variables: dict[str, Any] = {}
        self.alias: dict[str, str] = {}
        self.opaque: dict[str, ValueType] = {}
        self.facts = Facts()
        self._constants: dict[str, Any] = dict(graph.initializers)
        self._exprs: dict[str, Any] = {}
        self._name_of: dict[Any, str] = {}
        self._symbolic: dict[str, Symbolic] = {}
        self._missing: set[str] = set()

    def variable(self, name: str, relax_type: Any) -> Any:
        """Return a new variable for the value ``name``."""
        self.variables[name] = relax.Var(self.table.identifier(name), relax_type)
        self._name_of[self.variables[name]] = name
        return self.variables[name]

    def part(self, name: str, relax_type: Any) -> Any:
        """Return a new variable for a value on the way to ``name``."""
        return relax.Var(self.table.identifier(name), relax_type)

    def canonical(self, name: str) -> str:
        """Return the value that ``name`` is another name of, or ``name``."""
        return self.alias.get(name, name)

    def set_alias(self, name: str, variable: Any) -> None:
        """Make ``name`` another name of the value of ``variable``."""
        self.alias[name] = self._name_of[variable]
        self.variables[name] = variable

    def is_constant(self, name: str) -> bool:
        """Return whether the value is known."""
        return name in self._constants

    def is_symbolic(self, name: str) -> bool:
        """Return whether the value is a shape and no tensor of the program."""
        return name in self._symbolic

    def is_missing(self, name: str) -> bool:
        """Return whether the value is none that a program can have: a sparse tensor, or one of unknown type."""
        return name in self._missing

    def set_missing(self, name: str) -> None:
        """Note that the value cannot be one of the program."""
        self._missing.add(name)

    def declare(self, name: str, found: ValueType, names: DimNames | None = None) -> Any:
        """Return a new variable for the value ``name`` of a type that a program can have.

        Args:
            names: as in `relax_type`.
        """
        if found.opaque:
            self.opaque[name] = found
        if is_empty(found):
            self.set_constant(name, _nothing(found))
        return self.variable(name, self.relax_type(found, names))

    def set_constant(self, name: str, value: Any) -> None:
        """Make ``name`` a constant: an array or a Relax constant."""
        self._constants[name] = value

    def set_extents(self, name: str, found: Extents, dtype: str) -> None:
        """Make ``name`` a shape; one without symbolic extents is a constant."""
        if is_static(found):
            self._constants[name] = np.array(found.tolist(), dtype=dtype).reshape(found.shape)
        else:
            self._symbolic[name] = Symbolic(found, dtype)

    def array(self, name: str) -> np.ndarray[Any, Any]:
        """Return the array of a constant."""
        value = self._constants[name]
        if isinstance(value, onnx.TensorProto):
            return np.asarray(numpy_helper.to_array(value))
        result: np.ndarray[Any, Any] = value if isinstance(value, np.ndarray) else value.value.numpy()
        return result

    def tensor(self, name: str) -> Any:
        """Return a constant as a `TensorProto`."""
        value = self._constants[name]
        return value if isinstance(value, onnx.TensorProto) else numpy_helper.from_array(np.ascontiguousarray(self.array(name)), name)

    def constant(self, name: str) -> Any:
        """Return a constant as a Relax expression, one object for all its uses; one of a narrow type in the wide one."""
        if name not in self._exprs:
            value = self._constants[name]
            self._exprs[name] = constant_of(widened(self.array(name))) if isinstance(value, onnx.TensorProto | np.ndarray) else value
        return self._exprs[name]

    def element_type(self, name: str) -> str:
        """Return the dtype of a value."""
        if name in self.variables:
            return self.opaque[name].opaque if name in self.opaque else dtype_of(self.variables[name].ty)
        return self._symbolic[name].dtype if name in self._symbolic else str(self.array(name).dtype)

    def extents(self, name: str) -> Extents | None:
        """Return a small integer value as extents, or None where it is not known or no such tensor."""
        if name in self._symbolic:
            return self._symbolic[name].extents
        if name not in self._constants:
            return None
        array = self.array(name)
        if array.size > MAX_ELEMENTS or array.dtype.kind not in "iub":
            return None
        result = np.empty(array.shape, dtype=object)
        for index in np.ndindex(array.shape):
            result[index] = int(array[index])
        return result

    def shape(self, name: str) -> Sequence[Any] | None:
        """Return the shape of a value, or None where only the data will tell it or it has none."""
        if name in self.opaque and self.opaque[name].opaque != STRING:
            return None
        if name in self._symbolic:
            return tuple(self._symbolic[name].extents.shape)
        if name in self._constants:
            return tuple(self.array(name).shape)
        shape = self.variables[name].ty.shape if name in self.variables else None
        return None if shape is None else list(shape.values)

    def fold(self, node: Node) -> bool:
        """Work out a node on constants; return whether that was possible."""
        if node.proto.domain not in DOMAINS or node.captured or node.proto.op_type in RANDOM or self._is_multiplied(node):
            return False
        if not all(self.is_constant(name) for name in node.reads):
            return False
        feeds = {name: self.array(name) for name in node.reads}
        types = {name: ValueType(str(array.dtype), array.shape) for name, array in feeds.items()}
        results = {name: self.graph.type_of(name) for name in node.makes}
        small = sum(array.size for array in feeds.values()) <= MAX_FOLDED
        if not small or not all(found.tensor and found.dtype in _FOLDED for found in (*types.values(), *results.values())):
            return False
        try:
            arrays = ReferenceEvaluator(extract(self.graph, [node.proto], types, results)).run(None, feeds)
        except Exception:  # the reference evaluator raises anything; the node is then imported like any other
            return False
        for name, array in zip(node.makes, arrays, strict=True):
            self.set_constant(name, np.asarray(array, dtype=results[name].dtype))
        return True

    def _is_multiplied(self, node: Node) -> bool:
        """Return whether a node dequantises 8-bit weights of products, which may be computed with as they are."""
        if node.proto.op_type != "DequantizeLinear" or not node.reads or self.graph.type_of(node.reads[0]).dtype not in BYTES:
            return False
        readers = self.graph.users.get(node.makes[0], [])
        moved = [user for reader in readers if reader.type == "Transpose" for user in self.graph.users.get(reader.makes[0], [])]
        products = [user for user in (*readers, *moved) if user.type != "Transpose"]
        return bool(products) and all(user.type in ("Conv", "Gemm", "MatMul") for user in products)

    def empty(self, node: Node) -> bool:
        """Make the results of a node constants where none of them has an element; return whether that is so."""
        found = {name: self.graph.type_of(name) for name in node.makes}
        if not found or not all(is_empty(known) for known in found.values()):
            return False
        for name, known in found.items():
            self.set_constant(name, _nothing(known))
        return True

    def follow(self, node: Node) -> bool:
        """Work out a node on shapes; return whether that was possible."""
        if node.proto.domain not in DOMAINS or len(node.makes) != 1:
            return False
        found: Extents | None
        if node.proto.op_type in ("Shape", "Size"):
            found = self._shape_of(node)
        elif any(name in self._symbolic for name in node.reads):
            inputs = [self.extents(name) if name else None for name in node.inputs]
            if any(value is None and name for value, name in zip(inputs, node.inputs, strict=True)):
                return False
            found = evaluate(node, self.graph.opset, inputs)
        else:
            return False
        if found is None:
            return False
        self.set_extents(node.makes[0], found, self.graph.type_of(node.makes[0]).dtype or "int64")
        return True

    def _shape_of(self, node: Node) -> Extents | None:
        shape = self.shape(node.inputs[0])
        if shape is None:
            return None
        if node.proto.op_type == "Size":
            product: Any = 1
            for extent in shape:
                product = product * extent
            return shape_extents([product]).reshape(())
        start, end = node.attribute("start"), node.attribute("end")
        return shape_extents(list(shape)[None if start is None else start.i : None if end is None else end.i])

    def materialise(self, name: str) -> list[Binding]:
        """Make a tensor of a shape, and return the bindings that compute it; it is a variable from then on."""
        found = self._symbolic[name]
        shape = found.extents.shape
        result = self.variable(name, relax.TensorType(shape, found.dtype))
        bindings: list[Binding] = []

        def bind(value: Any) -> Any:
            bindings.append(Binding(self.part(name, infer_type(value)), value))
            return bindings[-1].var

        parts = [part if is_constant(part) else bind(part) for part in elements(found.extents)]
        value = bind(relax.op.concat(parts, axis=0)) if len(parts) > 1 else parts[0]
        if found.dtype != "int64":
            value = bind(relax.op.astype(value, found.dtype))
        if len(shape) != 1:
            value = bind(relax.op.reshape(value, shape))
        bindings[-1] = Binding(result, bindings[-1].value)
        return bindings

    def relax_type(self, found: ValueType, names: DimNames | None = None) -> Any:
        """Return the Relax type of a value; extents that only the data will tell make the shape unknown.

        Args:
            names: what names in the shape stand for; by default they are symbolic dimensions.
        """
        if found.opaque and found.opaque != STRING:
            return relax.TensorType((), _NO_NUMBERS)
        dtype = _NO_NUMBERS if found.opaque else found.dtype
        extents = self.dims if names is None else names.extents
        if found.known and found.shape is not None:
            return relax.TensorType([extents[e] if isinstance(e, str) else e for e in found.shape], dtype)
        return relax.TensorType(dtype=dtype, ndim=-1 if found.shape is None else len(found.shape))

    def computable(self, relax_type: Any) -> bool:
        """Return whether a type's shape follows from the inputs' shapes."""
        return shape_of(relax_type) is not None and dims_in([relax_type]).keys() <= {str(var.name) for var in self.dims.values()}


def is_empty(found: ValueType) -> bool:
    """Return whether a value is a tensor of numbers that is known to have no elements."""
    shape = found.shape if found.dtype in NATIVE_DTYPES | NARROW_DTYPES else None
    return shape is not None and 0 in shape and all(isinstance(extent, int) for extent in shape)


def _nothing(found: ValueType) -> np.ndarray[Any, Any]:
    """Return a tensor of a known type without elements."""
    dtype = np.dtype(found.dtype if found.dtype in NATIVE_DTYPES else getattr(ml_dtypes, found.dtype))
    return np.zeros([int(extent or 0) for extent in found.shape or ()], dtype)


def contradiction(relax_type: Any, found: ValueType) -> str:
    """Return in what the type of an imported value differs from the one that ONNX infers, or ""."""
    if found.dtype and dtype_of(relax_type) != found.dtype:
        return f"TVM's importer gives it {dtype_of(relax_type)}, ONNX says {found.dtype}"
    shape = shape_of(relax_type)
    if found.shape is None or shape is None:
        return ""
    differs = len(shape) != len(found.shape) or any(
        isinstance(ours, int) and isinstance(theirs, int) and ours != theirs for ours, theirs in zip(shape, found.shape, strict=True)
    )
    return f"TVM's importer gives it the shape {list(shape)}, ONNX says {list(found.shape)}" if differs else ""


class DimNames:
    """Names for the extents of some tensor types: equal extents have equal names.

    Attributes:
        extents: what each name stands for.
    """

    def __init__(self, dims: Mapping[str, Any]) -> None:
        """Start from the variables of the symbolic dimensions, which keep their names."""
        self.extents: dict[str, Any] = {str(variable.name): variable for variable in dims.values()}
        self._names: dict[str, str] = {name: name for name in self.extents}

    def shape(self, relax_type: Any) -> tuple[int | str | None, ...] | None:
        """Return a shape of numbers and names; an extent that only the data will tell is None, an unknown rank is None as a whole."""
        sizes = shape_of(relax_type)
        if sizes is None:
            return None if relax_type.ndim < 0 else (None,) * relax_type.ndim
        return tuple(self._name(size, extent) for size, extent in zip(sizes, relax_type.shape.values, strict=True))

    def _name(self, size: Any, extent: Any) -> int | str:
        if isinstance(size, int):
            return size
        key = str(size)
        if key not in self._names:
            self._names[key] = f"size_{len(self._names)}"
            self.extents[self._names[key]] = extent
        return self._names[key]
