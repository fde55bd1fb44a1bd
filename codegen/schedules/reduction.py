"""Sums, maxima and minima along memory: softmax, normalisation, means, global pooling.

A loop that adds one number after the other waits for each addition; here every lane of a few vectors has a result of its own, and
these are put together at the end. Other steps of the kernel get what the default rule gives them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import tvm
import tvm_ffi
from tvm import s_tir, tirx

from landbridge.codegen.schedules.base import Rule
from landbridge.codegen.schedules.contraction import extent_of, loads_in, offset_of, replaced
from landbridge.codegen.schedules.default import PARALLEL_ITERATIONS, Default
from landbridge.codegen.schedules.register_tiles import in_order, lane_pieces, loop, over_lanes
from landbridge.codegen.schedules.vectors import vectors_of

_SPATIAL = 0  # tirx.IterVar.DataPar
_VECTORS = 4
"""Vectors of partial results: enough to hide the latency of an addition."""

_FEWEST = 8
"""Shorter reductions stay as they are."""


class Reduction(Rule):
    """Reductions whose operands lie one after the other."""

    name = "reduction"

    def apply(self, kernel: Any, target: Any) -> Any | None:
        """Return the kernel with partial results in vectors, or None where it has no such reduction."""
        scheduled = Default().apply(kernel, target)
        if scheduled is None:
            return None
        root = scheduled.body.block
        statements = list(root.body.seq) if isinstance(root.body, tirx.SeqStmt) else [root.body]
        lanes = vectors_of(target).lanes
        found = [_read(statement) for statement in statements]
        if not any(found):
            return None
        rows = _Rows.of(statements, found)
        if rows is not None:
            written = [rows.write(lanes)]
        else:
            written = [statement if one is None else one.write(lanes) for statement, one in zip(statements, found, strict=True)]
        block = s_tir.SBlock([], [], [], root.name_hint, in_order(written), None, root.alloc_buffers, None, root.annotations)
        return tirx.PrimFunc(scheduled.params, s_tir.SBlockRealize([], True, block), scheduled.ret_type, scheduled.attrs)


@dataclass(frozen=True, eq=False)
class _Reduction:
    """``output[indices] = combine(output[indices], operand)`` over ``along``, which goes through memory, and ``others``.

    Attributes:
        spatial: the iterators of the output.
        along: the innermost of the reduced iterators; their positions follow each other in memory.
        others: the rest of the reduced iterators.
        combine: the class of the operation.
        identity: what the output starts from.
    """

    spatial: tuple[Any, ...]
    along: tuple[Any, ...]
    others: tuple[Any, ...]
    output: Any
    indices: tuple[Any, ...]
    operand: Any
    combine: Any
    identity: Any

    def write(self, lanes: int) -> Any:
        """Return the statement of the whole reduction."""
        return _over(self.spatial, lambda where: self.one(where, lanes), _work(self.spatial, self.along, self.others))

    def one(self, where: Mapping[Any, Any], lanes: int) -> Any:
        """Return the statement of one element of the output."""
        width = _VECTORS * lanes
        results = tirx.decl_buffer((width,), str(self.output.ty.dtype), "partial", scope="local")
        fresh = {iterator.var: tirx.Var(str(iterator.var.name), iterator.var.ty) for iterator in self.others}
        clear = over_lanes(width, lambda lane: tirx.BufferStore(results, self.identity, [lane]))
        body = self.along_memory({**where, **fresh}, results, width, lanes)
        for iterator in reversed(self.others):
            body = loop(fresh[iterator.var], extent_of(iterator), body)
        halves = []
        while width > 1:
            width //= 2

            def halve(lane: Any, width: int = width) -> Any:
                both = self.combine(tirx.BufferLoad(results, [lane]), tirx.BufferLoad(results, [lane + width]))
                return tirx.BufferStore(results, both, [lane])

            halves.append(over_lanes(width, halve))
        result = tirx.BufferStore(self.output, tirx.BufferLoad(results, [0]), [replaced(index, where) for index in self.indices])
        return s_tir.SBlockRealize([], True, s_tir.SBlock([], [], [], "partial", in_order([clear, body, *halves, result]), None, [results]))

    def along_memory(self, where: Mapping[Any, Any], results: Any, width: int, lanes: int) -> Any:
        """Return the loops over ``along``: ``width`` positions at a time, then the rest."""

        def take(first: Any, count: int) -> Any:
            def step(lane: Any) -> Any:
                operand = replaced(self.operand, {**where, **_positions(self.along, first + lane)})
                return tirx.BufferStore(results, self.combine(tirx.BufferLoad(results, [lane]), operand), [lane])

            return over_lanes(count, step)

        extent: Any = 1
        for iterator in self.along:
            extent = extent * extent_of(iterator)
        turn = tirx.Var("turn", "int64")
        if isinstance(extent, int):
            whole, rest = divmod(extent, width)
            start = whole * width
            pieces = [take(tirx.const(start + first, "int64"), count) for first, count in lane_pieces(rest, lanes)]
            return in_order([*([loop(turn, whole, take(turn * width, width))] if whole else []), *pieces])
        one = tirx.Var("one", "int64")
        whole = tirx.floordiv(extent, width)
        return in_order([loop(turn, whole, take(turn * width, width)), loop(one, extent - whole * width, take(whole * width + one, 1))])


@dataclass(frozen=True, eq=False)
class _Rows:
    """Steps that all go over the same rows and need nothing of another row: done row by row, while a row is in first-level cache.

    Attributes:
        rows: the iterators that stand for a row, of each step.
        blocks: of the steps.
        reductions: what they are where they reduce a row to a number.
    """

    rows: tuple[tuple[Any, ...], ...]
    blocks: tuple[Any, ...]
    reductions: tuple[_Reduction | None, ...]

    @staticmethod
    def of(statements: Sequence[Any], reductions: Sequence[_Reduction | None]) -> _Rows | None:
        """Return the steps as rows, or None where they are not of this form."""
        blocks = [_block(statement) for statement in statements]
        ranks = {len(one.spatial) for one in reductions if one is not None and not one.others}
        if (
            len(blocks) < 2
            or len(ranks) != 1
            or not all(block is not None and isinstance(block.body, tirx.BufferStore) for block in blocks)
        ):
            return None
        rank = ranks.pop()
        if rank == 0:
            return None
        written = [block.body.buffer for block in blocks]
        spatial = [tuple(it for it in block.iter_vars if int(it.iter_type) == _SPATIAL) for block in blocks]
        rows = tuple(iterators[:rank] for iterators in spatial)
        first = [it.dom.extent for it in rows[0]]
        for block, iterators, own, reduction in zip(blocks, spatial, rows, reductions, strict=True):
            same = len(own) == rank and all(tvm_ffi.structural_equal(it.dom.extent, e) for it, e in zip(own, first, strict=True))
            plain = reduction is not None or (
                block.init is None and isinstance(block.body, tirx.BufferStore) and len(iterators) <= rank + 1
            )
            if not same or not plain or not _stays_in_row(block, own, written):
                return None
        return _Rows(rows, tuple(blocks), tuple(reductions))

    def write(self, lanes: int) -> Any:
        """Return the loop over the rows."""
        work = sum(_work(block.iter_vars) for block in self.blocks)

        def steps(where: Mapping[Any, Any]) -> Any:
            values = [where[iterator.var] for iterator in self.rows[0]]
            return in_order([self.step(i, values, lanes) for i in range(len(self.blocks))])

        return _over(self.rows[0], steps, work)

    def step(self, number: int, values: Sequence[Any], lanes: int) -> Any:
        """Return the code of one step for the row that ``values`` stand for."""
        block, reduction = self.blocks[number], self.reductions[number]
        where = dict(zip((iterator.var for iterator in self.rows[number]), values, strict=True))
        if reduction is not None:
            return reduction.one(where, lanes)
        inner = block.iter_vars[len(self.rows[number]) :]

        def store(position: Any) -> Any:
            at = {**where, **({inner[0].var: position} if len(inner) else {})}
            return tirx.BufferStore(
                block.body.buffer, replaced(block.body.value, at), [replaced(index, at) for index in block.body.indices]
            )

        return _in_vectors(extent_of(inner[0]), lanes, store) if len(inner) else store(None)


def _in_vectors(extent: Any, lanes: int, body: Callable[[Any], Any]) -> Any:
    """Return ``body`` of each position up to ``extent``, in vectors as far as they go."""
    turn, one = tirx.Var("turn", "int64"), tirx.Var("one", "int64")
    if isinstance(extent, int):
        whole, rest = divmod(extent, lanes)
        pieces = [over_lanes(count, partial(_shifted, body, whole * lanes + first)) for first, count in lane_pieces(rest, lanes)]
        full = loop(turn, whole, over_lanes(lanes, lambda lane: body(turn * lanes + lane)))
        return in_order([*([full] if whole else []), *pieces])
    whole = tirx.floordiv(extent, lanes)
    full = loop(turn, whole, over_lanes(lanes, lambda lane: body(turn * lanes + lane)))
    return in_order([full, loop(one, extent - whole * lanes, body(whole * lanes + one))])


def _shifted(body: Callable[[Any], Any], start: int, lane: Any) -> Any:
    return body(start + lane)


def _stays_in_row(block: Any, row: Sequence[Any], written: Sequence[Any]) -> bool:
    """Return whether a step reads and writes of what the steps write only what belongs to its row."""
    found: list[tuple[Any, Any]] = []
    tvm_ffi.structural_walk(block.body, [(tvm.ir.TensorLoad, lambda load: found.append((load.source, load.indices)))])
    tvm_ffi.structural_walk(block.body, [(tirx.BufferStore, lambda store: found.append((store.buffer, store.indices)))])
    for buffer, indices in found:
        if any(buffer.same_as(other) for other in written):
            own = list(indices)[: len(row)]
            if len(own) != len(row) or not all(index.same_as(it.var) for index, it in zip(own, row, strict=True)):
                return False
    return True


def _over(iterators: Sequence[Any], body: Callable[[Mapping[Any, Any]], Any], work: int) -> Any:
    """Return one loop over all positions of ``iterators``, spread over threads where the work pays for it."""
    number = tirx.Var("position", "int64")
    inside: Any = 1
    for iterator in iterators:
        inside = inside * extent_of(iterator)
    many = isinstance(inside, int) and inside > 1
    kind = tirx.ForKind.PARALLEL if many and work >= PARALLEL_ITERATIONS else tirx.ForKind.SERIAL
    return loop(number, inside, body(_positions(iterators, number) if iterators else {}), kind)


def _work(*iterators: Sequence[Any]) -> int:
    """Return how many positions there are; an extent that only the run tells counts as one."""
    extents = [extent_of(iterator) for group in iterators for iterator in group]
    return math.prod(extent for extent in extents if isinstance(extent, int))


def _positions(along: Sequence[Any], position: Any) -> dict[Any, Any]:
    """Return the iterators at a position of all of them as one."""
    found: dict[Any, Any] = {}
    inside: Any = 1
    for iterator in reversed(along):
        quotient = position if isinstance(inside, int) and inside == 1 else tirx.floordiv(position, inside)
        found[iterator.var] = quotient if iterator.same_as(along[0]) else tirx.floormod(quotient, extent_of(iterator))
        inside = extent_of(iterator) * inside
    return found


def _read(statement: Any) -> _Reduction | None:
    """Return the reduction that ``statement`` is, or None where it is another step or does not go along memory."""
    block = _block(statement)
    if block is None or not isinstance(block.init, tirx.BufferStore) or not isinstance(block.body, tirx.BufferStore):
        return None
    step = block.body.value
    if not isinstance(step, tirx.Add | tirx.Max | tirx.Min) or not isinstance(step.a, tvm.ir.TensorLoad):
        return None
    if not step.a.source.same_as(block.body.buffer) or any(load.source.same_as(block.body.buffer) for load in loads_in(step.b)):
        return None
    spatial = tuple(it for it in block.iter_vars if int(it.iter_type) == _SPATIAL)
    reduced = tuple(it for it in block.iter_vars if int(it.iter_type) != _SPATIAL)
    output, indices = block.body.buffer, tuple(block.body.indices)
    for count in range(len(reduced), 0, -1):
        along, others = reduced[-count:], reduced[:-count]
        if _follows_memory(step.b, along):
            return _Reduction(spatial, along, others, output, indices, step.b, type(step), block.init.value)
    return None


def _block(statement: Any) -> Any:
    """Return the block that ``statement`` loops over, or None where it is something else."""
    while isinstance(statement, tirx.For):
        statement = statement.body
    return statement.block if isinstance(statement, s_tir.SBlockRealize) else None


def _follows_memory(operand: Any, along: Sequence[Any]) -> bool:
    """Return whether the next position of ``along`` is the next in memory, for what is loaded by it, and they are enough to pay."""
    extents = [extent_of(iterator) for iterator in along]
    known = [extent for extent in extents if isinstance(extent, int)]
    if (len(known) == len(extents) and math.prod(known) < _FEWEST) or _has_branch(operand):
        return False
    analyzer = tvm.sym.Analyzer()
    position = tirx.Var("position", "int64")
    steps = set()
    for load in loads_in(operand):
        here, there = (replaced(offset_of(load), _positions(along, at)) for at in (position, position + 1))
        step = analyzer.simplify(there - here)
        steps.add(int(step) if isinstance(step, tirx.IntImm) else None)
    return {1} <= steps <= {0, 1}


def _has_branch(operand: Any) -> bool:
    found: list[str] = []
    tvm_ffi.structural_walk(operand, [(tvm.ir.Call, lambda call: found.append(str(getattr(call.op, "name", ""))))])
    return any("if_then_else" in name for name in found)
