"""Write convolutions of other forms as the one for which there are fast kernels: two-dimensional, over channels and pixels.

A one-dimensional convolution is one of pictures of one row. In a three-dimensional one, the slices that a window spans count as channels of
one picture. A transposed one whose steps are s makes s results of each pixel, each by a part of the kernel: they are channels of a plain
convolution, whose pixels become blocks of the result.

Source of the last: "Is the deconvolution layer the same as a convolutional layer?", W. Shi et al., 2016, https://arxiv.org/abs/1609.07009
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import tvm
from tvm import relax, tirx

from landbridge.codegen.rewriting import rewrite
from landbridge.ir import body as ir_body

Array = np.ndarray[Any, Any]


def plain_convolutions(module: tvm.IRModule) -> tvm.IRModule:
    """Return the rewritten module."""
    return rewrite(module, _Writer(module))


@relax.expr_functor.mutator
class _Writer(relax.PyExprMutator):  # type: ignore[misc]  # TVM has no types
    def visit_call_(self, call: Any) -> Any:
        """Return the call, or what stands for it."""
        call = self.visit_expr_post_order(call)
        rule = _RULES.get(getattr(call.op, "name", ""))
        known = rule is not None and None not in (call.args[0].ty.shape, call.ty.shape)
        found = rule(self.builder_, call) if rule is not None and known else None
        return call if found is None else found


def _layouts(call: Any) -> tuple[str, str, str]:
    return str(call.attrs.data_layout), str(call.attrs.kernel_layout), str(call.attrs.out_layout)


def _integers(values: Any) -> list[int]:
    return [int(value) for value in values]


def _of_one_row(builder: Any, call: Any) -> Any:
    attrs, (data, weight) = call.attrs, call.args
    if _layouts(call) != ("NCW", "OIW", "NCW"):
        return None
    (batch, channels, width), (count, inputs, taps) = data.ty.shape, weight.ty.shape
    before, after = _integers(attrs.padding)
    result = relax.op.nn.conv2d(
        builder.emit(relax.op.reshape(data, [batch, channels, 1, width])),
        builder.emit(relax.op.reshape(weight, [count, inputs, 1, taps])),
        strides=[1, int(attrs.strides[0])],
        padding=[0, before, 0, after],
        dilation=[1, int(attrs.dilation[0])],
        groups=int(attrs.groups),
        out_dtype=attrs.out_dtype,
    )
    return relax.op.reshape(builder.emit(result), call.ty.shape)


def _of_slices(builder: Any, call: Any) -> Any:
    attrs, (data, weight) = call.attrs, call.args
    (batch, channels, extent, height, width), (count, inputs, taps, rows, columns) = data.ty.shape, weight.ty.shape
    depth = call.ty.shape[2]
    if _layouts(call) != ("NCDHW", "OIDHW", "NCDHW") or not all(isinstance(size, tirx.IntImm) for size in (extent, depth, taps)):
        return None
    strides, dilation, padding = (_integers(values) for values in (attrs.strides, attrs.dilation, attrs.padding))
    front, top, left, back, bottom, right = padding
    if front or back:
        data = builder.emit(relax.op.nn.pad(data, [0, 0, 0, 0, front, back, 0, 0, 0, 0]))
    starts = [tap * dilation[0] for tap in range(int(taps))]
    ends = [start + (int(depth) - 1) * strides[0] + 1 for start in starts]
    slices = [
        builder.emit(relax.op.strided_slice(data, [2], [start], [end], [strides[0]])) for start, end in zip(starts, ends, strict=True)
    ]
    seen = builder.emit(relax.op.permute_dims(builder.emit(relax.op.stack(slices, axis=2)), [0, 3, 1, 2, 4, 5]))
    result = relax.op.nn.conv2d(
        builder.emit(relax.op.reshape(seen, [batch * depth, channels * taps, height, width])),
        builder.emit(relax.op.reshape(weight, [count, inputs * taps, rows, columns])),
        strides=strides[1:],
        padding=[top, left, bottom, right],
        dilation=dilation[1:],
        groups=int(attrs.groups),
        out_dtype=attrs.out_dtype,
    )
    pictures = builder.emit(relax.op.reshape(builder.emit(result), [batch, depth, count, *list(call.ty.shape)[3:]]))
    return relax.op.permute_dims(pictures, [0, 2, 1, 3, 4])


def _in_blocks(builder: Any, call: Any) -> Any:
    """Return a transposed convolution with a constant weight as a plain one.

    On one axis, with steps of s and taps w, result Y before it is cut is the sum of x[i] w[Y - s i]. For Y = s Q + r that is the sum over
    j of x[Q - j] w[r + s j]: a plain convolution for each r.
    """
    attrs, (data, weight) = call.attrs, call.args
    ndim = len(data.ty.shape) - 2
    axes = "DHW"[3 - ndim :]
    if _layouts(call) != (f"NC{axes}", f"IO{axes}", f"NC{axes}") or not ir_body.is_constant(weight):
        return None
    steps, dilation, groups = _integers(attrs.strides), _integers(attrs.dilation), int(attrs.groups)
    kernel, spans = _kernel_of_blocks(weight.value.numpy(), steps, dilation, groups)
    taps = list(kernel.shape[2:])
    around = [tap - 1 for tap in taps]
    plain = getattr(relax.op.nn, f"conv{ndim}d")
    product = builder.normalize(plain(data, relax.const(kernel), padding=[*around, *around], groups=groups, out_dtype=attrs.out_dtype))
    rule = _RULES.get(product.op.name)
    flat = None if rule is None else rule(builder, product)
    product = builder.emit(product if flat is None else flat)
    batch, channels, *sizes = data.ty.shape[0], call.ty.shape[1], *list(product.ty.shape)[2:]
    blocks = builder.emit(relax.op.reshape(product, [batch, channels, *steps, *sizes]))
    turned = builder.emit(relax.op.permute_dims(blocks, [0, 1, *(axis for i in range(ndim) for axis in (2 + ndim + i, 2 + i))]))
    whole = relax.op.reshape(turned, [batch, channels, *(size * step for size, step in zip(sizes, steps, strict=True))])
    return _cut(builder, whole, call, [step * tap - span for span, step, tap in zip(spans, steps, taps, strict=True)])


def _kernel_of_blocks(weight: Array, steps: list[int], dilation: list[int], groups: int) -> tuple[Array, list[int]]:
    """Return the weight of the plain convolution for a transposed one's, [inputs, outputs of a group, ...], and how far that reaches."""
    inputs, outputs, *taps = weight.shape
    spans = [(tap - 1) * hole + 1 for tap, hole in zip(taps, dilation, strict=True)]
    parts = [-(-span // step) for span, step in zip(spans, steps, strict=True)]
    spread = np.zeros((inputs, outputs, *(part * step for part, step in zip(parts, steps, strict=True))), weight.dtype)
    spread[np.ix_(range(inputs), range(outputs), *(range(0, span, hole) for span, hole in zip(spans, dilation, strict=True)))] = weight
    ndim = len(taps)
    split = spread.reshape(groups, inputs // groups, outputs, *(size for pair in zip(parts, steps, strict=True) for size in pair))
    of_parts, of_steps = ([3 + 2 * i + k for i in range(ndim)] for k in (0, 1))
    turned = np.flip(split, tuple(of_parts)).transpose(0, 2, *of_steps, 1, *of_parts)
    return np.ascontiguousarray(turned).reshape(groups * outputs * math.prod(steps), inputs // groups, *parts), spans


def _cut(builder: Any, whole: Any, call: Any, spare: list[int]) -> Any:
    """Return what a transposed convolution gives of the whole that all its taps reach.

    Args:
        spare: zeros at the end of each axis, which the kernel does not reach: blocks are as long as the steps.
    """
    ndim = len(spare)
    padding, more = _integers(call.attrs.padding), _integers(call.attrs.output_padding)
    beyond = [extra - after - rest for extra, after, rest in zip(more, padding[ndim:], spare, strict=True)]
    if not any(padding) and not any(beyond):
        return whole
    if max(beyond) > 0:
        whole = relax.op.nn.pad(builder.emit(whole), [0] * 4 + [size for after in beyond for size in (0, max(after, 0))])
    ends = [size + start for size, start in zip(list(call.ty.shape)[2:], padding[:ndim], strict=True)]
    return relax.op.strided_slice(builder.emit(whole), list(range(2, 2 + ndim)), padding[:ndim], ends)


_RULES: dict[str, Callable[[Any, Any], Any]] = {
    "relax.nn.conv1d": _of_one_row,
    "relax.nn.conv3d": _of_slices,
    **{f"relax.nn.conv{ndim}d_transpose": _in_blocks for ndim in (1, 2, 3)},
}
