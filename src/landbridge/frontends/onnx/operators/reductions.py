"""Reductions over axes that only the data tells, or over nothing.

The importer has reductions over known axes. Here a kernel reads the axes when it runs; the model must declare the shape of the result, and
a run whose axes do not give that shape fails.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tvm import relax, te, tirx
from tvm.script.ir_builder import tirx as ib

from landbridge.frontends.onnx.operators.call import Call, Declined, Rule, as_int, constant, product
from landbridge.frontends.onnx.operators.loops import check, loops, variable

Combine = Callable[[Any, Any], Any]


@dataclass(frozen=True)
class Reduction:
    """A reduction.

    Attributes:
        start: the result of nothing, for an element type.
        combine: two results to one.
        term: an element, or an element and its shift, to what is combined.
        finish: the result of the combination, by the call and how many terms there are.
    """

    start: Callable[[str], Any]
    combine: Combine = lambda a, b: a + b
    term: Callable[..., Any] = lambda x: x
    finish: Callable[[Call, Any, Any], Any] = lambda call, x, count: x


def _zero(dtype: str) -> Any:
    return tirx.const(0, dtype)


def _lowest(dtype: str) -> Any:
    return -tirx.infinity(dtype) if dtype.startswith("float") else tirx.min_value(dtype)


def _highest(dtype: str) -> Any:
    return tirx.infinity(dtype) if dtype.startswith("float") else tirx.max_value(dtype)


def _or_nan(combine: Combine) -> Combine:
    """Return a maximum or minimum that is NaN where either number is."""

    def combined(left: Any, right: Any) -> Any:
        if not str(left.ty.dtype).startswith("float"):
            return combine(left, right)
        return tirx.Select(tirx.isnan(left), left, tirx.Select(tirx.isnan(right), right, combine(left, right)))

    return combined


def _floating(operator: Callable[[Any], Any]) -> Callable[[Call, Any, Any], Any]:
    """Return what applies a function of real numbers, to integers too."""

    def finish(call: Call, value: Any, _: Any) -> Any:
        if str(value.ty.dtype).startswith("float"):
            return operator(value)
        return operator(call.emit(relax.op.astype(value, "float64")))

    return finish


def _mean(call: Call, total: Any, count: Any) -> Any:
    dtype = str(total.ty.dtype)
    if not isinstance(count, int):
        raise Declined("a mean of a number of terms that is not known")
    if count == 0:  # ONNX leaves it undefined; ONNX Runtime says 0
        return total
    if dtype.startswith("float"):
        return relax.op.divide(total, constant(count, dtype))
    quotient = relax.op.divide(call.emit(relax.op.astype(total, "float64")), constant(count, "float64"))
    return relax.op.trunc(call.emit(quotient))


REDUCTIONS: dict[str, Reduction] = {
    "ReduceL1": Reduction(_zero, term=tirx.abs),
    "ReduceL2": Reduction(_zero, term=lambda x: x * x, finish=_floating(relax.op.sqrt)),
    "ReduceLogSum": Reduction(_zero, finish=_floating(relax.op.log)),
    "ReduceMax": Reduction(_lowest, _or_nan(tirx.max)),
    "ReduceMean": Reduction(_zero, finish=_mean),
    "ReduceMin": Reduction(_highest, _or_nan(tirx.min)),
    "ReduceProd": Reduction(lambda dtype: tirx.const(1, dtype), lambda a, b: a * b),
    "ReduceSum": Reduction(_zero),
    "ReduceSumSquare": Reduction(_zero, term=lambda x: x * x),
}
"""Every reduction but ``ReduceLogSumExp``, which is two."""

_WIDER = {"float16": "float32", "bool": "uint8"}
"""The type in which elements of another are combined."""


def _reduce(call: Call) -> Any:
    """Any reduction, where the axes are not known or there may be nothing to reduce."""
    axes = call.integers(1) if call.has(1) else call.numbers("axes") or []
    empty = any(extent == 0 for extent in call.shape(0))
    if axes == [] and call.number("noop_with_empty_axes", 0):
        return call.tensor(0)
    perhaps = call.node.proto.op_type == "ReduceMean" and axes is not None and _may_be_nothing(call.shape(0), axes)
    if axes is not None and not empty and not perhaps:
        return NotImplemented
    dtype = call.dtype(0)
    data = call.tensor(0)
    if dtype in _WIDER:
        data = call.emit(relax.op.astype(data, _WIDER[dtype]))
    if axes is not None and perhaps:
        result = call.emit(_open_mean(call, data, axes))
    else:
        result = call.emit((_log_sum_exp if call.node.proto.op_type == "ReduceLogSumExp" else _plain)(call, data, axes))
    return result if str(result.ty.dtype) == dtype else relax.op.astype(result, dtype)


def _open_mean(call: Call, data: Any, axes: list[Any]) -> Any:
    """Return the mean of a number of terms that the inputs' shapes tell: of none it is 0, as `_mean` has it, and not 0 / 0."""
    rank, dtype = len(call.shape(0)), str(data.ty.dtype)
    along = sorted({int(axis) % rank for axis in axes} or range(rank))
    word = dtype if dtype.startswith("float") else "float64"
    if word != dtype:
        data = call.emit(relax.op.astype(data, word))
    total = call.emit(relax.op.sum(data, axis=along, keepdims=bool(call.number("keepdims", 1))))

    def kernel(total: Any, count: Any) -> Any:
        terms = tirx.max(count[0], tirx.const(1, "int64")).astype(word)
        return te.compute(total.shape, lambda *i: total(*i) / terms, name="mean")

    mean = call.compute(kernel, total, relax.ShapeExpr([product([call.shape(0)[axis] for axis in along])]), name="mean")
    return mean if word == dtype else relax.op.astype(call.emit(relax.op.trunc(mean)), dtype)


def _may_be_nothing(shape: list[Any], axes: list[Any]) -> bool:
    """Return whether it depends on the inputs' shapes how many terms there are."""
    along = {int(axis) % len(shape) for axis in axes if shape} or range(len(shape))
    return not all(isinstance(shape[axis], int) for axis in along)


def _plain(call: Call, data: Any, axes: list[Any] | None) -> Any:
    reduction = REDUCTIONS[call.node.proto.op_type]
    total = _combined(call, reduction, data, axes)
    before, after = product(call.shape(0)), product(call.declared())
    count = before // after if isinstance(before, int) and isinstance(after, int) and after else None
    return reduction.finish(call, total, count)


def _log_sum_exp(call: Call, data: Any, axes: list[Any] | None) -> Any:
    """Return the logarithm of the sum of powers of e, shifted by the largest so that none is beyond the range."""
    if not str(data.ty.dtype).startswith("float"):
        data = call.emit(relax.op.astype(data, "float64"))
    largest = _combined(call, REDUCTIONS["ReduceMax"], data, axes)
    finite = call.emit(relax.op.isfinite(largest))
    shift = call.emit(relax.op.where(finite, largest, constant(0, str(data.ty.dtype))))
    total = _combined(call, Reduction(_zero, term=lambda x, by: tirx.exp(x - by)), data, axes, shift)
    return relax.op.add(call.emit(relax.op.log(total)), shift)


def _combined(call: Call, reduction: Reduction, data: Any, axes: list[Any] | None, *shift: Any) -> Any:
    """Bind the kernel.

    Args:
        axes: None where input 1 has them.
        shift: a tensor of the result's shape, whose element goes to `Reduction.term`.
    """
    rank = len(data.ty.shape)
    known = None if axes is None else sorted({int(axis) % rank for axis in axes} or range(rank))
    given = call.tensor(1) if known is None else constant(known, "int64")
    keepdims, dtype = bool(call.number("keepdims", 1)), str(data.ty.dtype)

    def kernel(data: Any, axes: Any, shape: list[Any], *shift: Any) -> Any:
        def body(data_: Any, axes_: Any, *others: Any) -> None:
            result = others[-1]
            strides = _strides(data.shape, axes_, int(axes.shape[0]), shape, keepdims=keepdims)
            with ib.serial(0, product(shape)) as i:
                result[i] = reduction.start(dtype)
            if any(as_int(extent) == 0 for extent in data.shape):
                return
            with ib.serial(0, product(list(data.shape))) as i:
                place, rest = ib.int64(0), i
                for axis in reversed(range(rank)):
                    place = place + (rest % data.shape[axis]) * strides[axis]
                    rest = rest // data.shape[axis]
                shifts = [buffer[place] for buffer in others[:-1]]
                result[place] = reduction.combine(result[place], reduction.term(data_[i], *shifts))

        return loops("reduced", [data, axes, *shift], [(shape, dtype)], body)

    return call.compute(kernel, data, given, relax.ShapeExpr(call.declared()), *shift, name=call.node.proto.op_type.lower())


def _strides(shape: Any, axes: Any, count: int, declared: list[Any], *, keepdims: bool) -> Any:
    """Emit how far the place in the result moves with each axis, and the check that the axes give the declared shape."""
    rank = len(shape)
    reduced = ib.buffer_proxy(ib.alloc_buffer((max(rank, 1),), "int64"))
    strides = ib.buffer_proxy(ib.alloc_buffer((max(rank, 1),), "int64"))
    for axis in range(rank):
        reduced[axis] = ib.int64(0)
    with ib.serial(0, count) as i:
        axis = axes[i].astype("int64")
        check(tirx.all(axis >= -rank, axis < rank), "an axis that the tensor does not have")
        reduced[tirx.Select(axis < 0, axis + rank, axis)] = ib.int64(1)
    running, kept, agrees = variable("int64", ib.int64(1)), variable("int64", ib.int64(0)), variable("bool", tirx.const(True, "bool"))
    for axis in reversed(range(rank)):
        strides[axis] = tirx.Select(reduced[axis] == 1, ib.int64(0), running[0])
        running[0] = tirx.Select(reduced[axis] == 1, running[0], running[0] * shape[axis])
        if keepdims:
            extent = tirx.Select(reduced[axis] == 1, ib.int64(1), shape[axis])
            agrees[0] = tirx.all(agrees[0], extent == declared[axis])
    if not keepdims:
        for axis in range(rank):
            for place, extent in enumerate(declared):
                here = tirx.all(reduced[axis] == 0, kept[0] == place)
                agrees[0] = tirx.all(agrees[0], tirx.any(tirx.Not(here), shape[axis] == extent))
            kept[0] = kept[0] + (ib.int64(1) - reduced[axis])
        agrees[0] = tirx.all(agrees[0], kept[0] == len(declared))
    check(agrees[0], "the axes do not give the shape that the model declares")
    return strides


OPERATORS: dict[str, Rule] = dict.fromkeys((*REDUCTIONS, "ReduceLogSumExp"), _reduce)
