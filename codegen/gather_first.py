"""Take rows first and compute on them afterwards, where few are taken of many.

What decodes a detector's head computes boxes and classes for every anchor, and then takes the few hundred that have the best scores. The
same numbers come out when the rows are taken before, as long as every step goes row by row. A maximum over functions that never fall is the
function of the maximum, for the same reason: then the functions are computed for what is left.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import tvm
from tvm import relax

from landbridge.codegen.rewriting import rewrite, uses_of

_FEWER = 4
"""Steps move behind a gather that takes at most one of so many rows."""

_UNARY = ("abs", "astype", "ceil", "cos", "exp", "floor", "log", "negative", "sigmoid", "sin", "sqrt", "tanh")
_BINARY = ("add", "divide", "maximum", "minimum", "multiply", "subtract")
_REDUCTIONS = ("argmax", "argmin", "max", "mean", "min", "sum")
_NEVER_FALL = ("ceil", "exp", "floor", "sigmoid", "tanh")
Take = Callable[[Any, int], Any]
"""Returns the gather of rows of a value along an axis."""

Few = Callable[[Any, int], Any]
"""Returns the rows of a value along an axis, taken as early as possible."""

_MODES = ("fast", "clip", "wrap")  # of gathers that give nothing but rows


def gather_first(module: tvm.IRModule) -> tvm.IRModule:
    """Return the rewritten module; operators that are no longer used are left for dead-code elimination."""
    for rewriting in (_Maxima, _Gathers):
        rewriter = rewriting(module)
        module = rewrite(module, rewriter, rewriter.start)
        module = relax.transform.DeadCodeElimination(
            [str(variable.name_hint) for variable, function in module.functions.items() if isinstance(function, relax.Function)]
        )(module)
    return module


class _Rewriter(relax.PyExprMutator):  # type: ignore[misc]  # TVM has no types
    def __init__(self, module: tvm.IRModule) -> None:
        super().__init__(module)
        self.uses: Counter[str] = Counter()

    def start(self, function: Any) -> None:
        """Look at another function."""
        self.uses = uses_of(function)

    def made_by(self, value: Any) -> tuple[str, Any]:
        """Return what makes ``value``, and the name of its operator; "" where it is no call, or of something else."""
        made = self.lookup_binding(value) if isinstance(value, relax.Var) else None
        return (str(getattr(made.op, "name", "")).removeprefix("relax."), made) if isinstance(made, relax.Call) else ("", made)


@relax.expr_functor.mutator
class _Maxima(_Rewriter):
    def visit_call_(self, call: Any) -> Any:
        """Return the call; for a maximum of a function that never falls the function of the maximum."""
        call = self.visit_expr_post_order(call)
        operator, inner = self.made_by(call.args[0]) if getattr(call.op, "name", "") == "relax.max" else ("", call)
        if operator not in _NEVER_FALL:
            return call
        return relax.Call(inner.op, [self.builder_.emit(relax.Call(call.op, [inner.args[0]], call.attrs))], inner.attrs)


@relax.expr_functor.mutator
class _Gathers(_Rewriter):
    known: dict[tuple[str, int], Any]  # the rows of values that one gather has moved past

    def visit_call_(self, call: Any) -> Any:
        """Return the call; for a gather of few rows what computes on these rows only."""
        call = self.visit_expr_post_order(call)
        if getattr(call.op, "name", "") != "relax.take" or call.attrs.axis is None or call.attrs.mode not in _MODES:
            return call
        data, indices, axis = call.args[0], call.args[1], int(call.attrs.axis) % len(call.args[0].ty.shape)
        rows, taken = _extent(data, axis), _extent(indices, 0)
        if len(indices.ty.shape) != 1 or rows is None or taken is None or taken * _FEWER > rows:
            return call
        if self.uses[str(data.name) if isinstance(data, relax.Var) else ""] != 1:
            return call
        self.known = {}
        moved = self.moved(data, axis, lambda source, along: relax.op.take(source, indices, along, str(call.attrs.mode)))
        return call if moved is None else moved

    def rows(self, source: Any, axis: int, take: Take) -> Any:
        """Return the rows of a value, taken as early as possible."""
        key = (str(source.name), axis) if isinstance(source, relax.Var) else None
        if key not in self.known:
            moved = self.moved(source, axis, take)
            rows = self.builder_.emit(take(source, axis) if moved is None else moved)
            if key is None:
                return rows
            self.known[key] = rows
        return self.known[key]

    def moved(self, data: Any, axis: int, take: Take) -> Any:
        """Return the rows of ``data``, computed from rows of what it comes from; None where that is not possible or does not pay."""
        operator, made = self.made_by(data)

        def few(source: Any, along: int) -> Any:
            return self.rows(source, along, take)

        if isinstance(made, relax.TupleGetItem):
            return self.part(made, axis, few)
        if operator in _UNARY:
            return relax.Call(made.op, [few(made.args[0], axis)], made.attrs)
        if operator in _BINARY:
            return self.binary(made, axis, few)
        if operator in _REDUCTIONS and self.uses[str(data.name)] == 1:
            return _reduced(made, axis, few)
        return self.joined(made, axis, few) if operator == "concat" else None

    def joined(self, call: Any, axis: int, few: Few) -> Any:
        """Return tensors that are joined along another axis, rows of each."""
        fields = self.lookup_binding(call.args[0]) if isinstance(call.args[0], relax.Var) else call.args[0]
        if not isinstance(fields, relax.Tuple) or call.attrs.axis is None or int(call.attrs.axis) % len(call.ty.shape) == axis:
            return None
        return relax.op.concat([few(field, axis) for field in fields.fields], int(call.attrs.axis))

    def binary(self, call: Any, axis: int, few: Few) -> Any:
        """Return an operator on rows of both operands; one that is the same for all rows stays as it is."""
        operands = []
        for source in call.args:
            along = axis - (len(call.ty.shape) - len(source.ty.shape))
            operands.append(source if along < 0 or _extent(source, along) == 1 else few(source, along))
        return relax.Call(call.op, operands, call.attrs)

    def part(self, item: Any, axis: int, few: Few) -> Any:
        """Return rows of a part of a tensor that was split along another axis; what all parts take is one gather in the end."""
        operator, split = self.made_by(item.tuple_value)
        if operator != "split" or int(split.attrs.axis) % len(split.args[0].ty.shape) == axis:
            return None
        parts = self.builder_.emit(relax.Call(split.op, [few(split.args[0], axis), *split.args[1:]], split.attrs))
        return relax.TupleGetItem(parts, int(item.index))


def _reduced(call: Any, axis: int, few: Few) -> Any:
    """Return a reduction over other axes, of the rows of its operand."""
    rank, axes = len(call.args[0].ty.shape), call.attrs.axis
    if axes is None:
        return None
    gone = {int(one) % rank for one in (axes if hasattr(axes, "__len__") else [axes])}
    along = axis if call.attrs.keepdims else [a for a in range(rank) if a not in gone][axis]
    return None if along in gone else relax.Call(call.op, [few(call.args[0], along)], call.attrs)


def _extent(tensor: Any, axis: int) -> int | None:
    """Return an extent where it is known."""
    shape = tensor.ty.shape
    extent = shape[axis] if shape is not None and len(shape) else None
    return int(extent) if isinstance(extent, tvm.tirx.IntImm) else None
