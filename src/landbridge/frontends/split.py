"""Cut a region out of an ONNX model, for a vendor's own tool."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import onnx

from landbridge.frontends.onnx.extract import extract
from landbridge.frontends.onnx.graph import OnnxGraph, ValueType, between, check_names
from landbridge.frontends.onnx.load import OnnxModel, load
from landbridge.frontends.onnx.prepare import infer_shapes, prepare
from landbridge.runtime.errors import ModelError, UnsupportedError


def split(model: OnnxModel, *, inputs: Sequence[str], outputs: Sequence[str]) -> Any:
    """Return the part of an ONNX model between named values as a model of its own.

    Dtypes and shapes of its inputs and outputs are those that shape inference finds in the whole model.

    Args:
        model: a path, the serialised model, or a `ModelProto`.
        inputs: values at which the part begins, in the order that its inputs get.
        outputs: values that it gives, in order.

    Returns:
        A `ModelProto` that `onnx.checker` accepts.

    Raises:
        ModelError: the model cannot be read, a name is unknown, or something leads into the part that is not in ``inputs``.
        UnsupportedError: a value at its border is no tensor.

    Example:
        >>> part = lb.split("digits/digits.onnx", inputs=["normalised"], outputs=["features"])
        >>> [port.name for port in part.graph.input]
        ['normalised']
    """
    proto, title = load(model)
    return cut(prepare(proto, title), inputs, outputs)


def cut(graph: OnnxGraph, inputs: Sequence[str], outputs: Sequence[str], types: Mapping[str, ValueType] | None = None) -> Any:
    """Return the part of a prepared graph between named values.

    Args:
        types: of values at the border, where the caller knows more than shape inference does.

    Raises:
        ModelError, UnsupportedError: as `split`.
    """
    check_names(inputs, outputs)
    graph.require(inputs, "value")
    graph.require(outputs, "value")
    for kind, names in (("inputs", inputs), ("outputs", outputs)):
        if not names:
            raise ModelError(f"no {kind} given", at=graph.title, code="LB2006")
        if len(set(names)) < len(names):
            raise ModelError(f"a name stands twice among the {kind}: {', '.join(names)}", at=graph.title, code="LB2006")
    members = _between(graph, inputs, outputs)
    found = {name: (types or {}).get(name) or graph.type_of(name) for name in (*inputs, *outputs)}
    for name, known in found.items():
        if not known.tensor:
            raise UnsupportedError("it is no tensor; a part can only begin or end at one", at=f"{graph.title}:{name}", code="LB2312")
        if not known.dtype or known.shape is None:
            raise UnsupportedError(
                f"its {'shape' if known.dtype else 'type'} is not known by inference; a part can only begin or end where both are",
                at=f"{graph.title}:{name}",
                hint="name another value, or add its type to the model's value_info",
                code="LB2312",
            )
    nodes = [graph.nodes[index].proto for index in members]
    part = extract(graph, nodes, {n: found[n] for n in inputs}, {n: found[n] for n in outputs}, name=graph.model.graph.name or "part")
    part = infer_shapes(part, graph.title)
    try:
        onnx.checker.check_model(part)
    except onnx.checker.ValidationError as error:
        raise ModelError(f"the part is not a valid model: {str(error).splitlines()[0]}", at=graph.title, code="LB2003") from error
    return part


def _between(graph: OnnxGraph, inputs: Sequence[str], outputs: Sequence[str]) -> list[int]:
    """Return the nodes on the ways from ``inputs`` to ``outputs``.

    Raises:
        ModelError: there are none, or something else leads there, or an input does not.
    """
    found = between(graph, inputs, outputs)
    for name in outputs:
        if name in inputs or name not in graph.producer:
            raise ModelError("there is no operator between the inputs and this output", at=f"{graph.title}:{name}", code="LB2006")
    for name in graph.inputs:
        if name in found.reads and name not in inputs:
            hint = f"add '{name}' to the inputs, or a value after it"
            raise ModelError(f"the outputs also depend on the model's input '{name}'", at=graph.title, hint=hint, code="LB2006")
    unused = [name for name in inputs if name not in found.reads]
    if unused:
        raise ModelError(f"no way leads from the input '{unused[0]}' to the outputs", at=graph.title, hint="leave it out", code="LB2006")
    return sorted(found.members)
