"""Which ONNX nodes are never imported as native code, and why.

What TVM's importer refuses by itself needs no entry here. These are the cases that it would take and should not: other domains,
control flow, values that are no tensors of numbers, and operators with which it crashes or gives wrong results.
"""

from __future__ import annotations

from collections.abc import Callable

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


def _number(node: Node, name: str, default: int) -> int:
    attribute = node.attribute(name)
    return default if attribute is None else int(attribute.i)


def _text(node: Node, name: str) -> str:
    attribute = node.attribute(name)
    return "" if attribute is None else str(attribute.s.decode("utf-8", "replace"))


def _legacy_broadcast(node: Node, graph: OnnxGraph) -> str:
    wrong = graph.opset < 7 and _number(node, "broadcast", 0) != 0
    return "TVM's importer ignores the broadcasting of operator set 6 and before" if wrong else ""


def _batch_normalization(node: Node, graph: OnnxGraph) -> str:
    training = _number(node, "training_mode", 0) != 0 or (graph.opset < 7 and _number(node, "is_test", 0) == 0)
    return "TVM's importer takes its training mode for inference" if training else ""


def _bit_shift(node: Node, graph: OnnxGraph) -> str:
    signed = graph.type_of(node.inputs[0]).dtype.startswith("int")
    return "shifts of signed numbers by more than their width differ in native code" if signed else ""


def _is_inf(node: Node, graph: OnnxGraph) -> str:
    one_sided = not (_number(node, "detect_positive", 1) and _number(node, "detect_negative", 1))
    return "TVM's importer ignores detect_positive and detect_negative" if one_sided else ""


def _mod(node: Node, graph: OnnxGraph) -> str:
    wrong = _number(node, "fmod", 0) == 0 and graph.type_of(node.inputs[0]).dtype.startswith("float")
    return "TVM's remainder of floating numbers has another sign of zero" if wrong else ""


def _roi_align(node: Node, graph: OnnxGraph) -> str:
    return "TVM's importer gives wrong results in its mode max" if _text(node, "mode") == "max" else ""


def _space_to_depth(node: Node, graph: OnnxGraph) -> str:
    return "TVM's importer ignores its mode" if _text(node, "mode") not in ("", "DCR") else ""


NEVER_NATIVE: dict[str, str | Rule] = {
    **dict.fromkeys(("Add", "Sub", "Mul", "Div", "And", "Or", "Xor", "Pow", "Less", "Greater", "Equal", "Gemm"), _legacy_broadcast),
    "BatchNormalization": _batch_normalization,
    "BitShift": _bit_shift,
    "IsInf": _is_inf,
    "Mod": _mod,
    "NonMaxSuppression": "TVM's importer crashes the process with it",
    "RoiAlign": _roi_align,
    "SpaceToDepth": _space_to_depth,
}
"""Operators that TVM's importer takes and should not: the reason, or a rule that finds it."""


def is_random(node: Node) -> bool:
    """Return whether a node gives another result each time."""
    return node.proto.op_type in ("RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike", "Multinomial", "Bernoulli")
