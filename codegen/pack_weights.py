"""Turn products with constant weights into kernels over packed weights.

A packed weight lies in memory in the order in which register tiles read it: panels of as many columns (or output channels) as a
tile is wide, one panel after the other, filled up with zeros that no result is computed from. The packing is done here, once.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import tvm
from tvm import relax, te, tirx

from landbridge.codegen.rewriting import rewrite
from landbridge.codegen.schedules.conv2d import GROUPS, as_product, panel_of_conv2d
from landbridge.codegen.schedules.matmul import PANEL, tile_of
from landbridge.codegen.schedules.padding import padded
from landbridge.codegen.schedules.vectors import Vectors, vectors_of
from landbridge.ir import body as ir_body

Array = np.ndarray[Any, Any]


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
    """Return ``module`` with its float32 products with constant weights as kernels over packed weights.

    Args:
        target: the TVM target whose tiles the weights are packed for.
    """
    return rewrite(module, _Packer(vectors_of(target), module))


@relax.expr_functor.mutator
class _Packer(relax.PyExprMutator):  # type: ignore[misc]  # TVM has no types
    def __init__(self, vectors: Vectors, module: tvm.IRModule) -> None:
        super().__init__(module)
        self.vectors = vectors

    def visit_call_(self, call: Any) -> Any:
        """Return the call of a kernel for what can be packed, any other call as it is."""
        call = self.visit_expr_post_order(call)
        pack = _PACKERS.get(getattr(call.op, "name", ""))
        packed = pack(self.builder_, call, self.vectors) if pack is not None else None
        return call if packed is None else packed


def _matmul(builder: Any, call: Any, vectors: Vectors) -> Any | None:
    """Return what a product of two tensors becomes."""
    left, right = call.args
    is_float = str(left.ty.dtype) == str(right.ty.dtype) == "float32" and str(call.ty.dtype) == "float32"
    if not is_float or not ir_body.is_constant(right) or len(right.ty.shape) != 2 or len(left.ty.shape) < 2:
        return None
    matrix = right.value.numpy()
    rows = left.ty.shape[-2]
    _, panel = tile_of(int(rows) if isinstance(rows, tirx.IntImm) else rows, matrix.shape[1], vectors)

    def matmul(data: Any, weight: Any) -> Any:
        k = te.reduce_axis((0, data.shape[-1]), name="k")
        shape = [*data.shape[:-1], matrix.shape[1]]
        return te.compute(
            shape,
            lambda *at: te.sum(data(*at[:-1], k) * weight[at[-1] // panel, k, at[-1] % panel], axis=k),
            name="matmul",
            attrs={PANEL: panel},
        )

    return builder.call_te(matmul, left, relax.const(packed_columns(matrix, panel)))


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


_PACKERS = {"relax.matmul": _matmul, "relax.nn.conv2d": _conv2d}
