"""Rewrite operators with cheaper ones that compute the same, up to rounding.

Batch normalisation with constant statistics becomes a multiplication and an addition, and goes into the weights of the convolution
before it; a sum over stacked tensors becomes additions; broadcasting to the shape that a tensor has is nothing.
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
        """The same, where nothing else reads ``value``."""
        return producer(self, value, operator) if isinstance(value, relax.Var) and self.uses[str(value.name)] == 1 else None

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
        scale, shift = _scale_and_shift(call)
        shape = [1, -1, *[1] * (len(data.ty.shape) - 2)]
        convolution = self.scaled_convolution(data, scale, shift, shape)
        return self.scaled(data, scale, shift, shape) if convolution is None else convolution

    def scaled(self, data: Any, scale: Any, shift: Any, shape: list[int]) -> Any:
        product = self.builder_.emit(relax.op.multiply(data, _constant(scale.reshape(shape))))
        return relax.op.add(product, _constant(shift.reshape(shape)))

    def scaled_convolution(self, data: Any, scale: Any, shift: Any, shape: list[int]) -> Any:
        """Return a convolution with a scaled weight, and its bias, or None where ``data`` is no convolution with a constant weight."""
        bias = self.only_producer(data, "relax.add")
        source = data
        if bias is not None and ir_body.is_constant(bias.args[1]) and _is_per_channel(bias.args[1], len(shape), len(scale)):
            source, shift = bias.args[0], shift + scale * bias.args[1].value.numpy().astype("float64").reshape(-1)
        call = self.only_producer(source, "relax.nn.conv2d")
        if call is None or not ir_body.is_constant(call.args[1]) or str(call.attrs.kernel_layout) != "OIHW" or len(shape) != 4:
            return None
        weight = call.args[1].value.numpy().astype("float64") * scale[:, None, None, None]
        convolution = self.builder_.emit(relax.Call(call.op, [call.args[0], _constant(weight)], call.attrs))
        return relax.op.add(convolution, _constant(shift.reshape(shape)))

    def visit_call_(self, call: Any) -> Any:
        """Return the call, or what stands for it."""
        call = self.visit_expr_post_order(call)
        operator = getattr(call.op, "name", "")
        if operator == "relax.broadcast_to" and tvm_ffi.structural_equal(call.args[0].ty.shape, call.ty.shape):
            return call.args[0]
        added = self.added(call) if operator == "relax.sum" else None
        return call if added is None else added

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


def _is_per_channel(constant: Any, ndim: int, channels: int) -> bool:
    shape = [int(extent) for extent in constant.ty.shape]
    return [1] * (ndim - len(shape)) + shape == [1, channels, *[1] * (ndim - 2)]


def _scale_and_shift(call: Any) -> tuple[Any, Any]:
    gamma, beta, mean, variance = (argument.value.numpy().astype("float64") for argument in call.args[1:])
    scale = (gamma if call.attrs.scale else 1.0) / np.sqrt(variance + float(call.attrs.epsilon))
    return scale, (beta if call.attrs.center else 0.0) - mean * scale


def _constant(array: Any) -> Any:
    return relax.const(np.ascontiguousarray(array.astype("float32")))
