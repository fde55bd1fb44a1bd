"""Attention for a few queries at a time: their scores stay in second-level cache from the first product to the last.

A block of queries is turned first, so that the lanes of vectors are queries: scores are register tiles of some keys by vectors of
queries, to which keys come as single numbers, as they lie in memory. Maxima and sums over keys are then of whole vectors, and a score
in the product with values is a single number again. The softmax is exact: all scores of the block are there before it is taken.

Source: the order of steps after T. Dao et al., FlashAttention (https://arxiv.org/abs/2205.14135), without its running maxima: second-level
cache holds the scores of a block for some thousand keys.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import tvm
from tvm import s_tir, tirx

from landbridge.codegen.schedules.base import Rule
from landbridge.codegen.schedules.contraction import Contraction, extent_of, replaced
from landbridge.codegen.schedules.matmul import tile_of
from landbridge.codegen.schedules.register_tiles import PARALLEL_PRODUCTS, TileAxis, in_order, loop, over_lanes, write_tiles
from landbridge.codegen.schedules.vectors import Vectors, vectors_of

ATTENTION = "landbridge.attention"
"""Annotation of the last block of a kernel that is attention: scores, steps on them, their softmax, products with values."""

_QUERIES = 64
"""Of a block, a multiple of the lanes of any target: keys and values are read once for so many."""

_MOST_SCORES = 1 << 17
"""Scores of a block, as long as that leaves enough queries for a vector: half a megabyte of second-level cache."""

_FEW = 8  # an extent that only the run tells, where work is estimated


class Attention(Rule):
    """Attention as `landbridge.codegen.fuse_attention` writes it."""

    name = "attention"

    def apply(self, kernel: Any, target: Any) -> Any | None:
        """Return the kernel, block of queries by block of queries; None where it is something else."""
        steps = _read(kernel)
        if steps is None:
            return None
        body = _Writer(steps, vectors_of(target)).write()
        root = s_tir.SBlock([], [], [], kernel.body.block.name_hint, body, None, [])
        return tirx.PrimFunc(kernel.params, s_tir.SBlockRealize([], True, root), kernel.ret_type, kernel.attrs)


@dataclass(frozen=True, eq=False)
class _Steps:
    """The steps of attention, in terms of the iterators of the scores.

    Attributes:
        spatial: the iterators of the scores: batches, the query, the key.
        along: the iterator of the sum that a score is.
        query: a number of a query.
        key: a number of a key.
        product: the buffer of the sums.
        stepped: what the softmax is taken of, in terms of loads of ``product``.
        lowest: what the largest of no scores is.
        place: the iterators of the result.
        axes: which axes of the result are the batches, in their order, and then the queries; None for one of extent 1.
        over: the iterator of the sum that an element of the result is.
        value: a number of a value, in terms of ``place`` and ``over``.
        output: the buffer of the result.
    """

    spatial: tuple[Any, ...]
    along: Any
    query: Any
    key: Any
    product: Any
    stepped: Any
    lowest: Any
    place: tuple[Any, ...]
    axes: tuple[int | None, ...]
    over: Any
    value: Any
    output: Any


def _read(kernel: Any) -> _Steps | None:
    """Return the steps of a kernel that is attention."""
    if not isinstance(kernel.body, s_tir.SBlockRealize):
        return None
    schedule = s_tir.Schedule(kernel, error_render_level="none")
    blocks = [schedule.get(block) for block in schedule.get_child_blocks(schedule.get_sblock(str(kernel.body.block.name_hint)))]
    if not blocks or ATTENTION not in blocks[-1].annotations:
        return None
    scores, stepped, largest, *_, mixed = blocks
    *spatial, along = scores.iter_vars
    *place, over = mixed.iter_vars
    weight, value = mixed.body.value.b.a, mixed.body.value.b.b
    axes = tuple(next((i for i, it in enumerate(place) if index.same_as(it.var)), None) for index in list(weight.indices)[:-1])
    factors = scores.body.value.b
    own = {it.var: other.var for it, other in zip(stepped.iter_vars, spatial, strict=True)}
    value_of_step = replaced(stepped.body.value, own)
    return _Steps(
        tuple(spatial),
        along,
        factors.a,
        factors.b,
        scores.body.buffer,
        value_of_step,
        largest.init.value,
        tuple(place),
        axes,
        over,
        value,
        mixed.body.buffer,
    )


@dataclass(frozen=True, eq=False)
class _Block:
    """A block of queries while it is written.

    Attributes:
        batch: the position on each axis of the batches.
        start: the first query.
        count: how many there are: an int, or an expression where only the run tells.
        padded: how many lanes they take, whole vectors.
        lanes: how many lanes there is room for.
    """

    batch: tuple[Any, ...]
    start: Any
    count: Any
    padded: Any
    lanes: int


@dataclass(frozen=True, eq=False)
class _Writer:
    """Writes attention."""

    steps: _Steps
    vectors: Vectors

    def write(self) -> Any:
        """Return the loop over all blocks of queries of all batches."""
        *batch, queries, keys = (extent_of(iterator) for iterator in self.steps.spatial)
        room = self.room(queries, keys)
        number = tirx.Var("block", "int64")
        blocks = -(-queries // room) if isinstance(queries, int) else tirx.floordiv(queries + (room - 1), room)
        positions: list[Any] = []
        rest = tirx.floordiv(number, blocks)
        for extent in reversed(batch):
            positions.insert(0, tirx.floormod(rest, extent))
            rest = tirx.floordiv(rest, extent)
        turn = tirx.floormod(number, blocks)
        body = self.blocks(tuple(positions), turn, queries, room)
        spread = self.work() >= PARALLEL_PRODUCTS
        return loop(number, math.prod(batch) * blocks, body, tirx.ForKind.PARALLEL if spread else tirx.ForKind.SERIAL)

    def room(self, queries: Any, keys: Any) -> int:
        """Return how many queries there is room for in a block."""
        lanes = self.vectors.lanes
        most = max(lanes, min(_QUERIES, _MOST_SCORES // keys // lanes * lanes)) if isinstance(keys, int) else _QUERIES
        return min(most, -(-queries // lanes) * lanes) if isinstance(queries, int) else most

    def work(self) -> int:
        """Return how many products there are."""
        extents = [*(extent_of(iterator) for iterator in self.steps.spatial), extent_of(self.steps.along) + extent_of(self.steps.place[-1])]
        return math.prod(extent if isinstance(extent, int) else _FEW for extent in extents)

    def blocks(self, batch: tuple[Any, ...], turn: Any, queries: Any, room: int) -> Any:
        """Return the code of one block: a full one or the last one, whichever it is at run time."""
        lanes, start = self.vectors.lanes, turn * room
        if not isinstance(queries, int):
            count = tirx.min(tirx.const(room, "int64"), queries - start)
            return self.block(_Block(batch, start, count, tirx.floordiv(count + (lanes - 1), lanes) * lanes, room))
        whole, rest = divmod(queries, room)
        last = self.block(_Block(batch, start, rest, -(-rest // lanes) * lanes, room)) if rest else None
        if whole == 0:
            return last
        full = self.block(_Block(batch, start, room, room, room))
        return full if last is None else tirx.IfThenElse(turn < whole, full, last)

    def block(self, block: _Block) -> Any:
        """Return the code of one block, with memory of its own."""
        keys = self.steps.spatial[-1].dom.extent
        turned = tirx.decl_buffer((self.steps.along.dom.extent, block.lanes), "float32", "turned")
        scores = tirx.decl_buffer((keys, block.lanes), "float32", "scores")
        inverses = tirx.decl_buffer((block.lanes,), "float32", "inverses")
        body = [
            self.turn(block, turned),
            self.scores(block, turned, scores),
            self.exponentials(block, scores, inverses),
            self.mixed(block, scores, inverses),
        ]
        return s_tir.SBlockRealize([], True, s_tir.SBlock([], [], [], "queries", in_order(body), None, [turned, scores, inverses]))

    def where(self, block: _Block, query: Any) -> dict[Any, Any]:
        """Return the iterators of the batches and of the query."""
        return dict(zip((it.var for it in self.steps.spatial[:-1]), (*block.batch, block.start + query), strict=True))

    def turn(self, block: _Block, turned: Any) -> Any:
        """Return the copy of the queries, a lane each; lanes to spare repeat the last one."""
        lane, at = tirx.Var("query", "int64"), tirx.Var("at", "int64")
        is_full = isinstance(block.count, int) and block.count == block.padded
        query = (
            lane if is_full else tirx.min(lane, tirx.const(block.count, "int64") - 1 if isinstance(block.count, int) else block.count - 1)
        )
        number = replaced(self.steps.query, {**self.where(block, query), self.steps.along.var: at})
        return loop(lane, block.padded, loop(at, self.steps.along.dom.extent, tirx.BufferStore(turned, number, [at, lane])))

    def scores(self, block: _Block, turned: Any, scores: Any) -> Any:
        """Return the products of keys and queries with the steps on them, as register tiles."""
        steps, lane = self.steps, tirx.Var("lane", "int64")
        key = steps.spatial[-1]
        contraction = Contraction(
            None,
            "",
            "",
            (key,),
            (steps.along,),
            steps.key,
            tirx.BufferLoad(turned, [steps.along.var, lane]),
            steps.product,
            scores,
            (key.var, lane),
            steps.stepped,
            {},
        )
        wide = min(4 if self.vectors.registers >= 32 else 2, block.lanes // self.vectors.lanes)
        if isinstance(block.padded, int):
            wide = min(wide, block.padded // self.vectors.lanes)
        high, count = min(_HIGHEST, (24 if self.vectors.registers >= 32 else 12) // wide), extent_of(key)
        high = -(-count // -(-count // high)) if isinstance(count, int) else high
        axes = (TileAxis(block.padded, wide * self.vectors.lanes, "lane"), TileAxis(count, high, "row"))

        def placement(at: Sequence[Any]) -> dict[Any, Any]:
            query = at[0] if isinstance(block.count, int) and block.count == block.padded else tirx.min(at[0], block.count - 1)
            return {**self.where(block, query), lane: at[0], key.var: at[1]}

        return write_tiles(contraction, axes, placement, self.vectors.lanes, spread=False)

    def exponentials(self, block: _Block, scores: Any, inverses: Any) -> Any:
        """Return the steps from scores to exponentials, and the inverse of the sum of each query."""
        if isinstance(block.padded, int):
            return in_order([self.columns(scores, inverses, first, count) for first, count in _columns(block.padded, self.vectors)])
        number = tirx.Var("vector", "int64")
        lanes = self.vectors.lanes
        return loop(number, tirx.floordiv(block.padded, lanes), self.columns(scores, inverses, number * lanes, lanes))

    def columns(self, scores: Any, inverses: Any, first: Any, count: int) -> Any:
        """Return the same for the queries of some vectors."""
        lanes, keys = self.vectors.lanes, self.steps.spatial[-1].dom.extent
        pieces = range(0, count, lanes)
        largest, sums = ([tirx.decl_buffer((lanes,), "float32", f"{name}{piece}") for piece in pieces] for name in ("largest", "sums"))
        loops = []

        def each(body: Any) -> Any:
            def one(i: int, lane: Any) -> Any:
                return body(i, first + i * lanes + lane, lane)

            return in_order([over_lanes(lanes, partial(one, i)) for i in range(len(pieces))])

        def over_keys(body: Any) -> Any:
            key = tirx.Var("key", "int64")
            return loop(key, keys, in_order([each(partial(one, key)) for one in body]))

        def score(key: Any, query: Any) -> Any:
            return tirx.BufferLoad(scores, [key, query])

        loops.append(each(lambda i, query, lane: tirx.BufferStore(largest[i], self.steps.lowest, [lane])))
        loops.append(each(lambda i, query, lane: tirx.BufferStore(sums[i], tirx.const(0.0, "float32"), [lane])))

        def take_largest(key: Any, i: int, query: Any, lane: Any) -> Any:
            return tirx.BufferStore(largest[i], tirx.max(tirx.BufferLoad(largest[i], [lane]), score(key, query)), [lane])

        def take_exponential(key: Any, i: int, query: Any, lane: Any) -> Any:
            return tirx.BufferStore(scores, tirx.exp(score(key, query) - tirx.BufferLoad(largest[i], [lane])), [key, query])

        def add(key: Any, i: int, query: Any, lane: Any) -> Any:
            return tirx.BufferStore(sums[i], tirx.BufferLoad(sums[i], [lane]) + score(key, query), [lane])

        loops += [over_keys([take_largest]), over_keys([take_exponential, add])]

        def invert(i: int, query: Any, lane: Any) -> Any:
            inverse = tirx.const(1.0, "float32") / tirx.BufferLoad(sums[i], [lane])
            if not isinstance(keys, tirx.IntImm):  # a sum over no keys is 0, and not the NaN of a row whose keys are all hidden
                inverse = tirx.Select(keys > 0, inverse, tirx.const(0.0, "float32"))
            return tirx.BufferStore(inverses, inverse, [query])

        loops.append(each(invert))
        return s_tir.SBlockRealize([], True, s_tir.SBlock([], [], [], "columns", in_order(loops), None, [*largest, *sums]))

    def mixed(self, block: _Block, scores: Any, inverses: Any) -> Any:
        """Return the products of exponentials and values, as register tiles, divided by the sums."""
        steps, width = self.steps, self.steps.place[-1]
        query = tirx.IterVar(
            tvm.ir.Range(tirx.const(0, "int64"), tirx.const(block.lanes, "int64")), tirx.Var("query", "int64"), tirx.IterVar.DataPar
        )
        keys, columns = extent_of(steps.over), extent_of(width)
        part = max(_FEWEST_KEYS, _NEAR // (4 * columns + _LINE) // 16 * 16)
        is_long = isinstance(keys, int) and keys >= 2 * part
        sums = tirx.decl_buffer((block.lanes, columns), "float32", "mixed")
        contraction = Contraction(
            None,
            "",
            "",
            (query, width),
            (steps.over,),
            tirx.BufferLoad(scores, [steps.over.var, query.var]),
            steps.value,
            sums,
            steps.output,
            tuple(it.var for it in steps.place),
            tirx.BufferLoad(sums, [query.var, width.var]) * tirx.BufferLoad(inverses, [query.var]),
            {},
        )
        high, wide = tile_of(block.count, columns, self.vectors)
        axes = (TileAxis(columns, wide, "lane"), TileAxis(block.count, high, "row"))

        def placement(at: Sequence[Any]) -> dict[Any, Any]:
            where: dict[Any, Any] = {it.var: tirx.const(0, "int64") for it in steps.place}
            for axis, position in zip(steps.axes, (*block.batch, block.start + at[1]), strict=True):
                if axis is not None:
                    where[steps.place[axis].var] = position
            return {**where, width.var: at[0], query.var: at[1]}

        tiles = write_tiles(contraction, axes, placement, self.vectors.lanes, part if is_long else None, spread=False)
        return s_tir.SBlockRealize([], True, s_tir.SBlock([], [], [], "values", tiles, None, [sums])) if is_long else tiles


_NEAR = 20 << 10
"""Bytes of first-level cache for the values, and exponentials, of some keys: all queries of a block take these before the next."""

_LINE = 64
"""Bytes that come into cache with an exponential."""

_FEWEST_KEYS = 32
"""Keys that are taken at a time: adding them up takes so much longer than to fetch the sums so far."""

_HIGHEST = 14
"""Keys of a tile: more gain nothing, and are long code."""


def _columns(padded: int, vectors: Vectors) -> list[tuple[int, int]]:
    """Return the first lane and the number of lanes of what is done at a time: enough vectors to hide the latency of a maximum."""
    most = 4 * vectors.lanes
    return [(first, min(most, padded - first)) for first in range(0, padded, most)]
