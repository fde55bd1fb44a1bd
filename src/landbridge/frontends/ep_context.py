"""ONNX Runtime's EPContext nodes: a vendor's compiled blob inside an ONNX model.

A node ``com.microsoft::EPContext`` holds the blob (``embed_mode`` 1) or names a file beside the model (0), and says in ``source``
whose it is. Dtypes and shapes are not in the node; they are read from the blob.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from landbridge.frontends.onnx.graph import Node
from landbridge.frontends.onnx.load import inside
from landbridge.ir.program import ExternModel
from landbridge.runtime.errors import ModelError, UnsupportedError

SOURCES: dict[str, str] = {
    "CANN": "atlas",
    "CANNExecutionProvider": "atlas",
    "OpenVINO": "openvino",
    "OpenVINOExecutionProvider": "openvino",
    "OpenVINO_EP": "openvino",
}
"""The vendor for each execution provider that may be named as the source of a blob."""


def is_ep_context(proto: Any) -> bool:
    """Return whether a `NodeProto` holds a vendor's blob."""
    return bool(proto.domain == "com.microsoft" and proto.op_type == "EPContext")


def embed(proto: Any, title: str, folder: Path | None) -> None:
    """Put the blobs that EPContext nodes have in other files into the model.

    Args:
        folder: where the model lies, or None where it is no file.

    Raises:
        ModelError: a file is missing, or is outside the model's folder.
    """
    for node in proto.graph.node:
        if not is_ep_context(node):
            continue
        mode, held = (next((a for a in node.attribute if a.name == name), None) for name in ("embed_mode", "ep_cache_context"))
        if mode is not None and mode.i == 0 and held is not None:
            held.s = _read(held.s.decode("utf-8", "replace"), folder, f"{title}:{node.name or node.output[0]}")
            mode.i = 1


def read_model(node: Node, title: str) -> ExternModel:
    """Return the offline model that a node holds.

    Args:
        title: what messages call the ONNX model.

    Raises:
        UnsupportedError: the blob is of nobody known, or is shared between nodes.
        ModelError: the node has no blob.
        SignatureError: the blob is not one of its source, or does not tell its signature.
    """
    at = f"{title}:{node.name}"
    source, context, main = node.attribute("source"), node.attribute("ep_cache_context"), node.attribute("main_context")
    name = "" if source is None else source.s.decode("utf-8", "replace")
    vendor = SOURCES.get(name)
    if vendor is None:
        raise UnsupportedError(f"an EPContext node of the source '{name}'", at=at, hint=f"known sources: {', '.join(SOURCES)}")
    if main is not None and main.i != 1:
        raise UnsupportedError("an EPContext node whose blob is in another node (main_context=0)", at=at)
    if context is None or not context.s:
        raise ModelError("an EPContext node without a blob", at=at, hint="set its attribute ep_cache_context")
    return ExternModel.from_bytes(bytes(context.s), vendor, name=node.name)


def _read(location: str, folder: Path | None, at: str) -> bytes:
    if folder is None:
        raise ModelError(
            f"the blob of this node is in another file, '{location}'", at=at, hint="give the path of the model in place of its bytes"
        )
    path = inside(folder, location)
    if path is None:
        raise ModelError(f"its blob is in '{location}', which is outside the model's folder", at=at)
    try:
        return path.read_bytes()
    except OSError as error:
        raise ModelError(f"cannot read its blob from '{location}': {error.strerror}", at=at) from error
