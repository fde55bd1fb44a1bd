"""What is there once: the distinct elements of a tensor, or its distinct parts along an axis, and where each is.

A merge sort brings those that are the same together, the first of them in front; they are numbered, and their numbers handed out.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from tvm import relax, tirx
from tvm.script.ir_builder import tirx as ib

from landbridge.frontends.onnx.operators.call import Call, Declined, Rule, Trimmed, as_int, product
from landbridge.frontends.onnx.operators.loops import loops, variable, when


def _unique(call: Call) -> Any:
    """``Unique``: distinct elements or parts, the place of the first of each, which of them each one is, and how many each is.

    NaN is as NumPy has it, which is what ONNX's evaluator has: behind all numbers, and one element; but a part with NaN is like no other.
    """
    data, shape = call.tensor(0), call.shape(0)
    equal_nan, in_order = len(shape) <= 1, call.number("sorted", 1) != 0
    if call.node.attribute("axis") is None:
        shape, axis, equal_nan = [product(shape)], 0, True
        data = call.emit(relax.op.reshape(data, shape))
    elif shape:
        axis = call.axis("axis", 0, len(shape))
    else:
        raise Declined("a tensor of no dimensions has no axis")
    if any(as_int(extent) == 0 for extent in shape):
        raise Declined("it looks through nothing")
    count = shape[axis]

    def kernel(data: Any, of_data: list[Any], of_parts: list[Any]) -> Any:
        def body(source: Any, picked: Any, firsts: Any, groups: Any, counts: Any, extents: Any, found: Any, order: Any, *seen: Any) -> None:
            outer, extent, inner = product(of_data[:axis]), of_data[axis], product(of_data[axis + 1 :])
            parts = _Parts(source, outer, extent, inner, equal_nan)
            number = _group(parts, order, firsts if in_order else seen[0], groups, counts if in_order else seen[1])
            if not in_order:
                _as_they_come(extent, number, (seen[0], groups, seen[1]), (firsts, counts), order)
            with ib.serial(0, outer) as o, ib.serial(0, number) as group, ib.serial(0, inner) as i:
                picked[(o * extent + group) * inner + i] = source[(o * extent + firsts[group]) * inner + i]
            found[0] = number
            for place, size in enumerate(of_data):
                extents[place] = number if place == axis else tirx.Cast("int64", size)

        memory = [([2, of_parts[0]], "int64"), *[(of_parts, "int64")] * (0 if in_order else 2)]
        of_each = [(of_parts, "int64")] * 3
        return loops("unique", [data], [(of_data, call.dtype(0)), *of_each, ([len(of_data)], "int64"), ([1], "int64"), *memory], body)

    made = call.compute(kernel, data, relax.ShapeExpr(shape), relax.ShapeExpr([count]), name="unique")
    picked, firsts, groups, counts, extents, found = (call.emit(relax.TupleGetItem(made, place)) for place in range(6))
    return [Trimmed(picked, extents), Trimmed(firsts, found), groups, Trimmed(counts, found)]


@dataclass(frozen=True)
class _Parts:
    """The parts of a tensor along an axis. The first elements of two parts that are not the same decide which part comes first.

    Attributes:
        source: the tensor.
        outer: the product of the extents before the axis.
        extent: how many parts there are.
        inner: the product of the extents behind the axis.
        equal_nan: whether NaN is the same as NaN.
    """

    source: Any
    outer: Any
    extent: Any
    inner: Any
    equal_nan: bool

    def element(self, part: Any, place: Any) -> Any:
        """Return an element of a part."""
        if as_int(self.inner) == 1:
            return self.source[place * self.extent + part]
        return self.source[(place // self.inner * self.extent + part) * self.inner + place % self.inner]

    def is_before(self, left: Any, right: Any) -> Any:
        """Emit the comparison of two parts; return whether one comes before the other."""
        return self._compared(left, right, _order) < 0

    def is_same(self, left: Any, right: Any) -> Any:
        """Emit the comparison of two parts; return whether they are the same."""
        return self._compared(left, right, partial(_difference, equal_nan=self.equal_nan)) == 0

    def _compared(self, left: Any, right: Any, compare: Callable[[Any, Any], Any]) -> Any:
        """Emit a loop over the elements of two parts; return what the first comparison gave that did not give 0, or 0."""
        length = self.outer * self.inner
        if isinstance(length, int) and length == 1:
            return compare(_comparable(self.element(left, 0)), _comparable(self.element(right, 0)))
        place, result = variable("int64", ib.int64(0)), variable("int32", tirx.const(0, "int32"))
        with ib.While(tirx.all(place[0] < length, result[0] == 0)):
            result[0] = compare(*(_comparable(self.element(part, place[0])) for part in (left, right)))
            place[0] = place[0] + 1
        return result[0]


def _comparable(value: Any) -> Any:
    """Return a number in a type that every processor compares."""
    wider = {"bool": "uint8", "float16": "float32"}.get(str(value.ty.dtype))
    return tirx.Cast(wider, value) if wider else value


def _order(left: Any, right: Any) -> Any:
    """Return -1 where a number comes before another, 1 where it comes after it, and 0 where they are the same; NaN is the largest."""
    before, after = left < right, left > right
    if str(left.ty.dtype).startswith("float"):  # of two that are NaN each is before the other, which together gives 0
        before, after = tirx.any(before, tirx.isnan(right)), tirx.any(after, tirx.isnan(left))
    return tirx.Cast("int32", after) - tirx.Cast("int32", before)


def _difference(left: Any, right: Any, *, equal_nan: bool) -> Any:
    """Return 0 where two numbers are the same, else 1. It has no "not equal", which TVM takes for one that NaN is neither."""
    same = left == right
    if equal_nan and str(left.ty.dtype).startswith("float"):
        same = tirx.any(same, tirx.all(tirx.isnan(left), tirx.isnan(right)))
    return 1 - tirx.Cast("int32", same)


def _sorted(parts: _Parts, order: Any) -> Any:
    """Emit the sort of all parts, by where they are; return at which place of ``order``, which has room for two, their places are.

    Of those that are the same the first stays first.
    """
    count, width, start = parts.extent, variable("int64", ib.int64(1)), variable("int64", ib.int64(0))
    with ib.serial(0, count) as part:
        order[part] = tirx.Cast("int64", part)
    with ib.While(width[0] < count):
        with ib.serial(0, tirx.floordiv(count + 2 * width[0] - 1, 2 * width[0])) as run:
            low = run * 2 * width[0]
            _merge(parts, order, start[0], (low, tirx.min(low + width[0], count), tirx.min(low + 2 * width[0], count)))
        start[0] = count - start[0]
        width[0] = 2 * width[0]
    return start[0]


def _merge(parts: _Parts, order: Any, start: Any, runs: tuple[Any, Any, Any]) -> None:
    """Emit the merge of two runs that are in order, from the half of ``order`` that is at ``start`` into the other."""
    low, middle, high = (variable("int64", bound) for bound in runs)
    heads = variable("int64", low[0]), variable("int64", middle[0])
    with ib.serial(0, high[0] - low[0]) as step:
        takes_right = variable("int32", tirx.Cast("int32", heads[0][0] >= middle[0]))
        with ib.If(tirx.all(heads[0][0] < middle[0], heads[1][0] < high[0])), ib.Then():
            left, right = (variable("int64", order[start + head[0]]) for head in heads)
            takes_right[0] = tirx.Cast("int32", parts.is_before(right[0], left[0]))

        def take(head: Any, place: Any = low[0] + step) -> None:
            order[parts.extent - start + place] = order[start + head[0]]
            head[0] = head[0] + 1

        when(takes_right[0] != 0, lambda: take(heads[1]), lambda: take(heads[0]))


def _group(parts: _Parts, order: Any, firsts: Any, groups: Any, counts: Any) -> Any:
    """Emit what numbers the groups of parts that are the same, in order; return how many there are.

    Args:
        order: memory for twice as many places as there are parts.
        firsts: becomes for each group the place of its first part.
        groups: becomes for each part the number of its group.
        counts: becomes for each group how many parts it has.
    """
    start = variable("int64", _sorted(parts, order))
    number = variable("int64", ib.int64(0))
    with ib.serial(0, parts.extent) as rank:
        part, is_new = variable("int64", order[start[0] + rank]), variable("int32", tirx.const(1, "int32"))
        with ib.If(rank > 0), ib.Then():
            is_new[0] = 1 - tirx.Cast("int32", parts.is_same(part[0], order[start[0] + rank - 1]))
        with ib.If(is_new[0] != 0), ib.Then():
            firsts[number[0]] = part[0]
            counts[number[0]] = ib.int64(0)
            number[0] = number[0] + 1
        groups[part[0]] = number[0] - 1
        counts[number[0] - 1] = counts[number[0] - 1] + 1
    return number[0]


def _as_they_come(extent: Any, number: Any, grouped: tuple[Any, Any, Any], results: tuple[Any, Any], names: Any) -> None:
    """Emit what numbers groups by their first parts.

    Args:
        number: how many groups there are.
        grouped: the groups in another order: the first part of each, the group of each part, which is changed, and how many parts each has.
        results: become the first part of each group, and how many parts it has.
        names: memory for a number of each group.
    """
    firsts, groups, counts = grouped
    found = variable("int64", ib.int64(0))
    with ib.serial(0, extent) as part:
        group = variable("int64", groups[part])
        with ib.If(firsts[group[0]] == part), ib.Then():
            names[group[0]] = found[0]
            results[0][found[0]] = tirx.Cast("int64", part)
            results[1][found[0]] = counts[group[0]]
            found[0] = found[0] + 1
        groups[part] = names[group[0]]


OPERATORS: dict[str, Rule] = {"Unique": _unique}
