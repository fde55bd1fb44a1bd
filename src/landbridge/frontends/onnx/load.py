"""Read an ONNX model from a file, from bytes or from a `ModelProto`, whole and checked.

What comes out is self-contained: weights that lie in other files are in it. Such files are read only from the folder of the
model; a name that leads elsewhere is refused.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import onnx
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]  # comes with onnx, without types
from onnx import external_data_helper

from landbridge.frontends.onnx.validate import validate
from landbridge.runtime.errors import ModelError, UnsupportedError, UsageError

MAX_NBYTES = 2**31 - 1
"""The most bytes that a serialised protobuf message may have."""

_EXPORTED = "give a file that an ONNX exporter wrote"

OnnxModel = Any
"""``str | Path | bytes | onnx.ModelProto``"""


def load(model: OnnxModel, name: str | None = None) -> tuple[Any, str]:
    """Return a checked copy of the model as a `ModelProto` with all its data inside, and what to call it in messages.

    Raises:
        UsageError: it is nothing of these.
        ModelError: it cannot be read, is not an ONNX model, is not valid, or names data outside its folder.
        UnsupportedError: it is larger than 2 GiB.
    """
    if isinstance(model, onnx.ModelProto):
        proto, title, folder = onnx.ModelProto(), name or model.graph.name or "model", None
        proto.CopyFrom(model)
    elif isinstance(model, bytes | bytearray | memoryview):
        title, folder = name or "model", None
        proto = _parse(bytes(model), title)
        title = name or proto.graph.name or title
    elif not isinstance(model, str | os.PathLike):
        raise UsageError(
            f"expected an ONNX model, found {type(model).__name__}", hint="give a path, its bytes, or a ModelProto", code="LB1110"
        )
    else:
        path = Path(model)
        title, folder = name or path.name, path.parent
        proto = _parse(_read(path), str(path))
    _embed_external_data(proto, folder, title)
    if proto.ByteSize() > MAX_NBYTES:
        raise UnsupportedError(
            f"the model has {proto.ByteSize()} bytes, expected at most {MAX_NBYTES}", at=title, hint="split it with lb.split", code="LB2306"
        )
    validate(proto, title)
    return proto, title


def tensors_of(proto: Any) -> Iterator[Any]:
    """Yield every tensor in a model: initialisers and attributes, those of subgraphs and functions included."""
    yield from _graph_tensors(proto.graph)
    for function in proto.functions:
        yield from _node_tensors(function.node)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ModelError(f"cannot read the model: {error.strerror}", at=str(path), code="LB2001") from error


def _parse(data: bytes, title: str) -> Any:
    try:
        proto = onnx.load_model_from_string(data)
    except DecodeError as error:
        raise ModelError("not an ONNX model", at=title, hint=_EXPORTED, code="LB2002") from error
    if proto.ir_version == 0 or not proto.HasField("graph"):
        raise ModelError("not an ONNX model", at=title, hint=_EXPORTED, code="LB2002")
    return proto


def _embed_external_data(proto: Any, folder: Path | None, title: str) -> None:
    for tensor in tensors_of(proto):
        if not external_data_helper.uses_external_data(tensor):
            continue
        location = external_data_helper.ExternalDataInfo(tensor).location
        where = f"{title}:{tensor.name}"
        if folder is None:
            raise ModelError(
                f"the data of this tensor is in another file, '{location}'",
                at=where,
                hint="give the path of the model in place of its bytes",
                code="LB2004",
            )
        path = inside(folder, location)
        if path is None:
            hint = "copy the file beside the model, and name it there; what a model names elsewhere is not read"
            raise ModelError(f"its data is in '{location}', which is outside the model's folder", at=where, hint=hint, code="LB2004")
        if not path.is_file():
            hint = "copy the file beside the model"
            raise ModelError(f"its data is in '{location}', which is missing", at=where, hint=hint, code="LB2004")
        try:
            external_data_helper.load_external_data_for_tensor(tensor, str(folder))
        except (OSError, ValueError, onnx.checker.ValidationError) as error:
            raise ModelError(f"cannot read its data from '{location}': {str(error).splitlines()[0]}", at=where, code="LB2004") from error


def inside(folder: Path, location: str) -> Path | None:
    """Return the file that a relative ``location`` names, or None where that is not inside ``folder``, links followed."""
    root = folder.resolve()
    path = (root / location).resolve()
    return path if not Path(location).is_absolute() and path.is_relative_to(root) else None


def _graph_tensors(graph: Any) -> Iterator[Any]:
    yield from graph.initializer
    for sparse in graph.sparse_initializer:
        yield from (sparse.values, sparse.indices)
    yield from _node_tensors(graph.node)


def _node_tensors(nodes: Any) -> Iterator[Any]:
    for node in nodes:
        for attribute in node.attribute:
            yield attribute.t
            yield from attribute.tensors
            for sparse in (attribute.sparse_tensor, *attribute.sparse_tensors):
                yield from (sparse.values, sparse.indices)
            for graph in (attribute.g, *attribute.graphs):
                yield from _graph_tensors(graph)
