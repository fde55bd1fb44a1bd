"""Sums, maxima and minima along memory: softmax, normalisation, means, global pooling.

Other steps of the kernel get what the default rule gives them, or share the rows of the reductions.
"""

from __future__ import annotations

from typing import Any

from tvm import s_tir, tirx

from landbridge.codegen.schedules.base import Rule
from landbridge.codegen.schedules.default import Default
from landbridge.codegen.schedules.partial_results import read_reduction
from landbridge.codegen.schedules.register_tiles import in_order
from landbridge.codegen.schedules.rows import Rows
from landbridge.codegen.schedules.vectors import vectors_of


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
        found = [read_reduction(statement) for statement in statements]
        if not any(found):
            return None
        rows, buffers = Rows.of(statements, found), list(root.alloc_buffers)
        if rows is not None:
            rows, buffers = rows.in_output(buffers)
            written = [rows.write(lanes)]
        else:
            written = [statement if one is None else one.write(lanes) for statement, one in zip(statements, found, strict=True)]
        block = s_tir.SBlock([], [], [], root.name_hint, in_order(written), None, buffers, None, root.annotations)
        return tirx.PrimFunc(scheduled.params, s_tir.SBlockRealize([], True, block), scheduled.ret_type, scheduled.attrs)
