"""Pictures resized along two axes: row by row of the result, with all that stands before and after it in the graph done on the way.

``Resize`` comes as two steps, one axis each, that add up neighbours found in tables. A row of the result is first made between rows of the
picture, as they lie in memory, then between columns: of a picture with its channels last a pixel at a time, all its channels as one
vector. What was done to the picture before (casts, normalisation, transpositions) is done to the few numbers that a row needs, what comes
after (the same, and the conversion to float16) to the row while it is in the first-level cache. So the form of the graph does not matter.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import tvm
import tvm_ffi
from tvm import s_tir, tirx

from landbridge.codegen.schedules.base import Rule
from landbridge.codegen.schedules.contraction import extent_of, iterators_of_product, loads_in, mentions, offset_of, replaced
from landbridge.codegen.schedules.default import PARALLEL_ITERATIONS, has_call, is_blend, table_loads
from landbridge.codegen.schedules.register_tiles import in_order, loop, over_lanes

_MOST_CHANNELS = 8
"""Pixels of more channels are no vector."""

_MOST_ROWS = 16
"""Rows of the result that share their memory for what is between."""

_MOST_ROW_NBYTES = 1 << 20
"""Longer rows of a picture would not stay in the cache."""


class Resample(Rule):
    """The two steps of ``Resize``, one after the other, in a kernel of element-wise steps."""

    name = "resample"

    def apply(self, kernel: Any, target: Any) -> Any | None:
        """Return the kernel with one loop over rows, or None where it is no resized picture."""
        if not isinstance(kernel.body, s_tir.SBlockRealize):
            return None
        schedule = s_tir.Schedule(kernel, error_render_level="none")
        found = _read(schedule)
        picture = None if found is None else _Picture.of(*found)
        if picture is None:
            return None
        function = schedule.mod["main"]
        root = function.body.block
        block = s_tir.SBlock([], [], [], root.name_hint, picture.write(), None, [], None, root.annotations)
        return tirx.PrimFunc(function.params, s_tir.SBlockRealize([], True, block), function.ret_type, function.attrs)


def _read(schedule: Any) -> tuple[Any, Any, Any] | None:
    """Return the two steps of the resizing and what follows, everything else inlined into them; None where there is another step."""
    blocks = _blocks(schedule)
    if sum(is_blend(schedule.get(block)) for block in blocks) != 2:
        return None
    for block in blocks:
        step = schedule.get(block)
        if step.init is not None or not isinstance(step.body, tirx.BufferStore) or any(int(it.iter_type) for it in step.iter_vars):
            return None
        if not is_blend(step) and schedule.get_consumers(block):
            if has_call(step.body.value) and is_blend(schedule.get(schedule.get_consumers(block)[0])):
                return None  # it would be computed again and again
            try:
                schedule.compute_inline(block)
            except s_tir.ScheduleError:
                return None
    steps = [schedule.get(block) for block in _blocks(schedule)]
    if len(steps) not in (2, 3) or not is_blend(steps[0]) or not is_blend(steps[1]):
        return None
    return steps[0], steps[1], steps[2] if len(steps) == 3 else None


def _blocks(schedule: Any) -> list[Any]:
    return list(schedule.get_child_blocks(schedule.get_sblock(str(schedule.mod["main"].body.block.name_hint))))


@dataclass(frozen=True, eq=False)
class _Picture:
    """A resized picture.

    Attributes:
        axes: the iterators of the step between rows.
        extents: of the result, by these axes; those of rows, columns and channels are numbers.
        row: which axis goes over the rows of the result.
        column: which one over the columns.
        channel: which one over the channels, where they lie next to each other in the picture; else -1.
        tall: what the step between rows computes.
        between: the buffer that it writes.
        wide: what the step between columns computes, in terms of ``axes`` and of loads of ``between``.
        blended: the buffer that that writes.
        value: what becomes of that, in terms of ``axes`` and of loads of ``blended``.
        output: the buffer of the result.
        indices: where it goes, in terms of ``axes``.
    """

    axes: tuple[Any, ...]
    extents: tuple[Any, ...]
    row: int
    column: int
    channel: int
    tall: Any
    between: Any
    wide: Any
    blended: Any
    value: Any
    output: Any
    indices: tuple[Any, ...]

    @staticmethod
    def of(tall: Any, wide: Any, after: Any) -> _Picture | None:
        """Return the picture of three steps, or None where they are not those of one."""
        axes, own = tuple(tall.iter_vars), tuple(wide.iter_vars)
        extents = tuple(extent_of(it) for it in own)
        row, column = _table_axis(tall), _table_axis(wide)
        between, blended = tall.body.buffer, wide.body.buffer
        loads = [load for load in loads_in(wide.body.value) if load.source.same_as(between)]
        if row is None or column is None or row == column or not loads or len(own) != len(axes):
            return None
        if not all(isinstance(extent, int) for extent in (extents[row], extents[column], extent_of(axes[column]))):
            return None
        if any(not index.same_as(own[axis].var) for load in loads for axis, index in enumerate(load.indices) if axis != column):
            return None
        channel = _channel(tall, row, column)
        if channel is None or extent_of(axes[column]) * (extents[channel] if channel >= 0 else 1) * 4 > _MOST_ROW_NBYTES:
            return None
        mapping = {mine.var: it.var for mine, it in zip(own, axes, strict=True)}
        value, output, indices = tirx.BufferLoad(blended, [it.var for it in own]), blended, tuple(it.var for it in own)
        if after is not None:
            to_wide = iterators_of_product(after, blended, own)
            if to_wide is None:
                return None
            value, output = replaced(after.body.value, to_wide), after.body.buffer
            indices = tuple(replaced(index, to_wide) for index in after.body.indices)
        return _Picture(
            axes,
            extents,
            row,
            column,
            channel,
            tall.body.value,
            between,
            replaced(wide.body.value, mapping),
            blended,
            replaced(value, mapping),
            output,
            tuple(replaced(index, mapping) for index in indices),
        )

    @property
    def channels(self) -> int:
        """How many numbers lie next to each other for each column."""
        return self.extents[self.channel] if self.channel >= 0 else 1

    @property
    def width(self) -> int:
        """The columns of the picture."""
        return int(extent_of(self.axes[self.column]))

    def write(self) -> Any:
        """Return the statement of the whole kernel."""
        outer = [axis for axis in range(len(self.axes)) if axis not in (self.row, self.column, self.channel)]
        rows = self.extents[self.row]
        together = next(count for count in range(min(_MOST_ROWS, rows), 0, -1) if rows % count == 0)
        number, turn = tirx.Var("rows", "int64"), tirx.Var("row", "int64")
        count: Any = rows // together
        for axis in outer:
            count = self.extents[axis] * count
        where: dict[Any, Any] = {self.axes[self.row].var: tirx.floormod(number, rows // together) * together + turn}
        rest = tirx.floordiv(number, rows // together)
        for axis in reversed(outer):
            where[self.axes[axis].var] = tirx.floormod(rest, self.extents[axis])
            rest = tirx.floordiv(rest, self.extents[axis])
        lanes = 1 << (self.channels - 1).bit_length()
        line = tirx.decl_buffer((self.width * self.channels + lanes - self.channels,), str(self.between.ty.dtype), "line")
        pixels = tirx.decl_buffer((self.extents[self.column] * lanes,), str(self.blended.ty.dtype), "pixels")
        spread = self.spread() if self.channel >= 0 else []
        made = [self.fill_line(line, spread, where)]
        made += [self.fill_pixels(pixels, line, lanes, where), self.finish(pixels, lanes, where)]
        body = loop(turn, together, in_order(made))
        block = s_tir.SBlockRealize([], True, s_tir.SBlock([], [], [], "rows", body, None, [line, pixels]))
        work = math.prod(extent for extent in self.extents if isinstance(extent, int))
        many = not isinstance(count, int) or count > 1
        kind = tirx.ForKind.PARALLEL if many and work >= PARALLEL_ITERATIONS else tirx.ForKind.SERIAL
        before = [statement for _, _, statement in spread]
        whole = in_order([*before, loop(number, count, block, kind)])
        return s_tir.SBlockRealize([], True, s_tir.SBlock([], [], [], "picture", whole, None, [buffer for _, buffer, _ in spread]))

    def spread(self) -> list[tuple[Any, Any, Any]]:
        """Return the loads that go with the channel or the column but not through the picture, such as a mean to subtract.

        Returns:
            Each with a buffer that has it for each number of a line, and the loop that fills that.
        """
        column, channel = self.axes[self.column].var, self.axes[self.channel].var
        found: list[tuple[Any, Any, Any]] = []
        for load in loads_in(self.tall):
            if table_loads(load) or not (mentions(load, column) or mentions(load, channel)):
                continue
            buffer = tirx.decl_buffer((self.width * self.channels,), str(load.source.ty.dtype), "spread")
            x, c = tirx.Var("x", "int64"), tirx.Var("c", "int64")
            store = tirx.BufferStore(buffer, replaced(load, {column: x, channel: c}), [x * self.channels + c])
            found.append((load, buffer, loop(x, self.width, loop(c, self.channels, store))))
        return found

    def fill_line(self, line: Any, spread: list[tuple[Any, Any, Any]], where: Mapping[Any, Any]) -> Any:
        """Return the loop that makes a line between rows of the picture, in the order in which it lies in memory."""
        i = tirx.Var("i", "int64")
        if self.channel < 0:
            return loop(i, self.width, tirx.BufferStore(line, replaced(self.tall, {**where, self.axes[self.column].var: i}), [i]))
        value = self.tall
        for load, buffer, _ in spread:
            value = with_loads(value, partial(_other_where_equal, load, tirx.BufferLoad(buffer, [i])))
        # the place of a number in its line counts on through the channels of the first column
        at = {**where, self.axes[self.column].var: tirx.const(0, "int64"), self.axes[self.channel].var: i}
        return loop(i, self.width * self.channels, tirx.BufferStore(line, replaced(value, at), [i]))

    def fill_pixels(self, pixels: Any, line: Any, lanes: int, where: Mapping[Any, Any]) -> Any:
        """Return the loop that makes the pixels of a row between the columns of a line; lanes beyond the channels hold anything."""
        x = tirx.Var("x", "int64")

        def pixel(lane: Any) -> Any:
            def from_line(old: Any) -> Any:
                if not old.source.same_as(self.between):
                    return old
                return tirx.BufferLoad(line, [old.indices[self.column] * self.channels + lane])

            value = replaced(with_loads(self.wide, from_line), {**where, self.axes[self.column].var: x})
            return tirx.BufferStore(pixels, value, [x * lanes + lane])

        return loop(x, self.extents[self.column], over_lanes(lanes, pixel))

    def finish(self, pixels: Any, lanes: int, where: Mapping[Any, Any]) -> Any:
        """Return the loops that make the row of the result of its pixels."""
        x, c = tirx.Var("x", "int64"), tirx.Var("c", "int64")
        at = {**where, self.axes[self.column].var: x}
        if self.channel >= 0:
            at[self.axes[self.channel].var] = c
        from_pixels = tirx.BufferLoad(pixels, [x * lanes + c if self.channel >= 0 else x])
        value = replaced(self.value, at, self.blended, from_pixels)
        body = tirx.BufferStore(self.output, value, [replaced(index, at) for index in self.indices])
        body = loop(x, self.extents[self.column], body)
        return loop(c, self.channels, body) if self.channel >= 0 else body


def _table_axis(block: Any) -> int | None:
    """Return the one axis that a step's tables go by, or None."""
    tables = [table for load in loads_in(block.body.value) for table in table_loads(load)]
    found = {axis for axis, it in enumerate(block.iter_vars) for table in tables if mentions(table, it.var)}
    return found.pop() if len(found) == 1 else None


def _channel(tall: Any, row: int, column: int) -> int | None:
    """Return the axis of the channels where they lie next to each other in the picture, -1 where the columns do.

    Returns:
        None for other pictures.
    """
    analyzer = tvm.sym.Analyzer()
    variables = [it.var for it in tall.iter_vars]
    loads = loads_in(tall.body.value)
    found: set[int | None] = set()
    for load in loads:
        if not table_loads(load):
            continue
        offset = with_loads(offset_of(load), lambda table: tirx.const(0, str(table.ty.dtype)))
        steps = [analyzer.simplify(replaced(offset, {variable: variable + 1}) - offset) for variable in variables]
        known = [int(step) if isinstance(step, tirx.IntImm) else None for step in steps]
        extents = [extent_of(it) for it in tall.iter_vars]
        together = [isinstance(extent, int) and extent == known[column] for extent in extents]
        next_to = [axis for axis, step in enumerate(known) if step == 1 and axis != row and together[axis]]
        if known[column] == 1:
            found.add(-1)
        else:
            found.add(next_to[0] if next_to and extents[next_to[0]] <= _MOST_CHANNELS else None)
    channel = found.pop() if len(found) == 1 else None
    if channel is None or channel < 0:
        return channel
    inside = {column, channel}
    for load in loads:
        used = {axis for axis, variable in enumerate(variables) if mentions(load, variable)}
        if not table_loads(load) and used & inside and used - inside:
            return None
    return channel


def with_loads(expr: Any, change: Callable[[Any], Any]) -> Any:
    """Return ``expr`` with its loads changed."""
    return tvm_ffi.structural_map(expr, [(tvm.ir.TensorLoad, change)])


def _other_where_equal(load: Any, other: Any, found: Any) -> Any:
    same = found.source.same_as(load.source) and tvm_ffi.structural_equal(found.indices, load.indices)
    return other if same else found
