"""Which ONNX nodes are never imported as native code, and why.

What TVM's importer refuses by itself needs no entry here. These are the cases that it would take and should not: other domains,
control flow, values that are no tensors of numbers, and operators with which it crashes or gives wrong results.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from landbridge.frontends.onnx_graph import DOMAINS, Node, OnnxGraph

NATIVE_DTYPES = frozenset(
    ("bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", "float16", "float32", "float64")
)
"""Element types that native code handles: what NumPy and LLVM both know."""

CONTROL_FLOW = ("If", "Loop", "Scan")
"""Operators with subgraphs that decide what runs."""

Rule = Callable[[Node, OnnxGraph], str]
"""Returns why a node must not be native, or "" where it may."""


def refusal(node: Node, graph: OnnxGraph) -> str:
    """Return why a node cannot be native whatever TVM says, or "" where TVM is to be asked."""
    if node.proto.domain not in DOMAINS:
        return f"an operator of the domain {node.proto.domain}"
    if node.proto.op_type in CONTROL_FLOW:
        return "control flow"
    if node.captured:
        return "it has subgraphs"
    for value in (*node.reads, *node.makes):
        found = graph.type_of(value)
        if not found.tensor:
            return "it works on sequences or optionals"
        if found.dtype and found.dtype not in NATIVE_DTYPES:
            return f"native code has no {found.dtype}"
    rule = NEVER_NATIVE.get(node.proto.op_type, "")
    return rule if isinstance(rule, str) else rule(node, graph)


def _attributes(node: Node) -> Iterator[str]:
    yield from (attribute.name for attribute in node.proto.attribute)


def _integer(node: Node, name: str, default: int) -> int:
    attribute = node.attribute(name)
    return default if attribute is None else int(attribute.i)


def _legacy_broadcast(node: Node, graph: OnnxGraph) -> str:
    if graph.opset < 7 and _integer(node, "broadcast", 0):
        return "TVM's importer ignores the broadcasting of operator set 6 and before"
    return ""


NEVER_NATIVE: dict[str, str | Rule] = {
    **dict.fromkeys(("Add", "Sub", "Mul", "Div", "And", "Or", "Xor", "Pow", "Less", "Greater", "Equal", "Gemm"), _legacy_broadcast),
    "NonMaxSuppression": "TVM's importer crashes the process with it",
}
"""Operators that TVM's importer takes and should not: the reason, or a rule that finds it."""


def is_random(node: Node) -> bool:
    """Return whether a node gives another result each time."""
    return node.proto.op_type in ("RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike", "Multinomial", "Bernoulli")


def attribute_text(attribute: Any) -> str:
    """Return a string attribute as text."""
    return str(attribute.s.decode("utf-8", "replace")) if attribute is not None else ""
