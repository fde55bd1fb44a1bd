"""Join tensors without copying: what is joined is computed in the memory of the whole.

That can be where the parts lie one after the other in it, which is so where no axis before the joined one is longer than one, and where
kernels of the same function compute them. A part that comes from elsewhere, or goes into two wholes, is copied to its place. What cannot
be joined this way becomes a kernel that copies all parts. Runs when all other operators are kernels.
"""

from __future__ import annotations

import math
from typing import Any

import tvm
from tvm import relax, tirx, topi

from landbridge.codegen.rewriting import rewrite
from landbridge.ir.dtypes import bits_of
from landbridge.ir.sizes import dtype_of

ALIGNMENT = 64
"""Parts begin at multiples of it, in bytes."""

JOIN = "relax.concat"
"""The operator that stands for parts in one memory once this pass has run."""


def join_views(module: tvm.IRModule) -> tvm.IRModule:
    """Return ``module``, in which every concatenation that is left is one in memory."""
    joiner = _Joiner(module)
    return rewrite(module, joiner, joiner.start)


@relax.expr_functor.mutator
class _Joiner(relax.PyExprMutator):  # type: ignore[misc]  # TVM has no types
    """Attributes: ``taken``, the variables that have a place in a whole already; ``results``, those that leave the function."""

    def start(self, function: Any) -> None:
        """Look at another function."""
        self.taken: set[Any] = set()
        self.results: set[Any] = set()
        bound = {binding.var: binding.value for block in function.body.blocks for binding in block.bindings}
        self.leave(function.body.body, bound)

    def leave(self, expr: Any, bound: dict[Any, Any]) -> None:
        """Note what leaves the function."""
        if isinstance(expr, relax.Tuple):
            for field in expr.fields:
                self.leave(field, bound)
        elif isinstance(expr, relax.Var):
            self.results.add(str(expr.name))
            if isinstance(bound.get(expr), relax.Var | relax.Tuple):
                self.leave(bound[expr], bound)

    def visit_call_(self, call: Any) -> Any:
        """Return a join in memory, or a kernel, for a concatenation; any other call as it is."""
        call = self.visit_expr_post_order(call)
        if getattr(call.op, "name", "") != JOIN:
            return call
        parts = self.lookup_binding(call.args[0]) if isinstance(call.args[0], relax.Var) else call.args[0]
        fields = list(parts.fields) if isinstance(parts, relax.Tuple) else []
        free = [self.is_free(field, fields) for field in fields]
        if call.attrs.axis is None or not any(free) or not _follow_each_other(fields, int(call.attrs.axis) % len(call.ty.shape)):
            return tvm.ir.Op.get(JOIN).get_attr("FLegalize")(self.builder_, call)
        placed = [field if is_free else self.copied(field) for field, is_free in zip(fields, free, strict=True)]
        self.taken.update(placed)
        return relax.op.concat(relax.Tuple(placed), axis=int(call.attrs.axis))

    def is_free(self, part: Any, parts: list[Any]) -> bool:
        """Return whether a part can be computed in the memory of the whole."""
        if not isinstance(part, relax.Var) or part in self.taken or str(part.name) in self.results:
            return False
        made = self.lookup_binding(part)
        is_made = isinstance(made, relax.Call) and getattr(made.op, "name", "") in ("relax.call_tir", JOIN)
        return is_made and isinstance(part.ty, relax.TensorType) and sum(part.same_as(other) for other in parts) == 1

    def copied(self, part: Any) -> Any:
        """Return a copy of a part."""
        return self.builder_.emit(self.builder_.call_te(topi.identity, part, primfunc_name_hint="place"))


def _follow_each_other(parts: list[Any], axis: int) -> bool:
    """Return whether the parts lie one after the other in the whole, each at an aligned place."""
    for part in parts:
        shape = list(part.ty.shape)
        if not all(isinstance(extent, tirx.IntImm) for extent in shape) or any(int(extent) != 1 for extent in shape[:axis]):
            return False
        if math.prod(map(int, shape)) * bits_of(dtype_of(part.ty)) % (8 * ALIGNMENT):
            return False
    return True
