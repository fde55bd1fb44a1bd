"""Tensors made of little or nothing: ranges, windows, identities, one-hot rows, grids."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import tvm
from tvm import relax, te, tirx
from tvm.script.ir_builder import tirx as ib

from landbridge.frontends.onnx.graph import DTYPES
from landbridge.frontends.onnx.operators.call import Call, Declined, Rule, constant
from landbridge.frontends.onnx.operators.loops import check, loops, variable
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


def _mel_weight_matrix(call: Call) -> Any:
    """``MelWeightMatrix`` of which something is known only when it runs; the model then declares the shape of the result.

    Source: https://onnx.ai/onnx/operators/onnx__MelWeightMatrix.html
    """
    dtype, (bands, length) = DTYPES.get(call.number("output_datatype", 1), ""), (call.integers(index) for index in (0, 1))
    shape = call.declared() if bands is None or length is None else [length[0] // 2 + 1, bands[0]]
    if not dtype.startswith(("float", "int", "uint")) or not all(isinstance(extent, int) and extent > 0 for extent in shape):
        raise Declined("a matrix of no numbers, or of unknown size")
    rate = call.tensor(2) if bands is not None else confirmed(call, call.tensor(2), 0, shape[1:], "how many bands there are")

    def kernel(*inputs: Any) -> Any:
        def body(length: Any, rate: Any, low: Any, high: Any, result: Any, bins: Any) -> None:
            check(length[0] // 2 + 1 == shape[0], "the length: not what the model declares")
            _mel_bins(bins, shape[1] + 2, tirx.Cast("float64", length[0] + 1) / tirx.Cast("float64", rate[0]), (low[0], high[0]))
            with ib.serial(0, shape[0]) as place, ib.serial(0, shape[1]) as band:
                weight = _triangle(tirx.Cast("int64", place), *(bins[band + corner] for corner in range(3)))
                result[place * shape[1] + band] = tirx.Cast(dtype, weight)

        return loops("mel_weights", list(inputs), [(shape, dtype), ([shape[1] + 2], "int64")], body)

    made = call.compute(kernel, call.tensor(1), rate, call.tensor(3), call.tensor(4), name="mel_weight_matrix")
    return relax.TupleGetItem(made, 0)


def _mel_bins(bins: Any, count: int, per_hertz: Any, edges: tuple[Any, Any]) -> None:
    """Emit what writes the bins of frequencies that are equally far apart in mel.

    Args:
        per_hertz: how many bins a hertz has.
        edges: the first frequency, and that behind the last, in hertz.
    """
    per_mel = math.log(10) / 2595
    low, high = (variable("float64", tirx.log(1.0 + tirx.Cast("float64", edge) / 700.0) / per_mel) for edge in edges)
    with ib.serial(0, count) as number:
        mel = low[0] + tirx.Cast("float64", number) * ((high[0] - low[0]) / float(count))
        bins[number] = tirx.Cast("int64", tirx.floor(700.0 * (tirx.exp(mel * per_mel) - 1.0) * per_hertz))


def _triangle(at: Any, left: Any, centre: Any, right: Any) -> Any:
    """Return the height at a bin of a triangle that is 1 at its centre."""

    def share(part: Any, whole: Any) -> Any:
        return tirx.Cast("float64", part) / tirx.Cast("float64", tirx.max(whole, 1))

    zero, one = tirx.const(0.0, "float64"), tirx.const(1.0, "float64")
    falling = tirx.Select(tirx.all(at > centre, at < right), share(right - at, right - centre), zero)
    rising = tirx.Select(tirx.all(at >= left, at < centre), share(at - left, centre - left), falling)
    return tirx.Select(at == centre, one, rising)


_WINDOWS: dict[str, Callable[[Call], Any]] = {
    "BlackmanWindow": _window(0.42, 0.5, 0.08),
    "HammingWindow": _window(25 / 46, 21 / 46),
    "HannWindow": _window(0.5, 0.5),
}
OPERATORS: dict[str, Rule] = {
    **_WINDOWS,
    "AffineGrid": _affine_grid,
    "EyeLike": _eye_like,
    "MelWeightMatrix": _mel_weight_matrix,
    "OneHot": _one_hot,
    "Range": _range,
}
