"""Turn products with constant weights into kernels over packed weights.

A packed weight lies in memory in the order in which register tiles read it: panels of as many columns (or output channels) as a
tile is wide, one panel after the other, filled up with zeros that no result is computed from. The packing is done here, once. Weights of
products that 16 bits hold exactly are kept in 16 (`landbridge.codegen.half_weights`).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import tvm
from tvm import relax, te, tirx

from landbridge.codegen.half_weights import Kept, kept_as
from landbridge.codegen.rewriting import producer, rewrite
from landbridge.codegen.schedules.conv2d import GROUPS, as_product, panel_of_conv2d
from landbridge.codegen.schedules.dots import float16_dots_of
from landbridge.codegen.schedules.matmul import PANEL, tile_of
from landbridge.codegen.schedules.padding import padded
from landbridge.codegen.schedules.vectors import Vectors, vectors_of
from landbridge.ir import body as ir_body

Array = np.ndarray[Any, Any]

_FLOATS = ("float32", "float16")


def packed_columns(matrix: Array, panel: int) -> Array:
    """Return a [rows, columns] matrix as [panels, rows, panel]."""
    rows, columns = matrix.shape
    panels = -(-columns // panel)
    filled = np.zeros((rows, panels * panel), matrix.dtype)
    filled[:, :columns] = matrix
    return np.ascontiguousarray(filled.reshape(rows, panels, panel).transpose(1, 0, 2))


def packed_channels(weight: Array, groups: int, panel: int) -> Array:
    """Return [outputs, inputs, height, width] weights as [groups, panels, inputs / run, height, width, run, panel].

    A run of inputs lies inside of the window: a tile's inner loop then goes over inputs, which share nothing that a compiler could
    want to keep in registers, as neighbouring places of a window do.
    """
    outputs, inputs, height, width = weight.shape
    run = input_run(inputs)
    ordered = weight.reshape(outputs, inputs // run, run, height, width).transpose(0, 1, 3, 4, 2)
    matrix = ordered.reshape(groups, outputs // groups, inputs * height * width)
    packed = np.stack([packed_columns(group.T, panel) for group in matrix])
    return packed.reshape(groups, packed.shape[1], *ordered.shape[1:], panel)


def input_run(inputs: int) -> int:
    """Return how many inputs the inner loop of a convolution takes: a divisor of all."""
    return next((run for run in range(16, 1, -1) if inputs % run == 0), inputs if inputs < 64 else 1)


def pack_weights(module: tvm.IRModule, target: Any) -> tvm.IRModule:
    """Return ``module`` with its products of floats with constant weights as kernels over packed weights.

    Data of float16 is widened first, so that products and sums are float32, and the result is rounded once: a sum of n products x w is
    right within (n + 1) 2 ** -24 sum |x w|, and half a unit in the last place of float16.

    Args:
        target: the TVM target whose tiles the weights are packed for.
    """
    return rewrite(module, _Packer(target, module))


@relax.expr_functor.mutator
class _Packer(relax.PyExprMutator):  # type: ignore[misc]  # TVM has no types
    def __init__(self, target: Any, module: tvm.IRModule) -> None:
        super().__init__(module)
        self.target, self.vectors = target, vectors_of(target)

    def visit_call_(self, call: Any) -> Any:
        """Return the call of a kernel for what can be packed, any other call as it is."""
        call = self.visit_expr_post_order(call)
        operator = getattr(call.op, "name", "")
        packed = self.matmul(call) if operator == "relax.matmul" else None
        if operator == "relax.nn.conv2d":
            packed = _conv2d(self.builder_, call, self.vectors)
        return call if packed is None else packed

    def matmul(self, call: Any) -> Any | None:
        """Return what a product of two tensors becomes."""
        left, matrix = call.args[0], self.weight(call.args[1])
        dtype = str(call.ty.dtype)
        if matrix is None or matrix.ndim != 2 or len(left.ty.shape) < 2 or dtype != str(left.ty.dtype) or dtype not in _FLOATS:
            return None
        rows = left.ty.shape[-2]
        _, panel = tile_of(int(rows) if isinstance(rows, tirx.IntImm) else rows, matrix.shape[1], self.vectors)
        kept = kept_as(matrix, panel, self.target)
        kernel, packed = _matmul(matrix.shape[1], panel, kept), relax.const(kept.array(packed_columns(matrix, panel)))
        if dtype == "float32":
            return self.builder_.call_te(kernel, left, packed)
        if kept.dtype == dtype and float16_dots_of(self.target) is not None:
            return relax.op.astype(self.builder_.emit(self.builder_.call_te(kernel, left, packed)), dtype)
        wide = self.builder_.emit(relax.op.astype(left, "float32"))
        return relax.op.astype(self.builder_.emit(self.builder_.call_te(kernel, wide, packed)), dtype)

    def weight(self, expr: Any) -> Array | None:
        """Return a constant of floats as float32, also one that the model widens; or None where it is something else."""
        cast = producer(self, expr, "relax.astype")
        constant = expr if cast is None else cast.args[0]
        known = ir_body.is_constant(constant) and {str(expr.ty.dtype), str(constant.ty.dtype)} <= set(_FLOATS)
        if not known or (cast is not None and str(expr.ty.dtype) != "float32"):
            return None
        array: Array = constant.value.numpy().astype("float32")
        return array


def _matmul(columns: int, panel: int, kept: Kept) -> Any:
    def matmul(data: Any, weight: Any) -> Any:
        k = te.reduce_axis((0, data.shape[-1]), name="k")
        return te.compute(
            [*data.shape[:-1], columns],
            lambda *at: te.sum(data(*at[:-1], k).astype("float32") * kept.number(weight, (at[-1] // panel, k), at[-1] % panel), axis=k),
            name="matmul",
            attrs={PANEL: panel},
        )

    return matmul


def _conv2d(builder: Any, call: Any, vectors: Vectors) -> Any | None:
    """Return what a two-dimensional convolution becomes."""
    data, weight = call.args
    attrs = call.attrs
    layouts = str(attrs.data_layout), str(attrs.kernel_layout), str(attrs.out_layout or attrs.data_layout)
    is_float = str(data.ty.dtype) == str(weight.ty.dtype) == str(call.ty.dtype) == "float32"
    if layouts != ("NCHW", "OIHW", "NCHW") or not is_float or not ir_body.is_constant(weight):
        return None
    if not all(isinstance(extent, tirx.IntImm) for extent in list(data.ty.shape)[1:]):
        return None
    array = weight.value.numpy()
    geometry = tuple(tuple(int(n) for n in values) for values in (attrs.strides, attrs.padding, attrs.dilation))
    groups = int(attrs.groups)
    _, _, height, width = (int(extent) if isinstance(extent, tirx.IntImm) else 0 for extent in call.ty.shape)
    pointwise = array.shape[2:] == (1, 1) and geometry[0] == (1, 1) and not any(geometry[1])
    if groups == array.shape[0] and array.shape[1] == 1 and int(data.ty.shape[1]) == groups:
        kernel, constant = _depthwise(*geometry), array[:, 0]
    elif pointwise and as_product(height * width, vectors):
        kernel, constant = _pointwise(array.shape[0], groups), array[:, :, 0, 0]
    else:
        panel = panel_of_conv2d(array.shape[0] // groups, vectors)
        kernel, constant = _packed(array.shape[0], groups, panel, *geometry), packed_channels(array, groups, panel)
    return builder.call_te(kernel, data, relax.const(np.ascontiguousarray(constant)), primfunc_name_hint="conv2d")


Pair = tuple[int, ...]


def _out_shape(image: Any, outputs: int, kernel: tuple[Any, Any], strides: Pair, dilation: Pair) -> list[Any]:
    sizes = []
    for extent, size, stride, step in zip(list(image.shape)[2:], kernel, strides, dilation, strict=True):
        sizes.append((int(extent) - (int(size) - 1) * step - 1) // stride + 1)
    return [image.shape[0], outputs, *sizes]


def _depthwise(strides: Pair, padding: Pair, dilation: Pair) -> Any:
    def conv2d(data: Any, weight: Any) -> Any:
        image = padded(data, padding)
        ry, rx = (
            te.reduce_axis((0, tirx.const(int(extent), "int64")), name=name)
            for extent, name in zip(list(weight.shape)[1:], ("ry", "rx"), strict=True)
        )
        shape = _out_shape(image, int(weight.shape[0]), tuple(list(weight.shape)[1:]), strides, dilation)
        return te.compute(
            shape,
            lambda n, c, y, x: te.sum(
                image[n, c, y * strides[0] + ry * dilation[0], x * strides[1] + rx * dilation[1]] * weight[c, ry, rx], axis=[ry, rx]
            ),
            name="conv2d",
            attrs={GROUPS: int(weight.shape[0])},
        )

    return conv2d


def _pointwise(outputs: int, groups: int) -> Any:
    def conv2d(data: Any, weight: Any) -> Any:
        inputs = int(weight.shape[1])
        rc = te.reduce_axis((0, tirx.const(inputs, "int64")), name="rc")
        return te.compute(
            [data.shape[0], outputs, *list(data.shape)[2:]],
            lambda n, c, y, x: te.sum(data[n, c // (outputs // groups) * inputs + rc, y, x] * weight[c, rc], axis=[rc]),
            name="conv2d",
            attrs={GROUPS: groups},
        )

    return conv2d


def _packed(outputs: int, groups: int, panel: int, strides: Pair, padding: Pair, dilation: Pair) -> Any:
    def conv2d(data: Any, weight: Any) -> Any:
        image = padded(data, padding)
        turns, height, width, run = (int(extent) for extent in list(weight.shape)[2:6])
        reduced = zip((turns, height, width, run), ("rc", "ry", "rx", "ri"), strict=True)
        rc, ry, rx, ri = (te.reduce_axis((0, tirx.const(int(extent), "int64")), name=name) for extent, name in reduced)
        own, inputs = outputs // groups, turns * run
        return te.compute(
            _out_shape(image, outputs, (height, width), strides, dilation),
            lambda n, c, y, x: te.sum(
                image[n, c // own * inputs + rc * run + ri, y * strides[0] + ry * dilation[0], x * strides[1] + rx * dilation[1]]
                * weight[c // own, c % own // panel, rc, ry, rx, ri, c % own % panel],
                axis=[rc, ry, rx, ri],
            ),
            name="conv2d",
            attrs={GROUPS: groups, PANEL: panel},
        )

    return conv2d
