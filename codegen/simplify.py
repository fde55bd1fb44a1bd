"""Rewrite operators with cheaper ones that compute the same, up to rounding.

Batch normalisation with constant statistics becomes a multiplication and an addition. Those with constants become one of each where they
follow each other, and go into the weights of the convolution before them. A sum over stacked tensors becomes additions; broadcasting to the
shape that a tensor has is nothing.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import tvm
import tvm_ffi
from tvm import relax

from landbridge.codegen.rewriting import producer, rewrite, uses_of
from landbridge.ir import body as ir_body

Array = np.ndarray[Any, Any]

_CONVOLUTIONS = {
    **{f"relax.nn.conv{n}d": {"OI" + "DHW"[3 - n :]: 0} for n in (1, 2, 3)},
    **{f"relax.nn.conv{n}d_transpose": {"IO" + "DHW"[3 - n :]: 1} for n in (1, 2, 3)},
}
"""By operator and layout of its weight, which axis of that is the output channels'."""

_MOST_TERMS = 8
"""A sum of more stacked tensors stays as it is: one pass over all of them is then better than many over two."""


def simplify(module: tvm.IRModule) -> tvm.IRModule:
    """Return the rewritten module; operators that are no longer used are left for dead-code elimination."""
    simplifier = _Simplifier(module)
    return rewrite(module, simplifier, simplifier.start)


@relax.expr_functor.mutator
class _Simplifier(relax.PyExprMutator):  # type: ignore[misc]  # TVM has no types
    def __init__(self, module: tvm.IRModule) -> None:
        super().__init__(module)
        self.uses: Counter[Any] = Counter()

    def start(self, function: Any) -> None:
        """Look at another function."""
        self.uses = uses_of(function)

    def only_producer(self, value: Any, operator: str) -> Any:
        """The same as `producer`, where nothing else reads ``value``; what this rewriter has emitted is read once."""
        return producer(self, value, operator) if isinstance(value, relax.Var) and self.uses.get(str(value.name), 1) == 1 else None

    def with_constant(self, value: Any, operator: str) -> tuple[Any, Array] | None:
        """Return the operands of the only producer of ``value`` where one of them is a float32 constant, which comes second, or None."""
        call = self.only_producer(value, operator)
        return None if call is None else _with_constant(call)

    def visit_tuple_getitem_(self, item: Any) -> Any:
        """Return the first result of a batch normalisation with constants by cheaper means; any other item as it is."""
        item = self.visit_expr_post_order(item)
        dropout = producer(self, item.tuple_value, "relax.nn.dropout")
        if dropout is not None and int(item.index) == 0:
            return dropout.args[0]
        call = producer(self, item.tuple_value, "relax.nn.batch_norm")
        if call is None or int(item.index) != 0 or not all(ir_body.is_constant(a) for a in call.args[1:]):
            return item
        data = call.args[0]
        if str(data.ty.dtype) != "float32" or int(call.attrs.axis) != 1:
            return item
        shape = [-1, *[1] * (len(data.ty.shape) - 2)]
        scale, shift = (array.reshape(shape) for array in _scale_and_shift(call))
        folded = self.folded(data, scale, shift)
        if folded is not None:
            return folded
        product = self.builder_.emit(relax.op.multiply(data, _constant(scale)))
        return relax.op.add(product, _constant(shift))

    def folded(self, data: Any, factor: Array, term: Array | None) -> Any | None:
        """Return ``data * factor + term`` with what makes ``data`` in it, or None where that is nothing of the kind.

        Args:
            factor, term: float64; None is no term.
        """
        added = self.with_constant(data, "relax.add")
        source, shift = (data, None) if added is None else added
        product = self.scaled(source, factor)
        if product is None:
            return None
        if shift is not None:
            if not _is_no_larger(shift, factor):
                return None
            term = shift * factor if term is None else shift * factor + term
        if term is None:
            return product
        return relax.op.add(self.builder_.emit(product), _constant(term)) if _is_finite(term) else None

    def scaled(self, source: Any, factor: Array) -> Any | None:
        """Return ``source * factor`` where ``source`` is a product with a constant, or a convolution with a constant weight."""
        multiplied = self.with_constant(source, "relax.multiply")
        if multiplied is not None:
            data, constant = multiplied
            fits = _is_no_larger(constant, factor) and _is_finite(constant * factor) and _keeps_digits(constant * factor)
            return relax.op.multiply(data, _constant(constant * factor)) if fits else None
        return self.scaled_convolution(source, factor)

    def scaled_convolution(self, source: Any, factor: Array) -> Any | None:
        """Return a convolution, or a transposed one, with a scaled weight, or None: ``source`` is none, or the factor none of channels."""
        call = next((call for name in _CONVOLUTIONS if (call := self.only_producer(source, name)) is not None), None)
        if call is None or not _is_float_constant(call.args[1]):
            return None
        layouts = str(call.attrs.data_layout), str(call.attrs.kernel_layout), str(call.attrs.out_layout or call.attrs.data_layout)
        axis = _CONVOLUTIONS[call.op.name].get(layouts[1])
        weight = _array(call.args[1])
        if axis is None or layouts[0] != layouts[2] or not layouts[2].startswith("NC") or (axis == 1 and int(call.attrs.groups) != 1):
            return None
        channels = _per_channel(factor, weight.shape[axis], weight.ndim)
        if channels is None:
            return None
        weight = weight * channels.reshape([-1 if place == axis else 1 for place in range(weight.ndim)])
        return relax.Call(call.op, [call.args[0], _constant(weight)], call.attrs) if _is_finite(weight) else None

    def multiplied(self, call: Any) -> Any | None:
        """Return what a multiplication by a constant becomes, or None."""
        operands = _with_constant(call)
        return None if operands is None else self.folded(*operands, None)

    def sum_of_terms(self, call: Any) -> Any | None:
        """Return the addition of one constant for an addition of one after another, or None."""
        operands = _with_constant(call)
        added = None if operands is None else self.with_constant(operands[0], "relax.add")
        if operands is None or added is None:
            return None
        (_, term), (data, before) = operands, added
        fits = _is_no_larger(before, term) and _is_finite(before + term)
        return relax.op.add(data, _constant(before + term)) if fits else None

    def visit_call_(self, call: Any) -> Any:
        """Return the call, or what stands for it."""
        call = self.visit_expr_post_order(call)
        operator = getattr(call.op, "name", "")
        if operator == "relax.broadcast_to" and tvm_ffi.structural_equal(call.args[0].ty.shape, call.ty.shape):
            return call.args[0]
        simplified = {"relax.sum": self.added, "relax.multiply": self.multiplied, "relax.add": self.sum_of_terms}.get(operator)
        found = None if simplified is None else simplified(call)
        return call if found is None else found

    def added(self, call: Any) -> Any:
        """Return the additions for a sum over stacked tensors, or None where it is none."""
        stack = producer(self, call.args[0], "relax.stack")
        if (
            stack is None
            or call.attrs.axis is None
            or [int(axis) for axis in call.attrs.axis] != [int(stack.attrs.axis)]
            or call.attrs.keepdims
        ):
            return None
        terms = self.lookup_binding(stack.args[0]) if isinstance(stack.args[0], relax.Var) else stack.args[0]
        if not isinstance(terms, relax.Tuple) or not 2 <= len(terms.fields) <= _MOST_TERMS or int(stack.attrs.axis) < 0:
            return None
        total = terms.fields[0]
        for term in terms.fields[1:]:
            total = self.builder_.emit(relax.op.add(total, term))
        return total


def _is_float_constant(value: Any) -> bool:
    return bool(ir_body.is_constant(value)) and str(value.ty.dtype) == "float32"


def _with_constant(call: Any) -> tuple[Any, Array] | None:
    """Return the operands of a call where one of the two is a float32 constant, which comes second, or None."""
    first, second = call.args
    if _is_float_constant(first) and not _is_float_constant(second):
        first, second = second, first
    return (first, _array(second)) if _is_float_constant(second) else None


def _array(constant: Any) -> Array:
    array: Array = constant.value.numpy().astype("float64")
    return array


def _is_no_larger(first: Array, second: Array) -> bool:
    """Return whether two constants together are no larger than the larger one."""
    return bool(np.broadcast(first, second).size <= max(first.size, second.size))


def _is_finite(array: Array) -> bool:
    """Return whether all numbers are finite in float32."""
    return bool(np.all(np.abs(array) <= np.finfo("float32").max))


def _keeps_digits(array: Array) -> bool:
    """Return whether float32 holds numbers as exactly as others: none of a product is so small that a large factor would show it."""
    sizes = np.abs(array)
    return bool(np.all((sizes >= np.finfo("float32").tiny) | (sizes == 0)))


def _per_channel(factor: Array, channels: int, ndim: int) -> Array | None:
    """Return a factor of a tensor of images by channel, or None where it is another for each pixel or image."""
    if factor.size == 1 and factor.ndim <= ndim:
        return np.full(channels, float(factor.reshape(-1)[0]))
    shape = (1,) * (ndim - factor.ndim) + factor.shape
    return factor.reshape(-1) if shape == (1, channels, *(1,) * (ndim - 2)) else None


def _scale_and_shift(call: Any) -> tuple[Any, Any]:
    gamma, beta, mean, variance = (argument.value.numpy().astype("float64") for argument in call.args[1:])
    scale = (gamma if call.attrs.scale else 1.0) / np.sqrt(variance + float(call.attrs.epsilon))
    return scale, (beta if call.attrs.center else 0.0) - mean * scale


def _constant(array: Any) -> Any:
    return relax.const(np.ascontiguousarray(array.astype("float32")))
