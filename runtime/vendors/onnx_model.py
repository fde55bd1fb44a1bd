"""Read the interface of a serialised ONNX model, without the onnx package.

Guarantees to read no more than what a signature needs: the names, types and shapes of the graph's inputs and outputs, the opset,
and whether any tensor in it lies in another file. It does not check that the model is valid; who runs it does.

Source: https://github.com/onnx/onnx/blob/main/onnx/onnx.proto
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from enum import IntEnum

from landbridge.runtime.errors import SignatureError
from landbridge.runtime.opaque import STRING
from landbridge.runtime.records import dataclass
from landbridge.runtime.signature import Dim, Port
from landbridge.runtime.vendors.protobuf import Message

DTYPES: dict[int, str] = {
    1: "float32",
    2: "uint8",
    3: "int8",
    4: "uint16",
    5: "int16",
    6: "int32",
    7: "int64",
    9: "bool",
    10: "float16",
    11: "float64",
    12: "uint32",
    13: "uint64",
    14: "complex64",
    15: "complex128",
    16: "bfloat16",
    17: "float8_e4m3fn",
    18: "float8_e4m3fnuz",
    19: "float8_e5m2",
    20: "float8_e5m2fnuz",
    21: "uint4",
    22: "int4",
    23: "float4_e2m1fn",
    24: "float8_e8m0fnu",
    25: "uint2",
    26: "int2",
}
"""``TensorProto.DataType`` of the types a value may have at the border of a model."""


class _Model(IntEnum):
    IR_VERSION = 1
    PRODUCER_NAME = 2
    PRODUCER_VERSION = 3
    GRAPH = 7
    OPSET_IMPORT = 8
    FUNCTIONS = 25


_MODEL_NUMBERS = frozenset({1, 5})
_MODEL_MESSAGES = frozenset({2, 3, 4, 6, 7, 8, 14, 20, 25, 26})
_MODEL_REQUIRED = frozenset({_Model.IR_VERSION, _Model.GRAPH, _Model.OPSET_IMPORT})
"""The fields of ``ModelProto`` by what they hold, and those that every model has."""


class _Graph(IntEnum):
    NODE = 1
    NAME = 2
    INITIALIZER = 5
    INPUT = 11
    OUTPUT = 12
    SPARSE_INITIALIZER = 15


class _Function(IntEnum):
    NODE = 7


class _Node(IntEnum):
    ATTRIBUTE = 5


class _Attribute(IntEnum):
    T = 5
    G = 6
    TENSORS = 10
    GRAPHS = 11
    SPARSE_TENSOR = 22
    SPARSE_TENSORS = 23


class _Sparse(IntEnum):
    VALUES = 1
    INDICES = 2


class _Tensor(IntEnum):
    NAME = 8
    DATA_LOCATION = 14


class _Opset(IntEnum):
    DOMAIN = 1
    VERSION = 2


class _Value(IntEnum):
    NAME = 1
    TYPE = 2


class _Type(IntEnum):
    TENSOR = 1
    SEQUENCE = 4
    MAP = 5
    OPTIONAL = 9


class _Element(IntEnum):
    TYPE = 1
    VALUE = 2


class _TensorType(IntEnum):
    ELEM_TYPE = 1
    SHAPE = 2


class _Shape(IntEnum):
    DIM = 1


class _Dim(IntEnum):
    VALUE = 1
    PARAM = 2


_STRINGS = 8
"""``TensorProto.DataType.STRING``."""

_EXTERNAL = 1
"""``TensorProto.DataLocation.EXTERNAL``."""

_INNER: dict[str, dict[IntEnum, str]] = {
    "model": {_Model.GRAPH: "graph", _Model.FUNCTIONS: "function"},
    "graph": {_Graph.NODE: "node", _Graph.INITIALIZER: "tensor", _Graph.SPARSE_INITIALIZER: "sparse"},
    "function": {_Function.NODE: "node"},
    "node": {_Node.ATTRIBUTE: "attribute"},
    "attribute": {
        _Attribute.T: "tensor",
        _Attribute.G: "graph",
        _Attribute.TENSORS: "tensor",
        _Attribute.GRAPHS: "graph",
        _Attribute.SPARSE_TENSOR: "sparse",
        _Attribute.SPARSE_TENSORS: "sparse",
    },
    "sparse": {_Sparse.VALUES: "tensor", _Sparse.INDICES: "tensor"},
    "tensor": {},
}
"""For each kind of message the fields below which tensors are found, with the kind of message that each holds."""

_MAX_DEPTH = 100
"""Of graphs within attributes of nodes; far beyond any real model."""


@dataclass(frozen=True)
class OnnxInterface:
    """What the model's graph takes and gives.

    Attributes:
        name: of the graph.
        inputs: in order, without those that are initialised in the model.
        outputs: in order.
        opset: version of ONNX's own operators, 0 where the model imports none.
        producer: what wrote the file.
        ir_version: of the file.
        operators: nodes of the main graph.
        constant_nbytes: bytes of the main graph's initialisers.
    """

    name: str
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    opset: int
    producer: str
    ir_version: int
    operators: int
    constant_nbytes: int


def looks_like_onnx(data: bytes) -> bool:
    """Return whether ``data`` is, as a whole, built like a ``ModelProto``; the format has no magic number."""
    try:
        found = Message(memoryview(data), "").fields
    except SignatureError:
        return False
    shaped = all(
        number in (_MODEL_NUMBERS if all(isinstance(value, int) for value in values) else _MODEL_MESSAGES)
        for number, values in found.items()
    )
    return shaped and found.keys() >= _MODEL_REQUIRED


def read_interface(data: bytes, at: str) -> OnnxInterface:
    """Return the interface of the model in ``data``.

    Raises:
        SignatureError: not an ONNX model, damaged, a value at its border with elements that are neither strings nor of a type in
            `DTYPES`, or a tensor that lies in another file.
    """
    if not looks_like_onnx(data):
        raise SignatureError("not a serialised ONNX model", at=at, hint="give the bytes of an .onnx file", code="LB2101")
    model = Message(memoryview(data), at)
    outside = next(_external(model, "model", 0), None)
    if outside is not None:
        raise SignatureError(
            f"tensor '{outside}' lies in another file", at=at, hint="save the model with its tensors inside", code="LB2105"
        )
    opsets = [(entry.text(_Opset.DOMAIN), entry.integer(_Opset.VERSION)) for entry in model.messages(_Model.OPSET_IMPORT)]
    graph = model.message(_Model.GRAPH)
    initialisers = list(graph.blobs(_Graph.INITIALIZER))
    initialised = {Message(blob, at).text(_Tensor.NAME) for blob in initialisers}
    inputs = [value for value in graph.messages(_Graph.INPUT) if value.text(_Value.NAME) not in initialised]
    return OnnxInterface(
        name=graph.text(_Graph.NAME),
        inputs=tuple(_read_value(value, "input", at) for value in inputs),
        outputs=tuple(_read_value(value, "output", at) for value in graph.messages(_Graph.OUTPUT)),
        opset=next((version for domain, version in opsets if domain in ("", "ai.onnx")), 0),
        producer=f"{model.text(_Model.PRODUCER_NAME)} {model.text(_Model.PRODUCER_VERSION)}".strip(),
        ir_version=model.integer(_Model.IR_VERSION),
        operators=len(graph.blobs(_Graph.NODE)),
        constant_nbytes=sum(len(blob) for blob in initialisers),
    )


def dim_name(port: str, axis: int) -> str:
    """Return the name for a dimension that has none in the file."""
    return f"{re.sub(r'[^0-9A-Za-z_]', '_', port)}_{axis}"


def _read_value(value: Message, kind: str, at: str) -> Port:
    name = value.text(_Value.NAME)
    type_ = value.message(_Value.TYPE)
    tensor = type_.message(_Type.TENSOR)
    code = tensor.integer(_TensorType.ELEM_TYPE)
    if not type_.has(_Type.TENSOR) or not tensor.has(_TensorType.SHAPE):
        return Port(name, _opaque(type_, f"{kind} '{name}'", 0), ())
    if code != _STRINGS and code not in DTYPES:
        raise SignatureError(
            f"{kind} '{name}' has elements of ONNX type {code}", at=at, hint="such values can only be used inside a model", code="LB2110"
        )
    dims = enumerate(tensor.message(_TensorType.SHAPE).messages(_Shape.DIM))
    dtype = STRING if code == _STRINGS else DTYPES[code]
    return Port(name, dtype, tuple(_read_dim(dim, dim_name(name, axis)) for axis, dim in dims))


def _opaque(type_: Message, what: str, depth: int) -> str:
    """Return the dtype of a value that is no tensor of known rank, as `landbridge.runtime.opaque` has it."""
    if depth > _MAX_DEPTH:
        raise SignatureError("types nested too deeply", at=type_.at, hint="the file is damaged", code="LB2103")
    for field, kind in ((_Type.SEQUENCE, "sequence"), (_Type.OPTIONAL, "optional")):
        if type_.has(field):
            return f"{kind}({_opaque(type_.message(field).message(_Element.TYPE), what, depth + 1)})"
    if type_.has(_Type.MAP):
        entry = type_.message(_Type.MAP)
        return f"map({_element(entry.integer(_Element.TYPE), what, type_.at)},{_opaque(entry.message(_Element.VALUE), what, depth + 1)})"
    if not type_.has(_Type.TENSOR):
        raise SignatureError(
            f"{what} is not a tensor, sequence, optional or map", at=type_.at, hint="it can only be used inside a model", code="LB2110"
        )
    return f"tensor({_element(type_.message(_Type.TENSOR).integer(_TensorType.ELEM_TYPE), what, type_.at)})"


def _element(code: int, what: str, at: str) -> str:
    if code != _STRINGS and code not in DTYPES:
        raise SignatureError(
            f"{what} has elements of ONNX type {code}", at=at, hint="such values can only be used inside a model", code="LB2110"
        )
    return STRING if code == _STRINGS else DTYPES[code]


def _read_dim(dim: Message, default: str) -> Dim:
    if dim.has(_Dim.VALUE) and dim.integer(_Dim.VALUE) >= 0:
        return dim.integer(_Dim.VALUE)
    return dim.text(_Dim.PARAM) or default


def _external(message: Message, kind: str, depth: int) -> Iterator[str]:
    """Yield the name of every tensor at or below ``message`` whose elements lie in another file."""
    if depth > _MAX_DEPTH:
        raise SignatureError("graphs nested too deeply", at=message.at, hint="the file is damaged", code="LB2103")
    if kind == "tensor" and message.integer(_Tensor.DATA_LOCATION) == _EXTERNAL:
        yield message.text(_Tensor.NAME)
    for field, inner in _INNER[kind].items():
        for part in message.messages(field):
            yield from _external(part, inner, depth + 1)
