"""ONNX Runtime's EPContext nodes: a vendor's compiled blob inside an ONNX model.

A node ``com.microsoft::EPContext`` holds the blob (``embed_mode`` 1) or names a file beside the model (0), and says in ``source``
whose it is. Dtypes and shapes are not in the node; they are read from the blob. A node with ``main_context`` 0 has no blob of its own,
but shares that of another node.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from landbridge.frontends.onnx.graph import Node, OnnxGraph
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


def read_model(node: Node, graph: OnnxGraph) -> ExternModel:
    """Return the offline model that a node holds, or that it shares.

    Args:
        graph: that the node is in.

    Raises:
        UnsupportedError: the blob is of nobody known.
        ModelError: the node has no blob, or it is not clear whose it shares.
        SignatureError: the blob is not one of its source, or does not tell its signature.
    """
    at = f"{graph.title}:{node.name}"
    name = _text(node, "source")
    vendor = SOURCES.get(name)
    if vendor is None:
        raise UnsupportedError(
            f"an EPContext node of the source '{name}'", at=at, hint=f"known sources: {', '.join(SOURCES)}", code="LB2308"
        )
    context = (node if _is_main(node) else _main_of(node, graph, at)).attribute("ep_cache_context")
    if context is None or not context.s:
        raise ModelError("an EPContext node without a blob", at=at, hint="set its attribute ep_cache_context", code="LB2012")
    return ExternModel.from_bytes(bytes(context.s), vendor, name=node.name)


def _text(node: Node, name: str) -> str:
    found = node.attribute(name)
    return "" if found is None else str(found.s.decode("utf-8", "replace"))


def _is_main(node: Node) -> bool:
    main = node.attribute("main_context")
    return main is None or main.i == 1


def _main_of(node: Node, graph: OnnxGraph, at: str) -> Node:
    """Return the node whose blob a node with ``main_context`` 0 shares: of its source, and of its partition where there are several."""
    vendor = SOURCES[_text(node, "source")]
    mains = [n for n in graph.nodes if is_ep_context(n.proto) and _is_main(n) and SOURCES.get(_text(n, "source")) == vendor]
    of_partition = [main for main in mains if _text(main, "partition_name") == _text(node, "partition_name")]
    chosen = mains if len(mains) == 1 else of_partition
    if len(chosen) != 1:
        listed = ", ".join(main.name for main in mains) or "none"
        message = f"an EPContext node that shares a blob (main_context=0), but {len(chosen)} nodes may be the one that has it"
        raise ModelError(message, at=at, hint=f"nodes of its source with a blob: {listed}; partition_name tells them apart", code="LB2012")
    return chosen[0]


def _read(location: str, folder: Path | None, at: str) -> bytes:
    if folder is None:
        raise ModelError(
            f"the blob of this node is in another file, '{location}'",
            at=at,
            hint="give the path of the model in place of its bytes",
            code="LB2012",
        )
    path = inside(folder, location)
    if path is None:
        hint = "copy the file beside the model, and name it there; what a model names elsewhere is not read"
        raise ModelError(f"its blob is in '{location}', which is outside the model's folder", at=at, hint=hint, code="LB2012")
    try:
        return path.read_bytes()
    except OSError as error:
        raise ModelError(
            f"cannot read its blob from '{location}': {error.strerror}", at=at, hint="copy the file beside the model", code="LB2012"
        ) from error
