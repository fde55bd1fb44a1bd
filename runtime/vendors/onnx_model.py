"""Read the interface of a serialised ONNX model, without the onnx package.

Guarantees to read no more than what a signature needs: the names, types and shapes of the graph's inputs and outputs, the opset,
and whether any tensor in it lies in another file. It does not check that the model is valid; who runs it does.

Source: https://github.com/onnx/onnx/blob/main/onnx/onnx.proto
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from landbridge.runtime.errors import SignatureError
from landbridge.runtime.signature import Dim, Port
from landbridge.runtime.vendors.protobuf import Wire, WireError, fields, signed

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
}
"""``TensorProto.DataType`` of the types a value may have at the border of a model."""

_MODEL_FIELDS: dict[int, Wire] = {
    1: Wire.VARINT,  # ir_version
    2: Wire.BYTES,  # producer_name
    3: Wire.BYTES,  # producer_version
    4: Wire.BYTES,  # domain
    5: Wire.VARINT,  # model_version
    6: Wire.BYTES,  # doc_string
    7: Wire.BYTES,  # graph
    8: Wire.BYTES,  # opset_import
    14: Wire.BYTES,  # metadata_props
    20: Wire.BYTES,  # training_info
    25: Wire.BYTES,  # functions
    26: Wire.BYTES,  # configuration
}
_MODEL_REQUIRED = {1, 7, 8}

_TENSORS: dict[str, dict[int, str]] = {
    "model": {7: "graph", 25: "function"},
    "graph": {1: "node", 5: "tensor", 15: "sparse"},
    "function": {7: "node"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"},
    "sparse": {1: "tensor", 2: "tensor"},
}
"""For each message the fields in which tensors are found, with the message each of them holds."""

_MAX_DEPTH = 64


@dataclass(frozen=True)
class OnnxInterface:
    """What the model's graph takes and gives; inputs that are initialised in the model are not among ``inputs``."""

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
    seen: set[int] = set()
    try:
        for number, kind, _ in fields(memoryview(data)):
            if _MODEL_FIELDS.get(number) != kind:
                return False
            seen.add(number)
    except WireError:
        return False
    return seen >= _MODEL_REQUIRED


def read_interface(data: bytes, at: str) -> OnnxInterface:
    """Return the interface of the model in ``data``.

    Raises:
        SignatureError: not an ONNX model, damaged, a value at its border that is not a tensor of known rank and of a type in
            `DTYPES`, or a tensor that lies in another file.
    """
    if not looks_like_onnx(data):
        raise SignatureError("not a serialised ONNX model", at=at, hint="give the bytes of an .onnx file")
    try:
        outside = next(_external(memoryview(data), "model", 0), None)
        if outside is not None:
            raise SignatureError(f"tensor '{outside}' lies in another file", at=at, hint="save the model with its tensors inside")
        return _read_model(memoryview(data), at)
    except (WireError, UnicodeDecodeError) as error:
        raise SignatureError(f"damaged ONNX model: {error}", at=at, hint="write the file again") from error


def dim_name(port: str, axis: int) -> str:
    """Return the name for a dimension that has none in the file."""
    return f"{re.sub(r'[^0-9A-Za-z_]', '_', port)}_{axis}"


def _read_model(data: memoryview, at: str) -> OnnxInterface:
    graph, opset, producer, ir_version = memoryview(b""), 0, "", 0
    for number, _, value in fields(data):
        if number == 1:
            ir_version = _number(value)
        elif number == 2:
            producer = f"{_text(value)} {producer}".strip()
        elif number == 3:
            producer = f"{producer} {_text(value)}".strip()
        elif number == 7:
            graph = _message(value)
        elif number == 8:
            domain, version = _read_opset(_message(value))
            opset = version if domain in ("", "ai.onnx") else opset
    name, inputs, outputs, initialised, operators, nbytes = "", [], [], set(), 0, 0
    for number, _, value in fields(graph):
        if number == 1:
            operators += 1
        elif number == 2:
            name = _text(value)
        elif number == 5:
            initialised.add(_tensor_name(_message(value)))
            nbytes += len(_message(value))
        elif number == 11:
            inputs.append(_message(value))
        elif number == 12:
            outputs.append(_message(value))
    inputs = [value for value in inputs if _value_name(value) not in initialised]
    ports = [tuple(_read_value(value, kind, at) for value in values) for kind, values in (("input", inputs), ("output", outputs))]
    return OnnxInterface(name, ports[0], ports[1], opset, producer, ir_version, operators, nbytes)


def _read_opset(data: memoryview) -> tuple[str, int]:
    domain, version = "", 0
    for number, _, value in fields(data):
        if number == 1:
            domain = _text(value)
        elif number == 2:
            version = _number(value)
    return domain, version


def _value_name(data: memoryview) -> str:
    return next((_text(value) for number, _, value in fields(data) if number == 1), "")


def _tensor_name(data: memoryview) -> str:
    return next((_text(value) for number, _, value in fields(data) if number == 8), "")


def _read_value(data: memoryview, kind: str, at: str) -> Port:
    name = _value_name(data)
    type_ = next((_message(value) for number, _, value in fields(data) if number == 2), memoryview(b""))
    tensor = next((_message(value) for number, _, value in fields(type_) if number == 1), None)
    if tensor is None:
        raise SignatureError(
            f"{kind} '{name}' is not a tensor", at=at, hint="sequences, maps and optionals can only be used inside a model"
        )
    code, shape = 0, None
    for number, _, value in fields(tensor):
        if number == 1:
            code = _number(value)
        elif number == 2:
            shape = _message(value)
    if code not in DTYPES:
        raise SignatureError(f"{kind} '{name}' has elements of ONNX type {code}, which cannot be passed", at=at)
    if shape is None:
        raise SignatureError(
            f"the rank of {kind} '{name}' is not known", at=at, hint="infer the model's shapes first (onnx.shape_inference)"
        )
    dims = [_message(value) for number, _, value in fields(shape) if number == 1]
    return Port(name, DTYPES[code], tuple(_read_dim(dim, dim_name(name, axis)) for axis, dim in enumerate(dims)))


def _read_dim(data: memoryview, default: str) -> Dim:
    for number, _, value in fields(data):
        if number == 1 and signed(_number(value)) >= 0:
            return _number(value)
        if number == 2 and len(_message(value)):
            return _text(value)
    return default


def _external(data: memoryview, kind: str, depth: int) -> Iterator[str]:
    """Yield the name of every tensor below the message ``data`` whose elements lie in another file."""
    if depth > _MAX_DEPTH:
        raise WireError("graphs are nested too deeply")
    if kind == "tensor":
        if any(number == 14 and value == 1 for number, _, value in fields(data)):
            yield _tensor_name(data)
        return
    for number, wire, value in fields(data):
        inner = _TENSORS[kind].get(number)
        if inner is not None and wire == Wire.BYTES:
            yield from _external(_message(value), inner, depth + 1)


def _message(value: int | memoryview) -> memoryview:
    if isinstance(value, int):
        raise WireError("a number where a message is expected")
    return value


def _number(value: int | memoryview) -> int:
    if not isinstance(value, int):
        raise WireError("bytes where a number is expected")
    return value


def _text(value: int | memoryview) -> str:
    return str(_message(value), "utf-8")
