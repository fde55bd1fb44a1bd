"""Read a step as a reduction along memory, and write it with partial results in vectors, put together at the end.

A loop that adds one number after the other waits for each addition; here every lane of a few vectors has a result of its own.
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

from landbridge.codegen.schedules.contraction import extent_of, loads_in, offset_of, replaced
from landbridge.codegen.schedules.default import PARALLEL_ITERATIONS
from landbridge.codegen.schedules.register_tiles import in_order, lane_pieces, loop, over_lanes

SPATIAL = 0  # tirx.IterVar.DataPar

VECTORS = 4
"""Vectors of partial results: enough to hide the latency of an addition."""

_ENOUGH = 1024
"""Positions from which on it is no gain to go over more axes as one, of which TVM must divide the position."""

_FEWEST = 8
"""Shorter reductions stay as they are."""


@dataclass(frozen=True, eq=False)
class Reduced:
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
        return over_all(self.spatial, lambda where: self.one(where, lanes), work_of(self.spatial, self.along, self.others))

    def one(self, where: Mapping[Any, Any], lanes: int) -> Any:
        """Return the statement of one element of the output."""
        results = Partial(self, where, lanes)
        fresh = {iterator.var: tirx.Var(str(iterator.var.name), iterator.var.ty) for iterator in self.others}
        body = in_pieces(extent_along(self.along), lanes, lambda first, count: results.take(first, count, fresh))
        for iterator in reversed(self.others):
            body = loop(fresh[iterator.var], extent_of(iterator), body)
        return with_buffers([results.buffer], [results.clear(), body, results.put_together()])


class Partial:
    """The partial results of one element of a reduction's output.

    Attributes:
        buffer: where they are.
    """

    def __init__(self, reduced: Reduced, where: Mapping[Any, Any], lanes: int) -> None:
        """Take the element that ``where`` stands for, and how many lanes a vector has."""
        self._reduced, self._where, self._lanes, self._width = reduced, where, lanes, VECTORS * lanes
        self.buffer = tirx.decl_buffer((self._width,), str(reduced.output.ty.dtype), "partial")

    def clear(self) -> Any:
        """Return the statement that begins."""
        return over_lanes(self._width, lambda lane: tirx.BufferStore(self.buffer, self._reduced.identity, [lane]))

    def take(self, first: Any, count: int, fresh: Mapping[Any, Any] | None = None) -> Any:
        """Return the statement that takes ``count`` positions in, beginning at ``first``."""
        r = self._reduced

        def step(lane: Any) -> Any:
            operand = replaced(r.operand, {**self._where, **(fresh or {}), **positions_of(r.along, first + lane)})
            return tirx.BufferStore(self.buffer, r.combine(tirx.BufferLoad(self.buffer, [lane]), operand), [lane])

        return over_lanes(count, step)

    def put_together(self) -> Any:
        """Return the statements that make the partial results one, and store it."""
        r, width, halves = self._reduced, self._width, []
        while width > 1:
            width //= 2

            def halve(first: int, lane: Any, width: int = width) -> Any:
                left, right = (tirx.BufferLoad(self.buffer, [at + lane]) for at in (first, first + width))
                return tirx.BufferStore(self.buffer, r.combine(left, right), [first + lane])

            halves += [over_lanes(count, partial(halve, first)) for first, count in lane_pieces(width, self._lanes)]  # LLVM: not wider
        result = tirx.BufferStore(r.output, tirx.BufferLoad(self.buffer, [0]), [replaced(index, self._where) for index in r.indices])
        return in_order([*halves, result])


def with_buffers(buffers: Sequence[Any], statements: Sequence[Any]) -> Any:
    """Return the statements with buffers of their own."""
    if not buffers:
        return in_order(statements)
    return s_tir.SBlockRealize([], True, s_tir.SBlock([], [], [], "partial", in_order(statements), None, list(buffers)))


def in_pieces(extent: Any, lanes: int, take: Callable[[Any, int], Any]) -> Any:
    """Return ``take`` of all positions up to ``extent``: of a few vectors at a time, then of the rest."""
    width = VECTORS * lanes
    turn = tirx.Var("turn", "int64")
    if isinstance(extent, int):
        whole, rest = divmod(extent, width)
        start = whole * width
        pieces = [take(tirx.const(start + first, "int64"), count) for first, count in lane_pieces(rest, lanes)]
        return in_order([*([loop(turn, whole, take(turn * width, width))] if whole else []), *pieces])
    one = tirx.Var("one", "int64")
    whole = tirx.floordiv(extent, width)
    return in_order([loop(turn, whole, take(turn * width, width)), loop(one, extent - whole * width, take(whole * width + one, 1))])


def extent_along(along: Sequence[Any]) -> Any:
    """Return how many positions iterators have together."""
    extent: Any = 1
    for iterator in along:
        extent = extent * extent_of(iterator)
    return extent


def over_all(iterators: Sequence[Any], body: Callable[[Mapping[Any, Any]], Any], work: int) -> Any:
    """Return one loop over all positions of ``iterators``, spread over threads where the work pays for it."""
    number = tirx.Var("position", "int64")
    inside: Any = 1
    for iterator in iterators:
        inside = inside * extent_of(iterator)
    many = isinstance(inside, int) and inside > 1
    kind = tirx.ForKind.PARALLEL if many and work >= PARALLEL_ITERATIONS else tirx.ForKind.SERIAL
    return loop(number, inside, body(positions_of(iterators, number) if iterators else {}), kind)


def work_of(*iterators: Sequence[Any]) -> int:
    """Return how many positions there are; an extent that only the run tells counts as one."""
    extents = [extent_of(iterator) for group in iterators for iterator in group]
    return math.prod(extent for extent in extents if isinstance(extent, int))


def positions_of(along: Sequence[Any], position: Any) -> dict[Any, Any]:
    """Return the iterators at a position of all of them as one."""
    found: dict[Any, Any] = {}
    inside: Any = 1
    for iterator in reversed(along):
        quotient = position if isinstance(inside, int) and inside == 1 else tirx.floordiv(position, inside)
        found[iterator.var] = quotient if iterator.same_as(along[0]) else tirx.floormod(quotient, extent_of(iterator))
        inside = extent_of(iterator) * inside
    return found


def read_reduction(statement: Any) -> Reduced | None:
    """Return the reduction that ``statement`` is, or None where it is another step or does not go along memory."""
    block = block_of(statement)
    if block is None or not isinstance(block.init, tirx.BufferStore) or not isinstance(block.body, tirx.BufferStore):
        return None
    step = block.body.value
    if not isinstance(step, tirx.Add | tirx.Max | tirx.Min) or not isinstance(step.a, tvm.ir.TensorLoad):
        return None
    if not step.a.source.same_as(block.body.buffer) or any(load.source.same_as(block.body.buffer) for load in loads_in(step.b)):
        return None
    spatial = tuple(it for it in block.iter_vars if int(it.iter_type) == SPATIAL)
    reduced = tuple(it for it in block.iter_vars if int(it.iter_type) != SPATIAL)
    output, indices = block.body.buffer, tuple(block.body.indices)
    counts = [count for count in range(len(reduced), 0, -1) if _follows_memory(step.b, reduced[-count:])]
    if not counts:
        return None
    long = [count for count in counts if _is_long(reduced[-count:])]
    count = long[-1] if long else counts[0]
    along, others = reduced[-count:], reduced[:-count]
    return Reduced(spatial, along, others, output, indices, step.b, type(step), block.init.value)


def _is_long(along: Sequence[Any]) -> bool:
    extent = extent_along(along)
    return isinstance(extent, int) and extent >= _ENOUGH


def block_of(statement: Any) -> Any:
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
        here, there = (replaced(offset_of(load), positions_of(along, at)) for at in (position, position + 1))
        step = analyzer.simplify(there - here)
        steps.add(int(step) if isinstance(step, tirx.IntImm) else None)
    return {1} <= steps <= {0, 1}


def _has_branch(operand: Any) -> bool:
    found: list[str] = []
    tvm_ffi.structural_walk(operand, [(tvm.ir.Call, lambda call: found.append(str(getattr(call.op, "name", ""))))])
    return any("if_then_else" in name for name in found)
