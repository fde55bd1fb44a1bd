"""Read what a LiteRT model (.tflite) says about itself, without LiteRT.

A model is a flatbuffer with the identifier ``TFL3``. What is called is its first subgraph. Where a named signature of the file
covers it, its names are those of the ports (they are what the model's author chose); otherwise the names of the tensors are.

Source: https://github.com/tensorflow/tensorflow/blob/master/tensorflow/compiler/mlir/lite/schema/schema.fbs
"""

from __future__ import annotations

from enum import IntEnum

from landbridge.runtime.errors import SignatureError
from landbridge.runtime.records import dataclass
from landbridge.runtime.signature import BATCH, Dim, Port, Signature
from landbridge.runtime.vendors.flatbuffer import Buffer, Table
from landbridge.runtime.vendors.onnx_model import dim_name

IDENTIFIER = b"TFL3"
_IDENTIFIER_AT = 4
_SCHEMA_VERSION = 3
_MIN_VERSION = "min_runtime_version"
_DAMAGED = "convert the model again"

DTYPES: dict[int, str] = {
    0: "float32",
    1: "float16",
    2: "int32",
    3: "uint8",
    4: "int64",
    6: "bool",
    7: "int16",
    8: "complex64",
    9: "int8",
    10: "float64",
    11: "complex128",
    12: "uint64",
    15: "uint32",
    16: "uint16",
}
"""``TensorType`` of what can be passed; strings, resources, variants and types that LiteRT's own Python interface lacks cannot."""


class _Model(IntEnum):
    VERSION = 0
    SUBGRAPHS = 2
    DESCRIPTION = 3
    BUFFERS = 4
    METADATA = 6
    SIGNATURES = 7


class _Subgraph(IntEnum):
    TENSORS = 0
    INPUTS = 1
    OUTPUTS = 2
    OPERATORS = 3


class _Tensor(IntEnum):
    SHAPE = 0
    TYPE = 1
    NAME = 3
    QUANTIZATION = 4
    SHAPE_SIGNATURE = 7


class _Quantization(IntEnum):
    SCALE = 2
    ZERO_POINT = 3


class _Named(IntEnum):
    """Of a signature: its lists of tensors by name."""

    INPUTS = 0
    OUTPUTS = 1
    KEY = 2
    SUBGRAPH = 4


class _NamedTensor(IntEnum):
    NAME = 0
    TENSOR = 1


class _Metadata(IntEnum):
    NAME = 0
    BUFFER = 1


class _Buffer(IntEnum):
    DATA = 0
    NBYTES_OUTSIDE = 2


@dataclass(frozen=True)
class Model:
    """What a file says.

    Attributes:
        inputs: of the first subgraph, in order.
        outputs: the same.
        quantized: for ports whose numbers stand for others, which: such as "x: 0.5 * (value - 128)".
        description: what the converter wrote about it.
        operators: of the first subgraph.
        subgraphs: how many there are.
        weight_nbytes: of all constants.
        min_version: of the runtime that it needs, or "".
    """

    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    quantized: tuple[str, ...]
    description: str
    operators: int
    subgraphs: int
    weight_nbytes: int
    min_version: str


def recognises(data: bytes) -> bool:
    """Return whether ``data`` has the identifier of a LiteRT model."""
    return data[_IDENTIFIER_AT : _IDENTIFIER_AT + len(IDENTIFIER)] == IDENTIFIER


def read_model(data: bytes, at: str) -> Model:
    """Return what the file says.

    Raises:
        SignatureError: not such a file, damaged, or it takes or gives what cannot be passed.
    """
    if not recognises(data):
        raise SignatureError("not a LiteRT model: the identifier TFL3 is missing", at=at, hint="give a .tflite file", code="LB2101")
    root = Buffer(memoryview(data), at, _DAMAGED).root()
    if root.integer(_Model.VERSION, "u32") != _SCHEMA_VERSION:
        raise SignatureError(
            f"schema version {root.integer(_Model.VERSION, 'u32')}, expected {_SCHEMA_VERSION}", at=at, hint=_DAMAGED, code="LB2105"
        )
    graph = root.item(_Model.SUBGRAPHS, 0, "subgraph")
    groups = [_tensors(graph, slot) for slot in (_Subgraph.INPUTS, _Subgraph.OUTPUTS)]
    if not groups[1]:
        raise SignatureError("the model has no output", at=at, hint=_DAMAGED, code="LB2103")
    names = _names(root)
    ports = [tuple(_port(tensor, names[kind].get(index), at) for index, tensor in group) for kind, group in enumerate(groups)]
    tensors = [tensor for group in groups for _, tensor in group]
    quantized = [_quantization(tensor, port.name) for tensor, port in zip(tensors, (*ports[0], *ports[1]), strict=True)]
    return Model(
        inputs=ports[0],
        outputs=ports[1],
        quantized=tuple(filter(None, quantized)),
        description=root.text(_Model.DESCRIPTION),
        operators=graph.length(_Subgraph.OPERATORS),
        subgraphs=root.length(_Model.SUBGRAPHS),
        weight_nbytes=sum(_nbytes(buffer) for buffer in root.tables(_Model.BUFFERS)),
        min_version=_min_version(root),
    )


def read_signature(data: bytes, at: str) -> Signature:
    """Return the signature; the leading dynamic dimensions are all `BATCH`, each other one is named after its port and axis.

    Raises:
        SignatureError: as `read_model`.
    """
    found = read_model(data, at)
    versions = {"min_runtime": found.min_version} if found.min_version else {}
    facts = ["inputs", "outputs", "weight_nbytes", *(["versions"] if versions else [])]
    return Signature(found.inputs, found.outputs, weight_nbytes=found.weight_nbytes, versions=versions, origin=dict.fromkeys(facts, "file"))


def _tensors(graph: Table, slot: int) -> list[tuple[int, Table]]:
    return [(index, graph.item(_Subgraph.TENSORS, index, "tensor")) for index in graph.integers(slot)]


def _names(root: Table) -> tuple[dict[int, str], dict[int, str]]:
    """Return the names of inputs and outputs by tensor, from the first signature of the first subgraph."""
    for signature in root.tables(_Model.SIGNATURES):
        if signature.integer(_Named.SUBGRAPH, "u32") == 0:
            inputs, outputs = (
                {named.integer(_NamedTensor.TENSOR, "u32"): named.text(_NamedTensor.NAME) for named in signature.tables(slot)}
                for slot in (_Named.INPUTS, _Named.OUTPUTS)
            )
            return inputs, outputs
    return {}, {}


def _port(tensor: Table, name: str | None, at: str) -> Port:
    name = name or tensor.text(_Tensor.NAME)
    code = tensor.integer(_Tensor.TYPE, "i8")
    if code not in DTYPES:
        raise SignatureError(f"'{name}' has elements of LiteRT's type {code}, which cannot be passed", at=at, code="LB2110")
    shape, dynamic = tensor.integers(_Tensor.SHAPE), tensor.integers(_Tensor.SHAPE_SIGNATURE)
    if dynamic and len(dynamic) != len(shape):
        raise SignatureError(f"damaged: '{name}' has the shapes {list(shape)} and {list(dynamic)}", at=at, hint=_DAMAGED, code="LB2103")
    dims = [_dim(extent, axis, name) for axis, extent in enumerate(dynamic or shape)]
    return Port(name, DTYPES[code], tuple(dims))


def _dim(extent: int, axis: int, port: str) -> Dim:
    if extent >= 0:
        return extent
    return BATCH if axis == 0 else dim_name(port, axis)


def _quantization(tensor: Table, name: str) -> str:
    found = tensor.table(_Tensor.QUANTIZATION)
    if found is None:
        return ""
    scales, zeros = found.floats(_Quantization.SCALE), found.integers(_Quantization.ZERO_POINT, "i64")
    return f"{name}: {scales[0]:g} * (value - {zeros[0]})" if len(scales) == len(zeros) == 1 else ""


def _nbytes(buffer: Table) -> int:
    return len(buffer.blob(_Buffer.DATA)) or buffer.integer(_Buffer.NBYTES_OUTSIDE, "u64")


def _min_version(root: Table) -> str:
    for entry in root.tables(_Model.METADATA):
        if entry.text(_Metadata.NAME) == _MIN_VERSION:
            buffer = root.item(_Model.BUFFERS, entry.integer(_Metadata.BUFFER, "u32"), "buffer")
            return buffer.text(_Buffer.DATA).rstrip("\0")
    return ""
