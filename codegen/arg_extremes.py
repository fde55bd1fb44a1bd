"""Legalize where the largest or smallest number of a row is, along memory: first its value, in vectors, then the first place that has it.

TVM carries value and place through one loop, number by number. Where a row has what is no number, the place is any of the row's.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tvm
from tvm import te, tirx
from tvm.script.ir_builder import IRBuilder
from tvm.script.ir_builder import tirx as ib

_LANES = 16
"""Numbers that are compared at once; on processors with shorter vectors several of these."""

_PARALLEL = 1 << 18
"""Numbers from which on rows are spread over threads."""


def _legalization(operator: str, better: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    default = tvm.ir.Op.get(operator).get_attr("FLegalize")

    def legalize(builder: Any, call: Any) -> Any:
        data = call.args[0]
        shape = list(data.ty.shape.values)
        row = shape[-1] if shape else None
        along = call.attrs.axis is not None and shape and int(call.attrs.axis) % len(shape) == len(shape) - 1
        if not along or not isinstance(row, tirx.IntImm) or int(row) < _LANES or str(data.ty.dtype) == "bool":
            return default(builder, call)
        keepdims, dtype = bool(call.attrs.keepdims), str(call.ty.dtype)

        def place(tensor: Any) -> Any:
            outer = list(tensor.shape[:-1])
            result = [*outer, 1] if keepdims else outer

            def generate(ins: Any, outs: Any) -> Any:
                return _rows(ins[0], outs[0], outer, int(row), better)

            return te.extern([result], [tensor], generate, name="place", dtype=[dtype])

        return builder.call_te(place, data, primfunc_name_hint=operator.rpartition(".")[2])

    return legalize


def _rows(data: Any, result: Any, outer: list[Any], count: int, better: Callable[[Any, Any], Any]) -> Any:
    """Return the loop over rows."""
    rows: Any = tirx.const(1, "int64")
    for extent in outer:
        rows = extent * rows
    rows = tvm.sym.Analyzer().simplify(rows)
    large = isinstance(rows, tirx.IntImm) and int(rows) > 1 and int(rows) * count >= _PARALLEL
    with IRBuilder() as builder:
        with (ib.parallel if large else ib.serial)(0, rows) as row:
            _row(ib.buffer_proxy(data), ib.buffer_proxy(result), row, count, better)
        return builder.get()


def _row(source: Any, result: Any, row: Any, count: int, better: Callable[[Any, Any], Any]) -> None:
    """Emit the search in one row."""
    dtype = str(source.dtype)
    lanes = ib.buffer_proxy(ib.alloc_buffer((_LANES,), dtype))
    best = ib.buffer_proxy(ib.alloc_buffer((1,), dtype))
    place = ib.buffer_proxy(ib.alloc_buffer((1,), "int64"))
    first, whole = row * count, count // _LANES
    with ib.vectorized(0, _LANES) as lane:
        lanes[lane] = source[first + lane]
    with ib.serial(0, whole - 1) as turn, ib.vectorized(0, _LANES) as lane:
        lanes[lane] = better(lanes[lane], source[first + (turn + 1) * _LANES + lane])
    best[0] = lanes[0]
    for lane in range(1, _LANES):
        best[0] = better(best[0], lanes[lane])
    with ib.serial(0, count - whole * _LANES) as rest:
        best[0] = better(best[0], source[first + whole * _LANES + rest])
    place[0] = ib.int64(0)
    with ib.While(tirx.all(place[0] < count - 1, source[first + place[0]] != best[0])):
        place[0] = place[0] + 1
    result[row] = tirx.Cast(str(result.dtype), place[0])


ARG_EXTREMES: dict[str, Callable[[Any, Any], Any]] = {
    "relax.argmax": _legalization("relax.argmax", tirx.max),
    "relax.argmin": _legalization("relax.argmin", tirx.min),
}
"""For `relax.transform.LegalizeOps`."""
