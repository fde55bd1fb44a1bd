"""Read what a blob exported by OpenVINO's CPU plugin says about itself, without OpenVINO.

A blob is ``RR_UPCVO``, u32 1, u64 n, n bytes of text (``meta=1.0;ov=<version>;isa=<instruction sets>``), then six u64: offset and
size of the custom data, the constants and the model, counted from the byte after the text. The model is OpenVINO IR (XML), xor'ed
with a repeating key. Read from blobs of OpenVINO 2026.4; there is no public description.

Guarantees to believe no length unchecked. It does not look at the operators inside.
"""

from __future__ import annotations

import io
import json
import struct
from collections.abc import Iterator, Mapping
from typing import Any
from xml.etree import ElementTree

import numpy as np

from landbridge.runtime.errors import SignatureError
from landbridge.runtime.records import dataclass
from landbridge.runtime.signature import BATCH, Dim, Port, Signature
from landbridge.runtime.vendors.onnx_model import dim_name

MAGIC = b"RR_UPCVO"
_LAYOUT_VERSION = 1
_HEAD = struct.Struct("<8sIQ")
_SECTIONS = struct.Struct("<6Q")
_KEY = np.frombuffer(bytes.fromhex("30607002 0408 3F6F 7274787F"), np.uint8)
_MAX_TEXT_NBYTES = 4096
_MAX_XML_NBYTES = 256 << 20

RECORD = "landbridge"
"""The element of the model's ``rt_info`` in which our compiler records what the blob would not keep by itself."""

PRECISION = "INFERENCE_PRECISION_HINT"
"""OpenVINO's property: the precision in which floating-point operators compute; a blob does not remember it."""

VERSION_KEY = "openvino"
"""The key in `Signature.versions` of the version of OpenVINO that exported the blob, the only one that can import it."""

_DTYPES: dict[str, str] = {
    "f64": "float64",
    "f32": "float32",
    "f16": "float16",
    "fp64": "float64",
    "fp32": "float32",
    "fp16": "float16",
    "bf16": "bfloat16",
    "i64": "int64",
    "i32": "int32",
    "i16": "int16",
    "i8": "int8",
    "u64": "uint64",
    "u32": "uint32",
    "u16": "uint16",
    "u8": "uint8",
    "boolean": "bool",
    "bool": "bool",
}
"""OpenVINO's element types in lower case: the spellings of ``element_type``, and of ``precision`` where it differs."""


@dataclass(frozen=True)
class Blob:
    """The parts of a blob.

    Attributes:
        version: of the OpenVINO that exported it, such as "2026.4.1".
        isa: the instruction sets of the machine that exported it; no other machine's will do.
        constant_nbytes: bytes of its constants.
        xml: the model.
    """

    version: str
    isa: str
    constant_nbytes: int
    xml: bytes


def recognises(data: bytes) -> bool:
    """Return whether ``data`` begins like a blob of this or of an older form."""
    return data[: len(MAGIC)] == MAGIC or _is_old_form(data)


def read_blob(data: bytes, at: str) -> Blob:
    """Return the parts of a blob.

    Raises:
        SignatureError: not a blob, damaged, or of a form that is not known.
    """
    if _is_old_form(data):
        raise SignatureError(
            "a blob of OpenVINO 2025 or older, which does not tell its version",
            at=at,
            hint="export the model again with OpenVINO 2026.4 or later",
            code="LB2105",
        )
    if data[: len(MAGIC)] != MAGIC:
        raise SignatureError(
            "not a blob exported by OpenVINO", at=at, hint="give what compiled_model.export_model() returned", code="LB2101"
        )
    if len(data) < _HEAD.size:
        raise _damaged(at, f"{len(data)} bytes, the head alone has {_HEAD.size}")
    _, layout, text_nbytes = _HEAD.unpack_from(data)
    if layout != _LAYOUT_VERSION:
        raise SignatureError(
            f"blob layout {layout}, expected {_LAYOUT_VERSION}", at=at, hint="this release reads blobs of OpenVINO 2026.4", code="LB2105"
        )
    base = _HEAD.size + text_nbytes
    if text_nbytes > _MAX_TEXT_NBYTES or base + _SECTIONS.size > len(data):
        raise _damaged(at, f"{len(data)} bytes, the head announces {base + _SECTIONS.size}")
    facts = dict(part.partition("=")[::2] for part in data[_HEAD.size : base].decode("utf-8", "replace").split(";"))
    sections = _SECTIONS.unpack_from(data, base)
    for offset, nbytes in zip(sections[::2], sections[1::2], strict=True):
        if offset + nbytes > len(data) - base:
            raise _damaged(at, f"a section ends at byte {base + offset + nbytes} of {len(data)}")
    _, _, _, constant_nbytes, offset, nbytes = sections
    if nbytes > _MAX_XML_NBYTES:
        raise _damaged(at, f"a model description of {nbytes} bytes, more than {_MAX_XML_NBYTES}")
    coded = np.frombuffer(data, np.uint8, nbytes, base + offset)
    xml = (coded ^ np.resize(_KEY, nbytes)).tobytes() if nbytes else b""
    return Blob(facts.get("ov", ""), facts.get("isa", ""), constant_nbytes, xml)


def read_signature(data: bytes, at: str) -> Signature:
    """Return the signature of a blob.

    A dynamic dimension has the name that our compiler recorded; in a blob made elsewhere, the leading ones are all `BATCH` and each
    other one is named after its port and axis.

    Raises:
        SignatureError: as `read_blob`; or the model inside cannot be read, or passes elements that cannot be passed.
    """
    blob = read_blob(data, at)
    inputs, outputs, record = _read_interface(blob, at)
    names = _recorded_names(record, (inputs, outputs), at)
    versions = {VERSION_KEY: blob.version, "isa": blob.isa}
    if "precision" in record:
        versions["precision"] = record["precision"]
    facts = ["inputs", "outputs", "versions", "weight_nbytes"]
    return Signature(
        inputs=tuple(_named(port, dims) for port, dims in zip(inputs, names[0], strict=True)),
        outputs=tuple(_named(port, dims) for port, dims in zip(outputs, names[1], strict=True)),
        weight_nbytes=blob.constant_nbytes,
        versions=versions,
        origin=dict.fromkeys(facts, "file"),
    )


def _is_old_form(data: bytes) -> bool:
    """Return whether ``data`` begins with the six numbers themselves, back to back, and custom data in XML: no magic, but safe."""
    if len(data) < _SECTIONS.size + 5:
        return False
    sections = _SECTIONS.unpack_from(data)
    ends = [_SECTIONS.size, *(offset + nbytes for offset, nbytes in zip(sections[:4:2], sections[1:4:2], strict=True))]
    return list(sections[::2]) == ends and data[_SECTIONS.size : _SECTIONS.size + 5] == b"<?xml"


def _damaged(at: str, found: str) -> SignatureError:
    return SignatureError(f"damaged OpenVINO blob: {found}", at=at, hint="export the model again", code="LB2103")


def _read_interface(blob: Blob, at: str) -> tuple[list[Port], list[Port], dict[str, str]]:
    """Return the inputs, the outputs (dynamic dims as "?") and what our compiler recorded."""
    inputs: list[Port] = []
    outputs: list[Port] = []
    record: dict[str, str] = {}
    try:
        for path, element in _elements(blob.xml):
            if path == ["net", "layers", "layer"] and element.get("type") == "Parameter":
                inputs.append(_read_parameter(element, at))
            elif path == ["net", "layers", "layer"] and element.get("type") == "Result":
                outputs.append(_read_result(element, at))
            elif path[:-1] == ["net", "rt_info", RECORD]:
                record[path[-1]] = element.get("value", "")
    except (ElementTree.ParseError, ValueError, LookupError) as error:  # LookupError: an encoding that there is not
        raise _damaged(at, f"its model cannot be decoded ({error}); exported by OpenVINO '{blob.version}'") from error
    if not outputs:
        raise _damaged(at, "its model has no output")
    return inputs, outputs, record


def _elements(xml: bytes) -> Iterator[tuple[list[str], ElementTree.Element]]:
    """Yield each layer and each leaf of the record, with the tags down to it, forgetting what was yielded."""
    if b"<!DOCTYPE" in xml or b"<!ENTITY" in xml:
        raise ElementTree.ParseError("it defines entities")
    path: list[str] = []
    for event, element in ElementTree.iterparse(io.BytesIO(xml), events=("start", "end")):
        if event == "start":
            path.append(element.tag)
            continue
        if len(path) <= 4:
            yield list(path), element
        path.pop()
        if len(path) <= 2:
            element.clear()


def _read_parameter(layer: ElementTree.Element, at: str) -> Port:
    name = layer.get("name", "")
    data = layer.find("data")
    element_type = data.get("element_type", "") if data is not None else ""
    return Port(name, _dtype(element_type, name, at), _dims(layer.find("output/port")))


def _read_result(layer: ElementTree.Element, at: str) -> Port:
    name = _first_name(layer.get("output_names", "")) or layer.get("name", "")
    port = layer.find("input/port")
    return Port(name, _dtype(port.get("precision", "") if port is not None else "", name, at), _dims(port))


def _first_name(names: str) -> str:
    """Return the first of a list in which commas separate and a backslash makes a comma part of a name."""
    return names.replace("\\,", "\0").split(",")[0].replace("\0", ",")


def _dtype(element_type: str, port: str, at: str) -> str:
    found = _DTYPES.get(element_type.lower())
    if found is None:
        raise SignatureError(f"'{port}' has elements of type '{element_type}', which cannot be passed", at=at, code="LB2110")
    return found


def _dims(port: ElementTree.Element | None) -> tuple[Dim, ...]:
    found = port.findall("dim") if port is not None else []
    return tuple("?" if int(dim.text or "-1") < 0 else int(dim.text or "-1") for dim in found)


def _recorded_names(record: Mapping[str, str], ports: tuple[list[Port], list[Port]], at: str) -> list[list[list[Dim]]]:
    """Return, for inputs and outputs, the dims that our compiler recorded, or those that the convention gives."""
    try:
        recorded: Any = json.loads(record["dims"]) if "dims" in record else [[_conventional(port) for port in group] for group in ports]
        shapes = [[[dim if isinstance(dim, str) else int(dim) for dim in port] for port in group] for group in recorded]
    except (ValueError, TypeError) as error:
        raise _damaged(at, f"the record of its dimensions: {error}") from error
    if [[len(dims) for dims in group] for group in shapes] != [[len(port.shape) for port in group] for group in ports]:
        raise _damaged(at, "the record of its dimensions does not fit its model")
    return shapes


def _conventional(port: Port) -> list[Dim]:
    return [BATCH if axis == 0 else dim_name(port.name, axis) for axis in range(len(port.shape))]


def _named(port: Port, names: list[Dim]) -> Port:
    dims = zip(port.shape, names, strict=True)
    return Port(
        port.name, port.dtype, tuple((name or dim_name(port.name, axis)) if dim == "?" else dim for axis, (dim, name) in enumerate(dims))
    )
