"""Operators whose inputs must have the same extents, or 1, where it takes the extents of a run to tell that they do.

A table of 100 positions, cut to the length of an input, has ``min(n, 100)`` rows and is added to what has ``n``. Relax would say nothing
of the result. Here the input whose extent is another expression is copied into the shape that the result must have, by a kernel that
fails where the extents do not go together, with the names of the values.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tvm import relax, tirx
from tvm.script.ir_builder import tirx as ib

from landbridge.frontends.onnx.extents import at_least, is_equal, terms
from landbridge.frontends.onnx.graph import Node
from landbridge.frontends.onnx.operators.call import as_int, extents_of
from landbridge.frontends.onnx.operators.loops import check, each, loops
from landbridge.ir.body import is_constant
from landbridge.ir.sizes import size_of
from landbridge.runtime.dims import render

AGREED = "agreed"
"""What the kernels are called."""

_BROADCASTING = frozenset(
    (
        *("Add", "Sub", "Mul", "Div", "Pow", "Mod", "And", "Or", "Xor", "BitwiseAnd", "BitwiseOr", "BitwiseXor", "BitShift"),
        *("Equal", "Less", "LessOrEqual", "Greater", "GreaterOrEqual", "Where", "PRelu", "Max", "Min", "Sum", "Mean"),
    )
)
"""The operators whose inputs are broadcast to each other."""


def agreed(builder: Any, node: Node, arguments: Sequence[Any]) -> list[Any]:
    """Return the arguments of a node, those copied whose extents are not proven to go together with the others'."""
    if node.type not in _BROADCASTING or not any(_is_open(argument) for argument in arguments):
        return list(arguments)
    shapes = {name: extents_of(argument) for name, argument in zip(node.inputs, arguments, strict=True) if _is_tensor(argument)}
    if len(shapes) < len([name for name in dict.fromkeys(node.inputs) if name]):
        return list(arguments)
    target = together(list(shapes.values()))
    return [
        fitted(builder, argument, target, _said(name, shapes)) if _is_tensor(argument) else argument
        for name, argument in zip(node.inputs, arguments, strict=True)
    ]


def together(shapes: Sequence[Sequence[Any]]) -> list[Any]:
    """Return the shape to which shapes are broadcast, whatever their dimensions are."""
    rank = max(map(len, shapes), default=0)
    columns = zip(*([1] * (rank - len(shape)) + list(shape) for shape in shapes), strict=True)
    return [_common([as_int(extent) for extent in column]) for column in columns]


def _common(extents: Sequence[Any]) -> Any:
    found: Any = 1
    for extent in extents:
        if isinstance(extent, int) and extent == 1:
            continue
        if isinstance(found, int):
            found = extent if found == 1 else found  # a number stays: what is no other number must be it, or 1
        elif isinstance(extent, int):
            found = extent
        elif is_equal(found, extent):
            found = min(found, extent, key=terms)
        else:
            found = at_least(found, extent)
    return found


def fitted(builder: Any, data: Any, target: Sequence[Any], said: str) -> Any:
    """Return a tensor with extents that are those of a target, or 1, copied where it takes a run to tell that they are.

    Args:
        said: what the run fails with where they are not.
    """
    before = extents_of(data)
    wanted = list(target)[len(target) - len(before) :]
    doubtful = [axis for axis, extent in enumerate(before) if not _goes(extent, wanted[axis])]
    if not doubtful or any(isinstance(before[axis], int) and isinstance(wanted[axis], int) for axis in doubtful):
        return data  # nothing to do, or wrong for certain, which the importer says
    after = [wanted[axis] if axis in doubtful else extent for axis, extent in enumerate(before)]

    def kernel(data: Any, shape: Any) -> Any:
        def body(source: Any, result: Any) -> None:
            sizes = [tirx.Cast("int64", extent) if not isinstance(extent, int) else extent for extent in data.shape]
            for axis in doubtful:
                check(tirx.any(sizes[axis] == shape[axis], tirx.all(sizes[axis] == 1, shape[axis] > 0)), said)
            with ib.grid(*shape) as indices:
                at = each(indices)
                first = tirx.const(0, "int64")
                place = [tirx.Select(sizes[a] == 1, first, i.astype("int64")) if a in doubtful else i for a, i in enumerate(at)]
                result[tuple(at)] = source[tuple(place)]

        return loops(AGREED, [data], [(list(shape), str(data.dtype))], body)

    return builder.emit_te(kernel, data, relax.ShapeExpr(after), primfunc_name_hint=AGREED)


def _goes(extent: Any, wanted: Any) -> bool:
    return (isinstance(extent, int) and extent == 1) or is_equal(extent, wanted)


def _said(name: str, shapes: Mapping[str, Sequence[Any]]) -> str:
    others = ", ".join(f"'{other}' [{_written(shape)}]" for other, shape in shapes.items() if other != name)
    return f"'{name}' [{_written(shapes[name])}] does not go together with {others}"


def _written(shape: Sequence[Any]) -> str:
    return ", ".join(render(size_of(extent)) for extent in shape)


def _is_tensor(argument: Any) -> bool:
    return (isinstance(argument, relax.Var) or is_constant(argument)) and isinstance(argument.ty.shape, relax.ShapeExpr)


def _is_open(argument: Any) -> bool:
    return _is_tensor(argument) and not all(isinstance(extent, int) for extent in extents_of(argument))
