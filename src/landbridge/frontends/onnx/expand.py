"""Replace operators by the functions of simpler operators that ONNX defines them as, where that makes them native.

TVM's importer lacks these operators, or takes them wrong, and has all that their functions are made of. Values keep their names;
those inside of a function are called after its node.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import onnx
import onnx.inliner

from landbridge.frontends.onnx.graph import DOMAINS, NARROW_DTYPES, NATIVE_DTYPES, ValueType, declared_types

EXPANDED = (
    "Attention",
    "CastLike",
    "CausalConvWithState",
    "LayerNormalization",
    "LinearAttention",
    "NegativeLogLikelihoodLoss",
    "RMSNormalization",
    "RotaryEmbedding",
    "SoftmaxCrossEntropyLoss",
    "SwiGLU",
    "Swish",
)
"""The operators that are replaced. Others with functions are native as they are, or their functions have loops that stay."""

_PREVIEW = "ai.onnx.preview"
_EXPANDED_PREVIEW = ("FlexAttention",)
"""Those of operators that ONNX has for trial."""

_NORMALIZATIONS = ("LayerNormalization", "RMSNormalization")

_KEPT = "landbridge.kept"
"""What precedes the domain of nodes while others of their operator are replaced."""


def expand(proto: Any) -> Any:
    """Return a model whose types are inferred with operators replaced by their functions, or ``proto`` itself, changed in nothing.

    The result has constant nodes, and its inner values have no types. What is inside of the functions is left for another time.
    """
    types = declared_types(proto.graph)
    chosen = [node for node in proto.graph.node if _is_candidate(node) and _is_chosen(node, types)]
    if not chosen:
        return proto
    source = onnx.ModelProto()
    source.CopyFrom(proto)
    _declare(source.graph)
    for node in source.graph.node:
        if _is_candidate(node) and _is_chosen(node, types):
            _write_defaults(node)
        elif _is_candidate(node):
            node.domain = _KEPT + node.domain
        for inner in _inner_nodes(node):  # values there have no types here
            if _is_candidate(inner):
                inner.domain = _KEPT + inner.domain
    source.opset_import.extend(onnx.helper.make_opsetid(_KEPT + domain, 1) for domain in (*DOMAINS, _PREVIEW))
    functions = list(dict.fromkeys((_domain(node), str(node.op_type)) for node in chosen))
    for attempt in (functions, *([function] for function in functions)):  # one inside another's has values of no known type yet
        try:
            result = onnx.inliner.inline_selected_functions(source, attempt, exclude=False, inline_schema_functions=True)
        except (RuntimeError, onnx.shape_inference.InferenceError):  # a type is not known that a function depends on
            continue
        for node in result.graph.node:
            for kept in (node, *_inner_nodes(node)):
                kept.domain = kept.domain.removeprefix(_KEPT)
        del result.graph.value_info[:]
        opsets = [entry for entry in result.opset_import if not entry.domain.startswith(_KEPT)]
        del result.opset_import[:]
        result.opset_import.extend(opsets)
        return result
    return proto


def _domain(node: Any) -> str:
    return "" if node.domain in DOMAINS else str(node.domain)


def _inner_nodes(node: Any) -> Iterator[Any]:
    """Yield the nodes of the graphs inside of a node."""
    for attribute in node.attribute:
        for graph in (attribute.g, *attribute.graphs):
            for inner in graph.node:
                yield inner
                yield from _inner_nodes(inner)


def _is_candidate(node: Any) -> bool:
    expanded = EXPANDED if node.domain in DOMAINS else _EXPANDED_PREVIEW if node.domain == _PREVIEW else ()
    return node.op_type in expanded


def _is_chosen(node: Any, types: Mapping[str, ValueType]) -> bool:
    """Return whether the function makes an operator native: its types are native, TVM has no better."""
    found = [types.get(name, ValueType()) for name in node.input if name]
    made = [types[name] for name in node.output if name in types]
    if not all(value.tensor and value.dtype in NATIVE_DTYPES | NARROW_DTYPES for value in (*found, *made)):
        return False
    if node.op_type in _NORMALIZATIONS:
        attributes = {attribute.name: attribute for attribute in node.attribute}
        last = (-1,) if found[0].shape is None else (-1, len(found[0].shape) - 1)
        return sum(map(bool, node.output)) > 1 or ("axis" in attributes and attributes["axis"].i not in last)
    return True


def _declare(graph: Any) -> None:
    """Give the types of constants where the inliner looks for them, and one to inputs that are left out, which it asks for, too."""
    graph.value_info.append(onnx.helper.make_tensor_value_info("", onnx.TensorProto.FLOAT, None))
    for tensor in graph.initializer:
        graph.value_info.append(onnx.helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims))


def _write_defaults(node: Any) -> None:
    """Write down the attributes that are left out, which the inliner would not fill in."""
    given = {attribute.name for attribute in node.attribute}
    for name, attribute in onnx.defs.get_schema(node.op_type, domain=_domain(node)).attributes.items():
        if name not in given and attribute.default_value.type:
            node.attribute.append(attribute.default_value)
