"""Products and convolutions of small integers, by instructions that add up several in a lane (`landbridge.codegen.schedules.dots`).

`landbridge.codegen.pack_integers` writes these kernels, and `landbridge.codegen.pack_bfloat16` products of that type in such words.
The first step of each gathers data into words: the numbers that one lane takes at a time. Products have vectors along the columns of a
packed weight; convolutions along a row of pixels, along all of them where the window is one pixel, or along output channels where rows are
short. Data that lies in memory as words do is read in place.

Source of the layout, words of neighbouring numbers of the sum: "Lower Numerical Precision Deep Learning Inference and Training",
Intel, 2018, and oneDNN's ``OIhw4i16o4i``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import tvm
from tvm import s_tir, tirx

from landbridge.codegen.schedules.base import Rule
from landbridge.codegen.schedules.contraction import Contraction, added_to_sums, extent_of, loads_in, read_contraction, replaced, with_tiles
from landbridge.codegen.schedules.conv2d import pixel_tile
from landbridge.codegen.schedules.dots import DOTS, Dots, bfloat16_dots_of, dots_of
from landbridge.codegen.schedules.matmul import tile_of
from landbridge.codegen.schedules.register_tiles import (
    PARALLEL_PRODUCTS,
    Arithmetic,
    Placed,
    TileAxis,
    in_order,
    lane_pieces,
    loop,
    write_tiles,
)

WORDS = "landbridge.words"
"""Annotation of the block that gathers data into words. Of a product: how many numbers a row has, and by which word their bits are
flipped. Of a convolution: the padding above and to the left, the strides, and the height and width of the image."""

_MOST_SUMS = 24
"""Vectors of sums in a tile of a convolution with 32 registers; with 16, half of it."""


_PACKED = 5
"""Axes of the weight of a convolution whose vectors run along channels; otherwise there are four."""

_TURNING = 30
"""What it costs to turn a tile, in the time that a word of a sum takes."""

_CACHE_NBYTES = 1 << 19
"""Weights up to this size stay in the second-level cache while all pixels pass."""


class IntegerProduct(Rule):
    """Sums of products of small integers in words."""

    name = "integer-product"

    def apply(self, kernel: Any, target: Any) -> Any | None:
        """Return the kernel in tiles, or None where it is no such sum, or one for another target."""
        if not isinstance(kernel.body, s_tir.SBlockRealize):
            return None
        contraction = read_contraction(kernel, _factors)
        if contraction is None:
            return None
        data = str(contraction.annotations[DOTS])
        dots = bfloat16_dots_of(target) if data == "bfloat16" else dots_of(target)
        if dots is None or data != dots.data:
            return None
        gather = _gathering(contraction)
        if gather is None:
            return None
        return _product(contraction, gather, dots) if len(contraction.reduced) == 1 else _convolution(contraction, gather, dots)


def _factors(block: Any) -> tuple[Any, Any] | None:
    added = added_to_sums(block) if DOTS in block.annotations else None
    loads = [] if added is None else [load for load in loads_in(added) if not load.source.same_as(block.body.buffer)]
    others = [load for load in loads if not load.source.same_as(loads[0].source)]
    return (loads[0], others[0]) if others else None


def _gathering(contraction: Contraction) -> Any:
    """Return the block that makes the words of the left factor, or None."""
    schedule = contraction.schedule
    producers = schedule.get_producers(schedule.get_sblock(contraction.block))
    blocks = [schedule.get(producer) for producer in producers]
    return next((b for b in blocks if WORDS in b.annotations and b.body.buffer.same_as(contraction.left.source)), None)


def _with_gathering(kernel: Any, gather: Any, statement: Any) -> Any:
    """Return the kernel with another statement that gathers data into words, or none and no buffer for them where it is None."""
    root = kernel.body.block
    kept = []
    for old in root.body.seq:
        inner = old
        while isinstance(inner, tirx.For):
            inner = inner.body
        if not isinstance(inner, s_tir.SBlockRealize) or inner.block.name_hint != gather.name_hint:
            kept.append(old)
        elif statement is not None:
            kept.append(statement)
    buffers = [b for b in root.alloc_buffers if statement is not None or not b.same_as(gather.body.buffer)]
    block = s_tir.SBlock([], [], [], root.name_hint, in_order(kept), None, buffers, None, root.annotations)
    return tirx.PrimFunc(kernel.params, s_tir.SBlockRealize([], True, block), kernel.ret_type, kernel.attrs)


# ---- products ----------------------------------------------------------------------------------------------------------------


def _product(contraction: Contraction, gather: Any, dots: Dots) -> Any:
    """Return a product whose columns are in panels."""
    extents = [extent_of(iterator) for iterator in contraction.spatial]
    *outer, column = range(len(extents))
    row = outer.pop() if outer else None
    rows, lanes = tile_of(1 if row is None else extents[row], extents[column], dots.vectors)
    lanes = int(contraction.right.source.ty.shape[-1])
    order = [*outer, column, *([] if row is None else [row])]
    roles = {column: (lanes, "lane"), **({} if row is None else {row: (rows, "row")})}
    axes = [TileAxis(extents[i], *roles.get(i, (1, "outer"))) for i in order]

    def placement(positions: Sequence[Any]) -> Placed:
        return {contraction.spatial[i].var: position for i, position in zip(order, positions, strict=True)}

    count, flip = (int(number) for number in gather.annotations[WORDS])
    data = loads_in(gather.body.value)[0].source
    in_place = str(data.ty.dtype) == dots.element and flip == 0 and count % dots.group == 0
    if in_place:
        *at, place = contraction.left.indices
        numbers = tirx.BufferLoad(data, [*at, tirx.Ramp(place * dots.group, tirx.const(1, "int64"), dots.group)])
        contraction = replace(contraction, left=tirx.reinterpret("int32", numbers))
    arithmetic = Arithmetic(dots.sums, dots.add, "right")
    tiles = write_tiles(contraction, axes, placement, dots.vectors.lanes, arithmetic=arithmetic)
    if dots.code:
        tiles = tirx.AttrStmt(tvm.ir.StringImm(contraction.block), "pragma_import_llvm", tvm.ir.StringImm(dots.code), tiles)
    return _with_gathering(with_tiles(contraction, tiles), gather, None if in_place else _rows_in_words(gather, data, count, flip, dots))


def _rows_in_words(gather: Any, data: Any, count: int, flip: int, dots: Dots) -> Any:
    """Return the statement that makes words of rows of numbers."""
    group = dots.group
    *outer, last = gather.iter_vars
    at = [tirx.Var(str(iterator.var.name), "int64") for iterator in outer]

    def gathered(first: Any, lanes: int) -> Any:
        numbers = tirx.BufferLoad(data, [*at, tirx.Ramp(first * group, tirx.const(1, "int64"), lanes * group)])
        words = tirx.reinterpret(f"int32x{lanes}", tirx.Cast(f"{_element(dots)}x{lanes * group}", numbers))
        if flip:
            words = words ^ tirx.Broadcast(tirx.const(flip, "int32"), lanes)
        return tirx.BufferStore(gather.body.buffer, words, [*at, tirx.Ramp(first, tirx.const(1, "int64"), lanes)])

    whole, rest = divmod(count, group)
    lanes = dots.vectors.lanes
    statements = []
    if whole >= lanes:
        vector = tirx.Var("vector", "int64")
        statements.append(loop(vector, whole // lanes, gathered(vector * lanes, lanes)))
    start = whole // lanes * lanes
    statements += [gathered(tirx.const(start + first, "int64"), n) for first, n in lane_pieces(whole - start, lanes // 2) if n > 1]
    singles = [start + first for first, n in lane_pieces(whole - start, lanes // 2) if n == 1] + ([whole] if rest else [])
    for place in singles:
        where = {iterator.var: position for iterator, position in zip(outer, at, strict=True)} | {last.var: tirx.const(place, "int64")}
        value = tvm.sym.Analyzer().simplify(replaced(gather.body.value, where))
        statements.append(tirx.BufferStore(gather.body.buffer, value, [*at, tirx.const(place, "int64")]))
    return _nest(at, [iterator.dom.extent for iterator in outer], in_order(statements), count)


def _element(dots: Dots) -> str:
    return "int8" if dots.group == 4 else dots.element


def _nest(variables: Sequence[Any], extents: Sequence[Any], body: Any, inside: int) -> Any:
    """Return loops over positions, the outermost of more than one in parallel where there is much to do.

    Args:
        inside: how many numbers one position is about.
    """
    total = inside
    for extent in extents:
        total *= int(extent) if isinstance(extent, tirx.IntImm) else 8
    first = next((i for i, extent in enumerate(extents) if not isinstance(extent, tirx.IntImm) or int(extent) > 1), None)
    for i, (variable, extent) in reversed(list(enumerate(zip(variables, extents, strict=True)))):
        spread = i == first and total >= PARALLEL_PRODUCTS
        body = loop(variable, extent, body, tirx.ForKind.PARALLEL if spread else tirx.ForKind.SERIAL)
    return body


# ---- convolutions ------------------------------------------------------------------------------------------------------------


def panel_of(channels: int, kernel: tuple[int, int, int], width: int, dots: Dots) -> int | None:
    """Return how many output channels vectors of a convolution run along at a time, or None where they run along pixels.

    Along pixels, what is written lies as the result does; along channels, no lane is idle where rows are short, but tiles are turned.

    Args:
        channels: of the result.
        kernel: words of a pixel, and the height and width of the window.
        width: of a row of pixels of the result, which is all of them where the window is one pixel.
    """
    lanes = dots.vectors.lanes
    idle = -(-width // lanes) * lanes / width
    if channels < lanes or math.prod(kernel) * (idle - 1) <= _TURNING:
        return None
    return lanes * min(2 if dots.vectors.registers >= 32 else 1, channels // lanes)


def _convolution(contraction: Contraction, gather: Any, dots: Dots) -> Any:
    """Return a convolution in tiles."""
    if len(contraction.right.source.ty.shape) == _PACKED:
        tiles = _along_channels(contraction, dots)
        return _with_gathering(with_tiles(contraction, tiles), gather, _pixels_in_words(gather, False, dots))
    return _along_pixels(contraction, gather, dots)


def _along_channels(contraction: Contraction, dots: Dots) -> Any:
    """Return the tiles of a convolution whose vectors run along output channels."""
    batch, channels, height, width = (extent_of(iterator) for iterator in contraction.spatial)
    shape = [int(extent) for extent in contraction.right.source.ty.shape]
    panel, in_panel = shape[-1], 4 * math.prod(shape[1:])
    wide = panel // dots.vectors.lanes
    high, across = pixel_tile(height, width, (_MOST_SUMS if dots.vectors.registers >= 32 else _MOST_SUMS // 2) // wide)
    pixels, lane = [TileAxis(height, high, "row"), TileAxis(width, across, "row")], TileAxis(channels, panel, "lane")
    stays = in_panel * shape[0] <= _CACHE_NBYTES
    axes = [TileAxis(batch), *pixels, lane] if stays else [TileAxis(batch), lane, *pixels]
    n, c, y, x = (iterator.var for iterator in contraction.spatial)

    def placement(positions: Sequence[Any]) -> Placed:
        image, *rest = positions
        row, column, channel = rest if stays else (*rest[1:], rest[0])
        return {n: image, c: channel, y: row, x: column}

    return write_tiles(contraction, axes, placement, dots.vectors.lanes, arithmetic=Arithmetic("int32", dots.add, "right"))


def _along_pixels(contraction: Contraction, gather: Any, dots: Dots) -> Any:
    """Return a convolution whose vectors run along pixels."""
    batch, channels, height, width = (extent_of(iterator) for iterator in contraction.spatial)
    lanes, most = dots.vectors.lanes, 4 if dots.vectors.registers >= 32 else 2
    n, c, y, x = (iterator.var for iterator in contraction.spatial)
    flat = len(gather.iter_vars) == 3
    wide = min(most, -(-(height * width if flat else width) // lanes))
    high = 1 if flat else min(height, most // wide)
    sums = (_MOST_SUMS if most == 4 else _MOST_SUMS // 2) // (wide * high)
    of_channels = TileAxis(channels, -(-channels // -(-channels // sums)), "row")
    if flat:
        axes = [TileAxis(batch), TileAxis(height * width, wide * lanes, "lane"), of_channels]
    else:
        axes = [TileAxis(batch), TileAxis(height, high, "row"), TileAxis(width, wide * lanes, "lane"), of_channels]

    def placement(positions: Sequence[Any]) -> Placed:
        if flat:
            image, pixel, channel = positions
            return {n: image, c: channel, y: tirx.floordiv(pixel, width), x: tirx.floormod(pixel, width)}
        image, row, column, channel = positions
        return {n: image, c: channel, y: row, x: column}

    left = contraction.left
    analyzer = tvm.sym.Analyzer()
    if flat:
        pixel = tirx.Var("pixel", "int64")
        where = placement([n, pixel, c])
        left = tirx.BufferLoad(left.source, [*left.indices[:2], y * width + x])
        assert analyzer.can_prove_equal(replaced(left.indices[2], where), pixel)
    contraction = replace(contraction, left=left)
    # Rows of the image innermost: then one word of a weight at a time is in a register, not one for each channel of the tile.
    inner = None if flat else 1
    tiles = write_tiles(contraction, axes, placement, lanes, inner=inner, arithmetic=Arithmetic("int32", dots.add, "left"))
    return _with_gathering(with_tiles(contraction, tiles), gather, _pixels_in_words(gather, flat, dots))


def _pixels_in_words(gather: Any, flat: bool, dots: Dots) -> Any:
    """Return the statement that makes words of neighbouring channels of a pixel, with no condition on a pixel.

    What is beyond the pixels that results are computed from, up to a whole vector, is left as it is in memory.
    """
    inputs, top, left, down, across, height, width, rows, columns = (int(number) for number in gather.annotations[WORDS])
    iterators = gather.iter_vars
    image, block = tirx.Var("image", "int64"), tirx.Var("block", "int64")
    blocks = extent_of(iterators[1])
    phases = 1 if flat else extent_of(iterators[2])
    of_rows = _inside(rows, top, down, height)

    def of_block(at: Any) -> Any:
        statements = []
        for phase in range(phases):
            of_columns = _inside(columns, left - phase, across, width)
            for row in of_rows:
                for column in of_columns:
                    statements += region(at, phase, row, column)
        return in_order(statements)

    def region(at: Any, phase: int, row: tuple[int, int], column: tuple[int, int]) -> list[Any]:
        if row[0] == row[1] or column[0] == column[1]:
            return []
        if flat and not any((top, left)) and (down, across) == (1, 1) and (row, column) == ((0, height), (0, width)):
            return [_along(0, height * width, dots.vectors.lanes, lambda pixel, bounds: store(at, [pixel], bounds))]
        y = tirx.Var("y", "int64")
        position: Callable[[Any], list[Any]] = (
            (lambda x: [(y + row[0]) * columns + x]) if flat else (lambda x: [tirx.const(phase, "int64"), y + row[0], x])
        )
        bounds = [(y, 0, row[1] - row[0])]
        lanes = dots.vectors.lanes if across == 1 else 1  # lanes that are not neighbours in memory cost more than one by one
        inner = _along(*column, lanes, lambda x, more: store(at, position(x), [*bounds, *more]))
        return [loop(y, row[1] - row[0], inner)]

    def store(at: Any, position: Sequence[Any], bounds: Sequence[tuple[Any, int, int]]) -> Any:
        analyzer = tvm.sym.Analyzer()
        for variable, first, count in bounds:
            analyzer.bind(variable, tvm.ir.Range(first, count))
        if isinstance(at, tirx.Var):
            analyzer.bind(at, tvm.ir.Range(0, blocks - 1 if inputs % dots.group else blocks))
        places = [image, at, *position]
        where = {iterator.var: place for iterator, place in zip(iterators, places, strict=True)}
        value = analyzer.simplify(replaced(gather.body.value, where))
        return tirx.BufferStore(gather.body.buffer, value, places)

    ragged = inputs % dots.group != 0
    whole = blocks - 1 if ragged else blocks
    statements = []
    work = rows * columns * phases
    if whole:
        statements.append(_nest([image, block], [iterators[0].dom.extent, tirx.const(whole, "int64")], of_block(block), work))
    if ragged:
        other = tirx.Var("image", "int64")
        body = replaced(of_block(tirx.const(blocks - 1, "int64")), {image: other})
        statements.append(_nest([other], [iterators[0].dom.extent], body, work))
    return in_order(statements)


def _inside(count: int, before: int, stride: int, extent: int) -> list[tuple[int, int]]:
    """Return in three pieces which of ``count`` places lie before an image, in it, and behind it: each piece from where to where."""
    first = min(count, max(0, -(-before // stride)))
    last = min(count, max(first, -(-(extent + before) // stride)))
    return [(0, first), (first, last), (last, count)]


def _along(first: int, last: int, lanes: int, body: Callable[[Any, list[tuple[Any, int, int]]], Any]) -> Any:
    """Return ``body`` of each place from ``first`` to ``last``, by vectors; it gets the place and the ranges of variables in it."""
    statements = []
    count = (last - first) // lanes
    if count and lanes == 1:
        place = tirx.Var("place", "int64")
        statements.append(loop(place, count, body(first + place, [(place, 0, count)])))
    elif count:
        vector, lane = tirx.Var("vector", "int64"), tirx.Var("lane", "int64")
        inner = body(first + vector * lanes + lane, [(vector, 0, count), (lane, 0, lanes)])
        statements.append(loop(vector, count, loop(lane, lanes, inner, tirx.ForKind.VECTORIZED)))
    for start, size in lane_pieces(last - first - count * lanes, lanes):
        origin = first + count * lanes + start
        if size == 1:
            statements.append(body(tirx.const(origin, "int64"), []))
        else:
            lane = tirx.Var("lane", "int64")
            statements.append(loop(lane, size, body(origin + lane, [(lane, 0, size)]), tirx.ForKind.VECTORIZED))
    return in_order(statements)
