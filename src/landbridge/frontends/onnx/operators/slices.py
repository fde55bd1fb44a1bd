"""``Slice``: parts of a tensor, where what is cut or how long it was is not a number at compile time.

The importer has it with numbers. Here places may be extents, such as the rest of a table of positions that is as long as an input, or
tensors, where the model declares the shape of the result and a run whose numbers do not give that shape fails.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tvm import relax, te, tirx
from tvm.script.ir_builder import tirx as ib

from landbridge.frontends.onnx.extents import at_least, at_most, is_at_most, is_negative, simplified
from landbridge.frontends.onnx.operators.call import Call, Declined, Rule, constant, extents_of
from landbridge.frontends.onnx.operators.loops import check, each, loops
from landbridge.frontends.onnx.operators.shaping import known


def _slice(call: Call) -> Any:
    if call.opset < 10:
        starts, ends, axes = (call.numbers(name) for name in ("starts", "ends", "axes"))
        steps: list[Any] | None = None
    elif all(known(call, index) for index in range(1, 5)):
        starts, ends, axes, steps = (call.integers(index) if call.has(index) else None for index in range(1, 5))
    else:
        return _by_tensors(call)
    shape = call.shape(0)
    if starts is None or ends is None or all(isinstance(extent, int) for extent in (*shape, *starts, *ends)):
        return NotImplemented
    if not all(isinstance(number, int) for number in (*(axes or ()), *(steps or ()))):
        raise Declined("axes or steps that are extents")
    return cut(call.builder, call.tensor(0), starts, ends, axes or list(range(len(starts))), steps or [1] * len(starts))


def cut(builder: Any, data: Any, starts: Sequence[Any], ends: Sequence[Any], axes: Sequence[int], steps: Sequence[int]) -> Any:
    """Return the part of a tensor whose places or extents are expressions over the named dimensions.

    Raises:
        Declined: a step of 0, or a place that counts from the front for some extents and from the end for others.
    """
    before = extents_of(data)
    first, by, after = [0] * len(before), [1] * len(before), list(before)
    places = [axis % len(before) for axis in axes]
    for start, end, axis, step in zip(starts, ends, places, steps, strict=True):
        first[axis], after[axis], by[axis] = *_part(start, end, step, before[axis]), step
    changed = [axis for axis, extent in enumerate(after) if extent is not before[axis] or by[axis] != 1]
    if not changed:
        return data

    def kernel(data: Any, places: Any, shape: Any) -> Any:
        def element(*position: Any) -> Any:
            return data(*(places[axis] + index * by[axis] if axis in changed else index for axis, index in enumerate(position)))

        return te.compute(list(shape), element, name="part")

    return builder.emit_te(kernel, data, relax.ShapeExpr(first), relax.ShapeExpr(after), primfunc_name_hint="slice")


def _part(start: Any, end: Any, step: int, extent: Any) -> tuple[Any, Any]:
    """Return where a slice of one axis begins and how many elements it has."""
    if step == 0:
        raise Declined("a step of 0")
    low, high = (0, extent) if step > 0 else (-1, simplified(extent - 1))  # -1 is the place before the first, at which one may end
    begin, stop = _within(start, extent, 0, high), _within(end, extent, low, high)
    length = at_least(simplified(stop - begin if step > 0 else begin - stop), 0)
    count = length if abs(step) == 1 else simplified(tirx.floordiv(length + (abs(step) - 1), abs(step)))
    same = isinstance(begin, int) and begin == 0 and step == 1 and is_at_most(extent, count) and is_at_most(count, extent)
    return begin, extent if same else count


def _within(place: Any, extent: Any, low: Any, high: Any) -> Any:
    """Return a place, which may count from the end, as one that counts from the front and is not outside."""
    if isinstance(place, int) and abs(place) >= 2**31:  # all there is
        return high if place > 0 else low
    negative = is_negative(place)
    if negative is None:
        raise Declined("a place that counts from the front for some extents and from the end for others")
    return at_most(at_least(simplified(place + extent) if negative else place, low), high)


def _by_tensors(call: Call) -> Any:
    """``Slice`` with starts, axes or steps that are tensors."""
    shape, rank = call.declared(), len(call.shape(0))
    count = int(call.shape(1)[0])
    axes = call.tensor(3) if call.has(3) else constant(range(count), "int64")
    steps = call.tensor(4) if call.has(4) else constant([1] * count, "int64")

    def kernel(data: Any, starts: Any, ends: Any, axes: Any, steps: Any, shape: list[Any]) -> Any:
        def body(source: Any, starts: Any, ends: Any, axes: Any, steps: Any, result: Any) -> None:
            first, by = (ib.buffer_proxy(ib.alloc_buffer((max(rank, 1),), "int64")) for _ in range(2))
            for axis in range(rank):
                first[axis], by[axis] = ib.int64(0), ib.int64(1)
            for place in range(count):
                for axis in range(rank):
                    _cut(source, axis, shape[axis], [t[place].astype("int64") for t in (starts, ends, axes, steps)], (first, by), rank)
            with ib.grid(*shape) as indices:
                at = each(indices)
                result[tuple(at)] = source[tuple(first[axis] + index * by[axis] for axis, index in enumerate(at))]

        return loops("slice", [data, starts, ends, axes, steps], [(shape, str(data.dtype))], body)

    inputs = [call.tensor(0), call.tensor(1), call.tensor(2), axes, steps]
    return call.compute(kernel, *inputs, relax.ShapeExpr(shape))


def _cut(source: Any, axis: int, wanted: Any, found: Sequence[Any], places: tuple[Any, Any], rank: int) -> None:
    """Emit the part of one axis that a slice names, and the check that it has the declared extent."""
    start, end, which, step = found
    extent = tirx.Cast("int64", source.shape[axis])
    with ib.If(tirx.any(which == axis, which == axis - rank)), ib.Then():
        check(step != 0, "a step of 0")
        low, high = tirx.Select(step < 0, ib.int64(-1), ib.int64(0)), tirx.Select(step < 0, extent - 1, extent)
        begin = tirx.max(tirx.min(tirx.Select(start < 0, start + extent, start), high), tirx.max(low, ib.int64(0)))
        stop = tirx.max(tirx.min(tirx.Select(end < 0, end + extent, end), high), low)
        magnitude = tirx.abs(step)
        distance = tirx.Select(step < 0, begin - stop, stop - begin)
        length = tirx.max(ib.int64(0), tirx.truncdiv(distance + magnitude - 1, magnitude))
        check(length == wanted, "the part is not as large as the model declares")
        places[0][axis] = begin
        places[1][axis] = step


OPERATORS: dict[str, Rule] = {"Slice": _slice}
