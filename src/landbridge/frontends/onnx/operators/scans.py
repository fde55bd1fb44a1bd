"""Running sums and products, and the largest elements in order."""

from __future__ import annotations

from typing import Any

import numpy as np
from tvm import relax, tirx
from tvm.script.ir_builder import tirx as ib

from landbridge.frontends.onnx.operators.call import Call, Rule, constant, product
from landbridge.frontends.onnx.operators.loops import check, loops, variable, when
from landbridge.frontends.onnx.operators.shaping import confirmed


def _running(call: Call) -> Any:
    """``CumSum`` and ``CumProd`` along an axis that may be a tensor."""
    rank, dtype = len(call.shape(0)), call.dtype(0)
    add = call.node.proto.op_type == "CumSum"
    exclusive, reverse = bool(call.number("exclusive", 0)), bool(call.number("reverse", 0))
    known = call.integers(1)

    def kernel(data: Any, axis: Any) -> Any:
        def body(source: Any, axis: Any, result: Any) -> None:
            which = axis[0].astype("int64")
            check(tirx.all(which >= -rank, which < rank), "an axis that the tensor does not have")
            for a in range(rank):
                if known is None:
                    when(tirx.any(which == a, which == a - rank), lambda a=a: along(source, result, a))  # type: ignore[misc]
                elif int(known[0]) % rank == a:
                    along(source, result, a)

        def along(source: Any, result: Any, axis: int) -> None:
            shape = list(source.shape)
            extent, inner = shape[axis], product(shape[axis + 1 :])
            with ib.serial(0, product(shape[:axis])) as outer, ib.serial(0, inner) as i:
                total = variable(dtype, tirx.const(0 if add else 1, dtype))
                with ib.serial(0, extent) as step:
                    place = (outer * extent + (extent - 1 - step if reverse else step)) * inner + i
                    if exclusive:
                        result[place] = total[0]
                    total[0] = total[0] + source[place] if add else total[0] * source[place]
                    if not exclusive:
                        result[place] = total[0]

        return loops("running", [data, axis], [(data.shape, dtype)], body)

    axis = call.tensor(1)
    if len(axis.ty.shape) != 1:
        axis = constant(np.reshape(known, [1]), "int64") if known is not None else call.emit(relax.op.reshape(axis, [1]))
    return call.compute(kernel, call.tensor(0), axis, name=call.node.proto.op_type.lower())


def _top_k(call: Call) -> Any:
    """``TopK``: the ``k`` largest or smallest of each row, in order; of equal ones the first comes first."""
    shape = call.shape(0)
    axis = call.axis("axis", -1, len(shape))
    data, k = call.tensor(0), _count(call, axis)
    if call.opset >= 10 and call.integers(1) is None:
        data = confirmed(call, data, 1, [k], "k")
    largest, dtype = bool(call.number("largest", 1)), call.dtype(0)
    result = [*shape[:axis], k, *shape[axis + 1 :]]

    def kernel(data: Any, result: list[Any]) -> Any:
        extent, inner, count = data.shape[axis], product(list(data.shape[axis + 1 :])), result[axis]

        def body(source: Any, values: Any, indices: Any) -> None:
            check(count <= extent, "k is larger than the axis")
            with ib.serial(0, product(list(data.shape[:axis]))) as outer, ib.serial(0, inner) as i, ib.serial(0, extent) as place:
                _insert(source, values, indices, (outer, i, place), (extent, inner, count), largest=largest)

        return loops("top", [data], [(result, dtype), (result, "int64")], body)

    return list(call.compute(kernel, data, relax.ShapeExpr(result), name="top_k"))


def _insert(source: Any, values: Any, indices: Any, at: Any, extents: Any, *, largest: bool) -> None:
    """Emit one step of an insertion into the best so far: an element goes behind all that are not worse."""
    (outer, i, place), (extent, inner, count) = at, extents

    def slot(rank: Any) -> Any:
        return (outer * count + rank) * inner + i

    value = source[(outer * extent + place) * inner + i]
    filled = tirx.min(place, count)
    rank = variable("int64", tirx.Cast("int64", filled))
    before = values[slot(tirx.max(rank[0] - 1, tirx.const(0, "int64")))]
    worse = _better(value, before, largest=largest)
    # the last one falls out once all places are taken
    with ib.While(tirx.if_then_else(rank[0] > 0, worse, tirx.const(False, "bool"))):
        with ib.If(rank[0] < count), ib.Then():
            values[slot(rank[0])] = values[slot(rank[0] - 1)]
            indices[slot(rank[0])] = indices[slot(rank[0] - 1)]
        rank[0] = rank[0] - 1
    with ib.If(rank[0] < count), ib.Then():
        values[slot(rank[0])] = value
        indices[slot(rank[0])] = tirx.Cast("int64", place)


def _better(left: Any, right: Any, *, largest: bool) -> Any:
    """Return whether one number comes before another; NaN is the largest."""
    better = left > right if largest else left < right
    if not str(left.ty.dtype).startswith("float"):
        return better
    first, second = (left, right) if largest else (right, left)
    return tirx.any(better, tirx.all(tirx.isnan(first), tirx.Not(tirx.isnan(second))))


def _count(call: Call, axis: int) -> Any:
    if call.opset < 10:
        return call.number("k", 1)
    known = call.integers(1)
    return known[0] if known is not None else call.declared()[axis]


OPERATORS: dict[str, Rule] = {"CumProd": _running, "CumSum": _running, "TopK": _top_k}
