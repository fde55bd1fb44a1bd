"""Read what an IREE module (.vmfb) says about itself, without IREE.

A module is a flatbuffer with the identifier ``IREE`` behind its length; by default it is the first, stored entry of a zip file whose
other entries are the machine code. Each exported function has a declaration, such as
``sync func @main(%input0: tensor<?x8xf32>) -> (%output0: tensor<?x4xf32>)``: types and shapes, no names of the user's.

Source: https://github.com/iree-org/iree/blob/main/runtime/src/iree/schemas/bytecode_module_def.fbs
"""

from __future__ import annotations

import io
import re
import struct
import zipfile
from collections.abc import Mapping
from enum import IntEnum

from landbridge.runtime.errors import SignatureError, did_you_mean
from landbridge.runtime.records import dataclass
from landbridge.runtime.signature import BATCH, Dim, Port, Signature
from landbridge.runtime.vendors.flatbuffer import Buffer, Table
from landbridge.runtime.vendors.onnx_model import dim_name

IDENTIFIER = b"IREE"
_ENTRY = "module.fb"
_PREFIX_NBYTES = 4
_DAMAGED = "compile the module again"
_DECLARATION = "iree.abi.declaration"
_DEFAULT = "main"

_LOCAL_HEADER = struct.Struct("<4sHHHHHIIIHH")
"""Of a zip file's first entry: at 3 how it is compressed, at 9 and 10 the bytes of its name and of what follows that."""
_LOCAL_MAGIC = b"PK\x03\x04"
_ZIP_ERRORS = (zipfile.BadZipFile, ValueError, OverflowError, EOFError, NotImplementedError, struct.error)
"""What the zipfile module raises on damage."""

DTYPES: dict[str, str] = {
    "i1": "bool",
    "bf16": "bfloat16",
    "f8E4M3FN": "float8_e4m3fn",
    "f8E4M3FNUZ": "float8_e4m3fnuz",
    "f8E5M2": "float8_e5m2",
    "f8E5M2FNUZ": "float8_e5m2fnuz",
    "f8E8M0FNU": "float8_e8m0fnu",
    "complex<f32>": "complex64",
    "complex<f64>": "complex128",
    **{f"f{bits}": f"float{bits}" for bits in (16, 32, 64)},
    **{f"{sign}i{bits}": f"{name}int{bits}" for sign, name in (("", ""), ("s", ""), ("u", "u")) for bits in (8, 16, 32, 64)},
}
"""MLIR's element types that can be passed. An integer without a sign, such as i8, is taken for a signed one
(IREE's compiler makes unsigned ones so); a caller who knows better gives the signature."""

_TENSOR = re.compile(r"tensor<((?:\?x|\d{1,18}x)*)(\w+|complex<\w+>)>")
_MAX_DECLARATION = 1 << 16
_OPENING, _CLOSING = "<({[", ">)}]"


class _Module(IntEnum):
    NAME = 0
    EXPORTS = 7
    SIGNATURES = 8
    CONSTANTS = 9
    BYTECODE_VERSION = 13


class _Constant(IntEnum):
    EMBEDDED = 2
    NBYTES_OUTSIDE = 4


class _Export(IntEnum):
    NAME = 0
    ORDINAL = 1


class _FunctionSignature(IntEnum):
    ATTRIBUTES = 1


class _Attribute(IntEnum):
    KEY = 0
    VALUE = 1


@dataclass(frozen=True)
class Module:
    """What a file says.

    Attributes:
        name: of the module.
        declarations: of the exported functions that have one, by name.
        bytecode: version of the bytecode, such as "17.0".
        parts: names of the other entries of the zip file, which tell the machine they are for.
        constant_nbytes: of its constants, machine code included.
    """

    name: str
    declarations: Mapping[str, str]
    bytecode: str
    parts: tuple[str, ...]
    constant_nbytes: int


Typed = tuple[tuple[Port, str], ...]
"""Ports, each with its element type as MLIR writes it."""


@dataclass(frozen=True)
class Function:
    """An exported function that can be called."""

    name: str
    inputs: Typed
    outputs: Typed


def recognises(data: bytes) -> bool:
    """Return whether ``data`` begins like an IREE module, in a zip file or not."""
    return data[_PREFIX_NBYTES * 2 : _PREFIX_NBYTES * 2 + len(IDENTIFIER)] == IDENTIFIER or _first_name(data) == _ENTRY.encode()


def read_module(data: bytes, at: str) -> Module:
    """Return what the file says.

    Raises:
        SignatureError: not such a file, or damaged.
    """
    buffer, parts = _open(data, at)
    root = buffer.root()
    signatures = root.tables(_Module.SIGNATURES)
    declarations = {}
    for export in root.tables(_Module.EXPORTS):
        ordinal = export.integer(_Export.ORDINAL)
        if not 0 <= ordinal < len(signatures):
            buffer.fail(f"function {ordinal} of {len(signatures)}")
        text = _attribute(signatures[ordinal], _DECLARATION)
        if text:
            declarations[export.text(_Export.NAME)] = text
    version = root.integer(_Module.BYTECODE_VERSION, "u32")
    constants = sum(
        len(part.blob(_Constant.EMBEDDED)) + part.integer(_Constant.NBYTES_OUTSIDE, "u64") for part in root.tables(_Module.CONSTANTS)
    )
    return Module(root.text(_Module.NAME), declarations, f"{version >> 16}.{version & 0xFFFF}", parts, constants)


def read_function(data: bytes, name: str | None, at: str) -> Function:
    """Return what a function takes and gives; None is ``main``, else the only one that can be called.

    Ports are called input0, output0 …; the leading dynamic dimensions are all `BATCH`, each other one is named after port and axis.

    Raises:
        SignatureError: as `read_module`; or there is no such function, or it takes or gives what cannot be passed.
    """
    return _choose(read_module(data, at), name, at)


def read_signature(data: bytes, function: str | None, at: str) -> Signature:
    """Return the signature of a function.

    Raises:
        SignatureError: as `read_function`.
    """
    module = read_module(data, at)
    found = _choose(module, function, at)
    return Signature(
        inputs=tuple(port for port, _ in found.inputs),
        outputs=tuple(port for port, _ in found.outputs),
        weight_nbytes=module.constant_nbytes,
        versions={"bytecode": module.bytecode, **({"target": _target(module)} if module.parts else {})},
        origin=dict.fromkeys(("inputs", "outputs", "weight_nbytes", "versions"), "file"),
    )


def _choose(module: Module, function: str | None, at: str) -> Function:
    found = {name: parsed for name, text in module.declarations.items() if (parsed := _parse(text)) is not None}
    if function is None:
        function = _DEFAULT if _DEFAULT in found or len(found) != 1 else next(iter(found))
    if function not in found:
        if not found:
            hint = "compile it with functions that take and give tensors synchronously"
        else:
            hint = f"option function: {did_you_mean(function, found)}"
        raise SignatureError(f"the module '{module.name}' has no function '{function}' that can be called", at=at, hint=hint, code="LB2112")
    arguments, results = found[function]
    return Function(function, _ports(arguments, "input", function, at), _ports(results, "output", function, at))


def _parse(declaration: str) -> tuple[str, str] | None:
    """Return the arguments and the results of a synchronous function; None for others, and for what is not a declaration."""
    head, _, rest = declaration[:_MAX_DECLARATION].partition("(")
    arguments, arrow, results = rest.partition(") -> (")
    if not head.startswith("sync func @") or not arrow:
        return None
    depth = 0
    for index, character in enumerate(results):
        depth += (character in _OPENING) - (character in _CLOSING)
        if depth < 0:
            return arguments, results[:index]
    return None


def _split(text: str) -> list[str]:
    """Return the parts between the commas that are in no brackets."""
    parts, depth, start = [], 0, 0
    for index, character in enumerate(text):
        depth += (character in _OPENING) - (character in _CLOSING)
        if character == "," and depth == 0:
            parts.append(text[start:index])
            start = index + 1
    return [*parts, text[start:]] if text.strip() else []


def _ports(text: str, kind: str, function: str, at: str) -> Typed:
    """Return the ports that ``%input0: tensor<?x8xf32>, …`` declares."""
    ports = []
    for index, part in enumerate(_split(text)):
        name, written = f"{kind}{index}", part.partition(":")[2].partition("{")[0].strip()
        match = _TENSOR.fullmatch(written)
        dtype = DTYPES.get(match[2]) if match is not None else None
        if match is None or dtype is None:
            raise SignatureError(f"function '{function}': {name} is '{written}', which cannot be passed", at=at, code="LB2110")
        extents = [extent for extent in match[1].split("x") if extent]
        ports.append((Port(name, dtype, tuple(_dim(extent, axis, name) for axis, extent in enumerate(extents))), match[2]))
    return tuple(ports)


def _dim(extent: str, axis: int, port: str) -> Dim:
    if extent != "?":
        return int(extent)
    return BATCH if axis == 0 else dim_name(port, axis)


def _target(module: Module) -> str:
    """Return the machine that the parts are for, as their names tell: ``main_dispatch_0_embedded_elf_x86_64.so``."""
    return re.sub(r"^.*?_dispatch_\d+_", "", module.parts[0]).rsplit(".", 1)[0]


def _attribute(signature: Table, key: str) -> str:
    for attribute in signature.tables(_FunctionSignature.ATTRIBUTES):
        if attribute.text(_Attribute.KEY) == key:
            return attribute.text(_Attribute.VALUE)
    return ""


def _first_name(data: bytes) -> bytes:
    """Return the name of the first entry of a zip file, or nothing."""
    if len(data) < _LOCAL_HEADER.size or not data.startswith(_LOCAL_MAGIC):
        return b""
    *_, name_nbytes, _ = _LOCAL_HEADER.unpack_from(data)
    return data[_LOCAL_HEADER.size : _LOCAL_HEADER.size + name_nbytes]


def _open(data: bytes, at: str) -> tuple[Buffer, tuple[str, ...]]:
    """Return the flatbuffer, and the names of the zip file's other entries."""
    if not recognises(data):
        raise SignatureError("not an IREE module", at=at, hint="give a .vmfb file", code="LB2101")
    start: int = 0
    parts: tuple[str, ...] = ()
    if data.startswith(_LOCAL_MAGIC):
        method, *_, name_nbytes, extra_nbytes = _LOCAL_HEADER.unpack_from(data)[3:]
        if method != 0:
            raise SignatureError("damaged: its first part is compressed", at=at, hint=_DAMAGED, code="LB2103")
        start = _LOCAL_HEADER.size + name_nbytes + extra_nbytes
        parts = _parts(data, at)
    if start + _PREFIX_NBYTES > len(data):
        raise SignatureError(
            f"damaged: {len(data)} bytes, its head alone has {start + _PREFIX_NBYTES}", at=at, hint=_DAMAGED, code="LB2103"
        )
    nbytes = int.from_bytes(data[start : start + _PREFIX_NBYTES], "little")
    start += _PREFIX_NBYTES
    if nbytes > len(data) - start:
        raise SignatureError(f"damaged: {len(data) - start} bytes, it announces {nbytes}", at=at, hint=_DAMAGED, code="LB2103")
    return Buffer(memoryview(data)[start : start + nbytes], at, _DAMAGED), parts


def _parts(data: bytes, at: str) -> tuple[str, ...]:
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            return tuple(name for name in archive.namelist() if name != _ENTRY)
    except _ZIP_ERRORS as error:
        raise SignatureError(f"damaged: {error}", at=at, hint=_DAMAGED, code="LB2103") from error
