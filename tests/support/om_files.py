"""Write small OM files of any form, for tests of the reader and the driver."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from landbridge.runtime.vendors.atlas.format import (
    HEADER_NBYTES,
    KERNEL_ENTRY,
    KERNEL_MAGIC,
    MAGIC,
    TINY_ENTRY,
    TLV_HEAD,
    TLV_TENSOR,
    VERSION_1,
    VERSION_2,
    WIDE_ENTRY,
    AttrDef,
    AttrList,
    GraphDef,
    ModelDef,
    NamedAttrs,
    Offset,
    OpDef,
    Partition,
    ShapeDef,
    TensorDescriptor,
    Tlv,
)
from landbridge.runtime.vendors.protobuf import MapEntry

Value = int | str | Sequence[int] | Sequence[str] | Mapping[str, int]


def varint(value: int) -> bytes:
    """Return a protobuf number."""
    value &= 0xFFFFFFFFFFFFFFFF
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def put(number: int, value: int | str | bytes) -> bytes:
    """Return a protobuf field."""
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    data = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | 2) + varint(len(data)) + data


def attribute(value: Value) -> bytes:
    """Return an ``AttrDef``."""
    if isinstance(value, int):
        return put(AttrDef.I, value)
    if isinstance(value, str):
        return put(AttrDef.S, value)
    if isinstance(value, Mapping):
        entries = b"".join(put(NamedAttrs.ATTR, entry(key, number)) for key, number in value.items())
        return put(AttrDef.FUNC, entries)
    texts = [item for item in value if isinstance(item, str)]
    numbers = b"".join(varint(item) for item in value if isinstance(item, int))
    body = b"".join(put(AttrList.S, text) for text in texts) + (put(AttrList.I, numbers) if numbers else b"")
    return put(AttrDef.LIST, body)


def entry(key: str, value: Value) -> bytes:
    """Return an entry of a map of attributes."""
    return put(MapEntry.KEY, key) + put(MapEntry.VALUE, attribute(value))


def descriptor(dtype: int, shape: Sequence[int], layout: str) -> bytes:
    """Return a ``TensorDescriptor``; ``dtype`` is a number of the graph's."""
    dims = put(ShapeDef.DIM, b"".join(varint(dim) for dim in shape))
    return put(TensorDescriptor.DTYPE, dtype) + put(TensorDescriptor.SHAPE, dims) + put(TensorDescriptor.LAYOUT, layout)


@dataclass(frozen=True)
class Op:
    """An operator to write; ``inputs`` are (dtype number, shape, layout)."""

    name: str
    type: str
    inputs: Sequence[tuple[int, Sequence[int], str]] = ()
    attributes: Mapping[str, Value] = field(default_factory=dict)
    sources: Sequence[tuple[str, int]] = ()

    def encode(self) -> bytes:
        """Return an ``OpDef``."""
        parts = [put(OpDef.NAME, self.name), put(OpDef.TYPE, self.type)]
        parts += [put(OpDef.INPUT_DESC, descriptor(*tensor)) for tensor in self.inputs]
        parts += [put(OpDef.ATTR, entry(key, value)) for key, value in self.attributes.items()]
        parts += [put(OpDef.INPUT, f"{name}:{index}") for name, index in self.sources]
        parts += [put(OpDef.SRC_NAME, name) for name, _ in self.sources]
        if self.sources:
            parts.append(put(OpDef.SRC_INDEX, b"".join(varint(index) for _, index in self.sources)))
        return b"".join(parts)


def model_def(operators: Sequence[Op], attributes: Mapping[str, Value] | None = None) -> bytes:
    """Return the bytes of the partition MODEL_DEF."""
    graph = b"".join(put(GraphDef.OP, operator.encode()) for operator in operators)
    return put(ModelDef.GRAPH, graph) + b"".join(put(ModelDef.ATTR, entry(key, value)) for key, value in (attributes or {}).items())


def kernel(name: str, code: bytes = b"\x7fELF") -> bytes:
    """Return one entry of the partition TBE_KERNELS."""
    return KERNEL_ENTRY.pack(KERNEL_MAGIC, len(name), len(code)) + name.encode() + code


def tlv(kind: Tlv, value: bytes) -> bytes:
    """Return one value of the partition MODEL_INOUT_INFO."""
    return TLV_HEAD.pack(kind, len(value)) + value


def tlv_tensors(kind: Tlv, tensors: Sequence[tuple[str, int, int, Sequence[int], Sequence[int]]]) -> bytes:
    """Return a list of tensors: name, dtype number (the vendor's runtime's), layout number, dims, dims V2."""
    out = struct.pack("<I", len(tensors))
    for name, dtype, layout, dims, source_dims in tensors:
        out += TLV_TENSOR.pack(0, layout, dtype, len(name), 8 * len(dims), 8 * len(source_dims), 0) + name.encode()
        out += struct.pack(f"<{len(dims) + len(source_dims)}q", *dims, *source_dims)
    return tlv(kind, out)


def tlv_gears(kind: Tlv, choices: Sequence[Sequence[int]]) -> bytes:
    """Return gears: of one number each for BATCH_GEARS."""
    flat = [value for choice in choices for value in choice]
    numbers = struct.pack(f"<{len(flat)}q", *flat)
    lengths = b"" if kind == Tlv.BATCH_GEARS else struct.pack(f"<{len(choices)}I", *map(len, choices))
    return tlv(kind, struct.pack("<I", len(choices)) + lengths + numbers)


def tlv_texts(kind: Tlv, texts: Sequence[str]) -> bytes:
    """Return a list of texts."""
    lengths = struct.pack(f"<{len(texts)}I", *map(len, texts))
    return tlv(kind, struct.pack("<I", len(texts)) + lengths + "".join(texts).encode())


def om_file(
    partitions: Sequence[tuple[int, bytes]],
    *,
    version: int = VERSION_1,
    wide: bool = False,
    platform: str = "1.11.z.0",
    models: int = 1,
    set_bytes: Mapping[int, int] | None = None,
) -> bytes:
    """Return a whole file; ``set_bytes`` overwrites single bytes of the header."""
    table, body = b"", b""
    for kind, data in partitions:
        table += (WIDE_ENTRY if wide else TINY_ENTRY).pack(kind, len(body), len(data))
        body += data
    payload = struct.pack("<II" if wide else "<I", *((len(partitions), 0) if wide else (len(partitions),))) + table + body
    header = bytearray(HEADER_NBYTES)
    header[:4] = MAGIC
    struct.pack_into("<I", header, Offset.HEADSIZE, HEADER_NBYTES)
    struct.pack_into("<I", header, Offset.VERSION, version)
    struct.pack_into("<Q" if wide else "<I", header, Offset.MODEL_LENGTH if wide else Offset.LENGTH, len(payload))
    header[Offset.NAME : Offset.NAME + 4] = b"made"
    if version == VERSION_2:
        struct.pack_into("<I", header, Offset.MODEL_NUM_V2, models)
    at = Offset.PLATFORM_VERSION_V2 if version == VERSION_2 else Offset.PLATFORM_VERSION_V1
    header[at : at + len(platform)] = platform.encode()
    header[Offset.PLATFORM_TYPE_V2 if version == VERSION_2 else Offset.PLATFORM_TYPE_V1] = 1
    for offset, value in (set_bytes or {}).items():
        header[offset] = value
    return bytes(header) + payload


GEAR_SELECTOR = Op("ascend_mbatch_shape_data", "Data", [(8, (1,), "ND")])
"""The hidden input of a model with gears."""


def data(name: str, shape: Sequence[int], *, dtype: int = 1, layout: str = "NCHW", **attributes: Value) -> Op:
    """Return an input operator; 1 is float32 in the graph's numbering."""
    return Op(name, "Data", [(dtype, shape, layout)], attributes)


def result(*shapes: Sequence[int], dtype: int = 1, source: str = "last", **attributes: Value) -> Op:
    """Return the output operator, fed by ``source``."""
    inputs = [(dtype, shape, "NCHW") for shape in shapes]
    return Op("out", "NetOutput", inputs, attributes, [(source, index) for index in range(len(shapes))])


def simple_file(*operators: Op, attributes: Mapping[str, Value] | None = None) -> bytes:
    """Return a file of the first version with these operators and nothing else."""
    return om_file([(Partition.MODEL_DEF, model_def(operators, attributes))])
