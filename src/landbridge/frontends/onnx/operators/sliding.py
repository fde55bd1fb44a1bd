"""Operators that slide a window over images: pooling that tells where its results come from, unfolding backwards, deformed convolution."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from onnx import helper
from tvm import relax, te, tirx
from tvm.script.ir_builder import tirx as ib

from landbridge.frontends.onnx.operators.call import Call, Declined, Rule, product
from landbridge.frontends.onnx.operators.loops import loops, variable, when


@dataclass(frozen=True)
class _Window:
    """How a window slides.

    Attributes:
        kernel: its extents.
        strides: how far it moves each time.
        dilations: how far its elements are apart.
        begins: how far it begins before the image.
        ends: how far the image is lengthened behind.
    """

    kernel: tuple[int, ...]
    strides: tuple[int, ...]
    dilations: tuple[int, ...]
    begins: tuple[int, ...]
    ends: tuple[int, ...]

    @staticmethod
    def of(call: Call, kernel: Sequence[int]) -> _Window:
        """Return the window of a node with a kernel; the paddings are those that it writes down."""
        rank = len(kernel)
        ones, pads = [1] * rank, call.numbers("pads") or [0] * 2 * rank
        strides, dilations = call.numbers("strides") or ones, call.numbers("dilations") or ones
        return _Window(tuple(kernel), tuple(strides), tuple(dilations), tuple(pads[:rank]), tuple(pads[rank:]))

    def place(self, position: Sequence[Any], element: Sequence[Any]) -> list[Any]:
        """Return where in the image an element of the window is."""
        parts = zip(position, self.strides, element, self.dilations, self.begins, strict=True)
        return [at * stride + inside * dilation - begin for at, stride, inside, dilation, begin in parts]

    def span(self, axis: int) -> int:
        """Return how many elements of the image the window covers along an axis."""
        return (self.kernel[axis] - 1) * self.dilations[axis] + 1


def _unravelled(index: Any, extents: Sequence[Any]) -> list[Any]:
    """Return the indices of an element along each axis, by its place in C order."""
    found = []
    for extent in reversed(extents):
        found.append(index % extent)
        index = index // extent
    return found[::-1]


def _flat(indices: Sequence[Any], extents: Sequence[Any]) -> Any:
    """Return the place of an element in C order."""
    place: Any = 0
    for index, extent in zip(indices, extents, strict=True):
        place = place * extent + index
    return place


def _inside(indices: Sequence[Any], extents: Sequence[Any]) -> Any:
    return tirx.all(*(condition for index, extent in zip(indices, extents, strict=True) for condition in (index >= 0, index < extent)))


def _fixed(extents: Sequence[Any]) -> list[int]:
    """Return extents that must be numbers."""
    if not all(isinstance(extent, int) for extent in extents):
        raise Declined("images of open size")
    return [int(extent) for extent in extents]


def _max_pool(call: Call) -> Any:
    """``MaxPool`` with the places of the largest elements; the importer has it without."""
    if not call.wants(1):
        return NotImplemented
    kernel, shape, result = call.numbers("kernel_shape") or [], call.shape(0), call.declared(0)
    image, made = _fixed(shape[2:]), _fixed(result[2:])
    window = _with_same_padding(call, _Window.of(call, kernel), image, made)
    dtype, by_columns = call.dtype(0), bool(call.number("storage_order", 0))
    lowest = tirx.min_value(dtype) if not dtype.startswith("float") else -tirx.infinity(dtype)

    def pooled(data: Any, shape: list[Any]) -> Any:
        def body(source: Any, values: Any, indices: Any) -> None:
            size, count = math.prod(image), math.prod(made)
            with ib.serial(0, product(shape[:2])) as outer, ib.serial(0, count) as number:
                largest, place = variable(dtype, lowest), variable("int64", ib.int64(-1))
                with ib.serial(0, math.prod(kernel)) as element:
                    at = window.place(_unravelled(number, made), _unravelled(element, kernel))
                    here = outer * size + _flat(at, image)

                    def better(here: Any = here, at: Sequence[Any] = at) -> None:
                        found = source[here]

                        def take() -> None:
                            largest[0] = found
                            order = _flat(at[::-1], image[::-1]) if by_columns else _flat(at, image)
                            place[0] = (outer * size + order).astype("int64")

                        when(tirx.any(found > largest[0], place[0] < 0), take)

                    when(_inside(at, image), better)
                values[outer * count + number] = largest[0]
                indices[outer * count + number] = place[0]

        return loops("pooled", [data], [(shape, dtype), (shape, "int64")], body)

    pair = call.compute(pooled, call.tensor(0), relax.ShapeExpr(result), name="max_pool")
    return [call.emit(relax.TupleGetItem(pair, index)) for index in range(2)]


def _with_same_padding(call: Call, window: _Window, image: Sequence[int], made: Sequence[int]) -> _Window:
    """Return the window with the paddings that ``auto_pad`` means."""
    mode = call.text("auto_pad", "NOTSET")
    if mode not in ("SAME_UPPER", "SAME_LOWER"):
        return window
    total = [max((made[axis] - 1) * window.strides[axis] + window.span(axis) - image[axis], 0) for axis in range(len(image))]
    begins = tuple(more // 2 if mode == "SAME_UPPER" else more - more // 2 for more in total)
    return _Window(window.kernel, window.strides, window.dilations, begins, window.ends)


def _col2im(call: Call) -> Any:
    """``Col2Im``: each element of the image is the sum of what the windows have of it."""
    image, kernel = call.integers(1), call.integers(2)
    if image is None or kernel is None:
        raise Declined("sizes that are known only when it runs")
    image, kernel = _fixed(image), _fixed(kernel)
    window, (batch, columns, _) = _Window.of(call, kernel), call.shape(0)
    axes = range(len(image))
    blocks = [(image[a] + window.begins[a] + window.ends[a] - window.span(a)) // window.strides[a] + 1 for a in axes]
    dtype = call.dtype(0)

    def summed(data: Any) -> Any:
        elements = [te.reduce_axis((0, extent), name=f"k{axis}") for axis, extent in enumerate(kernel)]

        def element(n: Any, c: Any, *at: Any) -> Any:
            moved = [at[a] + window.begins[a] - elements[a] * window.dilations[a] for a in axes]
            number = [tirx.floordiv(moved[a], window.strides[a]) for a in axes]
            hit = [tirx.floormod(moved[a], window.strides[a]) == 0 for a in axes]
            column = c * math.prod(kernel) + _flat(elements, kernel)
            found = tirx.if_then_else(tirx.all(_inside(number, blocks), *hit), data(n, column, _flat(number, blocks)), tirx.const(0, dtype))
            return te.sum(found, axis=elements)

        return te.compute((batch, columns // math.prod(kernel), *image), element, name="col2im")

    return call.compute(summed, call.tensor(0), name="col2im")


def _deform_conv(call: Call) -> Any:
    """``DeformConv``: what the moved windows see becomes columns, which are multiplied by the weights."""
    shape, weights = call.shape(0), call.shape(1)
    if len(shape) != 4:
        raise Declined("a deformed convolution of other than pictures")
    kernel, made = _fixed(weights[2:]), call.shape(2)[2:]
    window, groups, moved = _Window.of(call, kernel), call.number("group", 1), call.number("offset_group", 1)
    batch, channels, height, width = shape
    taps, dtype = math.prod(kernel), call.dtype(0)
    word = "float64" if dtype == "float64" else "float32"
    masked = call.has(4)

    def columns(image: Any, offsets: Any, *mask: Any) -> Any:
        def pixel(n: Any, c: Any, y: Any, x: Any) -> Any:
            inside = tirx.all(y >= 0, y < height, x >= 0, x < width)
            return tirx.if_then_else(inside, image(n, c, y, x), tirx.const(0, dtype)).astype(word)

        def element(n: Any, column: Any, number: Any) -> Any:
            c, tap = column // taps, column % taps
            oy, ox = number // made[1], number % made[1]
            group = c // (channels // moved)
            start = window.place([oy, ox], [tap // kernel[1], tap % kernel[1]])
            y, x = (start[axis].astype(word) + offsets(n, (group * taps + tap) * 2 + axis, oy, ox).astype(word) for axis in range(2))
            top, left = tirx.floor(y), tirx.floor(x)
            down, right = y - top, x - left
            one = tirx.const(1, word)
            iy, ix = top.astype("int64"), left.astype("int64")
            seen = (
                pixel(n, c, iy, ix) * (one - down) * (one - right)
                + pixel(n, c, iy, ix + 1) * (one - down) * right
                + pixel(n, c, iy + 1, ix) * down * (one - right)
                + pixel(n, c, iy + 1, ix + 1) * down * right
            )
            seen = seen * mask[0](n, group * taps + tap, oy, ox).astype(word) if masked else seen
            return seen.astype(dtype)

        return te.compute((batch, channels * taps, made[0] * made[1]), element, name="columns")

    seen = call.compute(columns, call.tensor(0), call.tensor(2), *([call.tensor(4)] if masked else []), name="deformed")
    seen = call.emit(relax.op.reshape(seen, [batch, groups, channels // groups * taps, made[0] * made[1]]))
    matrix = call.emit(relax.op.reshape(call.tensor(1), [groups, weights[0] // groups, weights[1] * taps]))
    result = call.emit(relax.op.reshape(call.emit(relax.op.matmul(matrix, seen)), [batch, weights[0], *made]))
    if not call.has(3):
        return result
    return relax.op.add(result, call.emit(relax.op.reshape(call.tensor(3), [weights[0], 1, 1])))


def _conv_transpose(call: Call) -> Any:
    """``ConvTranspose`` that is told the size of its result: the paddings follow from it."""
    wanted = call.numbers("output_shape")
    if wanted is None:
        return NotImplemented
    weights, image = call.shape(1), _fixed(call.shape(0)[2:])
    window, axes = _Window.of(call, call.numbers("kernel_shape") or _fixed(weights[2:])), range(len(image))
    more, wanted = call.numbers("output_padding") or [0] * len(image), wanted[-len(image) :]
    total = [window.strides[a] * (image[a] - 1) + more[a] + window.span(a) - wanted[a] for a in axes]
    more = [kept + max(-part, 0) for kept, part in zip(more, total, strict=True)]  # what no window reaches is zero, or the bias
    total = [max(part, 0) for part in total]
    small, large = [part // 2 for part in total], [part - part // 2 for part in total]
    pads = [*small, *large] if call.text("auto_pad", "") == "SAME_UPPER" else [*large, *small]
    arguments = [call.tensor(index) for index in range(len(call.node.inputs)) if call.has(index)]
    names = [f"argument_{index}" for index in range(len(arguments))]
    proto = helper.make_node("ConvTranspose", names, ["result"], pads=pads, output_padding=more)
    proto.attribute.extend(a for a in call.node.proto.attribute if a.name not in ("output_shape", "output_padding", "auto_pad", "pads"))
    return call.importer(proto, arguments)


OPERATORS: dict[str, Rule] = {"Col2Im": _col2im, "ConvTranspose": _conv_transpose, "DeformConv": _deform_conv, "MaxPool": _max_pool}
