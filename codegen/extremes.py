"""Legalize the largest and the smallest of floating-point numbers so that infinities come out as they are, and what is no number too.

TVM starts a maximum from the most negative finite number: the maximum of nothing but minus infinity would be that number, and a row of
an attention mask that hides everything would not be seen as one. Here it starts from minus infinity. TVM's rectifier makes 0 of what is
no number, and hides that a network has gone wrong; here it stays.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tvm
from tvm import te, tirx


def _legalization(operator: str, combine: Callable[[Any, Any], Any], identity: Callable[[str], Any]) -> Callable[[Any, Any], Any]:
    default = tvm.ir.Op.get(operator).get_attr("FLegalize")
    name = operator.rpartition(".")[2]
    reducer = te.comm_reducer(combine, identity, name=name)

    def legalize(builder: Any, call: Any) -> Any:
        data = call.args[0]
        if not str(data.ty.dtype).startswith("float"):
            return default(builder, call)
        rank = len(data.ty.shape.values)
        axes = sorted({int(axis) % rank for axis in call.attrs.axis}) if call.attrs.axis is not None else list(range(rank))
        keepdims = bool(call.attrs.keepdims)
        return builder.call_te(lambda tensor: _reduction(tensor, axes, keepdims, reducer), data, primfunc_name_hint=name)

    return legalize


def _reduction(data: Any, axes: list[int], keepdims: bool, reducer: Any) -> Any:
    reduced = {axis: te.reduce_axis((0, data.shape[axis]), name=f"k{axis}") for axis in axes}
    kept = [axis for axis in range(len(data.shape)) if axis not in reduced]
    shape = [1 if axis in reduced else extent for axis, extent in enumerate(data.shape) if keepdims or axis not in reduced]

    def compute(*position: Any) -> Any:
        outer = {axis: position[axis if keepdims else kept.index(axis)] for axis in kept}
        return reducer(data[tuple(reduced.get(axis, outer.get(axis)) for axis in range(len(data.shape)))], axis=list(reduced.values()))

    return te.compute(shape, compute, name="extreme")


def _larger(left: Any, right: Any) -> Any:
    return tirx.max(left, right)


def _smaller(left: Any, right: Any) -> Any:
    return tirx.min(left, right)


def _lowest(dtype: str) -> Any:
    return -tirx.infinity(dtype)


def _highest(dtype: str) -> Any:
    return tirx.infinity(dtype)


def _rectified(builder: Any, call: Any) -> Any:
    def relu(data: Any) -> Any:
        zero = tirx.const(0, str(data.dtype))
        return te.compute(data.shape, lambda *i: tirx.Select(data(*i) < zero, zero, data(*i)), name="relu")

    return builder.call_te(relu, call.args[0], primfunc_name_hint="relu")


EXTREMES: dict[str, Callable[[Any, Any], Any]] = {
    "relax.max": _legalization("relax.max", _larger, _lowest),
    "relax.min": _legalization("relax.min", _smaller, _highest),
    "relax.nn.relu": _rectified,
}
"""For `relax.transform.LegalizeOps`."""
