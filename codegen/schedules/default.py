"""What any kernel gets: element-wise steps in one loop, and threads where a loop is long enough to pay for them.

Vector instructions come from LLVM, which vectorises plain inner loops by itself. The rule does not tile, pack or reorder:
matrix products and convolutions want rules of their own.
"""

from __future__ import annotations

from typing import Any

import tvm
import tvm_ffi
from tvm import s_tir, tirx

from landbridge.codegen.schedules.base import Rule
from landbridge.codegen.schedules.contraction import loads_in
from landbridge.codegen.schedules.vector_math import has_expanded

PARALLEL_ITERATIONS = 1 << 18
"""Innermost iterations from which on a loop is spread over threads: some hundred microseconds, against some ten to wake a thread."""

_WIDTH = 64
"""Outer loops are joined until they have this many iterations to share out."""

_SPATIAL = 0  # tirx.IterVar.DataPar


class Default(Rule):
    """Inline element-wise steps into element-wise steps; run long loops in parallel."""

    name = "default"

    def apply(self, kernel: Any, target: Any) -> Any | None:
        """Return the kernel scheduled, or None where it is no schedulable function."""
        if not isinstance(kernel.body, s_tir.SBlockRealize):
            return None
        schedule = s_tir.Schedule(kernel, error_render_level="none")
        for block in _blocks(schedule):
            if _may_be_inlined(schedule, block):
                _try(schedule.compute_inline, block)
        for block in _blocks(schedule):
            _parallelise(schedule, block)
        return schedule.mod["main"]


def _blocks(schedule: Any) -> list[Any]:
    return list(schedule.get_child_blocks(schedule.get_sblock(str(schedule.mod["main"].body.block.name_hint))))


def _may_be_inlined(schedule: Any, block: Any) -> bool:
    if not _is_injective(schedule, block) or not _feeds_one_injective(schedule, block):
        return False
    return not any(is_costly(schedule, block) for is_costly in (_would_nest, _would_repeat, _would_spread))


def _is_injective(schedule: Any, block: Any) -> bool:
    return all(int(iterator.iter_type) == _SPATIAL for iterator in schedule.get(block).iter_vars)


def _feeds_one_injective(schedule: Any, block: Any) -> bool:
    consumers = schedule.get_consumers(block)
    return len(consumers) == 1 and _is_injective(schedule, consumers[0])


def _would_nest(schedule: Any, block: Any) -> bool:
    """Return whether inlining a block would put one expanded function into another: TVM's time doubles several times with each level."""
    return all(has_expanded(schedule.get(one).body) for one in (block, *schedule.get_consumers(block)))


def _would_repeat(schedule: Any, block: Any) -> bool:
    """Return whether inlining a block would compute functions, or sums over neighbours, once for each of several neighbours."""
    step = schedule.get(block)
    places: list[Any] = []
    for load in loads_in(schedule.get(schedule.get_consumers(block)[0]).body.value):
        if load.source.same_as(step.body.buffer) and not any(tvm_ffi.structural_equal(load.indices, other) for other in places):
            places.append(load.indices)
    return len(places) > 1 and (is_blend(step) or has_call(step.body.value))


def _would_spread(schedule: Any, block: Any) -> bool:
    """Return whether inlining a block would call a function, such as the root of a variance, for each of many that share its result."""
    (consumer,) = schedule.get_consumers(block)
    axes = [sum(_is_long(iterator) for iterator in schedule.get(one).iter_vars) for one in (block, consumer)]
    return axes[0] < axes[1] and has_call(schedule.get(block).body)


def _is_long(iterator: Any) -> bool:
    return not isinstance(iterator.dom.extent, tirx.IntImm) or int(iterator.dom.extent) > 1


def is_blend(block: Any) -> bool:
    """Return whether a step finds what it reads in a table, along one axis at least."""
    return isinstance(block.body, tirx.BufferStore) and any(table_loads(load) for load in loads_in(block.body.value))


def table_loads(load: Any) -> list[Any]:
    """Return the loads of tables in the indices of a load."""
    return [inner for index in load.indices for inner in loads_in(index)]


def has_call(expr: Any) -> bool:
    """Return whether functions are called in an expression."""
    found: list[Any] = []
    tvm_ffi.structural_walk(expr, [(tvm.ir.Call, found.append)])
    return bool(found)


def _parallelise(schedule: Any, block: Any) -> None:
    loops = schedule.get_loops(block)
    extents = [schedule.get(loop).extent for loop in loops]
    if not extents or not all(isinstance(extent, tirx.IntImm) for extent in extents):
        return
    sizes = [int(extent) for extent in extents]
    total = 1
    for size in sizes:
        total *= size
    if total < PARALLEL_ITERATIONS:
        return
    spatial = [int(iterator.iter_type) == _SPATIAL for iterator in schedule.get(block).iter_vars]
    count, width = 0, 1
    while count < len(spatial) and spatial[count] and width < _WIDTH:
        width *= sizes[count]
        count += 1
    if width > 1:
        outer = schedule.fuse(*loops[:count]) if count > 1 else loops[0]
        _try(schedule.parallel, outer)


def _try(step: Any, argument: Any) -> None:
    """Apply a schedule step where it is legal; a schedule that could not be improved is still right."""
    try:
        step(argument)
    except s_tir.ScheduleError:
        return
