"""Write a graph as an OM file: protobuf messages, partitions, container.

Two forms: the one that ATC writes now (version 2, a 64-bit partition table, the interface listed in MODEL_INOUT_INFO), and the
one of 2020 (version 1, a 32-bit table, the interface in the graph only). ``platform_version`` says that the simulator made it.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import IntEnum

from landbridge.runtime.signature import Gears
from landbridge.runtime.vendors.atlas.format import (
    FORMATS,
    GE_DTYPES,
    HEADER_NBYTES,
    MAGIC,
    MODEL_NAME_NBYTES,
    PROTO_DTYPES,
    SIMULATOR_PLATFORM,
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
    ModelTaskDef,
    ModelType,
    NamedAttrs,
    Offset,
    OpDef,
    Partition,
    ShapeDef,
    TensorDef,
    TensorDescriptor,
    Tlv,
)
from landbridge.runtime.vendors.protobuf import MapEntry
from landbridge.simulators.ascend.make_om_graph import ALIGNMENT, Attribute, Graph, NamedAttributes, Op, Tensor, WeightRef

MAKER_VERSION = "0.1"
"""Of what the maker writes; part of the file's ``platform_version``."""

_OM_IR_VERSION = 2
_MINI = 1
_STRINGS, _INTS = 1, 2
"""``AttrDef.ListValue.ListValueType``."""

_PROTO_CODES = {dtype: code for code, dtype in PROTO_DTYPES.items()}
_GE_CODES = {dtype: code for code, dtype in GE_DTYPES.items()}
_FORMAT_CODES = {name: code for code, name in FORMATS.items()}


@dataclass(frozen=True)
class Port:
    """One input or output of the whole model.

    Attributes:
        tensor: in the gear in which it is largest.
        dims: its shape, with -1 where the gear decides.
        source_dims: of an image before its preprocessing what the caller gives; empty where that is `dims`.
    """

    name: str
    tensor: Tensor
    dims: tuple[int, ...]
    source_dims: tuple[int, ...] = ()


@dataclass(frozen=True)
class Description:
    """What the file says beyond the graph.

    Attributes:
        inputs: the hidden one included.
        outputs: in order.
        gears: None for a model of one size.
        order: the inputs whose dimensions the gears decide, in the order in which "dims" gears name them.
        output_rows: ``gear,output,dims…`` for each gear and output.
    """

    name: str
    soc: str
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    gears: Gears | None
    order: tuple[str, ...]
    output_rows: tuple[str, ...]


def write_om(graph: Graph, about: Description, *, tiny: bool) -> bytes:
    """Return the file; ``tiny`` asks for the form of 2020."""
    workspace = _plan_workspace(graph)
    weights = bytes(graph.weights)
    partitions = [
        (Partition.MODEL_DEF, _write_model(graph, about, workspace)),
        (Partition.WEIGHTS_DATA, weights),
        (Partition.TASK_INFO, _write_tasks(workspace.nbytes, len(weights))),
    ]
    if not tiny:
        partitions.append((Partition.MODEL_INOUT_INFO, _write_inout(about)))
    entry, pad = (TINY_ENTRY, b"") if tiny else (WIDE_ENTRY, bytes(4))
    table, offset = [struct.pack("<I", len(partitions)) + pad], 0
    for kind, data in partitions:
        table.append(entry.pack(kind, offset, len(data)))
        offset += len(data)
    body = b"".join([*table, *(data for _, data in partitions)])
    return _write_header(about, len(graph.ops), len(body), tiny=tiny) + body


def _write_header(about: Description, ops: int, body_nbytes: int, *, tiny: bool) -> bytes:
    header = bytearray(HEADER_NBYTES)
    platform = f"{SIMULATOR_PLATFORM} {MAKER_VERSION}".encode()
    name = about.name.encode()[: MODEL_NAME_NBYTES - 1].decode("utf-8", "ignore").encode()
    struct.pack_into("<4sII", header, Offset.MAGIC, MAGIC, HEADER_NBYTES, VERSION_1 if tiny else VERSION_2)
    struct.pack_into("<I", header, Offset.LENGTH, body_nbytes if tiny else 0)
    header[Offset.MODEL_TYPE] = ModelType.STANDARD if not tiny else ModelType.IR
    header[Offset.NAME : Offset.NAME + len(name)] = name
    struct.pack_into("<I", header, Offset.OPS, ops)
    struct.pack_into("<I", header, Offset.OM_IR_VERSION, _OM_IR_VERSION)
    if not tiny:
        struct.pack_into("<I", header, Offset.MODEL_NUM_V2, 1)
        struct.pack_into("<Q", header, Offset.MODEL_LENGTH, body_nbytes)
    platform_at = Offset.PLATFORM_VERSION_V1 if tiny else Offset.PLATFORM_VERSION_V2
    header[platform_at : platform_at + len(platform)] = platform
    header[Offset.PLATFORM_TYPE_V1 if tiny else Offset.PLATFORM_TYPE_V2] = _MINI if _is_mini(about.soc) else 0
    return bytes(header)


def _is_mini(soc: str) -> bool:
    return soc.startswith("Ascend310")


# --- the workspace -------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Workspace:
    """Where each tensor is while the model runs; nothing is shared, the simulator needs no more."""

    offsets: dict[Tensor, int]
    nbytes: int


def _plan_workspace(graph: Graph) -> _Workspace:
    offsets, nbytes = {}, 0
    for op in graph.ops:
        for tensor in op.outputs if op.type != "Const" else ():
            offsets[tensor] = nbytes
            nbytes += -(-tensor.nbytes // ALIGNMENT) * ALIGNMENT
    return _Workspace(offsets, nbytes)


# --- protobuf ------------------------------------------------------------------------------------------------------------------


def _varint(value: int) -> bytes:
    value &= (1 << 64) - 1
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def _integer(field: IntEnum, value: int) -> bytes:
    return _varint(field << 3) + _varint(value)


def _real(field: IntEnum, value: float) -> bytes:
    return _varint(field << 3 | 5) + struct.pack("<f", value)


def _bytes(field: IntEnum, value: bytes | str) -> bytes:
    data = value.encode() if isinstance(value, str) else value
    return _varint(field << 3 | 2) + _varint(len(data)) + data


def _integers(field: IntEnum, values: Iterable[int]) -> bytes:
    return _bytes(field, b"".join(map(_varint, values)))


def _attributes(field: IntEnum, attributes: Iterable[tuple[str, Attribute]]) -> bytes:
    entries = (_bytes(MapEntry.KEY, key) + _bytes(MapEntry.VALUE, _attribute(value)) for key, value in attributes)
    return b"".join(_bytes(field, entry) for entry in entries)


def _attribute(value: Attribute) -> bytes:
    if isinstance(value, WeightRef):
        return _bytes(AttrDef.T, _bytes(TensorDef.DESC, _descriptor(value.tensor, value)))
    if isinstance(value, NamedAttributes):
        return _bytes(AttrDef.FUNC, _bytes(NamedAttrs.NAME, value.name) + _attributes(NamedAttrs.ATTR, value.values.items()))
    if isinstance(value, bool | int):
        return _integer(AttrDef.B if isinstance(value, bool) else AttrDef.I, value)
    if isinstance(value, float):
        return _real(AttrDef.F, value)
    return _bytes(AttrDef.S, value) if isinstance(value, str) else _bytes(AttrDef.LIST, _list(value))


def _list(values: Sequence[int] | Sequence[str]) -> bytes:
    numbers = [item for item in values if isinstance(item, int)]
    if len(numbers) == len(values):
        return _integers(AttrList.I, numbers) + _integer(AttrList.VAL_TYPE, _INTS)
    return b"".join(_bytes(AttrList.S, str(item)) for item in values) + _integer(AttrList.VAL_TYPE, _STRINGS)


def _descriptor(tensor: Tensor, weight: WeightRef | None = None) -> bytes:
    parts = [
        _integer(TensorDescriptor.DTYPE, _PROTO_CODES[tensor.dtype]),
        _bytes(TensorDescriptor.SHAPE, _integers(ShapeDef.DIM, tensor.shape)),
        _bytes(TensorDescriptor.LAYOUT, tensor.layout),
        _integer(TensorDescriptor.SIZE, tensor.nbytes),
    ]
    if weight is not None:
        parts.append(_integer(TensorDescriptor.WEIGHT_SIZE, tensor.nbytes))
        parts.append(_integer(TensorDescriptor.DATA_OFFSET, weight.offset_bytes))
    return b"".join(parts)


def _write_model(graph: Graph, about: Description, workspace: _Workspace) -> bytes:
    constants = frozenset(op.name for op in graph.ops if op.type == "Const")
    ops = b"".join(_bytes(GraphDef.OP, _operator(index, op, constants, workspace)) for index, op in enumerate(graph.ops))
    borders = [port.tensor.nbytes for port in (*about.inputs, *about.outputs)]
    attributes: list[tuple[str, Attribute]] = [
        ("attr_model_out_nodes_name", [port.name for port in about.outputs]),
        ("event_num", 0),
        ("memory_size", workspace.nbytes),
        ("soc_version", about.soc),
        ("stream_num", 1),
        ("weight_size", len(graph.weights)),
        ("zero_copy_memory_size", sum(borders)),
    ]
    if _is_mini(about.soc):
        attributes.append(("target_type", "MINI"))
    return b"".join(
        [
            _bytes(ModelDef.NAME, about.name),
            _integer(ModelDef.VERSION, 1),
            _bytes(ModelDef.GRAPH, _bytes(GraphDef.NAME, about.name) + ops),
            _attributes(ModelDef.ATTR, attributes),
        ]
    )


def _operator(index: int, op: Op, constants: frozenset[str], workspace: _Workspace) -> bytes:
    described = op.outputs if op.type == "Data" else op.inputs  # of a Data the vendor's files describe the input too
    return b"".join(
        [
            _bytes(OpDef.NAME, op.name),
            _bytes(OpDef.TYPE, op.type),
            *(_bytes(OpDef.INPUT, f"{tensor.op}:{tensor.index}") for tensor in op.inputs),
            _attributes(OpDef.ATTR, op.attributes.items()),
            _integer(OpDef.ID, index),
            _integer(OpDef.STREAM_ID, 0),
            *(_bytes(OpDef.SRC_NAME, tensor.op) for tensor in op.inputs),
            _integers(OpDef.SRC_INDEX, [tensor.index for tensor in op.inputs]),
            _integers(OpDef.INPUT_I, [workspace.offsets.get(tensor, 0) for tensor in op.inputs]),
            _integers(OpDef.OUTPUT_I, [workspace.offsets.get(tensor, 0) for tensor in op.outputs]),
            _integers(OpDef.IS_INPUT_CONST, [tensor.op in constants for tensor in op.inputs]),
            *(_bytes(OpDef.INPUT_DESC, _descriptor(tensor)) for tensor in described),
            *(_bytes(OpDef.OUTPUT_DESC, _descriptor(tensor)) for tensor in op.outputs),
        ]
    )


def _write_tasks(memory_nbytes: int, weight_nbytes: int) -> bytes:
    """Return a task list without tasks: there is no compiled code in the file."""
    return b"".join(
        [
            _bytes(ModelTaskDef.VERSION, "1.0"),
            _integer(ModelTaskDef.MEMORY_SIZE, memory_nbytes),
            _integer(ModelTaskDef.STREAM_NUM, 1),
            _integer(ModelTaskDef.EVENT_NUM, 0),
            _integer(ModelTaskDef.WEIGHT_SIZE, weight_nbytes),
        ]
    )


# --- the listed interface ------------------------------------------------------------------------------------------------------


def _write_inout(about: Description) -> bytes:
    values = [(Tlv.INPUTS, _tensors(about.inputs)), (Tlv.OUTPUTS, _tensors(about.outputs))]
    if about.gears is not None:
        values.append(_gears(about.gears))
        values.append((Tlv.DYNAMIC_OUTPUT_SHAPES, _texts(about.output_rows)))
        if about.gears.kind == "dims":
            values.append((Tlv.INPUT_ORDER, _texts(about.order)))
    return b"".join(TLV_HEAD.pack(kind, len(data)) + data for kind, data in values)


def _gears(gears: Gears) -> tuple[Tlv, bytes]:
    choices = gears.choices
    numbers = [extent for choice in choices for extent in choice]
    if gears.kind == "batch":
        return Tlv.BATCH_GEARS, struct.pack(f"<I{len(numbers)}Q", len(choices), *numbers)
    lengths = [len(choice) for choice in choices]
    kind = Tlv.IMAGE_GEARS if gears.kind == "image" else Tlv.DIMS_GEARS
    return kind, struct.pack(f"<I{len(choices)}I{len(numbers)}Q", len(choices), *lengths, *numbers)


def _tensors(ports: Sequence[Port]) -> bytes:
    parts = [struct.pack("<I", len(ports))]
    for port in ports:
        name, source_dims = port.name.encode(), port.source_dims or port.dims
        dims, source = struct.pack(f"<{len(port.dims)}q", *port.dims), struct.pack(f"<{len(source_dims)}q", *source_dims)
        tensor = port.tensor
        codes = _FORMAT_CODES[tensor.layout], _GE_CODES[tensor.dtype]
        parts.append(TLV_TENSOR.pack(tensor.nbytes, *codes, len(name), len(dims), len(source), 0) + name + dims + source)
    return b"".join(parts)


def _texts(texts: Sequence[str]) -> bytes:
    coded = [text.encode() for text in texts]
    return struct.pack(f"<I{len(coded)}I", len(coded), *map(len, coded)) + b"".join(coded)
