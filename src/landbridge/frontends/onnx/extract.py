"""Cut operators out of an ONNX model as a model of their own."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import onnx

from landbridge.frontends.onnx.graph import ELEMENT_TYPES, OnnxGraph, ValueType, captured_by

PRODUCER = "landbridge"
"""The producer that cut-out models name."""


def extract(
    graph: OnnxGraph,
    nodes: Sequence[Any],
    inputs: Mapping[str, ValueType],
    outputs: Mapping[str, ValueType],
    constants: Iterable[Any] = (),
    name: str = "region",
) -> Any:
    """Return a model of ``nodes`` (`NodeProto`, in order) with the weights they need and the same operator sets.

    Args:
        constants: more tensors that ``nodes`` may read; only those that they do read get in.
    """
    read = dict.fromkeys(value for node in nodes for value in (*node.input, *captured_by(node)) if value)
    tensors = {**graph.initializers, **{tensor.name: tensor for tensor in constants}}
    made = {value for node in nodes for value in node.output if value}
    body = onnx.helper.make_graph(
        nodes,
        name,
        [value_info(key, found) for key, found in inputs.items()],
        [value_info(key, found) for key, found in outputs.items()],
        initializer=[tensors[key] for key in read if key in tensors and key not in inputs and key not in made],
        value_info=[
            value_info(key, found) for key in sorted(made - outputs.keys()) if (found := graph.type_of(key)).tensor and found.dtype
        ],
    )
    used = set(_domains(nodes))
    opsets = [entry for entry in graph.model.opset_import if ("" if entry.domain == "ai.onnx" else entry.domain) in used]
    model = onnx.helper.make_model(body, producer_name=PRODUCER, opset_imports=opsets or list(graph.model.opset_import))
    model.ir_version = graph.model.ir_version
    return model


def value_info(name: str, found: ValueType) -> Any:
    """Return the `ValueInfoProto` of a value; what is unknown of it is left open."""
    if found.proto:
        return onnx.helper.make_value_info(name, onnx.TypeProto.FromString(found.proto))
    if not found.dtype:
        return onnx.helper.make_empty_tensor_value_info(name)
    return onnx.helper.make_tensor_value_info(name, ELEMENT_TYPES[found.dtype], found.shape)


def _domains(nodes: Iterable[Any]) -> Iterable[str]:
    for node in nodes:
        yield "" if node.domain == "ai.onnx" else node.domain
        for attribute in node.attribute:
            yield from _domains(attribute.g.node)
            for graph in attribute.graphs:
                yield from _domains(graph.node)
