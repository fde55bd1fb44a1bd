"""Zeros around images: a row of the padded image is zeros, a row of the image, and zeros, with no condition on each pixel."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from tvm import s_tir, te, tirx

from landbridge.codegen.schedules.contraction import replaced
from landbridge.codegen.schedules.register_tiles import in_order, loop, over_lanes

PADDING = "landbridge.padding"
"""Annotation of the block that puts zeros around images: how many rows above, columns to the left, rows below, columns to the right."""

PARALLEL_PADDING = 1 << 16
"""Numbers from which on rows are spread over threads: some ten microseconds."""


def padded(data: Any, padding: Sequence[int]) -> Any:
    """Return ``data``, [batch, channels, height, width] or with channels in blocks, with zeros around each image."""
    top, left, bottom, right = padding
    if not any(padding):
        return data
    batch, channels, height, width, *rest = data.shape

    def element(n: Any, c: Any, y: Any, x: Any, *lane: Any) -> Any:
        inside = [y >= top, y < height + top, x >= left, x < width + left]
        return tirx.if_then_else(tirx.all(*inside), data[n, c, y - top, x - left, *lane], tirx.const(0, data.dtype))

    shape = [batch, channels, _long(int(height) + top + bottom), _long(int(width) + left + right), *rest]
    return te.compute(shape, element, name="pad_temp", attrs={PADDING: list(padding)})


def pad_in_rows(kernel: Any) -> Any:
    """Return the kernel with the steps that put zeros around images row by row."""
    root = kernel.body.block
    statements = list(root.body.seq) if isinstance(root.body, tirx.SeqStmt) else [root.body]
    body = in_order([_in_rows(statement) for statement in statements])
    block = s_tir.SBlock([], [], [], root.name_hint, body, None, root.alloc_buffers, None, root.annotations)
    return tirx.PrimFunc(kernel.params, s_tir.SBlockRealize([], True, block), kernel.ret_type, kernel.attrs)


def _in_rows(statement: Any) -> Any:
    """Return the statement row by row where it puts zeros around images; any other as it is."""
    inner = statement
    while isinstance(inner, tirx.For):
        inner = inner.body
    block = inner.block if isinstance(inner, s_tir.SBlockRealize) else None
    if block is None or PADDING not in block.annotations or not isinstance(block.body, tirx.BufferStore):
        return statement
    value = block.body.value
    top, left, bottom, right = (int(count) for count in block.annotations[PADDING])
    extents = [iterator.dom.extent for iterator in block.iter_vars]
    number = tirx.Var("row", "int64")
    high, wide = int(extents[2]), int(extents[3])
    row, image = tirx.floormod(number, high), tirx.floordiv(number, high)
    at = [tirx.floordiv(image, extents[1]), tirx.floormod(image, extents[1]), row]
    lanes = int(extents[4]) if len(extents) > 4 else 0
    where = {iterator.var: place for iterator, place in zip(block.iter_vars, at, strict=False)}

    def store(x: Any, lane: Any, source: Any) -> Any:
        fresh = {**where, block.iter_vars[3].var: x, **({block.iter_vars[4].var: lane} if lanes else {})}
        return tirx.BufferStore(block.body.buffer, replaced(source, fresh), [*at, x, *([lane] if lanes else [])])

    def span(first: int, count: int, source: Any) -> list[Any]:
        if count == 0:
            return []
        x = tirx.Var("x", "int64")
        one = over_lanes(lanes, lambda lane: store(x + first, lane, source)) if lanes else store(x + first, None, source)
        return [loop(x, count, one)]

    zero, pixel = tirx.const(0, block.body.buffer.ty.dtype), value.args[1]
    image_row = in_order([*span(0, left, zero), *span(left, wide - left - right, pixel), *span(wide - right, right, zero)])
    empty = in_order(span(0, wide, zero))
    body = tirx.IfThenElse(tirx.all(row >= top, row < high - bottom), image_row, empty) if top or bottom else image_row
    work = math.prod(int(extent) for extent in extents if isinstance(extent, tirx.IntImm))
    kind = tirx.ForKind.PARALLEL if work >= PARALLEL_PADDING else tirx.ForKind.SERIAL
    return loop(number, extents[0] * extents[1] * high, body, kind)


def _long(extent: int) -> Any:
    return tirx.const(extent, "int64")
