"""Round to bfloat16 in float32, where a value is only widened again: an element-wise step, which fuses with its neighbours.

Models of bfloat16 compute every operator in float32 and round its result. A kernel that writes bfloat16 is fused with no other; of a value
that nothing reads as bfloat16, there is no such kernel any more, and not a bit of the results changes.
"""

from __future__ import annotations

from typing import Any

import tvm
from tvm import relax

from landbridge.codegen.bfloat16 import before_narrowing, before_widening, rounded
from landbridge.codegen.rewriting import rewrite


def round_to_bfloat16(module: tvm.IRModule) -> tvm.IRModule:
    """Return ``module`` with float32 values in the place of those of bfloat16 that are widened again."""
    return rewrite(module, _Rounder(module))


@relax.expr_functor.mutator
class _Rounder(relax.PyExprMutator):  # type: ignore[misc]  # TVM has no types
    def __init__(self, module: tvm.IRModule) -> None:
        super().__init__(module)
        self.module = module

    def visit_call_(self, call: Any) -> Any:
        """Return what stands for a value widened after it was narrowed, any other call as it is."""
        call = self.visit_expr_post_order(call)
        narrow = before_widening(call, self.module)
        maker = self.lookup_binding(narrow) if isinstance(narrow, relax.Var) else None
        wide = before_narrowing(maker, self.module)
        return call if wide is None else rounded(self.builder_, wide)
