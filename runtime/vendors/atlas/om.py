"""Read the container of an Ascend OM file: its header, its partitions and its table of kernels, every bound checked.

What the partitions say of the model is for `graph` and `interface`. Three kinds of files that end in ``.om`` are refused by
name, because nothing here can read them: encrypted ones, OM2 (a zip), and models for phones (HiAI).
"""

from __future__ import annotations

import struct

from landbridge.runtime.errors import SignatureError
from landbridge.runtime.records import dataclass
from landbridge.runtime.vendors.atlas.format import (
    HEADER_NBYTES,
    KERNEL_ENTRY,
    KERNEL_MAGIC,
    MAGIC,
    MODEL_NAME_NBYTES,
    OM2_MAGIC,
    PLATFORM_VERSION_NBYTES,
    SIMULATOR_PLATFORM,
    TINY_ENTRY,
    VERSION_1,
    VERSION_2,
    WIDE_ENTRY,
    ModelType,
    Offset,
    Partition,
)

MAX_PARTITIONS = 64
"""More than any loader of the vendor accepts."""

_ZIP_DIRECTORY_NBYTES = 1 << 17
"""Enough of a zip's end for its list of files."""

_COPY_AGAIN = "the file is damaged or was not copied completely: copy it again"


@dataclass(frozen=True)
class Section:
    """One partition.

    Attributes:
        type: one of `Partition`, or a number not known here.
        offset_bytes: from the beginning of the file.
        data: its bytes, a view into the file's.
    """

    type: int
    offset_bytes: int
    data: memoryview

    @property
    def name(self) -> str:
        """The partition's name, or its number."""
        return Partition(self.type).name if self.type in set(Partition) else f"partition {self.type}"


@dataclass(frozen=True)
class Kernel:
    """One compiled kernel in the file: its name and the size of its code in bytes."""

    name: str
    nbytes: int


@dataclass(frozen=True)
class Container:
    """The header and the partitions.

    Attributes:
        version: `VERSION_1` or `VERSION_2`.
        name: the model's name, cut to 31 bytes by the format.
        platform: the version of the tool that made it, such as "1.11.z.0".
        platform_type: 1 is Ascend 310.
        om_ir_version: as the file says.
        model_type: one of the first three of `ModelType`.
        has_dynamic_shapes: the header marks it as a model of unknown shapes.
        wide: whether its partition table is the 64-bit one.
        sections: the partitions in the order of the file.
    """

    version: int
    name: str
    platform: str
    platform_type: int
    om_ir_version: int
    model_type: int
    has_dynamic_shapes: bool
    wide: bool
    sections: tuple[Section, ...]

    @property
    def made_for_simulator(self) -> bool:
        """Whether Landbridge's own tools made the file, so that only the simulator runs it."""
        return self.platform.startswith(SIMULATOR_PLATFORM)

    def partition(self, kind: Partition) -> memoryview | None:
        """Return the bytes of the first partition of ``kind``, or None."""
        return next((section.data for section in self.sections if section.type == kind), None)


def is_om2(data: bytes) -> bool:
    """Return whether ``data`` is a whole OM2 file: a zip that lists a model's ``model_meta.json``, as no other zip does."""
    directory = data[-_ZIP_DIRECTORY_NBYTES:]
    return data[:4] == OM2_MAGIC and b"data/model_" in directory and b"/model_meta.json" in directory


def read_container(data: bytes) -> Container:
    """Return the container in ``data``.

    Raises:
        SignatureError: not an OM file, damaged, or of a kind that cannot be read.
    """
    _check_kind(data)
    header = memoryview(data)[:HEADER_NBYTES]
    version = _u32(header, Offset.VERSION)
    first = version < VERSION_2
    platform_at = Offset.PLATFORM_VERSION_V1 if first else Offset.PLATFORM_VERSION_V2
    wide = _u64(header, Offset.MODEL_LENGTH) != 0
    _check_header(header, version, len(data))
    sections = _read_sections(memoryview(data), wide=wide)
    container = Container(
        version=version,
        name=_text(header, Offset.NAME, MODEL_NAME_NBYTES),
        platform=_text(header, platform_at, PLATFORM_VERSION_NBYTES),
        platform_type=header[Offset.PLATFORM_TYPE_V1 if first else Offset.PLATFORM_TYPE_V2],
        om_ir_version=_u32(header, Offset.OM_IR_VERSION),
        model_type=header[Offset.MODEL_TYPE],
        has_dynamic_shapes=header[Offset.IS_UNKNOWN_MODEL] == 1,
        wide=wide,
        sections=sections,
    )
    if container.partition(Partition.MODEL_DEF) is None:
        found = ", ".join(section.name for section in sections)
        raise SignatureError(f"the file has no partition MODEL_DEF, but {found or 'none'}", hint=_COPY_AGAIN, code="LB2103")
    return container


def read_kernels(container: Container) -> list[Kernel]:
    """Return the kernels that the file carries.

    Raises:
        SignatureError: the table of kernels is damaged.
    """
    kernels: list[Kernel] = []
    for kind in (Partition.TBE_KERNELS, Partition.CUST_AICPU_KERNELS):
        table, position = container.partition(kind) or memoryview(b""), 0
        while position < len(table):
            if len(table) - position < KERNEL_ENTRY.size:
                raise SignatureError("the table of kernels breaks off", at=kind.name, hint=_COPY_AGAIN, code="LB2103")
            magic, name_nbytes, nbytes = KERNEL_ENTRY.unpack_from(table, position)
            begin = position + KERNEL_ENTRY.size
            position = begin + name_nbytes + nbytes
            if magic != KERNEL_MAGIC or position > len(table):
                found = f"kernel {len(kernels)} has the mark {magic:#x}, {name_nbytes} + {nbytes} bytes"
                raise SignatureError(
                    f"{found}; expected {KERNEL_MAGIC:#x} and at most {len(table) - begin}", at=kind.name, hint=_COPY_AGAIN, code="LB2103"
                )
            kernels.append(Kernel(str(table[begin : begin + name_nbytes], "utf-8", "replace"), nbytes))
    return kernels


def _check_kind(data: bytes) -> None:
    if data[:4] == OM2_MAGIC:
        raise SignatureError(
            "this is a zip, as are OM2 files (the third generation of .om), which cannot be read here",
            hint="have ATC write the former format, or give the signature yourself",
            code="LB2105",
        )
    if data[:4] != MAGIC:
        raise SignatureError(
            f"not an Ascend .om file: it begins with {bytes(data[:4])!r}, expected {MAGIC!r}", hint="give a file made by ATC", code="LB2101"
        )
    if len(data) < HEADER_NBYTES:
        raise SignatureError(f"the file has {len(data)} bytes, less than the header's {HEADER_NBYTES}", hint=_COPY_AGAIN, code="LB2103")


def _check_header(header: memoryview, version: int, file_nbytes: int) -> None:
    if header[Offset.IS_ENCRYPT]:
        raise SignatureError(
            "the file is encrypted, so that its signature cannot be read",
            hint="have ATC write it without encryption (no --encrypt_mode), or give the signature yourself",
            code="LB2104",
        )
    if version not in (VERSION_1, VERSION_2):
        known = f"{VERSION_1:#x} or {VERSION_2:#x}"
        raise SignatureError(
            f"format version {version:#x}, expected {known}", hint="compile the model with a release of ATC known here", code="LB2105"
        )
    if _u32(header, Offset.HEADSIZE) != HEADER_NBYTES:
        raise SignatureError(
            f"a header of {_u32(header, Offset.HEADSIZE)} bytes, expected {HEADER_NBYTES}", hint=_COPY_AGAIN, code="LB2105"
        )
    kind = header[Offset.MODEL_TYPE]
    if kind > ModelType.TINY:
        name = ModelType(kind).name.lower() if kind in set(ModelType) else "unknown"
        raise SignatureError(
            f"model type {kind} ({name}), expected a single model", hint="compile the parts with ATC one by one", code="LB2105"
        )
    models = _u32(header, Offset.MODEL_NUM_V2) if version == VERSION_2 else 1
    if models > 1:
        raise SignatureError(
            f"the file holds {models} models (dynamic shapes), expected one", hint="compile with fixed shapes or with gears", code="LB2105"
        )
    length = _u64(header, Offset.MODEL_LENGTH) or _u32(header, Offset.LENGTH)
    if length != file_nbytes - HEADER_NBYTES:
        raise SignatureError(f"the file has {file_nbytes} bytes, its header says {length + HEADER_NBYTES}", hint=_COPY_AGAIN, code="LB2103")


def _read_sections(data: memoryview, *, wide: bool) -> tuple[Section, ...]:
    entry, begin = (WIDE_ENTRY, HEADER_NBYTES + 8) if wide else (TINY_ENTRY, HEADER_NBYTES + 4)
    if len(data) < begin:
        raise SignatureError("the file ends before its partition table", hint=_COPY_AGAIN, code="LB2103")
    count = _u32(data, HEADER_NBYTES)
    base = begin + count * entry.size
    if count > MAX_PARTITIONS or base > len(data):
        raise SignatureError(f"a partition table of {count} rows in a file of {len(data)} bytes", hint=_COPY_AGAIN, code="LB2103")
    sections: list[Section] = []
    position = base
    for index in range(count):
        kind, offset, nbytes = entry.unpack_from(data, begin + index * entry.size)
        section = Section(kind, position, data[position : position + nbytes])
        if base + offset != position or nbytes != len(section.data):
            found = f"bytes {base + offset} to {base + offset + nbytes}"
            raise SignatureError(
                f"{section.name} is {found}, expected to begin at {position} and end by {len(data)}", hint=_COPY_AGAIN, code="LB2103"
            )
        sections.append(section)
        position += nbytes
    if position != len(data):
        raise SignatureError(f"{len(data) - position} bytes after the last partition", hint=_COPY_AGAIN, code="LB2103")
    _check_known(sections)
    return tuple(sections)


def _check_known(sections: list[Section]) -> None:
    kernels = next((section.data for section in sections if section.type == Partition.TBE_KERNELS), memoryview(b""))
    strange = [section.name for section in sections if section.type not in set(Partition)]
    if strange or (kernels and (len(kernels) < KERNEL_ENTRY.size or _u32(kernels, 0) != KERNEL_MAGIC)):
        what = f"{strange[0]} is unknown" if strange else "TBE_KERNELS holds no kernels"
        raise SignatureError(
            f"{what}; models for phones (HiAI) look like this", hint="give a file that ATC made for an Ascend device", code="LB2105"
        )


def _u32(data: memoryview, offset: int) -> int:
    return int(struct.unpack_from("<I", data, offset)[0])


def _u64(data: memoryview, offset: int) -> int:
    return int(struct.unpack_from("<Q", data, offset)[0])


def _text(data: memoryview, offset: int, nbytes: int) -> str:
    return bytes(data[offset : offset + nbytes]).partition(b"\0")[0].decode("utf-8", "replace")
