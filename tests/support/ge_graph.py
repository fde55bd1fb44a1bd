"""Write small OM files operator by operator, in the vendor's dialect, for tests of the simulator.

Shares nothing with the maker of OM files nor with the reader. The container is the one of 2020: version 1, 32-bit table.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
PROTO_DTYPES = {"float32": 1, "float16": 2, "int8": 3, "uint8": 4, "int16": 5, "uint16": 6, "int32": 7, "int64": 8, "uint32": 9, "bool": 11}
GE_DTYPES = {"float32": 0, "float16": 1, "int8": 2, "int32": 3, "uint8": 4, "int16": 6, "uint16": 7, "uint32": 8, "int64": 9, "bool": 12}
HIDDEN = "ascend_mbatch_shape_data"


def varint(value: int) -> bytes:
    value &= (1 << 64) - 1
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes([*out, value])


def put(number: int, value: int | float | str | bytes) -> bytes:
    if isinstance(value, int):
        return varint(number << 3) + varint(int(value))
    if isinstance(value, float):
        return varint(number << 3 | 5) + struct.pack("<f", value)
    data = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | 2) + varint(len(data)) + data


@dataclass(frozen=True)
class Message:
    """An attribute that is a message: 10 is NamedAttrs, 12 a TensorDef."""

    number: int
    body: bytes


def attribute(value: Any) -> bytes:
    if isinstance(value, Message):
        return put(value.number, value.body)
    if isinstance(value, bool):
        return put(5, int(value))
    if isinstance(value, float):
        return put(4, value)
    if isinstance(value, int):
        return put(3, value)
    if isinstance(value, str):
        return put(2, value)
    body = b"".join(put(2, item) for item in value if isinstance(item, str))
    body += b"".join(put(4, item) for item in value if isinstance(item, float))
    numbers = b"".join(varint(item) for item in value if isinstance(item, int))
    return put(1, body + (put(3, numbers) if numbers else b""))


def attributes(number: int, values: Mapping[str, Any]) -> bytes:
    return b"".join(put(number, put(1, key) + put(2, attribute(value))) for key, value in values.items())


def named(values: Mapping[str, Any]) -> Message:
    return Message(10, attributes(2, values))


def desc(
    dtype: str, shape: Sequence[int], layout: str, origin: Sequence[int] | None = None, offset: int | None = None, nbytes: int | None = None
) -> bytes:
    body = put(2, PROTO_DTYPES[dtype]) + put(3, put(1, b"".join(map(varint, shape)))) + put(4, layout)
    if origin is not None:
        body += attributes(5, {"origin_shape": list(origin), "origin_format": "NCHW"})
    return body + (put(10, nbytes) if nbytes is not None else b"") + (put(18, offset) if offset is not None else b"")


@dataclass(frozen=True)
class Value:
    """The result of an operator."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    layout: str = "ND"
    origin: tuple[int, ...] | None = None
    nbytes: int | None = None

    def desc(self) -> bytes:
        return desc(self.dtype, self.shape, self.layout, self.origin, nbytes=self.nbytes)


@dataclass
class GeGraph:
    """A graph to which operators are added in order."""

    ops: list[bytes] = field(default_factory=list)
    weights: bytearray = field(default_factory=bytearray)

    def op(
        self, type_: str, inputs: Sequence[Value | None], result: Value, attrs: Mapping[str, Any] | None = None, inner: Sequence[Value] = ()
    ) -> Value:
        """Add an operator; ``inner`` are descriptors of inputs that differ from their producers'."""
        body = put(1, result.name) + put(2, type_)
        body += b"".join(put(5, f"{value.name}:0" if value else "") for value in inputs)
        body += b"".join(put(33, value.desc() if value else b"") for value in inner or inputs) + put(34, result.desc())
        self.ops.append(body + attributes(10, attrs or {}))
        return result

    def data(self, name: str, dtype: str, shape: Sequence[int], layout: str = "ND", nbytes: int | None = None, **attrs: Any) -> Value:
        value = Value(name, dtype, tuple(shape), layout, nbytes=nbytes)
        self.ops.append(put(1, name) + put(2, "Data") + put(5, "") + put(33, value.desc()) + put(34, value.desc()) + attributes(10, attrs))
        return value

    def const(self, name: str, array: Array, layout: str = "ND", origin: Sequence[int] | None = None) -> Value:
        value = Value(name, str(array.dtype), array.shape, layout, None if origin is None else tuple(origin))
        stored = put(1, desc(value.dtype, value.shape, layout, origin, len(self.weights)))
        self.weights += array.tobytes() + bytes(-array.nbytes % 512)
        self.ops.append(put(1, name) + put(2, "Const") + put(34, value.desc()) + attributes(10, {"value": Message(12, stored)}))
        return value

    def gears(self, *values: Sequence[int], kind: int | None = None) -> None:
        """Add the hidden input and the Case that tells the gears."""
        hidden = self.data(HIDDEN, "int64", (len(values[0]),))
        attrs: dict[str, Any] = {f"_pred_value_{i}": list(value) for i, value in enumerate(values)}
        attrs |= {"_batch_num": len(values)} | ({} if kind is None else {"_dynamic_type": kind})
        self.op("Case", [hidden], Value("mbatch_case", "int64", (1,)), attrs)

    def output(self, *values: Value, **attrs: Any) -> None:
        body = put(1, "net_output") + put(2, "NetOutput") + b"".join(put(5, f"{value.name}:0") for value in values)
        body += b"".join(put(24, value.name) for value in values) + put(25, bytes(len(values)))
        self.ops.append(body + b"".join(put(33, value.desc()) for value in values) + attributes(10, attrs))

    def to_bytes(self, **model_attrs: Any) -> bytes:
        graph = put(1, "graph") + b"".join(put(6, op) for op in self.ops)
        model = put(1, "model") + put(7, graph) + attributes(11, {"memory_size": 4096, "target_type": "MINI"} | model_attrs)
        return container([(0, model), (1, bytes(self.weights))])


def container(partitions: Sequence[tuple[int, bytes]]) -> bytes:
    table = struct.pack("<I", len(partitions))
    offset = 0
    for type_, body in partitions:
        table += struct.pack("<III", type_, offset, len(body))
        offset += len(body)
    payload = table + b"".join(body for _, body in partitions)
    header = bytearray(256)
    struct.pack_into("<4sII", header, 0, b"IMOD", 256, 0x10000000)
    struct.pack_into("<I", header, 76, len(payload))
    return bytes(header) + payload


def half(array: npt.ArrayLike) -> Array:
    """Round to float16, as float32."""
    return np.asarray(array, np.float32).astype(np.float16).astype(np.float32)


def small_model(rows: int = 2) -> bytes:
    """A file that computes ``Relu`` of ``rows`` rows of 3."""
    graph = GeGraph()
    x = graph.data("x", "float32", (rows, 3))
    graph.output(graph.op("Relu", [x], Value("y", "float32", (rows, 3))))
    return graph.to_bytes()
