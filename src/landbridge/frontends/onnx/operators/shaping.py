"""Moving elements: shapes, parts, repetitions, borders, where what says how is known only when it runs.

The importer has these operators with known parameters. Here the parameters are tensors; the model declares the shape of the result, and a
run whose parameters do not give that shape fails.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from tvm import relax, te, tirx
from tvm.script.ir_builder import tirx as ib

from landbridge.frontends.onnx.extents import simplified
from landbridge.frontends.onnx.operators.agreement import fitted, together
from landbridge.frontends.onnx.operators.call import LATE, Call, Declined, Rule, as_int, constant, extents_of, product
from landbridge.frontends.onnx.operators.loops import check, each, loops


def confirmed(call: Call, data: Any, index: int, expected: Sequence[Any], what: str, *, free: Sequence[int] = ()) -> Any:
    """Return ``data``, copied by a kernel that fails where input ``index`` has not the expected elements.

    Args:
        expected: numbers or extents.
        what: what the elements say, for the message.
        free: elements that may also stand for themselves, such as -1 in a shape.
    """
    given = call.tensor(index)

    def kernel(data: Any, given: Any, wanted: list[Any]) -> Any:
        def body(source: Any, found: Any, result: Any) -> None:
            for place, value in enumerate(wanted):
                element = found[place].astype("int64")
                check(tirx.any(element == value, *(element == mark for mark in free)), f"{what}: not what the model declares")
            with ib.serial(0, product(list(data.shape))) as i:
                result[i] = source[i]

        return loops("confirmed", [data, given], [(data.shape, str(data.dtype))], body)

    if call.shape(index) not in ([len(expected)], []):
        raise Declined(LATE)
    return call.compute(kernel, data, given, relax.ShapeExpr(list(expected)), name="confirmed")


def known(call: Call, index: int) -> bool:
    """Return whether an input is left out, a constant, or a shape."""
    return not call.has(index) or call.integers(index) is not None


def _reshape(call: Call) -> Any:
    if known(call, 1):
        return NotImplemented
    shape = call.declared()
    return relax.op.reshape(confirmed(call, call.tensor(0), 1, shape, "the shape", free=(0, -1)), shape)


def _axes_of_ones(call: Call) -> Any:
    """``Squeeze`` and ``Unsqueeze``: no element moves, whatever the axes are."""
    if known(call, 1):
        return NotImplemented
    shape = call.declared()
    longer, shorter = sorted((shape, call.shape(0)), key=len, reverse=True)
    axes = _added(longer, shorter)
    data = call.tensor(0)
    if axes is not None and len(axes) == 1:
        data = confirmed(call, data, 1, axes, "the axes", free=[axis - len(longer) for axis in axes])
    return relax.op.reshape(data, shape)


def _added(longer: Sequence[Any], shorter: Sequence[Any]) -> list[int] | None:
    """Return the axes of extent 1 that one shape has more than another, or None where they cannot be told apart."""
    kept = [axis for axis, extent in enumerate(longer) if as_int(extent) != 1]
    return [axis for axis in range(len(longer)) if axis not in kept] if len(kept) == len(shorter) else None


def _expand(call: Call) -> Any:
    target = call.integers(1)
    if target is not None and not all(isinstance(extent, int) for extent in (*target, *call.shape(0))):
        shape = together([call.shape(0), target])
        data = fitted(
            call.builder, call.tensor(0), shape, f"'{call.node.inputs[0]}' cannot be expanded to the shape '{call.node.inputs[1]}'"
        )
        return relax.op.broadcast_to(data, relax.ShapeExpr(shape))
    if target is not None:
        return NotImplemented
    shape, data = call.declared(), call.tensor(0)
    if call.shape(1) == [len(shape)]:
        data = confirmed(call, data, 1, shape, "the shape", free=(1,))
    return relax.op.broadcast_to(data, relax.ShapeExpr(shape))


def _constant_of_shape(call: Call) -> Any:
    if known(call, 0):
        return NotImplemented
    attribute = call.node.attribute("value")
    from onnx import numpy_helper  # noqa: PLC0415 - rare

    value = np.zeros(1, np.float32) if attribute is None else numpy_helper.to_array(attribute.t)
    filled = relax.op.full(relax.ShapeExpr(call.declared()), constant(value.reshape(())), str(value.dtype))
    return confirmed(call, call.emit(filled), 0, call.declared(), "the shape")


def _tile(call: Call) -> Any:
    """``Tile`` by broadcasting: TVM's kernel, which takes remainders of indices, was seen to be miscompiled for AVX-512 by LLVM."""
    repeats, extents, data = call.integers(1), call.shape(0), call.tensor(0)
    if repeats is None:
        shape = call.declared()
        if not all(isinstance(extent, int) and extent for extent in (*shape, *extents)):
            raise Declined(LATE)
        repeats = [after // before for after, before in zip(shape, extents, strict=True)]
        data = confirmed(call, data, 1, repeats, "the repeats")
    split = [part for extent in extents for part in (1, extent)]
    wide = [part for pair in zip(repeats, extents, strict=True) for part in pair]
    repeated = call.emit(relax.op.broadcast_to(call.emit(relax.op.reshape(data, split)), wide))
    return relax.op.reshape(repeated, [count * extent for count, extent in zip(repeats, extents, strict=True)])


def _split(call: Call) -> Any:
    """``Split`` into parts whose sizes are a tensor, or of which some are empty."""
    axis = call.axis("axis", 0, len(call.shape(0)))
    runtime = call.opset >= 13 and call.has(1) and call.integers(1) is None
    sizes = [call.declared(index)[axis] for index in range(len(call.results))] if runtime else _sizes(call)
    if not sizes or not all(isinstance(size, int) for size in sizes) or (not runtime and 0 not in sizes):
        return NotImplemented
    data = call.tensor(0)
    if runtime:
        data = confirmed(call, data, 1, sizes, "the sizes of the parts")
    parts, start = [], 0
    for size in sizes:
        parts.append(_part(data, axis, start, size))
        start += size
    return parts


def _sizes(call: Call) -> list[Any]:
    return (call.integers(1) if call.opset >= 13 and call.has(1) else call.numbers("split")) or []


def _part(data: Any, axis: int, start: int, size: int) -> Any:
    if size:
        return relax.op.strided_slice(data, [axis], [start], [start + size])
    shape = extents_of(data)
    if not all(isinstance(extent, int) for extent in shape):
        raise Declined("a part without elements of a tensor of unknown shape")
    return constant(np.zeros([*shape[:axis], 0, *shape[axis + 1 :]]), str(data.ty.dtype))


def _pad(call: Call) -> Any:
    """``Pad`` with borders or axes that are extents or tensors."""
    if call.opset < 11 or (known(call, 1) and known(call, 3) and all(isinstance(border, int) for border in call.integers(1) or ())):
        return NotImplemented
    if known(call, 1) and known(call, 3):
        return _pad_by_extents(call)
    mode, rank, shape = call.text("mode", "constant"), len(call.shape(0)), call.declared()
    filling = call.tensor(2) if call.has(2) else constant(0, call.dtype(0))
    axes = call.tensor(3) if call.has(3) else constant(range(rank), "int64")
    count = int(extents_of(axes)[0])

    def kernel(data: Any, pads: Any, filling: Any, axes: Any, shape: list[Any]) -> Any:
        def body(source: Any, pads: Any, filling: Any, axes: Any, result: Any) -> None:
            before, after = (_zeros(rank) for _ in range(2))
            for place in range(count):
                which = axes[place].astype("int64")
                which = tirx.Select(which < 0, which + rank, which)
                check(tirx.all(which >= 0, which < rank), "an axis that the tensor does not have")
                before[which], after[which] = (pads[place + side * count].astype("int64") for side in (0, 1))
            for axis in range(rank):
                total = before[axis] + after[axis] + source.shape[axis]
                check(total == shape[axis], "the borders do not give the shape that the model declares")
            with ib.grid(*shape) as indices:
                at = each(indices)
                found = [_inside(index - before[axis], source.shape[axis], mode) for axis, index in enumerate(at)]
                inside = tirx.all(tirx.const(True, "bool"), *(within for _, within in found))
                result[tuple(at)] = tirx.if_then_else(inside, source[tuple(index for index, _ in found)], filling[0])

        return loops("pad", [data, pads, filling, axes], [(shape, str(data.dtype))], body)

    return call.compute(kernel, call.tensor(0), call.tensor(1), filling, axes, relax.ShapeExpr(shape))


def _pad_by_extents(call: Call) -> Any:
    """Return a tensor with borders that are expressions over the named dimensions."""
    before, pads, mode = call.shape(0), call.integers(1) or [], call.text("mode", "constant")
    axes = [int(axis) % len(before) for axis in (call.integers(3) or [])] if call.has(3) else list(range(len(before)))
    first, after = [0] * len(before), list(before)
    for axis, low, high in zip(axes, pads, pads[len(axes) :], strict=False):
        first[axis], after[axis] = low, simplified(before[axis] + low + high)
    filling = call.tensor(2) if call.has(2) else constant(0, call.dtype(0))

    def kernel(data: Any, filling: Any, first: Any, shape: Any) -> Any:
        def element(*position: Any) -> Any:
            found = [_inside(index - by, extent, mode) for index, by, extent in zip(position, first, data.shape, strict=True)]
            inside = tirx.all(tirx.const(True, "bool"), *(within for _, within in found))
            value = filling() if len(filling.shape) == 0 else filling(0)
            return tirx.if_then_else(inside, data(*(index for index, _ in found)), value)

        return te.compute(list(shape), element, name="padded")

    return call.compute(kernel, call.tensor(0), filling, relax.ShapeExpr(first), relax.ShapeExpr(after), name="pad")


def _zeros(count: int) -> Any:
    """Emit a small array of zeros."""
    buffer = ib.buffer_proxy(ib.alloc_buffer((max(count, 1),), "int64"))
    for place in range(count):
        buffer[place] = ib.int64(0)
    return buffer


def _inside(place: Any, extent: Any, mode: str) -> tuple[Any, Any]:
    """Return where an element comes from along an axis, and whether it comes from inside."""
    always = tirx.const(True, "bool")
    last = extent - 1
    if mode == "edge":
        return tirx.max(tirx.min(place, last), 0), always
    if mode == "reflect":
        around = tirx.max(2 * last, 1)
        folded = tirx.floormod(place, around)
        return tirx.min(folded, 2 * last - folded), always
    if mode == "wrap":
        return tirx.floormod(place, extent), always
    return tirx.max(tirx.min(place, last), 0), tirx.all(place >= 0, place < extent)


def _center_crop_pad(call: Call) -> Any:
    """``CenterCropPad``: the middle of each axis, or zeros around it."""
    data, before = call.tensor(0), call.shape(0)
    rank = len(before)
    named = call.numbers("axes")
    axes = list(range(rank)) if named is None else [axis % rank for axis in named]
    wanted = call.integers(1)
    shape = call.declared() if wanted is None else [wanted[axes.index(a)] if a in axes else extent for a, extent in enumerate(before)]
    if not all(isinstance(extent, int) for extent in (*before, *shape)):
        raise Declined("extents that only the data or the inputs' shapes tell")
    if wanted is None:
        data = confirmed(call, data, 1, [shape[axis] for axis in axes], "the shape")
    offsets = [(b - a) // 2 if b >= a else -((a - b) // 2) for a, b in zip(shape, before, strict=True)]

    def kernel(data: Any) -> Any:
        def element(*position: Any) -> Any:
            found = [_inside(index + offset, extent, "constant") for index, offset, extent in zip(position, offsets, before, strict=True)]
            inside = tirx.all(tirx.const(True, "bool"), *(within for _, within in found))
            return tirx.if_then_else(inside, data(*(index for index, _ in found)), tirx.const(0, str(data.dtype)))

        return te.compute(shape, element, name="center")

    return call.compute(kernel, data, name="center_crop_pad")


def _reverse_sequence(call: Call) -> Any:
    data, shape = call.tensor(0), call.shape(0)
    time, batch = call.axis("time_axis", 0, len(shape)), call.axis("batch_axis", 1, len(shape))

    def kernel(data: Any, lengths: Any) -> Any:
        def element(*position: Any) -> Any:
            length = tirx.max(
                tirx.min(lengths[position[batch]].astype("int64"), tirx.Cast("int64", data.shape[time])), tirx.const(0, "int64")
            )
            place = tirx.Select(position[time] < length, length - 1 - position[time], position[time])
            return data(*(place if axis == time else index for axis, index in enumerate(position)))

        return te.compute(data.shape, element, name="reversed")

    return call.compute(kernel, data, call.tensor(1), name="reverse_sequence")


def _tensor_scatter(call: Call) -> Any:
    """``TensorScatter``: a cache with new rows written from an index on for each batch."""
    past, update = call.tensor(0), call.tensor(1)
    axis = call.axis("axis", -2, len(call.shape(0)))
    circular = call.text("mode", "linear") == "circular"
    batch = call.shape(0)[0]
    starts = call.tensor(2) if call.has(2) else None
    if starts is None:
        if not isinstance(batch, int):
            raise Declined("no indices for a batch of unknown size")
        starts = constant([0] * batch, "int64")

    def kernel(past: Any, update: Any, starts: Any) -> Any:
        extent, count = past.shape[axis], update.shape[axis]

        def element(*position: Any) -> Any:
            place = position[axis] - starts[position[0]].astype("int64")
            place = tirx.floormod(place, extent) if circular else place
            new = tirx.all(place >= 0, place < count)
            at = tirx.max(tirx.min(place, count - 1), 0)
            return tirx.if_then_else(new, update(*(at if a == axis else i for a, i in enumerate(position))), past(*position))

        return te.compute(past.shape, element, name="scattered")

    return call.compute(kernel, past, update, starts, name="tensor_scatter")


def _space_to_depth(call: Call) -> Any:
    if call.text("mode", "DCR") == "DCR":
        return NotImplemented
    batch, channels, height, width = call.shape(0)
    size = call.number("blocksize", 1)
    split = call.emit(relax.op.reshape(call.tensor(0), [batch, channels, height // size, size, width // size, size]))
    moved = call.emit(relax.op.permute_dims(split, [0, 1, 3, 5, 2, 4]))
    return relax.op.reshape(moved, [batch, channels * size * size, height // size, width // size])


_RULES: dict[str, Callable[[Call], Any]] = {
    "CenterCropPad": _center_crop_pad,
    "ConstantOfShape": _constant_of_shape,
    "Expand": _expand,
    "Pad": _pad,
    "Reshape": _reshape,
    "ReverseSequence": _reverse_sequence,
    "SpaceToDepth": _space_to_depth,
    "Split": _split,
    "Squeeze": _axes_of_ones,
    "TensorScatter": _tensor_scatter,
    "Tile": _tile,
    "Unsqueeze": _axes_of_ones,
}
OPERATORS: dict[str, Rule] = _RULES
