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

_MOST = 1 << 31
"""Places are 32-bit integers: as long as the numbers that are mostly compared."""

_PARALLEL = 1 << 18
"""Numbers from which on rows are spread over threads."""


def _legalization(operator: str, better: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    default = tvm.ir.Op.get(operator).get_attr("FLegalize")

    def legalize(builder: Any, call: Any) -> Any:
        data = call.args[0]
        shape = list(data.ty.shape.values)
        row = shape[-1] if shape else None
        along = call.attrs.axis is not None and shape and int(call.attrs.axis) % len(shape) == len(shape) - 1
        if not along or not isinstance(row, tirx.IntImm) or not _LANES <= int(row) < _MOST or str(data.ty.dtype) == "bool":
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
    """Emit the search in one row: one sweep for the best, and one for the least place of those that are like it."""
    dtype = str(source.dtype)
    lanes = ib.buffer_proxy(ib.alloc_buffer((_LANES,), dtype))
    places = ib.buffer_proxy(ib.alloc_buffer((_LANES,), "int32"))
    first, last, whole = row * count, count - _LANES, count // _LANES  # the last numbers are looked at twice rather than one by one

    def compare(begin: Any) -> None:
        with ib.vectorized(0, _LANES) as lane:
            lanes[lane] = better(lanes[lane], source[first + begin + lane])

    def find(begin: Any) -> None:
        with ib.vectorized(0, _LANES) as lane:
            place = tirx.Cast("int32", begin + lane)
            places[lane] = tirx.Select(source[first + begin + lane] == lanes[0], tirx.min(places[lane], place), places[lane])

    with ib.vectorized(0, _LANES) as lane:
        lanes[lane] = source[first + last + lane]
        places[lane] = tirx.const(count - 1, "int32")
    with ib.serial(0, whole) as turn:
        compare(turn * _LANES)
    fold_lanes(lanes, _LANES, better)
    find(tirx.const(last, "int64"))
    with ib.serial(0, whole) as turn:
        find(turn * _LANES)
    fold_lanes(places, _LANES, tirx.min)
    result[row] = tirx.Cast(str(result.dtype), places[0])


def fold_lanes(lanes: Any, count: int, better: Callable[[Any, Any], Any]) -> None:
    """Emit what brings the best of so many lanes, a power of two, into the first one; the others are overwritten."""
    half = count // 2
    while half:
        with ib.vectorized(0, half) as lane:
            lanes[lane] = better(lanes[lane], lanes[lane + half])
        half //= 2


ARG_EXTREMES: dict[str, Callable[[Any, Any], Any]] = {
    "relax.argmax": _legalization("relax.argmax", tirx.max),
    "relax.argmin": _legalization("relax.argmin", tirx.min),
}
"""For `relax.transform.LegalizeOps`."""
