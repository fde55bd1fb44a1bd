"""Write a contraction as register tiles: sums of a few rows by a few vectors stay in registers while the whole sum runs.

Each row's sums are a buffer: TVM puts one of less than 1024 bytes on the stack, where LLVM makes registers of it, and a larger one into
memory that it asks the runtime for.

The lanes of a vector run along one axis, on which one factor is contiguous and the other does not depend; the other factor is
one number for all lanes. Where an extent is no multiple of its tile, the last tile has code of its own: nothing is computed or
touched beyond the tensors.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import tvm
from tvm import s_tir, tirx

from landbridge.codegen.schedules.contraction import Contraction, extent_of, loads_in, offset_of, replaced

PARALLEL_PRODUCTS = 1 << 18
"""Multiplications from which on tiles are spread over threads: some ten microseconds each, as much as it costs to wake a thread."""


@dataclass(frozen=True)
class TileAxis:
    """An axis along which tiles lie.

    Attributes:
        extent: an int, or an expression where only the run tells.
        tile: how many positions a tile has.
        role: "outer" (tile 1), "row" or "lane"; exactly one axis is the lanes'.
    """

    extent: Any
    tile: int = 1
    role: str = "outer"


Placed = dict[Any, Any]
"""The values of the spatial iterators, and of other variables in the factors."""

Placement = Callable[[Sequence[Any]], Placed]
"""From a position on each tile axis to what variables are there."""


def is_contiguous(contraction: Contraction, factor: Any, axes: Sequence[TileAxis], placement: Placement, lanes: int) -> bool:
    """Return whether each load in ``factor`` moves by one element per lane of a vector, or not at all, and one moves.

    Args:
        lanes: of a vector register; from one vector to the next loads may go anywhere.
    """
    return {1} <= _steps(loads_in(factor), contraction, axes, placement, lanes) <= {0, 1}


def is_constant(contraction: Contraction, factor: Any, axes: Sequence[TileAxis], placement: Placement) -> bool:
    """Return whether all lanes have the same of ``factor``."""
    return _steps(loads_in(factor), contraction, axes, placement) <= {0}


def _steps(
    accesses: Sequence[Any], contraction: Contraction, axes: Sequence[TileAxis], placement: Placement, lanes: int | None = None
) -> set[int | None]:
    """Return by how many elements accesses move from one lane to the next; None stands for an unknown step.

    Args:
        lanes: of a vector, where only lanes of one count as neighbours.
    """
    analyzer = tvm.sym.Analyzer()
    tiles = [tirx.Var(f"t{i}", "int64") for i in range(len(axes))]
    lane, vector = tirx.Var("lane", "int64"), tirx.Var("vector", "int64")
    here, there = [], []
    for axis, tile in zip(axes, tiles, strict=True):
        count = -(-axis.extent // axis.tile) if isinstance(axis.extent, int) else 1 << 30
        analyzer.bind(tile, tvm.ir.Range(0, count))
        if axis.role != "lane":
            here.append(tile * axis.tile)
            there.append(tile * axis.tile)
            continue
        width = axis.tile if lanes is None or axis.tile % lanes else lanes
        analyzer.bind(vector, tvm.ir.Range(0, axis.tile // width))
        if width > 1:
            analyzer.bind(lane, tvm.ir.Range(0, width - 1))
        here.append(tile * axis.tile + vector * width + lane)
        there.append(tile * axis.tile + vector * width + lane + 1)
    found: set[int | None] = set()
    for access in accesses:
        offset = offset_of(access)
        first, second = (replaced(offset, placement(positions)) for positions in (here, there))
        step = analyzer.simplify(second - first)
        found.add(int(step) if isinstance(step, tirx.IntImm) else None)
    return found


@dataclass(frozen=True)
class _Tile:
    """One tile.

    Attributes:
        starts: its first position on each axis.
        sizes: how many positions it has on each axis.
        lane: which axis is the lanes'.
        rows: the offsets of each row on all axes, 0 on the lanes'.
        pieces: the start and the length of each vector of a row.
    """

    starts: tuple[Any, ...]
    sizes: tuple[int, ...]
    lane: int
    rows: tuple[tuple[int, ...], ...]
    pieces: tuple[tuple[int, int], ...]

    @property
    def width(self) -> int:
        return self.sizes[self.lane]

    @property
    def vectors(self) -> list[tuple[int, int, int]]:
        """The row, the first lane and the length of each vector."""
        return [(row, first, count) for row in range(len(self.rows)) for first, count in self.pieces]

    def at(self, row: int, lane: Any, moved: tuple[int, Any] | None = None) -> list[Any]:
        """Return a position; ``moved`` is an axis and an offset on it instead of the row's."""
        offsets: list[Any] = list(self.rows[row])
        offsets[self.lane] = lane
        if moved is not None:
            offsets[moved[0]] = moved[1]
        return [start + offset for start, offset in zip(self.starts, offsets, strict=True)]


@dataclass(frozen=True)
class Part:
    """A part of a long sum, of which sums so far are kept in the product's buffer.

    A factor of which all tiles take the same part stays in second-level cache for all of them.

    Attributes:
        length: positions of the sum's one axis in a part.
        number: of this part, a variable.
        count: how many parts there are.
    """

    length: int
    number: Any
    count: int


@dataclass(frozen=True)
class Arithmetic:
    """How products are added up.

    Attributes:
        dtype: of the sums.
        add: from a vector of sums, and the left and the right factor, to the new sums; where None, each lane is ``sum + left * right``.
        wide: the factor, "left" or "right", whose last index moves along the lanes, where there is ``add``. It can be read, and its
            products be added up, a whole vector at a time beyond the end of a tile.
    """

    dtype: str = "float32"
    add: Callable[[Any, Any, Any], Any] | None = None
    wide: str = ""


FLOATS = Arithmetic()
"""Products of float32 numbers."""


@dataclass(frozen=True)
class _Writer:
    """Writes the tiles of one contraction.

    Attributes:
        lanes: of a vector register.
        part: of the sums that is added up now; all where None.
        inner: the axis whose positions follow each other within a tile, where it is not the last one with rows.
    """

    contraction: Contraction
    axes: tuple[TileAxis, ...]
    placement: Placement
    lanes: int
    part: Part | None
    inner: int | None = None
    arithmetic: Arithmetic = FLOATS

    def choose(self, tiles: Sequence[Any], chosen: Sequence[tuple[Any, int]] = ()) -> Any:
        """Return the code of the tile with these numbers: on each axis a full one or the last one, whichever it is at run time.

        Args:
            chosen: where the tile starts and its size, on the axes that are settled.
        """
        if len(chosen) == len(self.axes):
            return self.tile(chosen)
        axis = self.axes[len(chosen)]
        start = tiles[len(chosen)] * axis.tile
        if not isinstance(axis.extent, int):
            full = self.choose(tiles, [*chosen, (start, axis.tile)])
            return full if axis.tile == 1 else tirx.IfThenElse(start + axis.tile <= axis.extent, full, self.rest(tiles, chosen, start))
        whole, rest = divmod(axis.extent, axis.tile)
        last = self.choose(tiles, [*chosen, (start, rest)]) if rest else None
        if whole == 0:
            return last
        full = self.choose(tiles, [*chosen, (start, axis.tile)])
        return full if last is None else tirx.IfThenElse(tiles[len(chosen)] < whole, full, last)

    def rest(self, tiles: Sequence[Any], chosen: Sequence[tuple[Any, int]], start: Any) -> Any:
        """Return the code of a last tile whose size only the run tells: vector by vector, then lane by lane; or row by row."""
        axis = self.axes[len(chosen)]
        statements = []
        for size in (self.lanes, 1) if axis.role == "lane" and axis.tile > self.lanes else (1,):
            step = tirx.Var("step", "int64")
            count = tirx.floordiv(axis.extent - start, size)
            inner = self.choose(tiles, [*chosen, (start + step * size, size)])
            statements.append(loop(step, count, inner))
            start = start + count * size
        return in_order(statements)

    def tile(self, chosen: Sequence[tuple[Any, int]]) -> Any:
        """Return the code of one tile."""
        starts, sizes = zip(*chosen, strict=True)
        lane = next(i for i, axis in enumerate(self.axes) if axis.role == "lane")
        rows = self.rows([1 if i == lane else size for i, size in enumerate(sizes)])
        tile = _Tile(starts, sizes, lane, rows, lane_pieces(sizes[lane], self.lanes))
        whole = replace(tile, pieces=tuple((first, self.lanes) for first in range(0, tile.width, self.lanes)))
        summed = tile if self.arithmetic.add is None else whole
        size = sum(count for _, count in summed.pieces)
        sums = [tirx.decl_buffer((size,), self.arithmetic.dtype, f"sums{row}") for row in range(len(rows))]
        zero = tirx.const(0, self.arithmetic.dtype)
        clear = _over_vectors(summed, lambda row, lane: tirx.BufferStore(sums[row], zero, [lane]))
        writing = self.write if writes_along_lanes(self.contraction, self.axes, self.placement) else self.write_turned
        begin, end = clear, writing(tile, sums)
        if self.part is not None:
            begin = tirx.IfThenElse(self.part.number == 0, clear, _over_vectors(tile, partial(self.so_far, tile, sums)))
            end = tirx.IfThenElse(self.part.number == self.part.count - 1, end, _over_vectors(tile, partial(self.keep, tile, sums)))
        body = [begin, self.summation(summed, sums), end]
        return s_tir.SBlockRealize([], True, s_tir.SBlock([], [], [], "tile", in_order(body), None, sums))

    def so_far(self, tile: _Tile, sums: Sequence[Any], row: int, lane: Any) -> Any:
        """Return the load of a sum of earlier parts."""
        return tirx.BufferStore(sums[row], tirx.BufferLoad(self.contraction.product, self.kept(tile, row, lane)), [lane])

    def keep(self, tile: _Tile, sums: Sequence[Any], row: int, lane: Any) -> Any:
        """Return the store of a sum for later parts."""
        return tirx.BufferStore(self.contraction.product, tirx.BufferLoad(sums[row], [lane]), self.kept(tile, row, lane))

    def kept(self, tile: _Tile, row: int, lane: Any) -> list[Any]:
        where = self.placement(tile.at(row, lane))
        return [where[iterator.var] for iterator in self.contraction.spatial]

    def rows(self, sizes: Sequence[int]) -> tuple[tuple[int, ...], ...]:
        """Return the positions on all axes, those of the inner axis one after the other."""
        inner = len(sizes) - 1 if self.inner is None else self.inner
        return tuple(sorted(itertools.product(*map(range, sizes)), key=lambda row: (*row[:inner], *row[inner + 1 :], row[inner])))

    def summation(self, tile: _Tile, sums: Sequence[Any]) -> Any:
        """Return the loop that adds up the products of a tile; each sum is a register."""
        c = self.contraction
        fresh = {it.var: tirx.Var(str(it.var.name), it.var.ty) for it in c.reduced}
        extents = {it.var: it.dom.extent for it in c.reduced}
        start: Any = 0
        if self.part is not None:
            (iterator,) = c.reduced
            start = self.part.number * self.part.length
            rest = extent_of(iterator) % self.part.length
            left = tirx.min(tirx.const(self.part.length, "int64"), extents[iterator.var] - start)
            extents = {iterator.var: left if rest else self.part.length}
        terms = {var: start + value for var, value in fresh.items()}

        def add(row: int, lane: Any) -> Any:
            where = {**self.placement(tile.at(row, lane)), **terms}
            added = tirx.BufferLoad(sums[row], [lane]) + replaced(c.left, where) * replaced(c.right, where)
            return tirx.BufferStore(sums[row], added, [lane])

        def add_vector(add_up: Callable[[Any, Any, Any], Any], row: int, first: int) -> Any:
            where = {**self.placement(tile.at(row, tirx.const(first, "int64"))), **terms}
            at = tirx.Ramp(tirx.const(first, "int64"), tirx.const(1, "int64"), self.lanes)
            left, right = (self.vector(replaced(f, where), name) for f, name in ((c.left, "left"), (c.right, "right")))
            return tirx.BufferStore(sums[row], add_up(tirx.BufferLoad(sums[row], [at]), left, right), [at])

        if self.arithmetic.add is None:
            body = _over_vectors(tile, add)
        else:
            body = in_order([add_vector(self.arithmetic.add, row, first) for row, first, _ in tile.vectors])
        for iterator in reversed(c.reduced):
            body = loop(fresh[iterator.var], extents[iterator.var], body)
        return body

    def vector(self, factor: Any, name: str) -> Any:
        """Return what all lanes have of a factor, given what the first has."""
        if name != self.arithmetic.wide:
            return tirx.Broadcast(factor, self.lanes)
        *outer, last = factor.indices
        return tirx.BufferLoad(factor.source, [*outer, tirx.Ramp(last, tirx.const(1, "int64"), self.lanes)])

    def store(self, where: Placed, source: Any, index: Any) -> Any:
        """Return the store of the result whose sum is ``source[index]``."""
        c = self.contraction
        value = replaced(c.value, where, c.product, tirx.BufferLoad(source, [index]))
        return tirx.BufferStore(c.output, value, [replaced(i, where) for i in c.indices])

    def write(self, tile: _Tile, sums: Sequence[Any]) -> Any:
        """Return the stores of a tile whose output runs along the lanes."""
        return _over_vectors(tile, lambda row, lane: self.store(self.placement(tile.at(row, lane)), sums[row], lane))

    def write_turned(self, tile: _Tile, sums: Sequence[Any]) -> Any:
        """Return the stores of a tile whose output runs along the last axis of the rows: it is turned in first-level cache."""
        inner = max(i for i, axis in enumerate(self.axes) if axis.role == "row")
        run = tile.sizes[inner]
        turned = tirx.decl_buffer((len(tile.rows) * tile.width,), self.arithmetic.dtype, "turned", scope="local")

        def copy(row: int, lane: Any) -> Any:
            return tirx.BufferStore(turned, tirx.BufferLoad(sums[row], [lane]), [row * tile.width + lane])

        lane = tirx.Var("lane", "int64")

        def along(row: int, step: Any) -> Any:
            return self.store(self.placement(tile.at(row, lane, (inner, step))), turned, (row + step) * tile.width + lane)

        firsts = [row for row in range(len(tile.rows)) if tile.rows[row][inner] == 0]
        stores = in_order([over_lanes(run, partial(along, row)) for row in firsts])
        body = in_order([_over_vectors(tile, copy), loop(lane, tile.width, stores)])
        return s_tir.SBlockRealize([], True, s_tir.SBlock([], [], [], "turn", body, None, [turned]))


def writes_along_lanes(contraction: Contraction, axes: Sequence[TileAxis], placement: Placement) -> bool:
    """Return whether neighbouring lanes are neighbours in the output."""
    store = tirx.BufferStore(contraction.output, tirx.const(0, contraction.output.ty.dtype), list(contraction.indices))
    return _steps([store], contraction, axes, placement) == {1}


def loop(var: Any, extent: Any, body: Any, kind: Any = tirx.ForKind.SERIAL) -> Any:
    """Return the loop of ``var`` from 0 to ``extent``, an int or an expression."""
    zero, end = tirx.const(0, var.ty.dtype), tirx.const(extent, var.ty.dtype) if isinstance(extent, int) else extent
    return tirx.For(var, zero, end, kind, body)


def in_order(statements: Sequence[Any]) -> Any:
    """Return one statement for one or more."""
    return tirx.SeqStmt(list(statements)) if len(statements) > 1 else statements[0]


def lane_pieces(size: int, lanes: int) -> tuple[tuple[int, int], ...]:
    """Return how ``size`` lanes are made of vectors: the start and the length of each, full ones first, then powers of two."""
    pieces, start = [], 0
    while start < size:
        length = lanes
        while length > size - start:
            length //= 2
        pieces.append((start, length))
        start += length
    return tuple(pieces)


def _over_vectors(tile: _Tile, body: Callable[[int, Any], Any]) -> Any:
    """Return ``body`` for each vector of a tile: for its row and its lanes."""

    def lanes(row: int, first: int, lane: Any) -> Any:
        return body(row, first + lane)

    return in_order([over_lanes(count, partial(lanes, row, first)) for row, first, count in tile.vectors])


def over_lanes(count: int, body: Callable[[Any], Any]) -> Any:
    """Return ``body`` of each lane of a vector, as one vector operation."""
    if count == 1:
        return body(tirx.const(0, "int64"))
    lane = tirx.Var("lane", "int64")
    return loop(lane, count, body(lane), tirx.ForKind.VECTORIZED)


def write_tiles(
    contraction: Contraction,
    axes: Sequence[TileAxis],
    placement: Placement,
    lanes: int,
    part: int | None = None,
    inner: int | None = None,
    arithmetic: Arithmetic = FLOATS,
    *,
    spread: bool = True,
) -> Any:
    """Return the statement that computes a contraction in tiles.

    Args:
        axes: in the order of the loops, outermost first.
        placement: where a position on the axes is.
        lanes: of a vector register.
        part: add up so many positions of the sum for all tiles, then the next, and keep the sums in the product's buffer.
        inner: the axis with rows of which all positions are done before the next position on another; the last one where None.
        arithmetic: how products are added up.
        spread: over threads, where there is enough work.
    """
    counts = [_ceil_div(axis.extent, axis.tile) for axis in axes]
    number = tirx.Var("tile", "int64")
    inside: Any = 1
    tiles: list[Any] = [tirx.const(0, "int64")] * len(axes)
    for i in reversed(range(len(axes))):
        if _is_one(counts[i]):
            continue
        quotient = number if _is_one(inside) else tirx.floordiv(number, inside)
        tiles[i] = quotient if all(_is_one(count) for count in counts[:i]) else tirx.floormod(quotient, counts[i])
        inside = counts[i] * inside
    parts = None if part is None else Part(part, tirx.Var("part", "int64"), _ceil_div(extent_of(contraction.reduced[0]), part))
    body = _Writer(contraction, tuple(axes), placement, lanes, parts, inner, arithmetic).choose(tiles)
    spread = spread and products_of(contraction) >= PARALLEL_PRODUCTS and not _is_one(inside)
    written = loop(number, inside, body, tirx.ForKind.PARALLEL if spread else tirx.ForKind.SERIAL)
    return written if parts is None else in_order([_begin_sums(contraction.product, inside), loop(parts.number, parts.count, written)])


def _begin_sums(product: Any, tiles: Any) -> Any:
    """Return a use of a buffer before a loop, without which TVM gives each turn of the loop a buffer of its own."""
    origin = [tirx.const(0, "int64")] * len(product.ty.shape)
    first = tirx.BufferStore(product, tirx.const(0.0, "float32"), origin)
    return first if isinstance(tiles, int) else tirx.IfThenElse(tiles > 0, first, None)


def products_of(contraction: Contraction) -> int:
    """Return how many products there are; an extent that only the run tells counts as a few."""
    extents = [extent_of(iterator) for iterator in (*contraction.spatial, *contraction.reduced)]
    return math.prod(extent if isinstance(extent, int) else _FEW for extent in extents)


_FEW = 8


def _is_one(count: Any) -> bool:
    return isinstance(count, int) and count == 1


def _ceil_div(extent: Any, tile: int) -> Any:
    return -(-extent // tile) if isinstance(extent, int) else tirx.floordiv(extent + (tile - 1), tile)
