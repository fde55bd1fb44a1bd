"""Recurrent layers: at each step a product of states with weights, as register tiles of sequences by units, then the cell in registers.

All gates of a unit are in one tile, so that its sums become its new state without leaving registers. Weights come in panels: of some units
the gates side by side, one row for each state that they are multiplied with. A tile reads its panels from end to end.

What runs at a time is chosen by where the weights of a step are. Where they fit into second-level cache, or a step is not worth threads,
each thread takes sequences and directions of its own through all steps, and nobody waits. Otherwise, and where there is but one sequence,
one direction comes after the other, and the units of each step are spread over threads if that is worth it.

The kernel is written by `landbridge.frontends.onnx.operators.recurrent`, unit by unit. It is right as it stands, without this rule.

Source: weights that stay in a core's own cache from step to step are after M. Zhang et al., "DeepCPU: Serving RNN-based Deep Learning
Models 10x Faster", https://www.usenix.org/conference/atc18/presentation/zhang-minjia
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import tvm
import tvm_ffi
from tvm import s_tir, tirx

from landbridge.codegen.schedules.base import Rule
from landbridge.codegen.schedules.contraction import mentions, replaced
from landbridge.codegen.schedules.register_tiles import PARALLEL_PRODUCTS, in_order, loop, over_lanes
from landbridge.codegen.schedules.vectors import Vectors, vectors_of

RECURRENCE = "landbridge.recurrence"
"""Annotation of loops."""

DIRECTIONS = "directions"
"""Of the loop over directions, which are independent. In it is the loop over steps, in which loops over units follow each other."""

UNITS = "units"
"""Of a loop over sequences, which are independent. In it are a loop over panels and one over the units of a panel, in which sums of the
unit are started, one loop adds products to them, and more is stored; what other units store in these loops is not read."""

PANEL = 16
"""Units in a panel: as many as the widest vectors have lanes, a multiple of what any other has."""

_CACHE_NBYTES = 1 << 19
"""Weights up to this size stay in the second-level cache from step to step."""

_FEW = 8
"""What an extent that only the run tells counts as."""

_HIDDEN_SUMS = 8
"""Sums that are added up at a time, at least, where registers allow: they hide the latency of an addition."""


class Recurrent(Rule):
    """Recurrent layers."""

    name = "recurrent"

    def apply(self, kernel: Any, target: Any) -> Any | None:
        """Return the kernel in tiles, or None where it is no recurrent layer."""
        if not isinstance(kernel.body, s_tir.SBlockRealize):
            return None
        found: list[Any] = []
        tvm_ffi.structural_walk(kernel.body, [(tirx.For, found.append)])
        directions = [one for one in found if _is(one, DIRECTIONS)]
        if len(directions) != 1:
            return None
        written = _Writer(_read(directions[0]), vectors_of(target)).write()
        body = tvm_ffi.structural_map(kernel.body, [(tirx.For, lambda one: written if _is(one, DIRECTIONS) else one)])
        return tirx.PrimFunc(kernel.params, body, kernel.ret_type, kernel.attrs)


def _is(statement: Any, role: str) -> bool:
    return str(statement.annotations.get(RECURRENCE, "")) == role


@dataclass(frozen=True, eq=False)
class _Phase:
    """A product of a step and what is done with its sums, of one unit.

    Attributes:
        row: the variable of the sequence.
        panel: the variable of the panel.
        lane: the variable of the unit in its panel.
        panels: how many there are.
        sums: the buffer of the unit's numbers.
        start: the stores before the products.
        along: the variable of the sum.
        extent: of the sum: a number, or a choice between one and zero in terms of ``row``.
        most: what ``extent`` is at most.
        add: the stores of the sums with a product added.
        end: the stores after the products.
    """

    row: Any
    panel: Any
    lane: Any
    panels: int
    sums: Any
    start: tuple[Any, ...]
    along: Any
    extent: Any
    most: int
    add: tuple[Any, ...]
    end: tuple[Any, ...]

    @property
    def products(self) -> int:
        """How many products a sequence has."""
        return self.panels * PANEL * self.most * len(self.add)


@dataclass(frozen=True, eq=False)
class _Recurrence:
    """The loops of a layer.

    Attributes:
        direction: the variable of the direction.
        directions: how many there are.
        step: the variable of the step.
        steps: how many there are.
        rows: how many sequences there are.
        phases: of a step.
    """

    direction: Any
    directions: int
    step: Any
    steps: Any
    rows: Any
    phases: tuple[_Phase, ...]


def _read(directions: Any) -> _Recurrence:
    steps = directions.body
    rows = _statements(steps.body)
    return _Recurrence(
        directions.loop_var,
        int(directions.extent),
        steps.loop_var,
        _known(steps.extent),
        _known(rows[0].extent),
        tuple(_phase(one) for one in rows),
    )


def _phase(rows: Any) -> _Phase:
    panels = rows.body
    lanes = panels.body
    body = _statements(lanes.body)
    (place,) = [i for i, statement in enumerate(body) if isinstance(statement, tirx.For)]
    along = body[place]
    add = _statements(along.body)
    most = int(along.extent if isinstance(along.extent, tirx.IntImm) else along.extent.args[1])
    names = rows.loop_var, panels.loop_var, lanes.loop_var
    start, end = body[:place], body[place + 1 :]
    return _Phase(*names, int(panels.extent), add[0].buffer, start, along.loop_var, along.extent, most, add, end)


def _statements(body: Any) -> tuple[Any, ...]:
    return tuple(body.seq) if isinstance(body, tirx.SeqStmt) else (body,)


def _known(extent: Any) -> Any:
    return int(extent) if isinstance(extent, tirx.IntImm) else extent


@dataclass(frozen=True, eq=False)
class _Shape:
    """A tile.

    Attributes:
        rows: sequences.
        vectors: of units.
    """

    rows: int
    vectors: int


@dataclass(frozen=True, eq=False)
class _Writer:
    """Writes a layer."""

    recurrence: _Recurrence
    vectors: Vectors

    def write(self) -> Any:
        """Return the loops over directions and steps."""
        r = self.recurrence
        steps = r.steps if isinstance(r.steps, int) else _FEW
        step = sum(phase.products for phase in r.phases)
        high = min(self.shape(phase).rows for phase in r.phases)
        if isinstance(r.rows, int) and r.rows > high:
            high = -(-r.rows // _even(-(-r.rows // high)))
        are_several = r.directions > 1 or not isinstance(r.rows, int) or r.rows > high
        is_worth = steps * r.directions * self.rows * step >= PARALLEL_PRODUCTS
        if are_several and is_worth and (self.rows * step < PARALLEL_PRODUCTS or 4 * step <= _CACHE_NBYTES):
            return self.apart(high)
        return self.together()

    @property
    def rows(self) -> int:
        """How many sequences there are, or how many that counts as."""
        return self.recurrence.rows if isinstance(self.recurrence.rows, int) else _FEW

    def shape(self, phase: _Phase) -> _Shape:
        """Return the tile of a phase: as square as registers allow, with little left over."""
        gates, rows, registers = len(phase.add), self.recurrence.rows, self.vectors.accumulators
        most = phase.panels * PANEL // self.vectors.lanes
        wide = max(1, (4 if self.vectors.registers >= 32 else 2) // gates)
        high = max(1, registers // (gates * min(wide, most)))
        if isinstance(rows, int):
            high = -(-rows // -(-rows // high))
        if high * wide * gates < _HIDDEN_SUMS:
            wide = max(wide, min(-(-_HIDDEN_SUMS // (high * gates)), registers // (high * gates)))
        per_panel = PANEL // self.vectors.lanes
        if wide > per_panel:
            wide = wide // per_panel * per_panel
        elif per_panel % wide:
            wide = per_panel // 2
        return _Shape(high, min(wide, most))

    def apart(self, high: int) -> Any:
        """Return one loop over parts of directions, each of which goes through all steps."""
        r = self.recurrence
        chunks = -(-r.rows // high) if isinstance(r.rows, int) else tirx.floordiv(r.rows + (high - 1), high)
        number = tirx.Var("part", "int64")
        direction = number if _is_one(chunks) else tirx.floordiv(number, chunks)
        chunk = tirx.const(0, "int64") if _is_one(chunks) else tirx.floormod(number, chunks)

        def sequences(count: int, first: Any) -> Any:
            step = tirx.Var("step", "int64")
            where = {r.direction: direction, r.step: step}

            def each(phase: _Phase) -> Any:
                return self.over_units(phase, lambda tile, size: self.tile(phase, where, first, count, tile, size))

            return loop(step, r.steps, in_order([each(phase) for phase in r.phases]))

        body = _choose(chunk, r.rows, high, sequences)
        return loop(number, r.directions * chunks, body, tirx.ForKind.PARALLEL)

    def together(self) -> Any:
        """Return the loops over directions and steps, each of which is done before the next begins.

        One direction after the other: its weights are what stays in cache.
        """
        r = self.recurrence
        where = {r.direction: tirx.Var("direction", "int64"), r.step: tirx.Var("step", "int64")}

        def each(phase: _Phase) -> Any:
            is_spread = self.rows * phase.products >= PARALLEL_PRODUCTS
            return self.over_units(phase, self.over_rows(phase, where), tirx.ForKind.PARALLEL if is_spread else tirx.ForKind.SERIAL)

        phases = in_order([each(phase) for phase in r.phases])
        return loop(where[r.direction], r.directions, loop(where[r.step], r.steps, phases))

    def over_units(self, phase: _Phase, body: Callable[[Any, int], Any], kind: Any = tirx.ForKind.SERIAL) -> Any:
        """Return ``body`` for all tiles of units: for the number of a tile and its vectors."""
        number = tirx.Var("tile", "int64")
        tiles = -(-phase.panels * PANEL // (self.shape(phase).vectors * self.vectors.lanes))
        return loop(number, tiles, self.one_of_units(phase, number, body), kind)

    def one_of_units(self, phase: _Phase, number: Any, body: Callable[[Any, int], Any]) -> Any:
        """Return ``body`` for one tile of units: a full one or the last one, whichever it is at run time."""
        wide = self.shape(phase).vectors
        whole, rest = divmod(phase.panels * PANEL // self.vectors.lanes, wide)
        full, last = (body(number, wide) if whole else None), (body(number, rest) if rest else None)
        if full is None or last is None:
            return full if last is None else last
        return tirx.IfThenElse(number < whole, full, last)

    def over_rows(self, phase: _Phase, where: Mapping[Any, Any]) -> Callable[[Any, int], Any]:
        """Return what gives the code of all sequences, for a tile of units."""
        rows, high = self.recurrence.rows, self.shape(phase).rows

        def body(tile: Any, size: int) -> Any:
            number = tirx.Var("rows", "int64")
            chunks = -(-rows // high) if isinstance(rows, int) else tirx.floordiv(rows + (high - 1), high)
            return loop(number, chunks, _choose(number, rows, high, lambda count, first: self.tile(phase, where, first, count, tile, size)))

        return body

    def tile(self, phase: _Phase, where: Mapping[Any, Any], first: Any, rows: int, tile: Any, size: int) -> Any:
        """Return the code of one tile.

        Args:
            where: the direction and the step.
            first: the first sequence.
            rows: how many sequences.
            tile: the number of the tile, in tiles as wide as those of the phase.
            size: of how many vectors it is.
        """
        lanes, numbers = self.vectors.lanes, int(phase.sums.ty.shape[0])
        wide = self.shape(phase).vectors
        along = tirx.Var("along", "int64")
        pieces = [(row, vector) for row in range(rows) for vector in range(size)]
        registers = {piece: tirx.decl_buffer((numbers * lanes,), "float32", "sums{}_{}".format(*piece)) for piece in pieces}

        def stored(statement: Any, piece: tuple[int, int]) -> Any:
            panel, offset = self.unit(tile, wide, piece[1])
            names = {**where, phase.row: first + piece[0], phase.panel: panel, phase.along: along}
            return over_lanes(
                lanes, lambda lane: _placed(statement, {**names, phase.lane: offset + lane}, phase.sums, registers[piece], lane)
            )

        def all_of(statements: Sequence[Any]) -> list[Any]:
            return [stored(statement, piece) for piece in pieces for statement in statements]

        extents = [replaced(phase.extent, {**where, phase.row: first + row}) for row in range(rows)]
        extent = extents[0]
        for other in extents[1:] if mentions(phase.extent, phase.row) else ():
            extent = tirx.max(extent, other)
        body = [*all_of(phase.start), loop(along, extent, in_order(all_of(phase.add))), *all_of(phase.end)]
        return s_tir.SBlockRealize([], True, s_tir.SBlock([], [], [], "tile", in_order(body), None, list(registers.values())))

    def unit(self, tile: Any, wide: int, vector: int) -> tuple[Any, Any]:
        """Return the panel of a vector of a tile, and its first unit in the panel."""
        per_panel = PANEL // self.vectors.lanes
        if wide >= per_panel:
            return tile * (wide // per_panel) + vector // per_panel, tirx.const(vector % per_panel * self.vectors.lanes, "int64")
        tiles = per_panel // wide
        return tirx.floordiv(tile, tiles), (tirx.floormod(tile, tiles) * wide + vector) * self.vectors.lanes


def _choose(number: Any, extent: Any, size: int, body: Callable[[int, Any], Any]) -> Any:
    """Return ``body`` of a part of an extent: for its size and start, a full one or the last one, whichever it is at run time."""
    start = number * size
    if not isinstance(extent, int):
        full = body(size, start)
        return full if size == 1 else tirx.IfThenElse(start + size <= extent, full, _rest(start, extent, size // 2, body))
    whole, rest = divmod(extent, size)
    full, last = (body(size, start) if whole else None), (body(rest, start) if rest else None)
    if full is None or last is None:
        return full if last is None else last
    return tirx.IfThenElse(number < whole, full, last)


def _rest(start: Any, extent: Any, size: int, body: Callable[[int, Any], Any]) -> Any:
    """Return ``body`` of the end of an extent that only the run tells: of smaller and smaller parts."""
    statements = []
    while size > 0:
        part, count = tirx.Var("rest", "int64"), tirx.floordiv(extent - start, size)
        statements.append(loop(part, count, body(size, start + part * size)))
        start, size = start + count * size, size // 2
    return in_order(statements)


def _even(count: int) -> int:
    return count + count % 2


def _is_one(count: Any) -> bool:
    return isinstance(count, int) and count == 1


def _placed(store: Any, variables: Mapping[Any, Any], numbers: Any, registers: Any, lane: Any) -> Any:
    """Return a store of a unit as that of a lane, with the unit's numbers in registers."""
    lanes = int(registers.ty.shape[0]) // int(numbers.ty.shape[0])

    def at(index: Any) -> list[Any]:
        return [tirx.const(int(index) * lanes, "int64") + lane]

    def loaded(load: Any) -> Any:
        return tirx.BufferLoad(registers, at(load.indices[0])) if load.source.same_as(numbers) else load

    maps = [(tvm.ir.Var, lambda var: variables.get(var, var)), (tvm.ir.TensorLoad, loaded)]
    value = tvm_ffi.structural_map(store.value, maps)
    if store.buffer.same_as(numbers):
        return tirx.BufferStore(registers, value, at(store.indices[0]))
    return tirx.BufferStore(store.buffer, value, [tvm_ffi.structural_map(index, maps) for index in store.indices])
