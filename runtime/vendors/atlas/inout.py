"""Read the partition MODEL_INOUT_INFO of newer OM files, which alone gives the whole interface."""

from __future__ import annotations

import struct

from landbridge.runtime.errors import SignatureError
from landbridge.runtime.records import dataclass
from landbridge.runtime.vendors.atlas.format import FORMATS, GE_DTYPES, TLV_HEAD, TLV_TENSOR, Tlv

_AT = "MODEL_INOUT_INFO"
_DAMAGED = "the file is damaged"


@dataclass(frozen=True)
class Tensor:
    """An input or output as the file lists it.

    Attributes:
        dims: -1 where a gear decides; as the network sees the tensor.
        source_dims: what the caller gives (the image before AIPP), "dims V2"; empty where the same.
    """

    name: str
    dtype: str
    layout: str
    dims: tuple[int, ...]
    source_dims: tuple[int, ...]


@dataclass(frozen=True)
class InOut:
    """The whole partition.

    Attributes:
        gears: ``("batch" | "image" | "dims", choices)``, or None.
        output_shapes: rows of ``gear,output,dims…``, empty where the file does not say.
        order: the names of inputs in the order in which "dims" gears name their dimensions; empty where the file does not say.
    """

    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    gears: tuple[str, tuple[tuple[int, ...], ...]] | None
    output_shapes: tuple[str, ...]
    order: tuple[str, ...] = ()


class _Reader:
    """Takes one thing after the other from some bytes."""

    def __init__(self, data: memoryview) -> None:
        self.data = data
        self.position = 0

    @property
    def left_nbytes(self) -> int:
        return len(self.data) - self.position

    def take(self, nbytes: int) -> memoryview:
        if nbytes > self.left_nbytes:
            raise SignatureError(f"{nbytes} bytes where {self.left_nbytes} are left", at=_AT, hint=_DAMAGED, code="LB2103")
        self.position += nbytes
        return self.data[self.position - nbytes : self.position]

    def unpack(self, layout: struct.Struct) -> tuple[int, ...]:
        return layout.unpack(self.take(layout.size))

    def u32(self) -> int:
        return int.from_bytes(self.take(4), "little")

    def counts(self, least_nbytes: int) -> int:
        """Take the number of things that follow, each of at least ``least_nbytes``."""
        count = self.u32()
        if count * least_nbytes > self.left_nbytes:
            raise SignatureError(f"{count} entries in {self.left_nbytes} bytes", at=_AT, hint=_DAMAGED, code="LB2103")
        return count

    def integers(self, nbytes: int) -> tuple[int, ...]:
        if nbytes % 8:
            raise SignatureError(f"{nbytes} bytes of 64-bit numbers", at=_AT, hint=_DAMAGED, code="LB2103")
        return struct.unpack(f"<{nbytes // 8}q", self.take(nbytes))

    def text(self, nbytes: int) -> str:
        try:
            return str(self.take(nbytes), "utf-8")
        except UnicodeDecodeError as error:
            raise SignatureError("a name is not UTF-8 text", at=_AT, hint=_DAMAGED, code="LB2103") from error


def read_inout(data: memoryview) -> InOut:
    """Return the interface in ``data``, the bytes of the partition.

    Raises:
        SignatureError: it is damaged, or has no inputs and outputs.
    """
    reader = _Reader(data)
    values: dict[int, _Reader] = {}
    while reader.left_nbytes:
        kind, nbytes = reader.unpack(TLV_HEAD)
        values[kind] = _Reader(reader.take(nbytes))
    if Tlv.INPUTS not in values or Tlv.OUTPUTS not in values:
        raise SignatureError("it lists no inputs or no outputs", at=_AT, hint=_DAMAGED, code="LB2103")
    return InOut(
        inputs=_read_tensors(values[Tlv.INPUTS]),
        outputs=_read_tensors(values[Tlv.OUTPUTS]),
        gears=_read_gears(values),
        output_shapes=_read_texts(values.get(Tlv.DYNAMIC_OUTPUT_SHAPES)),
        order=_read_texts(values.get(Tlv.INPUT_ORDER)),
    )


def _read_tensors(reader: _Reader) -> tuple[Tensor, ...]:
    tensors = []
    for _ in range(reader.counts(TLV_TENSOR.size)):
        _size, layout, dtype, name_nbytes, dims_nbytes, source_nbytes, ranges_nbytes = reader.unpack(TLV_TENSOR)
        if dtype not in GE_DTYPES:
            raise SignatureError(
                f"element type {dtype} is unknown", at=_AT, hint="the file is damaged or newer than this reader", code="LB2103"
            )
        name = reader.text(name_nbytes)
        dims, source_dims = reader.integers(dims_nbytes), reader.integers(source_nbytes)
        reader.take(ranges_nbytes)
        tensors.append(Tensor(name, GE_DTYPES[dtype], FORMATS.get(layout, "ND"), dims, source_dims))
    return tuple(tensors)


def _read_gears(values: dict[int, _Reader]) -> tuple[str, tuple[tuple[int, ...], ...]] | None:
    if Tlv.BATCH_GEARS in values:
        reader = values[Tlv.BATCH_GEARS]
        return "batch", tuple((batch,) for batch in reader.integers(8 * reader.counts(8)))
    for kind, name in ((Tlv.IMAGE_GEARS, "image"), (Tlv.DIMS_GEARS, "dims")):
        if kind in values:
            reader = values[kind]
            lengths = [reader.u32() for _ in range(reader.counts(4))]
            return name, tuple(reader.integers(8 * length) for length in lengths)
    return None


def _read_texts(reader: _Reader | None) -> tuple[str, ...]:
    if reader is None:
        return ()
    lengths = [reader.u32() for _ in range(reader.counts(4))]
    return tuple(reader.text(length) for length in lengths)
