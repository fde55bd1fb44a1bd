"""Shapes that follow from what comes after: an element-wise operator's input has the shape of its output.

ONNX's inference goes forward only. Where a shape depends on the data, what the model declares of its outputs is then not known of the
values before them.
"""

from __future__ import annotations

from typing import Any

from landbridge.frontends.onnx.graph import DOMAINS

_SAME_SHAPE = frozenset(
    (
        *("Abs", "Cast", "Ceil", "Elu", "Erf", "Exp", "Floor", "Identity", "LeakyRelu", "Log", "Neg", "Not", "Reciprocal", "Relu", "Round"),
        *("Sigmoid", "Sign", "Softplus", "Softsign", "Sqrt", "Tanh"),
    )
)
"""Operators of one input whose output has its shape."""

_BINARY = frozenset(("Add", "Sub", "Mul", "Div", "Pow"))
"""Operators of two inputs whose output has the shape of one where the other has one element."""


def infer_backward(proto: Any) -> None:
    """Write into the types of inner values the shapes that follow from those of the outputs; ``proto`` is changed."""
    graph = proto.graph
    known = {value.name: value.type.tensor_type for value in (*graph.value_info, *graph.output) if value.type.HasField("tensor_type")}
    inner = {value.name: value for value in graph.value_info}
    single = {tensor.name for tensor in graph.initializer if all(extent == 1 for extent in tensor.dims)}
    for node in reversed(graph.node):
        found = known.get(node.output[0]) if node.domain in DOMAINS else None
        names = [name for name in node.input if name not in single and name in inner]
        followed = node.op_type in _SAME_SHAPE or (node.op_type in _BINARY and len(names) == 1)
        if found is None or not followed or not names or not found.HasField("shape"):
            continue
        tensor = inner[names[0]].type.tensor_type
        if _vague(tensor):
            tensor.shape.CopyFrom(found.shape)


def _vague(tensor: Any) -> bool:
    """Return whether an extent of a tensor, or its rank, is unknown."""
    return not tensor.HasField("shape") or any(not dim.HasField("dim_value") and not dim.dim_param for dim in tensor.shape.dim)
