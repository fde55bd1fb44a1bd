"""Bring an ONNX model into the form that the front end works on.

Model-local functions are inlined, ``Constant`` nodes and sparse weights become initialisers, inputs that are only defaults for
initialisers disappear, and so do outputs of some operators that nobody reads, control flow whose way is known becomes the operators on
it, symbolic dimensions get identifiers for names and the shapes that the caller fixes, and shape inference has run. Names of values and
nodes stay the user's.
"""

from __future__ import annotations

import keyword
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import onnx
import onnx.inliner
from onnx import numpy_helper

from landbridge.frontends.onnx.differentiate import differentiate
from landbridge.frontends.onnx.expand import expand
from landbridge.frontends.onnx.graph import DOMAINS, OnnxGraph, captured_by, unknown_name, value_type
from landbridge.frontends.onnx.infer_backward import infer_backward
from landbridge.frontends.onnx.unroll import unroll
from landbridge.frontends.onnx.validate import check_types
from landbridge.runtime.errors import ModelError, UnsupportedError

Shapes = Mapping[str, Sequence[int | str]]

_ROUNDS = 8
"""How deep control flow may be nested, or functions in it, for all of it to be replaced."""

_OPTIONAL_OUTPUTS = ("Unique",)
"""Operators whose outputs but the first cost something, and which exporters write with all of them."""


def prepare(proto: Any, title: str, shapes: Shapes | None = None) -> OnnxGraph:
    """Return the prepared graph of a loaded model. ``proto`` is changed.

    Args:
        shapes: extents that replace the symbolic ones of inputs; a string names a dimension.

    Raises:
        ModelError: ``shapes`` does not fit the inputs, or the model contradicts itself.
        UnsupportedError: an input or output is of a type that nothing here can hold.
    """
    if proto.functions:
        proto = onnx.inliner.inline_local_functions(proto, convert_version=True)
    _constants_to_initializers(proto.graph)
    _drop_default_inputs(proto.graph)
    proto.ir_version = max(proto.ir_version, 4)  # in older ones each initializer is an input too: inference knows the types of no others
    dims = _name_dims(proto.graph, shapes or {}, title)
    given, proto = proto, infer_shapes(proto, title)
    for _ in range(_ROUNDS):
        simpler = next((made for step in (unroll, expand, differentiate) if (made := step(proto)) is not proto), proto)
        if simpler is proto:
            break
        _constants_to_initializers(simpler.graph)
        proto = infer_shapes(simpler, title)
    _drop_unread_outputs(proto.graph)
    infer_backward(proto)
    graph = OnnxGraph(proto, title, dims)
    _check_interface(graph)
    check_types(given, title)
    return graph


def infer_shapes(proto: Any, title: str) -> Any:
    """Return the model with the types of its inner values, as far as ONNX's own inference finds them.

    Raises:
        ModelError: declared and inferred types contradict each other.
    """
    try:
        return onnx.shape_inference.infer_shapes(proto, strict_mode=False, data_prop=True)
    except (onnx.shape_inference.InferenceError, ValueError) as error:
        raise ModelError(f"its types contradict each other: {str(error).strip().splitlines()[0]}", at=title, code="LB2003") from error


def _constants_to_initializers(graph: Any) -> None:
    kept = []
    for node in graph.node:
        tensor = _constant(node) if node.op_type == "Constant" and node.domain in ("", "ai.onnx") else None
        if tensor is None:
            kept.append(node)
        else:
            graph.initializer.append(tensor)
    if len(kept) != len(graph.node):
        nodes = [onnx.NodeProto.FromString(node.SerializeToString()) for node in kept]
        del graph.node[:]
        graph.node.extend(nodes)
    for sparse in graph.sparse_initializer:
        graph.initializer.append(_dense(sparse, sparse.values.name))
    del graph.sparse_initializer[:]


def _constant(node: Any) -> Any:
    """Return the tensor that a ``Constant`` node holds, or None where it holds strings."""
    attribute = node.attribute[0]
    value = onnx.helper.get_attribute_value(attribute)
    if attribute.name == "value":
        tensor = onnx.TensorProto()
        tensor.CopyFrom(value)
    elif attribute.name == "sparse_value":
        tensor = _dense(value, "")
    elif attribute.name in ("value_float", "value_floats"):
        tensor = numpy_helper.from_array(np.array(value, np.float32))
    elif attribute.name in ("value_int", "value_ints"):
        tensor = numpy_helper.from_array(np.array(value, np.int64))
    else:
        return None
    if tensor.data_type == onnx.TensorProto.STRING:
        return None
    tensor.name = node.output[0]
    return tensor


def _dense(sparse: Any, name: str) -> Any:
    values, indices = numpy_helper.to_array(sparse.values), numpy_helper.to_array(sparse.indices)
    dense = np.zeros(tuple(sparse.dims), values.dtype)
    if indices.ndim == 1:
        dense.reshape(-1)[indices] = values
    else:
        dense[tuple(indices.T)] = values
    return numpy_helper.from_array(dense, name)


def _drop_default_inputs(graph: Any) -> None:
    constants = {tensor.name for tensor in graph.initializer}
    inputs = [value for value in graph.input if value.name not in constants]
    if len(inputs) != len(graph.input):
        copies = [onnx.ValueInfoProto.FromString(value.SerializeToString()) for value in inputs]
        del graph.input[:]
        graph.input.extend(copies)


def _drop_unread_outputs(graph: Any) -> None:
    """Leave out what `_OPTIONAL_OUTPUTS` have for nobody."""
    candidates = [node for node in graph.node if node.domain in DOMAINS and node.op_type in _OPTIONAL_OUTPUTS]
    if not candidates:
        return
    read = {name for node in graph.node for name in (*node.input, *captured_by(node))} | {value.name for value in graph.output}
    for node in candidates:
        outputs = [name if index == 0 or name in read else "" for index, name in enumerate(node.output)]
        while len(outputs) > 1 and not outputs[-1]:
            outputs.pop()
        node.output[:] = outputs


def _name_dims(graph: Any, shapes: Shapes, title: str) -> tuple[str, ...]:
    """Fix and rename the symbolic dimensions everywhere; return the names that are left."""
    inputs = {value.name: value for value in graph.input}
    for name in shapes:
        if name not in inputs:
            raise unknown_name(name, "input", inputs, title)
    original = dict.fromkeys(dim.dim_param for dim in _dims(graph.input) if dim.dim_param)
    renamed: dict[str, int | str] = {}
    for name, shape in shapes.items():
        _override(inputs[name], shape, renamed, f"{title}: input '{name}'")
    taken: dict[str, str] = {}
    for param in original:
        extent = renamed.get(param, param)
        renamed[param] = _identifier(extent, taken) if isinstance(extent, str) else extent
    for value in graph.input:
        for axis, dim in enumerate(value.type.tensor_type.shape.dim):
            if dim.dim_param in original:
                _set(dim, renamed[dim.dim_param])
            elif dim.dim_param or not dim.HasField("dim_value") or dim.dim_value < 0:
                _set(dim, _identifier(dim.dim_param or f"{value.name}_{axis}", taken))
    for dim in _dims((*graph.output, *graph.value_info)):
        if dim.HasField("dim_param"):
            _set(dim, renamed.get(dim.dim_param))
    return tuple(dict.fromkeys(dim.dim_param for dim in _dims(graph.input) if dim.dim_param))


def _dims(values: Iterable[Any]) -> Iterator[Any]:
    for value in values:
        yield from value.type.tensor_type.shape.dim


def _override(value: Any, shape: Sequence[int | str], renamed: dict[str, int | str], at: str) -> None:
    """Note in ``renamed`` what ``shape`` says of named extents, and write what it says of the others into ``value``."""
    if not value.type.tensor_type.HasField("shape"):
        value.type.tensor_type.shape.SetInParent()
        for _ in shape:
            value.type.tensor_type.shape.dim.add()
    dims = value.type.tensor_type.shape.dim
    if len(dims) != len(shape):
        raise ModelError(f"the given shape has {len(shape)} extents, the model's {len(dims)}", at=at, code="LB2007")
    for axis, (dim, extent) in enumerate(zip(dims, shape, strict=True)):
        if isinstance(extent, bool) or not isinstance(extent, int | str) or (isinstance(extent, int) and extent < 1):
            raise ModelError(f"extent {extent!r} of axis {axis} is neither a positive number nor a name", at=at, code="LB2007")
        if dim.HasField("dim_value") and dim.dim_value >= 0:
            if dim.dim_value != extent:
                raise ModelError(f"axis {axis} is {dim.dim_value} in the model, the given shape says {extent}", at=at, code="LB2007")
        elif dim.dim_param:
            if renamed.setdefault(dim.dim_param, extent) != extent:
                raise ModelError(f"dimension '{dim.dim_param}' is given as {renamed[dim.dim_param]} and as {extent}", at=at, code="LB2007")
        else:
            _set(dim, extent)


def _identifier(name: str, taken: dict[str, str]) -> str:
    """Return an identifier for the dimension ``name``: the same one for the same name, different ones for different names."""
    if name not in taken:
        base = re.sub(r"_+", "_", re.sub(r"\W", "_", name, flags=re.ASCII)).strip("_") or "dim"
        base = f"d_{base}" if base[0].isdigit() or keyword.iskeyword(base) else base
        result, count = base, 1
        while result in taken.values():
            result, count = f"{base}_{count}", count + 1
        taken[name] = result
    return taken[name]


def _set(dim: Any, extent: int | str | None) -> None:
    dim.Clear()
    if isinstance(extent, str):
        dim.dim_param = extent
    elif extent is not None:
        dim.dim_value = extent


def _check_interface(graph: OnnxGraph) -> None:
    """Raise what is wrong with the inputs and outputs."""
    for kind, values in (("input", graph.model.graph.input), ("output", graph.model.graph.output)):
        for value in values:
            found = value_type(value.type, graph.dims)
            at = f"{graph.title}: {kind} '{value.name}'"
            if not found.tensor and not found.opaque:
                raise UnsupportedError("a sparse tensor, or a value of a type that is not known", at=at, code="LB2312")
            if kind == "input" and found.tensor and not found.opaque and (found.shape is None or not found.dtype):
                raise ModelError("its shape is not known", at=at, hint=f'give it: shapes={{"{value.name}": (…)}}', code="LB2009")
    if not graph.outputs:
        raise ModelError("the model has no outputs", at=graph.title, code="LB2003")
