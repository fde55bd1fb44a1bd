"""Steps that all go over the same rows and need nothing of another row, such as those of softmax and layer normalisation: row by row.

A row stays in first-level cache while all steps are done on it. Neighbouring steps share a sweep over it as long as none needs what a
whole sweep gives, a sum or a maximum. What steps leave for later ones lies in the output, where it fits.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import tvm
import tvm_ffi
from tvm import tirx

from landbridge.codegen.schedules.contraction import loads_in, mentions, replaced
from landbridge.codegen.schedules.partial_results import (
    SPATIAL,
    Partial,
    Reduced,
    block_of,
    extent_along,
    in_pieces,
    over_all,
    with_buffers,
    work_of,
)
from landbridge.codegen.schedules.register_tiles import in_order, over_lanes


@dataclass(frozen=True, eq=False)
class _Step:
    """A step of a row.

    Attributes:
        row: the iterators that stand for the row.
        inner: the iterators inside of it; none where the step makes one number of it.
        store: what is written where, in terms of the iterators.
        reduced: what it is where it reduces the row to a number.
    """

    row: tuple[Any, ...]
    inner: tuple[Any, ...]
    store: Any
    reduced: Reduced | None

    @property
    def buffer(self) -> Any:
        return self.store.buffer

    @property
    def loads(self) -> list[Any]:
        return loads_in(self.store.value if self.reduced is None else self.reduced.operand)

    def is_at_own_place(self, load_or_store: Any) -> bool:
        """Return whether an access is at the row and the place in it that the step is at, and that of one dense row."""
        own = [it.var for it in (*self.row, *self.inner)]
        return len(load_or_store.indices) == len(own) and all(i.same_as(var) for i, var in zip(load_or_store.indices, own, strict=True))


@dataclass(frozen=True, eq=False)
class Rows:
    """The steps of all rows, in order."""

    steps: tuple[_Step, ...]

    @staticmethod
    def of(statements: Sequence[Any], reductions: Sequence[Reduced | None]) -> Rows | None:
        """Return the steps as rows, or None where they are not of this form."""
        blocks = [block_of(statement) for statement in statements]
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
        steps = []
        for block, reduced in zip(blocks, reductions, strict=True):
            spatial = tuple(it for it in block.iter_vars if int(it.iter_type) == SPATIAL)
            row, inner = spatial[:rank], spatial[rank:] if reduced is None else reduced.along
            is_plain = reduced is not None or (block.init is None and len(inner) <= 1)
            if len(row) != rank or not is_plain or not _stays_in_row(block, row, written):
                return None
            steps.append(_Step(row, inner, block.body, reduced))
        extents = [it.dom.extent for it in steps[0].row]
        for step in steps:
            if not all(tvm_ffi.structural_equal(it.dom.extent, extent) for it, extent in zip(step.row, extents, strict=True)):
                return None
        return Rows(tuple(steps))

    def in_output(self, temporary: Sequence[Any]) -> tuple[Rows, list[Any]]:
        """Return the rows with one temporary buffer in the output, where one fits that is not needed any more once that is written.

        Returns:
            And the temporary buffers that are left.
        """
        last = self.steps[-1]
        output = last.buffer
        reads = [(step, load) for step in self.steps for load in step.loads]
        if any(output.same_as(buffer) for buffer in temporary) or last.reduced is not None or not last.is_at_own_place(last.store):
            return self, list(temporary)
        if any(load.source.same_as(output) for _, load in reads):
            return self, list(temporary)
        for buffer in temporary:
            same = tvm_ffi.structural_equal(buffer.ty.shape, output.ty.shape) and str(buffer.ty.dtype) == str(output.ty.dtype)
            if same and all(step.is_at_own_place(load) for step, load in reads if load.source.same_as(buffer)):
                moved = {buffer: output}
                return Rows(tuple(_moved(step, moved) for step in self.steps)), [one for one in temporary if not one.same_as(buffer)]
        return self, list(temporary)

    def write(self, lanes: int) -> Any:
        """Return the loop over the rows."""
        work = sum(work_of(step.row, step.inner) for step in self.steps)

        def body(where: Mapping[Any, Any]) -> Any:
            values = [where[iterator.var] for iterator in self.steps[0].row]
            return in_order([self._sweep(steps, values, lanes) for steps in self._sweeps()])

        return over_all(self.steps[0].row, body, work)

    def _sweeps(self) -> list[list[_Step]]:
        """Return the steps in groups that go over a row together."""
        sweeps: list[list[_Step]] = []
        for step in self.steps:
            if sweeps and _goes_along(step, sweeps[-1]):
                sweeps[-1].append(step)
            else:
                sweeps.append([step])
        return sweeps

    def _sweep(self, steps: Sequence[_Step], values: Sequence[Any], lanes: int) -> Any:
        """Return the code of steps on the row that ``values`` stand for."""
        places = [dict(zip((iterator.var for iterator in step.row), values, strict=True)) for step in steps]
        if not steps[0].inner:
            return in_order([_store(step, where) for step, where in zip(steps, places, strict=True)])
        buffers: list[Any] = []
        before: list[Any] = []
        after: list[Any] = []
        takes: list[Callable[[Any, int], Any]] = []
        for step, where in zip(steps, places, strict=True):
            if step.reduced is not None:
                results = Partial(step.reduced, where, lanes)
                buffers.append(results.buffer)
                before.append(results.clear())
                after.append(results.put_together())
                takes.append(results.take)
            else:
                by_inverse = self._by_inverse(step, where)
                if by_inverse is not None:
                    step, inverse, begin = by_inverse  # noqa: PLW2901 - the same step by cheaper means
                    buffers.append(inverse)
                    before.append(begin)
                takes.append(_Stores(step, where).take)

        def take(first: Any, count: int) -> Any:
            return in_order([one(first, count) for one in takes])

        return with_buffers(buffers, [*before, in_pieces(extent_along(steps[0].inner), lanes, take), *after])

    def _by_inverse(self, step: _Step, where: Mapping[Any, Any]) -> tuple[_Step, Any, Any] | None:
        """Return a step that divides exponentials by their sum as one that multiplies with its inverse.

        The sum cannot be so small that its inverse is infinite: our exponentials are 0 where they would be.

        Returns:
            The step, the buffer of the inverse, and the statement that computes it; or None where the step is another.
        """
        value = step.store.value
        if not isinstance(value, tirx.Div) or not all(isinstance(part, tvm.ir.TensorLoad) for part in (value.a, value.b)):
            return None
        makers = [other for other in self.steps if other.buffer.same_as(value.a.source)]
        sums = [other.reduced for other in self.steps if other.buffer.same_as(value.b.source)]
        is_exp = any(isinstance(one.store.value, tvm.ir.Call) and str(one.store.value.op.name) == "tirx.exp" for one in makers)
        if not is_exp or len(sums) != 1 or sums[0] is None or sums[0].combine is not tirx.Add or str(value.ty.dtype) != "float32":
            return None
        if not isinstance(sums[0].operand, tvm.ir.TensorLoad) or not sums[0].operand.source.same_as(value.a.source):
            return None
        if any(mentions(index, it.var) for index in value.b.indices for it in step.inner):
            return None
        inverse = tirx.decl_buffer((1,), "float32", "inverse")
        begin = tirx.BufferStore(inverse, tirx.const(1.0, "float32") / replaced(value.b, where), [0])
        product = value.a * tirx.BufferLoad(inverse, [0])
        return replace(step, store=tirx.BufferStore(step.buffer, product, step.store.indices)), inverse, begin


@dataclass(frozen=True, eq=False)
class _Stores:
    """A step that writes each place of a row, on one row."""

    step: _Step
    where: Mapping[Any, Any]

    def take(self, first: Any, count: int) -> Any:
        """Return the statement of ``count`` places beginning at ``first``."""
        (iterator,) = self.step.inner
        return over_lanes(count, lambda lane: _store(self.step, {**self.where, iterator.var: first + lane}))


def _store(step: _Step, where: Mapping[Any, Any]) -> Any:
    store = step.store
    return tirx.BufferStore(store.buffer, replaced(store.value, where), [replaced(index, where) for index in store.indices])


def _goes_along(step: _Step, sweep: Sequence[_Step]) -> bool:
    """Return whether a step can be done in the sweep of others: it goes as far and needs nothing but what they left at its own place."""
    first = sweep[0]
    if bool(step.inner) != bool(first.inner) or not tvm_ffi.structural_equal(_length(step), _length(first)):
        return False
    for load in step.loads:
        for other in sweep:
            if not load.source.same_as(other.buffer):
                continue
            if step.inner and (other.reduced is not None or not step.is_at_own_place(load) or not other.is_at_own_place(other.store)):
                return False
    return True


def _length(step: _Step) -> Any:
    extent = extent_along(step.inner)
    return tirx.const(extent, "int64") if isinstance(extent, int) else extent


def _moved(step: _Step, moved: Mapping[Any, Any]) -> _Step:
    """Return a step with other buffers."""
    value = replaced(step.store.value, moved)
    store = tirx.BufferStore(moved.get(step.buffer, step.buffer), value, list(step.store.indices))
    reduced = None if step.reduced is None else replace(step.reduced, operand=replaced(step.reduced.operand, moved))
    return replace(step, store=store, reduced=reduced)


def _stays_in_row(block: Any, row: Sequence[Any], written: Sequence[Any]) -> bool:
    """Return whether a step reads and writes of what the steps write only what belongs to its row."""
    found: list[tuple[Any, Any]] = [(load.source, load.indices) for load in loads_in(block.body)]
    tvm_ffi.structural_walk(block.body, [(tirx.BufferStore, lambda store: found.append((store.buffer, store.indices)))])
    for buffer, indices in found:
        if any(buffer.same_as(other) for other in written):
            own = list(indices)[: len(row)]
            if len(own) != len(row) or not all(index.same_as(it.var) for index, it in zip(own, row, strict=True)):
                return False
    return True
