"""Read what a TensorRT plan says about itself without TensorRT: its version, and what the file that it came in says.

A plan of 8.6 or later begins with ``ftrt``, u32 0, and has its version in the bytes 24 to 27; an older one with ``ptrt`` and, at 8, the
version of the format as u32. The rest, names and shapes included, is not public. Wrappers that are peeled:

- Ultralytics' ``.engine``: u32 length, JSON, plan;
- Torch-TensorRT's blob for ExecuTorch: ``TR01``, u32 offset and length of JSON, u32 offset and u64 length of the plan. Its JSON may
  list the interface.

Sources: NVIDIA/TensorRT samples/common/sampleEngines.cpp; pytorch/TensorRT py/torch_tensorrt/executorch/serialization.py
"""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from dataclasses import field
from typing import Any

from landbridge.runtime import dtypes
from landbridge.runtime.errors import SignatureError
from landbridge.runtime.records import dataclass
from landbridge.runtime.signature import BATCH, Dim, Port
from landbridge.runtime.vendors.onnx_model import dim_name

MAGIC, OLD_MAGIC = b"ftrt", b"ptrt"
_HEAD_NBYTES = 28
_VERSION_AT = 24
_FORMAT_AT = 8
_OLD_VERSIONS = {205: "8.2", 213: "8.4", 232: "8.5"}
"""The TensorRT release of an old format's version."""

_TORCH, _TORCH_ALIASED = b"TR01", b"TR02"
_TORCH_HEAD = struct.Struct("<4sIIIQ8s")
_MAX_JSON = 1 << 24
_REBUILD = "build the engine again"


@dataclass(frozen=True)
class Plan:
    """A plan and what its header and its wrapper say.

    Attributes:
        data: the plan itself, as TensorRT takes it.
        version: of the TensorRT that built it, such as "10.3.0.26"; of an old plan such as "8.5", or "" where it is not known.
        wrapper: what it was wrapped in: "", "Ultralytics" or "Torch-TensorRT".
        notes: what the wrapper says, as pairs for ``landbridge inspect``.
        inputs: where the wrapper lists the whole interface, else empty.
        outputs: the same.
    """

    data: memoryview
    version: str
    wrapper: str = ""
    notes: tuple[tuple[str, str], ...] = ()
    inputs: tuple[Port, ...] = ()
    outputs: tuple[Port, ...] = field(default=())


def recognises(data: bytes) -> bool:
    """Return whether ``data`` begins like a plan or like one of its wrappers."""
    if data[:4] in (MAGIC, OLD_MAGIC, _TORCH, _TORCH_ALIASED):
        return True
    start = _after_json(data)
    return start is not None and data[start : start + 4] in (MAGIC, OLD_MAGIC)


def read_plan(data: bytes, at: str) -> Plan:
    """Return the plan in ``data``.

    Raises:
        SignatureError: there is none, it is damaged, or it is of a kind that cannot be run from here.
    """
    if data[:4] == _TORCH_ALIASED:
        raise SignatureError(
            "a Torch-TensorRT blob whose outputs share memory with inputs (TR02)",
            at=at,
            hint="export it without aliased inputs",
            code="LB2105",
        )
    if data[:4] == _TORCH:
        return _read_torch(data, at)
    start = None if data[:4] in (MAGIC, OLD_MAGIC) else _after_json(data)
    if start is None:
        return _read_header(memoryview(data), at)
    notes = _json(data[4:start], at)
    inner = _read_header(memoryview(data)[start:], at)
    shown = tuple((str(key), str(value)) for key, value in notes.items() if isinstance(value, str | int | float | list))
    return Plan(inner.data, inner.version, "Ultralytics", shown)


def _read_header(data: memoryview, at: str) -> Plan:
    magic = bytes(data[:4])
    if magic not in (MAGIC, OLD_MAGIC):
        raise SignatureError("not a TensorRT plan", at=at, hint="give what trtexec --saveEngine wrote", code="LB2101")
    if len(data) < _HEAD_NBYTES:
        raise SignatureError(
            f"damaged: {len(data)} bytes, the head of a plan alone has {_HEAD_NBYTES}", at=at, hint=_REBUILD, code="LB2103"
        )
    if magic == OLD_MAGIC:
        return Plan(data, _OLD_VERSIONS.get(int.from_bytes(data[_FORMAT_AT : _FORMAT_AT + 4], "little"), ""))
    layout = int.from_bytes(data[4:8], "little")
    if layout != 0:
        raise SignatureError(f"a TensorRT plan with a head of version {layout}, expected 0", at=at, hint=_REBUILD, code="LB2105")
    return Plan(data, ".".join(str(part) for part in data[_VERSION_AT:_HEAD_NBYTES]))


def _after_json(data: bytes) -> int | None:
    """Return where a plan would begin behind Ultralytics' JSON; None where there is none."""
    nbytes = int.from_bytes(data[:4], "little")
    return 4 + nbytes if data[4:5] == b"{" and 2 <= nbytes <= min(_MAX_JSON, len(data) - 4) else None


def _read_torch(data: bytes, at: str) -> Plan:
    if len(data) < _TORCH_HEAD.size:
        raise SignatureError(f"damaged: {len(data)} bytes, its head alone has {_TORCH_HEAD.size}", at=at, hint=_REBUILD, code="LB2103")
    _, json_at, json_nbytes, plan_at, plan_nbytes, _ = _TORCH_HEAD.unpack_from(data)
    if json_nbytes > _MAX_JSON or json_at + json_nbytes > plan_at or plan_at + plan_nbytes > len(data):
        raise SignatureError(f"damaged: {len(data)} bytes, its head announces {plan_at + plan_nbytes}", at=at, hint=_REBUILD, code="LB2103")
    notes = _json(data[json_at : json_at + json_nbytes], at)
    inner = _read_header(memoryview(data)[plan_at : plan_at + plan_nbytes], at)
    listed = notes.get("io_bindings")
    ports = _ports(listed if isinstance(listed, list) else [])
    shown = (
        ("hardware compatible", "yes" if notes.get("hardware_compatible") else "no"),
        ("platform", str(notes.get("target_platform", ""))),
    )
    return Plan(inner.data, inner.version, "Torch-TensorRT", shown, *(ports or ((), ())))


def _json(data: bytes, at: str) -> Mapping[str, Any]:
    try:
        found = json.loads(data.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise SignatureError(f"damaged: what is in front of the plan is not JSON: {error}", at=at, hint=_REBUILD, code="LB2103") from error
    if not isinstance(found, dict):
        raise SignatureError("damaged: what is in front of the plan is not a JSON object", at=at, hint=_REBUILD, code="LB2103")
    return found


def _ports(listed: list[Any]) -> tuple[tuple[Port, ...], tuple[Port, ...]] | None:
    """Return inputs and outputs where every one of them has a type and a shape, else None."""
    inputs: list[Port] = []
    outputs: list[Port] = []
    for entry in listed:
        if not isinstance(entry, dict) or not isinstance(entry.get("shape"), list) or not isinstance(entry.get("name"), str):
            return None
        dtype = str(entry.get("dtype", "")).removeprefix("torch.")
        if not dtypes.is_dtype(dtype) or not all(type(extent) is int for extent in entry["shape"]):
            return None
        port = Port(entry["name"], dtype, named_dims(entry["name"], entry["shape"]))
        (inputs if entry.get("is_input", True) else outputs).append(port)
    return (tuple(inputs), tuple(outputs)) if outputs else None


def named_dims(port: str, shape: list[int] | tuple[int, ...]) -> tuple[Dim, ...]:
    """Return a shape with names for its dynamic extents (-1): `BATCH` for the leading one, else that of port and axis."""
    return tuple(extent if extent >= 0 else BATCH if axis == 0 else dim_name(port, axis) for axis, extent in enumerate(shape))


def own_dims(port: str, shape: tuple[int, ...]) -> tuple[Dim, ...]:
    """Return a shape with a name for each dynamic extent (-1) that no other port has."""
    return tuple(extent if extent >= 0 else dim_name(port, axis) for axis, extent in enumerate(shape))
