"""Operators whose result is as large as the data say: what is not zero, what is picked, which boxes stay.

A kernel writes its result into the front of a buffer of the largest size, and how many it wrote; the part that counts is cut out of it
afterwards (`Trimmed`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tvm import relax, tirx
from tvm.script.ir_builder import tirx as ib

from landbridge.frontends.onnx.operators.call import Call, Declined, Rule, Trimmed, as_int, constant, product
from landbridge.frontends.onnx.operators.loops import loops, variable
from landbridge.frontends.onnx.operators.top_k import Heap, behind


def _non_zero(call: Call) -> Any:
    """``NonZero``: the places of the elements that are not zero, an axis a row."""
    shape = call.shape(0)
    rank, size = len(shape), product(shape)
    if isinstance(size, int) and size == 0:
        raise Declined("it looks through nothing")
    rows = max(rank, 1) if call.opset < 13 else rank
    if rank == 0:
        raise Declined("it looks at one number")

    def kernel(data: Any, most: list[Any]) -> Any:
        shape, size = list(data.shape), most[1]

        def wanted(value: Any) -> Any:
            return value if str(data.dtype) == "bool" else value != tirx.const(0, str(data.dtype))

        def body(source: Any, result: Any, extents: Any) -> None:
            found = variable("int64", ib.int64(0))
            with ib.serial(0, size) as i, ib.If(wanted(source[i])), ib.Then():
                rest = tirx.Cast("int64", i)
                for axis in reversed(range(rank)):
                    result[axis * size + found[0]] = rest % shape[axis] if axis else rest
                    rest = rest // shape[axis]
                found[0] = found[0] + 1
            extents[0] = ib.int64(rows)
            extents[1] = found[0]

        return loops("places", [data], [(most, "int64"), ([2], "int64")], body)

    return _trimmed(call, kernel, call.tensor(0), relax.ShapeExpr([rank, size]), name="non_zero")


def _compress(call: Call) -> Any:
    """``Compress``: the parts along an axis, or the elements, at which a condition holds."""
    shape, count = call.shape(0), call.shape(1)[0]
    data = call.tensor(0)
    if call.node.attribute("axis") is None:
        shape, axis = [product(shape)], 0
        data = call.emit(relax.op.reshape(data, shape))
    else:
        axis = call.axis("axis", 0, len(shape))
    if any(as_int(extent) == 0 for extent in (*shape, count)):
        raise Declined("it picks from nothing")
    dtype = call.dtype(0)
    most = tirx.min(shape[axis], count) if not (isinstance(shape[axis], int) and isinstance(count, int)) else min(shape[axis], count)
    result = [*shape[:axis], most, *shape[axis + 1 :]]

    def kernel(data: Any, condition: Any, result: list[Any]) -> Any:
        outer, extent, inner = product(list(data.shape[:axis])), data.shape[axis], product(list(data.shape[axis + 1 :]))

        def body(source: Any, picked: Any, target: Any, extents: Any) -> None:
            found = variable("int64", ib.int64(0))
            with ib.serial(0, result[axis]) as place, ib.If(picked[place]), ib.Then():
                with ib.serial(0, outer) as o, ib.serial(0, inner) as i:
                    target[(o * result[axis] + found[0]) * inner + i] = source[(o * extent + place) * inner + i]
                found[0] = found[0] + 1
            for number, size in enumerate(result):
                extents[number] = found[0] if number == axis else tirx.Cast("int64", size)

        return loops("picked", [data, condition], [(result, dtype), ([len(result)], "int64")], body)

    return _trimmed(call, kernel, data, call.tensor(1), relax.ShapeExpr(result), name="compress")


def _trimmed(call: Call, kernel: Any, *arguments: Any, name: str) -> Trimmed:
    """Return the first result of a kernel, as much of it as the second says."""
    made = call.compute(kernel, *arguments, name=name)
    return Trimmed(call.emit(relax.TupleGetItem(made, 0)), call.emit(relax.TupleGetItem(made, 1)))


# ---- non-maximum suppression -----------------------------------------------------------------------------------------------------


def _non_max_suppression(call: Call) -> Any:
    """``NonMaxSuppression``: for each picture and class the boxes by falling score that no better one covers too much."""
    boxes, scores, corners = call.tensor(0), call.tensor(1), call.number("center_point_box", 0) == 0
    batch, classes, spatial = call.shape(1)
    if any(as_int(extent) == 0 for extent in (batch, classes, spatial)):
        raise Declined("there are no boxes")
    limit = call.integers(2) if call.has(2) else [0]
    given = [call.tensor(2) if limit is None else constant(limit[:1], "int64")]
    given.append(call.tensor(3) if call.has(3) else constant([0.0], "float32"))
    thresholds = [call.tensor(4)] if call.has(4) else []

    def most(spatial: Any) -> Any:
        """Return how many boxes of a class may stay at most."""
        if limit is None:
            return spatial
        return min(spatial, max(limit[0], 1)) if isinstance(spatial, int) else tirx.min(spatial, max(limit[0], 1))

    def kernel(boxes: Any, scores: Any, *others: Any) -> Any:
        extents = *scores.shape, most(scores.shape[2])

        def body(*buffers: Any) -> None:
            inputs, outputs = buffers[: 4 + len(thresholds)], buffers[4 + len(thresholds) :]
            memory = (outputs[0], *outputs[2:])
            _Suppression(inputs[0], inputs[1], extents, inputs[2:4], inputs[4:], memory, corners).write(outputs[1])

        outputs = [(others[-1], "int64"), ([2], "int64"), ([extents[2]], "int64"), ([extents[2]], "float32"), ([5, extents[3]], "float32")]
        return loops("selected", [boxes, scores, *others[:-1]], outputs, body)

    size = relax.ShapeExpr([batch * classes * most(spatial), 3])
    return _trimmed(call, kernel, boxes, scores, *given, *thresholds, size, name="non_max_suppression")


@dataclass(frozen=True)
class _Suppression:
    """The loops over pictures and classes.

    Attributes:
        extents: pictures, classes, boxes, and how many of a class may stay.
        limits: how many of a class are wanted, and how much two boxes may cover each other.
        thresholds: what a score must be above, where that is given.
        memory: results, a heap of places, one of their scores, and the boxes that stay: corners and areas.
        corners: a box is two corners; else a centre and a size.
    """

    boxes: Any
    scores: Any
    extents: tuple[Any, Any, Any, Any]
    limits: Any
    thresholds: Any
    memory: tuple[Any, Any, Any, Any]
    corners: bool

    def write(self, extents: Any) -> None:
        """Emit all of it."""
        batch, classes, spatial, most = self.extents
        selected, places, values, _ = self.memory
        count = variable("int64", ib.int64(0))
        limit = variable("int64", tirx.min(tirx.Cast("int64", self.limits[0][0]), tirx.Cast("int64", most)))
        with ib.serial(0, batch) as picture, ib.serial(0, classes) as number:
            heap = Heap(values, places, lambda at: at, lambda left, right: behind(right, left, largest=True))
            size = self.candidates(heap, (picture * classes + number) * spatial)
            start = variable("int64", count[0])
            with ib.While(tirx.all(size[0] > 0, count[0] - start[0] < limit[0])):
                best = variable("int64", places[0])
                size[0] = size[0] - 1
                heap.sink(tirx.const(0, "int64"), size[0], *heap.kept(size[0]))
                box = [variable("float32", part) for part in self.box((picture * spatial + best[0]) * 4)]
                with ib.If(self.is_free(box, count[0] - start[0]) == 0), ib.Then():
                    self.keep(box, count[0] - start[0])
                    for column, value in enumerate((picture, number, best[0])):
                        selected[count[0] * 3 + column] = tirx.Cast("int64", value)
                    count[0] = count[0] + 1
        extents[0] = count[0]
        extents[1] = ib.int64(3)

    def candidates(self, heap: Heap, first: Any) -> Any:
        """Emit a heap of the boxes whose scores are high enough; return how many they are."""
        size = variable("int64", ib.int64(0))
        with ib.serial(0, self.extents[2]) as i:
            score = self.scores[first + i]
            wanted = score > self.thresholds[0][0] if self.thresholds else tirx.const(True, "bool")
            with ib.If(wanted), ib.Then():
                heap.put(size[0], score, tirx.Cast("int64", i))
                size[0] = size[0] + 1
        heap.order(size[0])
        return size

    def box(self, at: Any) -> list[Any]:
        """Return the corners of a box, low ones first, and its area."""
        a, b, c, d = (self.boxes[at + part] for part in range(4))
        if self.corners:
            low, high = [tirx.min(a, c), tirx.min(b, d)], [tirx.max(a, c), tirx.max(b, d)]
        else:
            low, high = [a - c / 2.0, b - d / 2.0], [a + c / 2.0, b + d / 2.0]
        return [*low, *high, (high[0] - low[0]) * (high[1] - low[1])]

    def keep(self, box: list[Any], number: Any) -> None:
        """Emit the store of a box among those that stay."""
        for row, part in enumerate(box):
            self.memory[3][row * self.extents[3] + number] = part[0]

    def is_free(self, box: list[Any], count: Any) -> Any:
        """Emit the comparison of a box with all that stay, which is one loop of vectors; return how many it covers too much."""
        covered = variable("int32", tirx.const(0, "int32"))
        with ib.serial(0, count) as k:
            other = [self.memory[3][row * self.extents[3] + k] for row in range(5)]
            sides = [tirx.min(box[axis + 2][0], other[axis + 2]) - tirx.max(box[axis][0], other[axis]) for axis in (0, 1)]
            shared = tirx.max(sides[0], tirx.const(0, "float32")) * tirx.max(sides[1], tirx.const(0, "float32"))
            whole = box[4][0] + other[4] - shared
            much = tirx.all(shared > 0.0, box[4][0] > 0.0, other[4] > 0.0, shared / whole > self.limits[1][0])
            covered[0] = covered[0] + tirx.Cast("int32", much)
        return covered[0]


OPERATORS: dict[str, Rule] = {"Compress": _compress, "NonMaxSuppression": _non_max_suppression, "NonZero": _non_zero}
