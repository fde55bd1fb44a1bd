"""The ONNX model of a region of a program, and a blob of it that can stand in for an offline model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import onnx

from landbridge.frontends.onnx.graph import ELEMENT_TYPES, OnnxGraph, ValueType
from landbridge.frontends.onnx.values import DimNames
from landbridge.frontends.split import cut
from landbridge.ir.images import TO_NHWC, permuted
from landbridge.ir.program import ExternModel
from landbridge.ir.sizes import dims_in, dtype_of, shape_of
from landbridge.runtime.dtypes import is_dtype
from landbridge.runtime.errors import UnsupportedError
from landbridge.runtime.signature import Port, Signature
from landbridge.runtime.vendors import registry


def region_model(source: bytes, title: str, inputs: Mapping[str, Any], outputs: Mapping[str, Any]) -> Any:
    """Return a region as a `ModelProto`, with the types that the program's values have.

    Args:
        source: the serialised model that it is cut out of.
        title: what messages call that model.
        inputs: the program's variables at which the region begins, by the user's names.
        outputs: those that it gives.
    """
    variables = {**inputs, **outputs}
    dims = dims_in([variable.ty for variable in variables.values()])
    extents = DimNames(dims)
    types = {name: ValueType(dtype_of(variable.ty), extents.shape(variable.ty)) for name, variable in variables.items()}
    graph = OnnxGraph(onnx.ModelProto.FromString(source), title, tuple(dims))
    return cut(graph, list(inputs), list(outputs), types)


def fallback_model(
    source: bytes | None, title: str, inputs: Mapping[str, Any], outputs: Mapping[str, Any], signature: Signature, vendor: str
) -> ExternModel:
    """Return the region as a blob of a vendor that compiles ONNX, with the element types and the image layouts of ``signature``.

    Args:
        signature: of the offline model for which it can stand in.
        vendor: such as "onnxruntime".

    Raises:
        UnsupportedError: the program is not from ONNX, an element type of the offline model is none of ONNX, or the vendor has no
            compiler here.
        UsageError: there is no such vendor.
    """
    if source is None:
        raise UnsupportedError(
            "only a region of a program that came from an ONNX model can be a fallback",
            at=title,
            hint="give the fallback as a blob of its own",
        )
    compiler = registry.vendor(vendor)
    part = region_model(source, title, inputs, outputs)
    for value, port in (*zip(part.graph.input, signature.inputs, strict=False), *zip(part.graph.output, signature.outputs, strict=False)):
        if not is_dtype(port.dtype) or port.dtype not in ELEMENT_TYPES:
            raise UnsupportedError(f"'{value.name}': {port.dtype}, which ONNX does not have", at=title, code="LB2312")
    images = [permuted(port, shape_of(v.ty), {}) is not None for v, port in zip(inputs.values(), signature.inputs, strict=False)]
    _convert(part.graph, list(zip(signature.inputs, images, strict=False)), signature.outputs)
    data = compiler.compile(part.SerializeToString(deterministic=True), {})
    return ExternModel.from_bytes(data, vendor, name=f"{'_'.join(outputs)} by {vendor}")


def _convert(graph: Any, inputs: Sequence[tuple[Port, bool]], outputs: Sequence[Port]) -> None:
    """Give a graph's interface the element types of ports, and where it says so an NHWC image, by operators inside of it."""
    before, after = [], []
    for value, (port, is_image) in zip(graph.input, inputs, strict=False):
        inner, kind = value.name, value.type.tensor_type
        if is_image:
            value.name = f"{value.name}.NHWC"
            before.append(onnx.helper.make_node("Transpose", [value.name], [inner], name=f"{value.name}.turned", perm=[0, 3, 1, 2]))
            extents = [type(dim).FromString(dim.SerializeToString()) for dim in kind.shape.dim]
            for dim, axis in zip(kind.shape.dim, TO_NHWC, strict=True):
                dim.CopyFrom(extents[axis])
        if kind.elem_type != ELEMENT_TYPES[port.dtype]:
            inner, value.name = value.name, f"{value.name}.{port.dtype}"
            before.insert(0, _cast(value.name, inner, kind.elem_type, f"{value.name}.cast"))
            kind.elem_type = ELEMENT_TYPES[port.dtype]
    for value, port in zip(graph.output, outputs, strict=False):
        element = ELEMENT_TYPES[port.dtype]
        if value.type.tensor_type.elem_type != element:
            inner, value.name = value.name, f"{value.name}.{port.dtype}"
            after.append(_cast(inner, value.name, element, f"{value.name}.cast"))
            value.type.tensor_type.elem_type = element
    nodes = [*before, *(type(node).FromString(node.SerializeToString()) for node in graph.node), *after]
    del graph.node[:]
    graph.node.extend(nodes)


def _cast(source: str, result: str, element: int, name: str) -> Any:
    return onnx.helper.make_node("Cast", [source], [result], name=name, to=element)
