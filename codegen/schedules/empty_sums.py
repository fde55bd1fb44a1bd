"""Start every sum, maximum and the like before its loop, where that loop may have no iterations.

TVM sets the start value in the first iteration of the loop. A loop over a named dimension may have none, when a caller gives a batch
of 0: what the kernel writes would then be whatever was in memory. A start of its own is right for every extent and costs nothing.
"""

from __future__ import annotations

from typing import Any

import tvm_ffi
from tvm import s_tir, tirx

_REDUCTION = 2  # tirx.IterVar.CommReduce


def start_sums(kernel: Any) -> Any:
    """Return ``kernel`` with the start of each reduction of unknown extent before its loop; itself where it has none."""
    if not isinstance(kernel.body, s_tir.SBlockRealize):
        return kernel
    found = [realize for realize in _realizes(kernel) if _may_be_empty(realize.block)]
    if not found:
        return kernel
    schedule = s_tir.Schedule(kernel, error_render_level="none")
    for realize in found:
        block = schedule.get_sblock(str(realize.block.name_hint))
        over = _variables([v for i, v in zip(realize.block.iter_vars, realize.iter_values, strict=True) if _reduces(i)])
        outermost = next(loop for loop in schedule.get_loops(block) if schedule.get(loop).loop_var in over)
        schedule.decompose_reduction(block, outermost)
    return schedule.mod["main"]


def _may_be_empty(block: Any) -> bool:
    return block.init is not None and any(_reduces(i) and not isinstance(i.dom.extent, tirx.IntImm) for i in block.iter_vars)


def _reduces(iterator: Any) -> bool:
    return int(iterator.iter_type) == _REDUCTION


def _realizes(kernel: Any) -> list[Any]:
    found: list[Any] = []

    def visit(realize: Any, visitor: Any) -> Any:
        found.append(realize)
        return visitor.default_visit(realize)

    tvm_ffi.structural_visit(kernel.body, [(s_tir.SBlockRealize, visit)])
    return found


def _variables(expressions: list[Any]) -> set[Any]:
    found: set[Any] = set()
    tvm_ffi.structural_visit(expressions, [(tirx.Var, lambda var, _: found.add(var))])
    return found
