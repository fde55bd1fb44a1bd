"""Which ONNX nodes are never imported as native code, and why.

What TVM's importer refuses by itself needs no entry here. These are the cases that it would take and should not: other domains,
control flow, values that are no tensors of numbers, and operators with which it crashes or gives wrong results.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from landbridge.frontends.onnx.graph import DOMAINS, NARROW_DTYPES, NATIVE_DTYPES, Node, ValueType
from landbridge.frontends.onnx.shapes import shape_extents
from landbridge.frontends.onnx.values import Values

CONTROL_FLOW = ("If", "Loop", "Scan")
"""Operators with subgraphs that decide what runs."""

Rule = Callable[[Node, Values], str]
"""Returns why a node must not be native, or "" where it may."""


def refusal(node: Node, values: Values) -> str:
    """Return why a node cannot be native whatever TVM says, or "" where TVM is to be asked."""
    if node.proto.domain not in DOMAINS:
        return f"an operator of the domain {node.proto.domain}"
    if node.proto.op_type in CONTROL_FLOW or node.captured:
        return "control flow"
    for value in (*node.reads, *node.makes):
        problem = _type_problem(values.graph.type_of(value))
        if problem:
            return problem
    return ""


def importer_refusal(node: Node, values: Values) -> str:
    """Return why TVM's importer is not to be asked for a node, or ""."""
    rule = MISTAKEN.get(node.proto.op_type, "")
    return rule if isinstance(rule, str) else rule(node, values)


def _type_problem(found: ValueType) -> str:
    if not found.tensor:
        return "it works on sequences or optionals"
    return f"native code has no {found.dtype}" if found.dtype and found.dtype not in NATIVE_DTYPES | NARROW_DTYPES else ""


def _number(node: Node, name: str, default: int) -> int:
    attribute = node.attribute(name)
    return default if attribute is None else int(attribute.i)


def _text(node: Node, name: str) -> str:
    attribute = node.attribute(name)
    return "" if attribute is None else str(attribute.s.decode("utf-8", "replace"))


def _legacy_broadcast(node: Node, values: Values) -> str:
    wrong = values.graph.opset < 7 and _number(node, "broadcast", 0) != 0
    return "TVM's importer ignores the broadcasting of operator set 6 and before" if wrong else ""


def _batch_normalization(node: Node, values: Values) -> str:
    training = _number(node, "training_mode", 0) != 0 or (values.graph.opset < 7 and _number(node, "is_test", 0) == 0)
    return "TVM's importer takes its training mode for inference" if training else ""


def _bit_shift(node: Node, values: Values) -> str:
    signed = values.graph.type_of(node.inputs[0]).dtype.startswith("int")
    return "shifts of signed numbers by more than their width differ in native code" if signed else ""


def _is_inf(node: Node, values: Values) -> str:
    one_sided = not (_number(node, "detect_positive", 1) and _number(node, "detect_negative", 1))
    return "TVM's importer ignores detect_positive and detect_negative" if one_sided else ""


def _mod(node: Node, values: Values) -> str:
    wrong = _number(node, "fmod", 0) == 0 and values.graph.type_of(node.inputs[0]).dtype.startswith("float")
    return "TVM's remainder of floating numbers has another sign of zero" if wrong else ""


def _resize(node: Node, values: Values) -> str:
    if (
        _number(node, "antialias", 0)
        or _text(node, "keep_aspect_ratio_policy") not in ("", "stretch")
        or node.attribute("axes") is not None
    ):
        return "TVM's importer ignores antialias, axes and keep_aspect_ratio_policy"
    found = values.shape(node.inputs[0])
    if values.graph.opset < 11 or found is None or len(found) < 3:
        return "TVM's importer takes it for a resize of images as operator set 11 has it"
    shape = list(shape_extents(found))
    inputs = (*node.inputs, "", "", "")
    sizes = values.extents(inputs[3]) if inputs[3] else None
    scales = values.array(inputs[2]) if inputs[2] and values.is_constant(inputs[2]) else None
    if sizes is not None and len(sizes) == len(shape):
        factors, exact = [1.0 if str(new) == str(old) else 0.0 for new, old in zip(sizes, shape, strict=True)], True
    elif scales is not None and len(scales) == len(shape):
        factors, exact = list(scales), all(_exact(float(scale), extent) for scale, extent in zip(scales[2:], shape[2:], strict=True))
    else:
        return "its scales are known only when it runs"
    if factors[0] != 1 or factors[1] != 1:
        return "TVM resizes the axes from the third on only"
    return "" if exact else "TVM takes the ratio of the sizes for the scale, which is another one here"


def _exact(scale: float, extent: Any) -> bool:
    """Return whether the size that a scale gives is exactly that many times the old one."""
    return (extent * scale).is_integer() if isinstance(extent, int) else scale.is_integer()


def _roi_align(node: Node, values: Values) -> str:
    return "TVM's importer gives wrong results in its mode max" if _text(node, "mode") == "max" else ""


MISTAKEN: dict[str, str | Rule] = {
    **dict.fromkeys(("Add", "Sub", "Mul", "Div", "And", "Or", "Xor", "Pow", "Less", "Greater", "Equal", "Gemm"), _legacy_broadcast),
    "BatchNormalization": _batch_normalization,
    "BitShift": _bit_shift,
    "IsInf": _is_inf,
    "Mod": _mod,
    "NonMaxSuppression": "TVM's importer crashes the process with it",
    "Resize": _resize,
    "RoiAlign": _roi_align,
    "Upsample": "TVM's importer takes other elements than operator set 9 says",
}
"""Operators that TVM's importer takes and should not: the reason, or a rule that finds it."""
