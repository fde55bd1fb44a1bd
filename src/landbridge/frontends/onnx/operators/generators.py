"""Tensors made of little or nothing: ranges, windows, identities, one-hot rows, grids."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import tvm
from tvm import relax, te, tirx

from landbridge.frontends.onnx.graph import DTYPES
from landbridge.frontends.onnx.operators.call import Call, Declined, Rule, constant
from landbridge.frontends.onnx.operators.shaping import confirmed, known


def _range(call: Call) -> Any:
    """``Range`` between extents, which TVM's importer would read from tensors, and of a declared length."""
    if not all(known(call, index) or call.constant(index) is not None for index in range(3)):
        return _counted(call)
    found = [call.integers(i) for i in range(3)]
    if any(tvm.ir.is_prim_expr(a) for a in call.arguments):
        start, end, step = (values[0] for values in found if values)
        if isinstance(step, int):
            return relax.op.arange(start, end, step, "int64")
    return NotImplemented


def _counted(call: Call) -> Any:
    """Return a range of a declared length whose bounds are tensors."""
    (length,), dtype = call.declared(), call.dtype(0)

    def kernel(start: Any, limit: Any, delta: Any, shape: list[Any]) -> Any:
        return te.compute(shape, lambda i: start() + i.astype(dtype) * delta() + limit() * tirx.const(0, dtype), name="range")

    return call.compute(kernel, call.tensor(0), call.tensor(1), call.tensor(2), relax.ShapeExpr([length]), name="range")


def _window(*weights: float) -> Rule:
    """Return a window of cosines: the weight of each, from the constant on."""

    def rule(call: Call) -> Any:
        dtype = DTYPES[call.number("output_datatype", 1)]
        sizes = call.integers(0)
        size = sizes[0] if sizes is not None else call.declared()[0]
        if not dtype.startswith("float") or not isinstance(size, int):
            raise Declined("a window that is not floating, or of unknown size")
        points = np.arange(size) / (size if call.number("periodic", 1) else max(size - 1, 1))
        window = constant(sum((-1) ** k * w * np.cos(2 * math.pi * k * points) for k, w in enumerate(weights)), dtype)
        return window if sizes is not None else confirmed(call, window, 0, [size], "the size")

    return rule


def _one_hot(call: Call) -> Any:
    shape = call.shape(0)
    axis = call.axis("axis", -1, len(shape) + 1)
    depths = call.integers(1)
    depth = depths[0] if depths is not None else call.declared()[axis]
    result = [*shape[:axis], depth, *shape[axis:]]
    indices, values = call.tensor(0), call.tensor(2)
    if depths is None:
        indices = confirmed(call, indices, 1, [depth], "the depth")

    def kernel(indices: Any, values: Any, result: list[Any]) -> Any:
        def element(*position: Any) -> Any:
            index = indices(*(place for a, place in enumerate(position) if a != axis)).astype("int64")
            index = tirx.Select(index < 0, index + result[axis], index)
            return values[tirx.if_then_else(index == position[axis], 1, 0)]

        return te.compute(result, element, name="one_hot")

    return call.compute(kernel, indices, values, relax.ShapeExpr(result), name="one_hot")


def _eye_like(call: Call) -> Any:
    """``EyeLike`` of another type than its input, which TVM's importer refuses."""
    attribute = call.node.attribute("dtype")
    dtype = call.dtype(0) if attribute is None else DTYPES.get(int(attribute.i), "")
    offset, shape = call.number("k", 0), call.shape(0)

    def kernel(shape: list[Any]) -> Any:
        return te.compute(shape, lambda i, j: tirx.Select(j - i == offset, tirx.const(1, dtype), tirx.const(0, dtype)), name="eye")

    return call.compute(kernel, relax.ShapeExpr(shape), name="eye_like")


def _affine_grid(call: Call) -> Any:
    """``AffineGrid``: where each point of a grid comes from, for a batch of affine maps."""
    theta, aligned = call.tensor(0), bool(call.number("align_corners", 0))
    sizes = call.integers(1)
    shape = call.declared() if sizes is None else [sizes[0], *sizes[2:], len(sizes) - 2]
    if sizes is None:
        theta = _with_size(call, theta, shape)
    spatial, dtype = len(shape) - 2, call.dtype(0)

    def kernel(theta: Any, shape: list[Any]) -> Any:
        def coordinate(place: Any, extent: Any) -> Any:
            number, count = place.astype(dtype), tirx.Cast(dtype, extent)
            one = tirx.const(1, dtype)
            if aligned:
                return tirx.Select(count > one, 2 * number / tirx.max(count - one, one) - one, tirx.const(0, dtype))
            return (2 * number + one) / count - one

        def element(*position: Any) -> Any:
            points = [coordinate(position[1 + axis], shape[1 + axis]) for axis in reversed(range(spatial))]
            batch, row = position[0], position[-1]
            total = theta[batch, row, spatial]
            for column, point in enumerate(points):
                total = total + theta[batch, row, column] * point
            return total

        return te.compute(shape, element, name="grid")

    return call.compute(kernel, theta, relax.ShapeExpr(shape), name="affine_grid")


def _with_size(call: Call, theta: Any, shape: list[Any]) -> Any:
    """Return the maps, checked to belong to the declared size; how many channels there are does not matter."""
    size = call.emit(relax.op.strided_slice(call.tensor(1), [0], [2], [len(shape)]))
    arguments = (call.arguments[0], size)
    return confirmed(replace(call, arguments=arguments), theta, 1, shape[1:-1], "the size")


_WINDOWS: dict[str, Callable[[Call], Any]] = {
    "BlackmanWindow": _window(0.42, 0.5, 0.08),
    "HammingWindow": _window(25 / 46, 21 / 46),
    "HannWindow": _window(0.5, 0.5),
}
OPERATORS: dict[str, Rule] = {
    **_WINDOWS,
    "AffineGrid": _affine_grid,
    "EyeLike": _eye_like,
    "OneHot": _one_hot,
    "Range": _range,
}
