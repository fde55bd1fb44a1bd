"""Leave out operators that change nothing, and join those that undo or repeat each other.

Only what is the same to the last bit goes, but for the sign of a zero: ``x + 0`` makes 0 of -0, and TVM's own arithmetic leaves that out as
well. Two casts are joined only where the first loses nothing. Operators that nothing reads any more are left for dead-code elimination.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tvm
import tvm_ffi
from tvm import relax

from landbridge.codegen.rewriting import producer, rewrite
from landbridge.ir import body as ir_body
from landbridge.ir.dtypes import holds
from landbridge.ir.sizes import dtype_of, shape_of

Rule = Callable[["_Cleaner", Any], Any]
"""Returns what stands for a call, or None where the call stays."""


def clean_up(module: tvm.IRModule) -> tvm.IRModule:
    """Return the rewritten module."""
    return rewrite(module, _Cleaner(module))


@relax.expr_functor.mutator
class _Cleaner(relax.PyExprMutator):  # type: ignore[misc]  # TVM has no types
    def visit_call_(self, call: Any) -> Any:
        """Return the call, or what stands for it."""
        call = self.visit_expr_post_order(call)
        rule = _RULES.get(getattr(call.op, "name", ""))
        found = rule(self, call) if rule is not None else None
        return call if found is None else found


def _alike(value: Any, call: Any) -> bool:
    """Return whether a value has the shape and the element type of the result of ``call``."""
    shapes = (value.ty.shape, call.ty.shape)
    return dtype_of(value.ty) == dtype_of(call.ty) and None not in shapes and tvm_ffi.structural_equal(*shapes)


def _all(value: Any, number: float) -> bool:
    """Return whether a value is a constant of nothing but ``number``."""
    return ir_body.is_constant(value) and bool((value.value.numpy() == number).all())


def _without(number: float, *, swapped: bool) -> Rule:
    """Return the rule that leaves out an operation with ``number`` on its right; on its left as well, where they may be ``swapped``."""

    def rule(cleaner: _Cleaner, call: Any) -> Any:
        for value, other in (tuple(call.args), tuple(call.args)[::-1])[: 1 + swapped]:
            if _alike(value, call) and _all(other, number):
                return value
        return None

    return rule


def _negated(cleaner: _Cleaner, call: Any) -> Any:
    before = producer(cleaner, call.args[0], "relax.negative")
    return None if before is None else before.args[0]


def _repeated(cleaner: _Cleaner, call: Any) -> Any:
    """Leave out an operator that does nothing to its own result."""
    return None if producer(cleaner, call.args[0], call.op.name) is None else call.args[0]


def _converted(cleaner: _Cleaner, call: Any) -> Any:
    value = call.args[0]
    if _alike(value, call):
        return value
    before = producer(cleaner, value, "relax.astype")
    if before is None or not holds(dtype_of(before.args[0].ty), dtype_of(value.ty)):
        return None
    source = before.args[0]
    return source if _alike(source, call) else relax.op.astype(source, dtype_of(call.ty))


def _transposed(cleaner: _Cleaner, call: Any) -> Any:
    value, axes = call.args[0], _axes(call)
    before = producer(cleaner, value, "relax.permute_dims")
    if before is not None:
        value, axes = before.args[0], [_axes(before)[axis] for axis in axes]
    if axes == list(range(len(axes))):
        return value
    if _keeps_order(value, axes):
        return relax.op.reshape(value, call.ty.shape)
    return None if before is None else relax.op.permute_dims(value, axes)


def _axes(call: Any) -> list[int]:
    ndim = len(call.args[0].ty.shape)
    return list(range(ndim))[::-1] if call.attrs.axes is None else [int(axis) % ndim for axis in call.attrs.axes]


def _keeps_order(value: Any, axes: list[int]) -> bool:
    """Return whether elements lie in memory as before: only axes of one place have moved."""
    shape = shape_of(value.ty)
    moved = [axis for axis in axes if shape is None or shape[axis] != 1]
    return moved == sorted(moved)


def _reshaped(cleaner: _Cleaner, call: Any) -> Any:
    value = call.args[0]
    if _alike(value, call):
        return value
    before = producer(cleaner, value, "relax.reshape")
    if before is None or call.ty.shape is None:
        return None
    return before.args[0] if _alike(before.args[0], call) else relax.op.reshape(before.args[0], call.ty.shape)


_RULES: dict[str, Rule] = {
    "relax.add": _without(0, swapped=True),
    "relax.subtract": _without(0, swapped=False),
    "relax.multiply": _without(1, swapped=True),
    "relax.divide": _without(1, swapped=False),
    "relax.negative": _negated,
    "relax.nn.relu": _repeated,
    "relax.abs": _repeated,
    "relax.floor": _repeated,
    "relax.ceil": _repeated,
    "relax.astype": _converted,
    "relax.permute_dims": _transposed,
    "relax.reshape": _reshaped,
}
