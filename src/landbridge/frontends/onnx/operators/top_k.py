"""The largest or smallest elements of each row, in order.

A heap keeps the best so far, the worst of them on top: most elements are compared with that one and go. Nothing but the best is sorted.
Where only a few are wanted there is a tournament (`few_best`).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from tvm import relax, tirx
from tvm.script.ir_builder import tirx as ib

from landbridge.frontends.onnx.operators.call import Call, Rule, as_int, product
from landbridge.frontends.onnx.operators.few_best import FewBest, is_few
from landbridge.frontends.onnx.operators.loops import check, loops, variable, when
from landbridge.frontends.onnx.operators.shaping import confirmed


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
        extent, inner, count = data.shape[axis], product(list(data.shape[axis + 1 :])), tirx.Cast("int64", result[axis])

        def body(source: Any, values: Any, indices: Any) -> None:
            check(count <= extent, "k is larger than the axis")
            with ib.serial(0, product(list(data.shape[:axis]))) as outer, ib.serial(0, inner) as i:

                def element(place: Any) -> Any:
                    return source[(outer * extent + place) * inner + i]

                def slot(rank: Any) -> Any:
                    return (outer * count + rank) * inner + i

                def search() -> None:
                    with ib.If(count > 0), ib.Then():
                        heap = Heap(values, indices, slot, partial(behind, largest=largest))
                        _best(element, tirx.Cast("int64", extent), heap, count, largest=largest)

                def put(rank: Any, value: Any, place: Any) -> None:
                    values[slot(rank)] = value
                    indices[slot(rank)] = tirx.Cast("int64", place)

                few, many = as_int(k), as_int(extent)
                if isinstance(inner, int) and inner == 1 and is_few(few, many, dtype):
                    tournament = FewBest(source, outer * extent, many, largest=largest)
                    when(tournament.is_sound(), lambda: tournament.write(few, put), search)
                else:
                    search()

        return loops("top", [data], [(result, dtype), (result, "int64")], body)

    return list(call.compute(kernel, data, relax.ShapeExpr(result), name="top_k"))


Entry = tuple[Any, Any]
"""An element and its place."""


class Heap:
    """Elements with their places; of each and those below it, it comes first in an order."""

    def __init__(self, values: Any, places: Any, slot: Callable[[Any], Any], before: Callable[[Entry, Entry], Any]) -> None:
        """Take two buffers, where in them the heap has its elements, and the order."""
        self.values, self.places, self.slot, self.before = values, places, slot, before

    def put(self, at: Any, value: Any, place: Any) -> None:
        """Emit the store of an element."""
        self.values[self.slot(at)] = value
        self.places[self.slot(at)] = place

    def sink(self, start: Any, count: Any, value: Any, place: Any) -> None:
        """Emit what puts an element at ``start``, and then below all that come before it."""
        at, child = variable("int64", start), variable("int64", 2 * start + 1)
        with ib.While(child[0] < count):
            right = tirx.min(child[0] + 1, count - 1)
            with ib.If(self.before(self.entry(right), self.entry(child[0]))), ib.Then():
                child[0] = right
            when(
                self.before(self.entry(child[0]), (value, place)),
                lambda: self.rise(at, child),
                lambda: _set(child, count),  # it has found its place
            )
        self.put(at[0], value, place)

    def rise(self, at: Any, child: Any) -> None:
        """Emit the move of a child to the place above it."""
        self.put(at[0], *self.entry(child[0]))
        at[0] = child[0]
        child[0] = 2 * at[0] + 1

    def entry(self, at: Any) -> Entry:
        """Return an element and its place."""
        return self.values[self.slot(at)], self.places[self.slot(at)]

    def kept(self, at: Any) -> Entry:
        """Return an entry as variables, which stay when the heap changes."""
        value, place = self.entry(at)
        return variable(str(value.ty.dtype), value)[0], variable("int64", place)[0]

    def order(self, count: Any) -> None:
        """Emit what makes a heap of entries in any order."""
        with ib.serial(0, count // 2) as turn:
            start = count // 2 - 1 - turn
            self.sink(start, count, *self.kept(start))


def behind(left: Entry, right: Entry, *, largest: bool) -> Any:
    """Return whether an element comes after another: it is worse, or as good and further behind."""
    return tirx.any(_better(right[0], left[0], largest=largest), tirx.all(_same(left[0], right[0]), left[1] > right[1]))


def _set(box: Any, value: Any) -> None:
    box[0] = value


def _best(element: Callable[[Any], Any], extent: Any, heap: Heap, count: Any, *, largest: bool) -> None:
    """Emit the selection of ``count`` > 0 of ``extent`` elements, in order."""
    top = tirx.const(0, "int64")
    with ib.serial(0, count) as place:
        heap.put(place, element(place), place)
    heap.order(count)
    with ib.serial(0, extent - count) as turn:
        at = count + turn
        worst = heap.entry(top)[0]
        likely, better = (test(element(at), worst, largest=largest) for test in (_may_be_better, _better))
        with ib.If(tirx.if_then_else(likely, better, tirx.const(False, "bool"))), ib.Then():
            heap.sink(top, count, variable(str(worst.ty.dtype), element(at))[0], at)
    with ib.serial(0, count - 1) as turn:  # the worst goes behind the others, each time
        last = count - 1 - turn
        value, place = heap.kept(last)
        heap.put(last, *heap.entry(top))
        heap.sink(top, last, value, place)


def _may_be_better(left: Any, right: Any, *, largest: bool) -> Any:
    """Return two comparisons one of which holds wherever `_better` does, and nearly nowhere else."""
    if not str(left.ty.dtype).startswith("float"):
        return _better(left, right, largest=largest)
    return tirx.any(left > right, tirx.isnan(left)) if largest else tirx.any(left < right, tirx.isnan(right))


def _same(left: Any, right: Any) -> Any:
    """Return whether none of two numbers comes before the other. TVM takes "not less" for "greater or equal", which NaN is neither."""
    same = left == right
    return tirx.any(same, tirx.all(tirx.isnan(left), tirx.isnan(right))) if str(left.ty.dtype).startswith("float") else same


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


OPERATORS: dict[str, Rule] = {"TopK": _top_k}
