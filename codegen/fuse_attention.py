"""Make attention one kernel: the products of queries and keys, what is done to these scores, their softmax, and the products with values.

Transposes, reshapes and scales of queries, keys and values become part of how the kernel reads them, a transpose of the result part of how
it writes it. The kernel is written here as plain steps; `landbridge.codegen.schedules.attention` gives it the order in which the scores
of a few queries stay in cache.

Numbers differ from those of the separate operators by rounding only: a row is divided by the sum of its exponentials after the product with
the values, as long as those are below 1e38 in sum.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import tvm
import tvm_ffi
from tvm import relax, te, tirx, topi

from landbridge.codegen.rewriting import rewrite, uses_of
from landbridge.codegen.schedules.attention import ATTENTION
from landbridge.codegen.schedules.contraction import replaced
from landbridge.ir import body as ir_body

_FEWEST_QUERIES = 4
"""Fewer known queries do not fill the lanes of a vector: products of a vector and a matrix are better."""

_WIDEST_HEAD = 256
"""Numbers of a query; what is wider has no need of this."""

_OPAQUE = 8  # relax.OpPatternKind: nothing is fused into the kernel

Index = Callable[[Sequence[Any]], list[Any]]
"""From the indices of a view to those of what it is a view of."""

_BINARY: dict[str, Callable[[Any, Any], Any]] = {
    "relax.add": lambda a, b: a + b,
    "relax.subtract": lambda a, b: a - b,
    "relax.multiply": lambda a, b: a * b,
    "relax.divide": lambda a, b: a / b,
}


def fuse_attention(module: tvm.IRModule) -> tvm.IRModule:
    """Return the rewritten module; operators that are no longer used are left for dead-code elimination."""
    fuser = _Fuser(module)
    return rewrite(module, fuser, fuser.start)


@dataclass(frozen=True, eq=False)
class _View:
    """A tensor read through transposes, reshapes and scales.

    Attributes:
        base: what is read.
        index: where, for a place of the view.
        scales: constants of one number, with which each element is multiplied.
    """

    base: Any
    index: Index
    scales: tuple[Any, ...] = ()


@dataclass(frozen=True, eq=False)
class _Scores:
    """What a softmax is taken of.

    Attributes:
        product: the call that multiplies queries with keys.
        operands: what else is read, in order.
        value: from a score, the tensors of ``operands`` in order and the place to what the softmax is taken of.
    """

    product: Any
    operands: tuple[Any, ...]
    value: Callable[[Any, Sequence[Any], Sequence[Any]], Any]


@relax.expr_functor.mutator
class _Fuser(relax.PyExprMutator):  # type: ignore[misc]  # TVM has no types
    def __init__(self, module: tvm.IRModule) -> None:
        super().__init__(module)
        self.uses: Counter[str] = Counter()
        self.transposed: list[Any] = []  # calls whose result only a transpose reads

    def start(self, function: Any) -> None:
        """Look at another function."""
        self.uses = uses_of(function)
        made = {str(binding.var.name): binding.value for block in function.body.blocks for binding in block.bindings}
        transposes = [call for call in made.values() if _name(call) == _TRANSPOSE and isinstance(call.args[0], relax.Var)]
        names = [str(call.args[0].name) for call in transposes]
        self.transposed = [made[name] for name in names if name in made and self.uses[name] == 1]

    def visit_call_(self, call: Any) -> Any:
        """Return the kernel for what is attention, any other call as it is."""
        waits = any(call.same_as(other) for other in self.transposed)
        call = self.visit_expr_post_order(call)
        fused = None
        if _name(call) == _PRODUCT and not waits:
            fused = self.attention(call, range(len(call.ty.shape)))
        elif _name(call) == _TRANSPOSE:
            product, rank = self.made_once(call.args[0]), len(call.ty.shape)
            if _name(product) == _PRODUCT:
                axes = reversed(range(rank)) if call.attrs.axes is None else [int(axis) % rank for axis in call.attrs.axes]
                fused = self.attention(product, list(axes))
        return call if fused is None else fused

    def made_once(self, value: Any) -> Any:
        """Return what makes a variable that is read once; None for any other value."""
        return self.made(value) if isinstance(value, relax.Var) and self.uses[str(value.name)] == 1 else None

    def made(self, value: Any) -> Any:
        """Return what makes a variable; None for any other value."""
        return self.lookup_binding(value) if isinstance(value, relax.Var) else None

    def attention(self, product: Any, order: Sequence[int]) -> Any:
        """Return the kernel that ends in a product with values, with its axes in another order; None where it is none, or does not pay."""
        softmax = self.made_once(_unless_never(self, product.args[0]))
        if _name(softmax) != "relax.nn.softmax" or int(softmax.attrs.axis) not in (-1, len(softmax.ty.shape) - 1):
            return None
        scores = self.scores(softmax.args[0])
        if scores is None or not _pays(scores.product, product) or order[-1] != len(order) - 1:
            return None
        (query, key), value = scores.product.args, product.args[1]
        views = self.view(query, scaled=True), self.view(key, scaled=True), self.view(value, scaled=False)
        if not _is_dense(views[2], value):
            views = (*views[:2], _View(value, list))
        return _call(self.builder_, scores, product, views, order)

    def scores(self, value: Any) -> _Scores | None:
        """Return what a softmax is taken of as steps on scores; None where it is something else."""
        call = self.made_once(value)
        if _name(call) == _PRODUCT:
            return _Scores(call, (), lambda score, operands, at: score)
        if _name(call) not in (*_BINARY, "relax.where"):
            return None
        for i, argument in enumerate(call.args):
            inner = None if i == 0 and _name(call) == "relax.where" else self.scores(argument)
            if inner is not None and _same(argument.ty.shape, value.ty.shape):
                return _stepped(inner, call, i)
        return None

    def view(self, value: Any, *, scaled: bool) -> _View:
        """Return a tensor as a view of what it comes from."""
        call = self.made(value)
        made = _VIEWS.get(_name(call))
        index = made(call) if made is not None else None
        if index is not None:
            inner = self.view(call.args[0], scaled=scaled)
            return _View(inner.base, lambda at: inner.index(index(at)), inner.scales)
        scale = _scale(call) if scaled else None
        if scale is not None:
            inner = self.view(call.args[1 - scale], scaled=scaled)
            return _View(inner.base, inner.index, (*inner.scales, call.args[scale]))
        return _View(value, list)


_PRODUCT, _TRANSPOSE = "relax.matmul", "relax.permute_dims"


def _name(call: Any) -> str:
    return str(getattr(call.op, "name", "")) if isinstance(call, relax.Call) else ""


def _unless_never(mutator: Any, value: Any) -> Any:
    """Return ``value``; what a choice gives by a condition that is false everywhere, as ONNX's Attention has it for rows without keys."""
    call = mutator.made_once(value)
    never = _name(call) == "relax.where" and ir_body.is_constant(call.args[0]) and not call.args[0].value.numpy().any()
    return call.args[2] if never and _same(call.args[2].ty.shape, call.ty.shape) else value


def _same(first: Any, second: Any) -> bool:
    return bool(tvm_ffi.structural_equal(first, second))


def _pays(scores: Any, product: Any) -> bool:
    """Return whether two products of float32 tensors are what the kernel is for."""
    (query, key), value = scores.args, product.args[1]
    rank = len(product.ty.shape)
    tensors = (query, key, value, scores, product)
    if rank < 2 or any(len(tensor.ty.shape) != rank or str(tensor.ty.dtype) != "float32" for tensor in tensors):
        return False
    if not _same(list(scores.ty.shape)[:-2], list(product.ty.shape)[:-2]) or ir_body.is_constant(key) or ir_body.is_constant(value):
        return False
    queries, widths = scores.ty.shape[-2], (query.ty.shape[-1], product.ty.shape[-1])
    if isinstance(queries, tirx.IntImm) and int(queries) < _FEWEST_QUERIES:
        return False
    return all(isinstance(width, tirx.IntImm) and int(width) <= _WIDEST_HEAD for width in widths)


def _stepped(inner: _Scores, call: Any, position: int) -> _Scores:
    """Return scores with one more step, of whose operands one is what there is so far."""
    others = [argument for i, argument in enumerate(call.args) if i != position]
    count = len(inner.operands)

    def value(score: Any, operands: Sequence[Any], at: Sequence[Any]) -> Any:
        values = [_at(tensor, at) for tensor in operands[count : count + len(others)]]
        values.insert(position, inner.value(score, operands, at))
        return tirx.Select(*values) if _name(call) == "relax.where" else _BINARY[_name(call)](*values)

    return _Scores(inner.product, (*inner.operands, *others), value)


def _at(tensor: Any, at: Sequence[Any]) -> Any:
    """Return an element of a tensor that is broadcast."""
    own = at[len(at) - len(tensor.shape) :]
    return tensor(*(0 if _is_one(extent) else index for index, extent in zip(own, tensor.shape, strict=True)))


def _is_one(extent: Any) -> bool:
    return isinstance(extent, tirx.IntImm) and int(extent) == 1


def _scale(call: Any) -> int | None:
    """Return which operand of a multiplication is a constant of one number."""
    if _name(call) != "relax.multiply":
        return None
    return next((i for i, one in enumerate(call.args) if ir_body.is_constant(one) and one.value.numpy().size == 1 and _fits(call, i)), None)


def _fits(call: Any, scale: int) -> bool:
    return _same(call.args[1 - scale].ty.shape, call.ty.shape)


def _transposed(call: Any) -> Index | None:
    rank = len(call.ty.shape)
    axes = list(reversed(range(rank))) if call.attrs.axes is None else [int(axis) % rank for axis in call.attrs.axes]
    return lambda at: [at[axes.index(axis)] for axis in range(rank)]


def _broadcast(call: Any) -> Index | None:
    extents = list(call.args[0].ty.shape)

    def index(at: Sequence[Any]) -> list[Any]:
        return [
            tirx.const(0, "int64") if _is_one(extent) else one for one, extent in zip(at[len(at) - len(extents) :], extents, strict=True)
        ]

    return index


def _reshaped(call: Any) -> Index | None:
    """Return the indices of a reshape: groups of axes become groups of as many elements; a size only the run tells stays an axis."""
    source, result = (list(tensor.ty.shape) for tensor in (call.args[0], call))
    groups = _groups(source, result)
    return None if groups is None else lambda at: [one for group in groups for one in _within(group, source, result, at)]


Group = tuple[list[int], list[int]]
"""Axes of the source of a reshape, and those of its result that have the same elements."""


def _groups(source: Sequence[Any], result: Sequence[Any]) -> list[Group] | None:
    """Return the smallest groups of axes that go into each other, or None where that depends on sizes only the run tells."""
    groups: list[Group] = []
    i = j = 0
    while i < len(source) or j < len(result):
        if i < len(source) and j < len(result) and _same(source[i], result[j]):
            groups.append(([i], [j]))
            i, j = i + 1, j + 1
            continue
        first, second, sizes = i, j, [1, 1]
        while first == i or second == j or sizes[0] != sizes[1]:
            of_source = j == len(result) or (i < len(source) and (first == i or (second < j and sizes[0] < sizes[1])))
            extent = source[i] if of_source else result[j] if j < len(result) else None
            if not isinstance(extent, tirx.IntImm):
                return None
            sizes[0 if of_source else 1] *= int(extent)
            i, j = (i + 1, j) if of_source else (i, j + 1)
            if i == len(source) and j == len(result):
                break
        if sizes[0] != sizes[1]:
            return None
        groups.append((list(range(first, i)), list(range(second, j))))
    return groups


def _within(group: Group, source: Sequence[Any], result: Sequence[Any], at: Sequence[Any]) -> list[Any]:
    if len(group[0]) == len(group[1]) == 1:
        return [at[group[1][0]]]
    position: Any = tirx.const(0, "int64")
    for axis in group[1]:
        position = position * result[axis] + at[axis]
    found: list[Any] = []
    for axis in reversed(group[0]):
        found.insert(0, tirx.floormod(position, source[axis]) if axis != group[0][0] else position)
        position = tirx.floordiv(position, source[axis])
    return found


_VIEWS: dict[str, Callable[[Any], Index | None]] = {
    "relax.broadcast_to": _broadcast,
    _TRANSPOSE: _transposed,
    "relax.reshape": _reshaped,
}


def _is_dense(view: _View, tensor: Any) -> bool:
    """Return whether neighbours along the last axis of a view are neighbours in memory."""
    analyzer, variables = _bound(tensor.ty.shape)
    last = variables[-1]
    offsets = []
    for at in (variables, [*variables[:-1], last + 1]):
        offset: Any = tirx.const(0, "int64")
        for one, extent in zip(view.index(at), view.base.ty.shape, strict=True):
            offset = offset * extent + one
        offsets.append(offset)
    step = analyzer.simplify(offsets[1] - offsets[0])
    return isinstance(step, tirx.IntImm) and int(step) == 1


def _bound(shape: Sequence[Any]) -> tuple[Any, list[Any]]:
    """Return a variable for each axis, the last short of its end, and an analyzer that knows their ranges."""
    analyzer = tvm.sym.Analyzer()
    variables = [tirx.Var(f"i{axis}", "int64") for axis in range(len(shape))]
    for axis, (variable, extent) in enumerate(zip(variables, shape, strict=True)):
        if isinstance(extent, tirx.IntImm):
            is_last = axis == len(shape) - 1
            analyzer.bind(variable, tvm.ir.Range(0, max(1, int(extent) - (1 if is_last else 0))))
    return analyzer, variables


def _call(builder: Any, scores: _Scores, product: Any, views: Sequence[_View], order: Sequence[int]) -> Any:
    """Return the call of the kernel."""
    shapes = [tensor.ty.shape for tensor in (*scores.product.args, product.args[1])]
    scales = [scale for view in views for scale in view.scales]
    keys, width = shapes[1][-1], shapes[0][-1]

    def element(tensor: Any, position: int, at: Sequence[Any]) -> Any:
        analyzer = tvm.sym.Analyzer()
        own = [0 if _is_one(extent) else one for one, extent in zip(at, shapes[position], strict=True)]
        for one, extent in zip(own, shapes[position], strict=True):
            if isinstance(one, tirx.Var) and isinstance(extent, tirx.IntImm):
                analyzer.bind(one, tvm.ir.Range(0, extent))
        own = [tirx.const(0, "int64") if isinstance(one, int) else one for one in own]
        return tensor(*(analyzer.simplify(one) for one in views[position].index(own)))

    def attention(query: Any, key: Any, value: Any, *others: Any) -> Any:
        factors, operands = others[: len(scales)], others[len(scales) :]
        named = _names(arguments, (query, key, value, *others))
        along = te.reduce_axis((0, width), name="d")

        def scaled_query(at: Sequence[Any]) -> Any:
            found = element(query, 0, at)
            for factor in factors:
                found = found * factor(*[0] * len(factor.shape))
            return found

        def score(*at: Any) -> Any:
            batch, i, j = at[:-2], at[-2], at[-1]
            return te.sum(scaled_query([*batch, i, along.var]) * element(key, 1, [*batch, along.var, j]), axis=along)

        plain = te.compute([replaced(extent, named) for extent in scores.product.ty.shape], score, name="scores")
        stepped = te.compute(plain.shape, lambda *at: scores.value(plain(*at), operands, at), name="stepped")
        weights = topi.nn.softmax(stepped, axis=-1)
        over = te.reduce_axis((0, replaced(keys, named)), name="j")

        def mixed(*at: Any) -> Any:
            place = [at[list(order).index(axis)] for axis in range(len(order))]
            return te.sum(weights(*place[:-1], over.var) * element(value, 2, [*place[:-2], over.var, place[-1]]), axis=over)

        shape = [replaced(product.ty.shape[axis], named) for axis in order]
        return te.compute(shape, mixed, name="mixed", attrs={ATTENTION: 1})

    arguments = [*(view.base for view in views), *scales, *scores.operands]
    return builder.call_te(attention, *arguments, primfunc_name_hint="attention", primfunc_attrs={"op_pattern": _OPAQUE})


def _names(arguments: Sequence[Any], tensors: Sequence[Any]) -> dict[Any, Any]:
    """Return for the named dimensions of a function those of the kernel."""
    found: dict[Any, Any] = {}
    for argument, tensor in zip(arguments, tensors, strict=True):
        found.update({old: new for old, new in zip(argument.ty.shape, tensor.shape, strict=True) if isinstance(old, tirx.Var)})
    return found
