"""Rewrite the Relax functions of a module by a mutator, and what mutators ask."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import tvm
import tvm_ffi
from tvm import relax


def rewrite(module: tvm.IRModule, mutator: Any, start: Callable[[Any], object] = lambda function: None) -> tvm.IRModule:
    """Return ``module`` with the Relax functions that a `relax.PyExprMutator` of it makes, and the kernels that it adds.

    Args:
        start: is called with each function before it is rewritten.
    """
    for variable, function in module.functions.items():
        if isinstance(function, relax.Function):
            start(function)
            mutator.builder_.update_func(variable, mutator.visit_expr(function))
    return mutator.builder_.get()


def producer(mutator: Any, value: Any, operator: str) -> Any:
    """Return the call of ``operator`` that makes ``value``, or None where something else does."""
    call = mutator.lookup_binding(value) if isinstance(value, relax.Var) else value
    return call if isinstance(call, relax.Call) and getattr(call.op, "name", "") == operator else None


def uses_of(function: Any) -> Counter[str]:
    """Return how often each variable of a function is read, by its name."""
    found: Counter[str] = Counter()
    for expr in [*(binding.value for block in function.body.blocks for binding in block.bindings), function.body.body]:
        tvm_ffi.structural_walk(expr, [(relax.Var, lambda var: found.update([str(var.name)]))])
    return found
