"""Write convolutions of other forms as the one for which there are fast kernels: two-dimensional, over channels and pixels.

A one-dimensional convolution is one of pictures of one row. A transposed one whose steps are as long as its kernel writes every pixel once:
each pixel of the input becomes a block of the result, by a product over the channels.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tvm
from tvm import relax

from landbridge.codegen.rewriting import rewrite


def plain_convolutions(module: tvm.IRModule) -> tvm.IRModule:
    """Return the rewritten module."""
    return rewrite(module, _Writer(module))


@relax.expr_functor.mutator
class _Writer(relax.PyExprMutator):  # type: ignore[misc]  # TVM has no types
    def visit_call_(self, call: Any) -> Any:
        """Return the call, or what stands for it."""
        call = self.visit_expr_post_order(call)
        rule = _RULES.get(getattr(call.op, "name", ""))
        found = rule(self.builder_.emit, call) if rule is not None else None
        return call if found is None else found


def _of_one_row(emit: Callable[[Any], Any], call: Any) -> Any:
    attrs, (data, weight) = call.attrs, call.args
    if (attrs.data_layout, attrs.kernel_layout, attrs.out_layout) != ("NCW", "OIW", "NCW") or None in (data.ty.shape, call.ty.shape):
        return None
    (batch, channels, width), (count, inputs, taps) = data.ty.shape, weight.ty.shape
    before, after = (int(size) for size in attrs.padding)
    result = relax.op.nn.conv2d(
        emit(relax.op.reshape(data, [batch, channels, 1, width])),
        emit(relax.op.reshape(weight, [count, inputs, 1, taps])),
        strides=[1, int(attrs.strides[0])],
        padding=[0, before, 0, after],
        dilation=[1, int(attrs.dilation[0])],
        groups=int(attrs.groups),
        out_dtype=attrs.out_dtype,
    )
    return relax.op.reshape(emit(result), call.ty.shape)


def _in_blocks(emit: Callable[[Any], Any], call: Any) -> Any:
    attrs, (data, weight) = call.attrs, call.args
    if (attrs.data_layout, attrs.kernel_layout, attrs.out_layout) != ("NCHW", "IOHW", "NCHW") or None in (data.ty.shape, call.ty.shape):
        return None
    (batch, channels, height, width), (_, count, rows, columns) = data.ty.shape, weight.ty.shape
    steps = [int(step) for step in attrs.strides]
    other = int(attrs.groups) != 1 or any(map(int, (*attrs.padding, *attrs.output_padding))) or {*map(int, attrs.dilation)} != {1}
    if other or steps != [int(rows), int(columns)]:
        return None
    flat = emit(relax.op.permute_dims(weight, [1, 2, 3, 0]))
    kernel = emit(relax.op.reshape(flat, [count * rows * columns, channels, 1, 1]))
    product = emit(relax.op.nn.conv2d(data, kernel, out_dtype=attrs.out_dtype))
    blocks = emit(relax.op.reshape(product, [batch, count, rows, columns, height, width]))
    return relax.op.reshape(emit(relax.op.permute_dims(blocks, [0, 1, 4, 2, 5, 3])), call.ty.shape)


_RULES: dict[str, Callable[[Callable[[Any], Any], Any], Any]] = {
    "relax.nn.conv1d": _of_one_row,
    "relax.nn.conv2d_transpose": _in_blocks,
}
