"""Which operators of a fallback region ONNX Runtime gets wrong, so that onnx's reference evaluator runs the region in its place.

The evaluator is slow, and right. Found by running onnx's own tests (``make conformance``) with ONNX Runtime 1.32.
"""

from __future__ import annotations

from collections.abc import Callable

from landbridge.frontends.onnx.graph import DOMAINS, Node


def misrun(node: Node) -> str:
    """Return what ONNX Runtime does wrong with a node, or ""."""
    if node.proto.domain not in DOMAINS:
        return ""
    rule = _MISRUN.get(node.proto.op_type, "")
    return rule if isinstance(rule, str) else rule(node)


def _given(node: Node, index: int) -> bool:
    return len(node.inputs) > index and bool(node.inputs[index])


def _integer(node: Node, name: str) -> int:
    attribute = node.attribute(name)
    return 0 if attribute is None else int(attribute.i)


def _attention(node: Node) -> str:
    if _given(node, 3) and _given(node, 6):
        return "ONNX Runtime does not take a mask together with lengths of padded keys"
    if len(node.outputs) > 3 and node.outputs[3] and _integer(node, "is_causal"):
        return "ONNX Runtime writes the lowest number for minus infinity into the masked scores"
    return ""


def _conv_integer(node: Node) -> str:
    return "ONNX Runtime does not take zero points of weights by channel" if _given(node, 3) else ""


def _max_unpool(node: Node) -> str:
    return "ONNX Runtime takes the indices for ones into the given output shape" if _given(node, 2) else ""


def _resize(node: Node) -> str:
    mode = node.attribute("coordinate_transformation_mode")
    wrong = mode is not None and mode.s == b"align_corners" and not _given(node, 3)
    return "ONNX Runtime rounds the size before it aligns the corners" if wrong else ""


_LESS_EXACT = "ONNX Runtime's is less exact than its type allows"

_MISRUN: dict[str, str | Callable[[Node], str]] = {
    "Attention": _attention,
    "ConvInteger": _conv_integer,
    "DFT": _LESS_EXACT,
    "MaxUnpool": _max_unpool,
    "Resize": _resize,
    "STFT": _LESS_EXACT,
}
"""The reason, or a rule that finds it, by operator."""
