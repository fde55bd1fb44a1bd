"""The models in a node of control flow: its branches or its body, each as a model of its own that reads outer values as inputs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import onnx
from onnx import helper, shape_inference

from landbridge.frontends.onnx.graph import free_values
from landbridge.runtime.vendors.own.control import CHOICE, LOOP, SCAN

_START = "landbridge_start"
"""Begins the names of what a Loop or a Scan starts from."""


@dataclass(frozen=True)
class Bodies:
    """What a node is made of (`landbridge.runtime.vendors.own.control`).

    Attributes:
        step: what it does with the models.
        about: what that needs to know.
        models: two.
    """

    step: str
    about: Mapping[str, Any]
    models: tuple[Any, ...]


def bodies(region: Any) -> Bodies | None:
    """Return what the one node of a region (`ModelProto`), control flow, is made of; None where too little is known of its values."""
    found = _RULES[region.graph.node[0].op_type](_Region(region))
    if found is None:
        return None
    models = tuple(shape_inference.infer_shapes(model) for model in found.models)
    if not all(_has_shape(output) for model in models for output in model.graph.output):
        return None
    outputs = list(region.graph.node[0].output)
    return replace(found, models=models, about={**found.about, "results": [outputs.index(value.name) for value in region.graph.output]})


def is_control(region: Any) -> bool:
    """Return whether a region (`ModelProto`) is one node of control flow."""
    return len(region.graph.node) == 1 and region.graph.node[0].op_type in _RULES


class _Region:
    def __init__(self, model: Any) -> None:
        self.model, self.node = model, model.graph.node[0]
        self.attributes = {one.name: helper.get_attribute_value(one) for one in self.node.attribute}
        self.inputs = {value.name: value for value in model.graph.input}
        self.constants = {tensor.name: tensor for tensor in model.graph.initializer}

    @property
    def opset(self) -> int:
        """The version of ONNX's own operators."""
        return next((entry.version for entry in self.model.opset_import if entry.domain in ("", "ai.onnx")), 1)

    def type_of(self, name: str) -> Any:
        """Return the `ValueInfoProto` of a value that the node reads."""
        if name in self.inputs:
            return self.inputs[name]
        tensor = self.constants[name]
        return helper.make_tensor_value_info(name, tensor.data_type, list(tensor.dims))

    def as_model(self, body: Any, formal: Sequence[Any]) -> Any:
        """Return a graph with these inputs and what it reads of the outer graph."""
        free = dict.fromkeys(free_values(body))
        graph = helper.make_graph(
            body.node,
            body.name or "body",
            [*formal, *(self.inputs[name] for name in free if name in self.inputs)],
            body.output,
            initializer=[*body.initializer, *(self.constants[name] for name in free if name in self.constants)],
            value_info=body.value_info,
            sparse_initializer=body.sparse_initializer,
        )
        return self._model(graph)

    def start(self, names: Sequence[str]) -> Any:
        """Return a model that gives values that the node reads, in order."""
        nodes, outputs = [], []
        for number, name in enumerate(names):
            nodes.append(helper.make_node("Identity", [name], [f"{_START}_{number}"]))
            outputs.append(onnx.ValueInfoProto.FromString(self.type_of(name).SerializeToString()))
            outputs[-1].name = f"{_START}_{number}"
        used = dict.fromkeys(names)
        inputs = [self.inputs[name] for name in used if name in self.inputs]
        constants = [self.constants[name] for name in used if name in self.constants]
        return self._model(helper.make_graph(nodes, _START, inputs, outputs, initializer=constants))

    def _model(self, graph: Any) -> Any:
        model = helper.make_model(graph, producer_name=self.model.producer_name, opset_imports=list(self.model.opset_import))
        model.ir_version = self.model.ir_version
        return model

    def carried(self, body: Any, formal: Sequence[Any], states: slice, results: int) -> list[Any] | None:
        """Return the inputs of a body so that they take what it hands on from turn to turn; None where that has no known rank.

        Args:
            formal: the inputs, with the types of what comes first.
            states: which of them are handed on.
            results: the number of the output that becomes the first of these.
        """
        guessed = [_has_shape(declared) for declared in body.input]
        formal = [_complete(declared, given) for declared, given in zip(body.input, formal, strict=True)]
        for _ in range(2):
            found = shape_inference.infer_shapes(self.as_model(_without_shapes(body), formal)).graph.output
            changed = False
            for number, at in enumerate(range(*states.indices(len(formal)))):
                given = found[results + number].type.tensor_type
                if guessed[at]:
                    continue
                taken = formal[at].type.tensor_type.shape
                if not given.HasField("shape") or len(given.shape.dim) != len(taken.dim):
                    return None
                for axis, (mine, other) in enumerate(zip(taken.dim, given.shape.dim, strict=True)):
                    if mine.dim_value and (not other.HasField("dim_value") or other.dim_value != mine.dim_value):
                        mine.dim_param, changed = f"{formal[at].name}.{axis}", True
            if not changed:
                break
        return formal


def _has_shape(value: Any) -> bool:
    return bool(value.type.tensor_type.HasField("shape"))


def _complete(declared: Any, given: Any) -> Any:
    """Return an input of a body with the type that it declares, what is open in it as the value that it gets first has it."""
    source = declared if _has_shape(declared) else given
    result = onnx.ValueInfoProto.FromString(source.SerializeToString())
    result.name = declared.name
    result.type.tensor_type.elem_type = given.type.tensor_type.elem_type
    for axis, extent in enumerate(result.type.tensor_type.shape.dim):
        if not extent.HasField("dim_value") and not extent.dim_param:
            extent.dim_param = f"{declared.name}.{axis}"
    return result


def _without_shapes(body: Any) -> Any:
    result = onnx.GraphProto.FromString(body.SerializeToString())
    for output in result.output:
        output.type.tensor_type.ClearField("shape")
    return result


def _scalar(name: str, dtype: int) -> Any:
    return helper.make_tensor_value_info(name, dtype, [])


def _if(region: _Region) -> Bodies | None:
    condition = region.node.input[0]
    if condition not in region.inputs:
        return None
    ranks = {value.name: len(value.type.tensor_type.shape.dim) for value in region.model.graph.output}
    branches = []
    for name in ("then_branch", "else_branch"):
        model = shape_inference.infer_shapes(region.as_model(region.attributes[name], []))
        for output, result in zip(model.graph.output, region.node.output, strict=True):
            if not _has_shape(output) and result in ranks:  # the branches of an If have the rank of its result
                output.type.tensor_type.shape.dim.extend(onnx.TensorShapeProto.Dimension() for _ in range(ranks[result]))
        branches.append(model)
    return Bodies(CHOICE, {"condition": condition}, tuple(branches))


def _loop(region: _Region) -> Bodies | None:
    body, given = region.attributes["body"], list(region.node.input)
    limit, condition, states = given[0], given[1] if len(given) > 1 else "", given[2:]
    first = [_scalar(body.input[0].name, onnx.TensorProto.INT64), _scalar(body.input[1].name, onnx.TensorProto.BOOL)]
    formal = [*first, *(region.type_of(name) for name in states)]
    carried = region.carried(body, formal, slice(2, None), 1)
    if carried is None:
        return None
    carried[:2] = first
    start = region.start([name for name in (limit, condition) if name] + states)
    about = {"states": len(states), "limit": bool(limit), "condition": bool(condition)}
    return Bodies(LOOP, about, (start, region.as_model(_without_shapes(body), carried)))


def _scan(region: _Region) -> Bodies | None:
    body, given = region.attributes["body"], list(region.node.input)
    count = region.attributes["num_scan_inputs"]
    states, sequences = given[: len(given) - count], given[len(given) - count :]
    if region.opset < 9:
        return None  # it has a batch, and lengths
    axes = list(region.attributes.get("scan_input_axes", [0] * count))
    formal = [region.type_of(name) for name in states]
    for name, axis in zip(sequences, axes, strict=True):
        element = onnx.ValueInfoProto.FromString(region.type_of(name).SerializeToString())
        del element.type.tensor_type.shape.dim[axis]
        formal.append(element)
    carried = region.carried(body, formal, slice(0, len(states)), 0)
    if carried is None:
        return None
    results = len(body.output) - len(states)
    ends = {
        "inputs": list(zip(axes, region.attributes.get("scan_input_directions", [0] * count), strict=True)),
        "outputs": list(
            zip(
                region.attributes.get("scan_output_axes", [0] * results),
                region.attributes.get("scan_output_directions", [0] * results),
                strict=True,
            )
        ),
    }
    return Bodies(SCAN, {"states": len(states), **ends}, (region.start(given), region.as_model(_without_shapes(body), carried)))


_RULES = {"If": _if, "Loop": _loop, "Scan": _scan}
