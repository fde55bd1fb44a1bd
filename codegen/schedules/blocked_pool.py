"""Pooling of images whose channels lie in blocks: the windows of one row of pixels after the other, a block of channels at a time."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import tvm
from tvm import s_tir, tirx

from landbridge.codegen.schedules.base import Rule
from landbridge.codegen.schedules.blocked import BLOCKED
from landbridge.codegen.schedules.contraction import extent_of, iterators_of_product, make_one_step, replaced
from landbridge.codegen.schedules.register_tiles import in_order, loop, over_lanes

PARALLEL_READS = 1 << 17
"""Numbers that are read from which on rows of pixels are spread over threads: some microseconds."""

_MOST_UNROLLED = 25
"""The largest window that is written out; larger ones are loops."""

_SPATIAL = 0  # tirx.IterVar.DataPar


class BlockedPool(Rule):
    """Maxima and sums over windows of pixels, and sums over neighbouring channels."""

    name = "blocked-pool"

    def apply(self, kernel: Any, target: Any) -> Any | None:
        """Return the kernel with its results in registers, or None where it is no pooling over blocks."""
        if not isinstance(kernel.body, s_tir.SBlockRealize):
            return None
        schedule = s_tir.Schedule(kernel, error_render_level="none")
        blocks = _blocks(schedule)
        forms = [str(schedule.get(block).annotations.get(BLOCKED, "")) for block in blocks]
        form = next((form for form in forms if form in ("pool", "window")), None)
        if form is None:
            return None
        block = blocks[forms.index(form)]
        around = schedule.get(blocks[0]) if form == "window" and len(blocks) > 1 else None
        last = make_one_step(schedule, block)
        if last is None or len(_blocks(schedule)) > (2 if around is None else 3):
            return None
        written = _write(schedule.get(block), schedule.get(last), around)
        if written is None:
            return None
        root = kernel.body.block
        body = s_tir.SBlock([], [], [], root.name_hint, written, None, [], None, root.annotations)
        return tirx.PrimFunc(kernel.params, s_tir.SBlockRealize([], True, body), kernel.ret_type, kernel.attrs)


def _blocks(schedule: Any) -> list[Any]:
    return list(schedule.get_child_blocks(schedule.get_sblock(str(schedule.mod["main"].body.block.name_hint))))


def _write(block: Any, end: Any, around: Any) -> Any | None:
    """Return the loops over windows, or None where what follows has another form.

    Args:
        around: the step that makes what is summed of each pixel, where that is more than a block.
    """
    spatial = [it for it in block.iter_vars if int(it.iter_type) == _SPATIAL]
    windows = [it for it in block.iter_vars if int(it.iter_type) != _SPATIAL]
    result = block.body.buffer
    follows = not end.same_as(block)
    mapping = iterators_of_product(end, result, spatial) if follows else {}
    if mapping is None or not isinstance(end.body, tirx.BufferStore):
        return None
    store = end.body
    value = replaced(store.value, mapping) if follows else tirx.BufferLoad(result, [it.var for it in spatial])
    combine, operand = type(block.body.value), block.body.value.b
    *outer, across, lane = spatial
    width = extent_of(lane)
    kept = tirx.decl_buffer((width,), str(result.ty.dtype), "kept", scope="local")
    row, column = tirx.Var("row", "int64"), tirx.Var("column", "int64")
    where = {**_places(outer, row), across.var: column}
    body, buffers = [], [kept]
    if around is not None:
        near = tirx.decl_buffer((extent_of(around.iter_vars[-1]),), str(result.ty.dtype), "near", scope="local")
        buffers.append(near)
        body += _gathered(around, [where[it.var] for it in spatial[:-1]], near, width)
        operand = replaced(operand, {}, around.body.buffer, tirx.BufferLoad(near, [operand.indices[-1]]))

    def step(place: Mapping[Any, Any], in_lane: Any) -> Any:
        both = combine(tirx.BufferLoad(kept, [in_lane]), replaced(operand, {**place, lane.var: in_lane}))
        return tirx.BufferStore(kept, both, [in_lane])

    def finish(in_lane: Any) -> Any:
        at = {**where, lane.var: in_lane}
        indices = [replaced(replaced(index, mapping), at) for index in store.indices]
        return tirx.BufferStore(store.buffer, replaced(value, at, result, tirx.BufferLoad(kept, [in_lane])), indices)

    body.append(over_lanes(width, lambda in_lane: tirx.BufferStore(kept, block.init.value, [in_lane])))
    body += [_over_window(windows, where, width, step), over_lanes(width, finish)]
    pixel = s_tir.SBlockRealize([], True, s_tir.SBlock([], [], [], "pixel", in_order(body), None, buffers))
    rows = math.prod([extent_of(it) for it in outer[1:]]) * outer[0].dom.extent
    reads = math.prod(extent for it in block.iter_vars if isinstance(extent := extent_of(it), int))
    kind = tirx.ForKind.PARALLEL if reads >= PARALLEL_READS else tirx.ForKind.SERIAL
    return loop(row, rows, loop(column, extent_of(across), pixel), kind)


def _places(iterators: Sequence[Any], position: Any) -> dict[Any, Any]:
    """Return where each iterator is at a position of all of them as one."""
    found = {}
    for iterator in reversed(iterators):
        is_first = iterator.same_as(iterators[0])
        found[iterator.var] = position if is_first else tirx.floormod(position, iterator.dom.extent)
        position = position if is_first else tirx.floordiv(position, iterator.dom.extent)
    return found


def _gathered(around: Any, pixel: Sequence[Any], near: Any, width: int) -> list[Any]:
    """Return the stores to ``near`` of what is needed of one pixel, a block at a time."""
    *outer, place = around.iter_vars
    where = {it.var: at for it, at in zip(outer, pixel, strict=True)}

    def part(first: int, lane: Any) -> Any:
        analyzer = tvm.sym.Analyzer()
        if isinstance(lane, tirx.Var):
            analyzer.bind(lane, tvm.ir.Range(0, width))
        value = analyzer.simplify(replaced(around.body.value, {place.var: first + lane}))
        return tirx.BufferStore(near, replaced(value, where), [first + lane])

    return [over_lanes(width, partial(part, first)) for first in range(0, extent_of(place), width)]


def _over_window(windows: list[Any], where: Mapping[Any, Any], width: int, step: Any) -> Any:
    """Return ``step`` for each position of a window and each lane."""
    extents = [extent_of(it) for it in windows]
    if math.prod(extents) <= _MOST_UNROLLED:
        positions = itertools.product(*map(range, extents))
        places = [{it.var: tirx.const(at, "int64") for it, at in zip(windows, position, strict=True)} for position in positions]
        return in_order([over_lanes(width, partial(step, {**where, **place})) for place in places])
    fresh = {it.var: tirx.Var(str(it.var.name), "int64") for it in windows}
    body = over_lanes(width, partial(step, {**where, **fresh}))
    for it in reversed(windows):
        body = loop(fresh[it.var], extent_of(it), body)
    return body
