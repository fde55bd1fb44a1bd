"""ONNX Runtime's EPContext nodes: a vendor's compiled blob inside an ONNX model.

A node ``com.microsoft::EPContext`` holds the blob (``embed_mode`` 1) or names a file beside the model (0), and says in ``source``
whose it is. Dtypes and shapes are not in the node; they are read from the blob.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from landbridge.frontends.onnx_graph import Node
from landbridge.frontends.onnx_load import inside
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


def is_ep_context(node: Node) -> bool:
    """Return whether a node holds a vendor's blob."""
    return bool(node.proto.domain == "com.microsoft" and node.proto.op_type == "EPContext")


def read_model(node: Node, title: str, folder: Path | None) -> ExternModel:
    """Return the offline model that a node holds.

    Args:
        title: what messages call the ONNX model.
        folder: where the ONNX model lies, or None where it is no file.

    Raises:
        UnsupportedError: the blob is of nobody known, or is shared between nodes.
        ModelError: the blob is missing, or is outside the model's folder.
        SignatureError: the blob is not one of its source, or does not tell its signature.
    """
    at = f"{title}:{node.name}"
    source = _text(node, "source")
    vendor = SOURCES.get(source)
    if vendor is None:
        raise UnsupportedError(f"an EPContext node of the source '{source}'", at=at, hint=f"known sources: {', '.join(SOURCES)}")
    if _number(node, "main_context", 1) != 1:
        raise UnsupportedError("an EPContext node whose blob is in another node (main_context=0)", at=at)
    if _number(node, "embed_mode", 1) == 1:
        attribute = node.attribute("ep_cache_context")
        data = b"" if attribute is None else bytes(attribute.s)
    else:
        data = _read(_text(node, "ep_cache_context"), folder, at)
    if not data:
        raise ModelError("an EPContext node without a blob", at=at, hint="set its attribute ep_cache_context")
    return ExternModel.from_bytes(data, vendor, name=node.name)


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


def _text(node: Node, name: str) -> str:
    attribute: Any = node.attribute(name)
    return "" if attribute is None else str(attribute.s.decode("utf-8", "replace"))


def _number(node: Node, name: str, default: int) -> int:
    attribute: Any = node.attribute(name)
    return default if attribute is None else int(attribute.i)
