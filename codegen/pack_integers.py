"""Turn products and convolutions of 8-bit integers into kernels over words, for the target's instructions that add up several products.

A factor is a tensor of 8-bit integers less a zero point. With ``x`` and ``w`` as they are in memory, or with 128 added or taken away where
the instruction wants the other sign, and ``a`` and ``b`` what is to be taken from them,

    sum (x - a) (w - b)  =  sum x w  -  a sum w  -  b (sum x  -  count a)

where sums of ``w`` are computed here, and sums of ``x`` only where there is a ``b``. All of it is exact, as arithmetic modulo
2 ** 32 is, which is that of the operators.

Source: "Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only Inference", B. Jacob et al., 2018, section 2.3.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import tvm
import tvm_ffi
from tvm import relax, te, tirx

from landbridge.codegen.rewriting import producer, rewrite
from landbridge.codegen.schedules.dots import DOTS, Dots, dot, dots_of, word
from landbridge.codegen.schedules.integer_product import WORDS, panel_of
from landbridge.codegen.schedules.matmul import tile_of
from landbridge.ir import body as ir_body

Array = np.ndarray[Any, Any]

BYTES = ("int8", "uint8")
"""The types of the numbers that products are of."""

_FUSES = 4
"""What TVM's fusion calls a step that element-wise ones may follow in one kernel; it finds that out where a weight is read plainly only."""

_MOVES = 2
"""The same of a step each element of whose result comes from a few places: it may be one kernel with other such steps."""

_OF_A_FILTER = (1, 2, 3)
"""The axes of a weight over which a convolution adds up."""


def pack_integers(module: tvm.IRModule, target: Any) -> tvm.IRModule:
    """Return ``module`` with its products of 8-bit integers with constant weights as kernels over words.

    Args:
        target: the TVM target whose instructions the weights are packed for.
    """
    return rewrite(module, _Packer(dots_of(target), module))


@dataclass(frozen=True, eq=False)
class Factor:
    """A tensor of 8-bit integers less a zero point.

    Attributes:
        data: the tensor.
        point: what is taken from it, int32, or None.
    """

    data: Any
    point: Any


@relax.expr_functor.mutator
class _Packer(relax.PyExprMutator):  # type: ignore[misc]  # TVM has no types
    def __init__(self, dots: Dots, module: tvm.IRModule) -> None:
        super().__init__(module)
        self.dots = dots

    def visit_call_(self, call: Any) -> Any:
        """Return what stands for a product of 8-bit integers, any other call as it is."""
        call = self.visit_expr_post_order(call)
        pack = {"relax.matmul": self.matmul, "relax.nn.conv2d": self.conv2d}.get(getattr(call.op, "name", ""))
        if pack is None or str(call.ty.dtype) != "int32":
            return call
        data, weight = self.factor(call.args[0]), self.weight(call.args[1])
        if data is None:
            return call
        if weight is None:
            other = self.factor(call.args[1]) if pack == self.matmul else None
            packed = None if other is None else self.matmul_of_two(data, other)
        else:
            packed = pack(call, data, weight)
        return call if packed is None else packed

    def factor(self, expr: Any) -> Factor | None:
        """Return the 8-bit integers that an int32 tensor is made of, or None where it is made of others."""
        taken = producer(self, expr, "relax.subtract")
        wide, point = (taken.args[0], taken.args[1]) if taken is not None else (expr, None)
        cast = producer(self, wide, "relax.astype")
        if cast is None or str(cast.args[0].ty.dtype) not in BYTES or str(expr.ty.dtype) != "int32":
            return None
        return Factor(cast.args[0], point)

    def weight(self, expr: Any) -> Array | None:
        """Return a constant factor as int32, or None."""
        if ir_body.is_constant(expr):
            constant: Array = expr.value.numpy()
            return constant if str(expr.ty.dtype) == "int32" else None
        factor = self.factor(expr)
        if factor is None or not ir_body.is_constant(factor.data) or not (factor.point is None or ir_body.is_constant(factor.point)):
            return None
        array: Array = factor.data.value.numpy().astype("int32")
        return array if factor.point is None else array - factor.point.value.numpy()

    def matmul(self, call: Any, data: Factor, weight: Array) -> Any | None:
        """Return what a product of two tensors becomes."""
        if not packs_matmul(data, weight, self.dots):
            return None
        numbers, points = _split(weight, 0, self.dots)

        def product(matrix: Array) -> Any:
            rows = data.data.ty.shape[-2]
            _, panel = tile_of(int(rows) if isinstance(rows, tirx.IntImm) else rows, matrix.shape[1], self.dots.vectors)
            packed = relax.const(_in_panels(matrix, panel, self.dots))
            kernel = _matmul(matrix.shape[1], panel, self.dots)
            return self.product("integer_matmul", kernel, data.data, packed)

        sums = product(numbers)
        point = self.point(data)
        if points.any():
            ones = product(np.ones((weight.shape[0], 1), "int32"))
            sums = self.less(sums, ones, points)
            points = _wrapped(numbers.sum(0, "int64") - points.astype("int64") * weight.shape[0])
        else:
            points = _wrapped(numbers.sum(0, "int64"))
        return sums if point is None else self.less(sums, point, points)

    def matmul_of_two(self, data: Factor, other: Factor) -> Any | None:
        """Return what a product becomes whose second factor is no constant: that is put into panels first."""
        if not packs_matmul_of_two(data, other):
            return None
        left, right = list(data.data.ty.shape), list(other.data.ty.shape)
        inner, columns = int(right[-2]), int(right[-1])
        _, panel = tile_of(int(left[-2]) if isinstance(left[-2], tirx.IntImm) else left[-2], columns, self.dots.vectors)
        gather = self.builder_.call_te(
            _panels(panel, self.dots), other.data, primfunc_name_hint="integer_panels", primfunc_attrs={"op_pattern": _MOVES}
        )
        panels = self.builder_.emit(gather)
        kernel = _matmul(columns, panel, self.dots)
        sums = self.product("integer_matmul", kernel, data.data, panels)
        point, taken = self.point(data), self.point(other, self.dots.weight)
        if point is not None:
            ones = relax.const(np.ones((1, inner), self.dots.data if self.dots.data in BYTES else "int8"))
            sums = self.less_product(sums, point, self.product("integer_matmul", kernel, ones, panels))
        if taken is None:
            return sums
        _, panel = tile_of(1, 1, self.dots.vectors)
        packed = relax.const(_in_panels(np.ones((inner, 1), "int32"), panel, self.dots))
        rows = self.product("integer_matmul", _matmul(1, panel, self.dots), data.data, packed)
        if point is not None:
            rows = self.builder_.emit(relax.op.subtract(rows, self.builder_.emit(relax.op.multiply(point, _constant(inner)))))
        return self.less_product(sums, taken, rows)

    def less_product(self, sums: Any, left: Any, right: Any) -> Any:
        """Return the sums less a product of two tensors."""
        return self.builder_.emit(relax.op.subtract(sums, self.builder_.emit(relax.op.multiply(left, right))))

    def conv2d(self, call: Any, data: Factor, weight: Array) -> Any | None:
        """Return what a two-dimensional convolution becomes."""
        if not packs_conv2d(call, data, weight, self.dots):
            return None
        attrs = call.attrs
        numbers, points = _split(weight, _OF_A_FILTER, self.dots)
        height, width = (int(extent) for extent in list(call.ty.shape)[2:])
        width = height * width if weight.shape[2:] == (1, 1) else width
        strides, padding, dilation = (tuple(int(n) for n in values) for values in (attrs.strides, attrs.padding, attrs.dilation))
        point = self.point(data)
        if point is None or ir_body.is_constant(point):
            around = _constant(0 if point is None else point.value.numpy().reshape(()))
        else:
            around = self.builder_.emit(relax.op.reshape(point, []))

        def product(filters: Array) -> Any:
            kernel = _conv2d(filters.shape[0], strides, padding, dilation, self.dots, str(data.data.ty.dtype))
            words = _in_words(filters, self.dots)
            panel = panel_of(words.shape[0], words.shape[1:], width, self.dots)
            packed = relax.const(words if panel is None else _filters_in_panels(words, panel))
            return self.product("integer_conv2d", kernel, data.data, packed, around)

        sums = product(numbers)
        totals = numbers.sum((1, 2, 3), "int64")
        if points.any():
            ones = product(np.ones((1, *weight.shape[1:]), "int32"))
            sums = self.less(sums, ones, points.reshape(-1, 1, 1))
            totals = totals - points.astype("int64").reshape(-1) * math.prod(weight.shape[1:])
        return sums if point is None else self.less(sums, around, _wrapped(totals).reshape(-1, 1, 1))

    def product(self, name: str, kernel: Any, *operands: Any) -> Any:
        """Return the sums of a kernel, with which element-wise steps may become one kernel."""
        attributes = {"op_pattern": _FUSES}
        return self.builder_.emit(self.builder_.call_te(kernel, *operands, primfunc_name_hint=name, primfunc_attrs=attributes))

    def point(self, data: Factor, as_read: str | None = None) -> Any | None:
        """Return what is to be taken from data as the instruction reads it, int32, or None where it is nothing.

        Args:
            as_read: the type as which it is read; that of the first factor where None.
        """
        shift = _shift(str(data.data.ty.dtype), as_read or self.dots.data)
        if data.point is None:
            return _constant(np.int32(shift)) if shift else None
        if ir_body.is_constant(data.point):
            return _constant(data.point.value.numpy() + np.int32(shift))
        return self.builder_.emit(relax.op.add(data.point, _constant(np.int32(shift)))) if shift else data.point

    def less(self, sums: Any, point: Any, totals: Array) -> Any:
        """Return the sums less the products of a zero point and totals."""
        if ir_body.is_constant(point):
            by = _constant(_wrapped(point.value.numpy().astype("int64") * totals.astype("int64")))
        else:
            by = self.builder_.emit(relax.op.multiply(point, _constant(totals)))
        return self.builder_.emit(relax.op.subtract(sums, by))


def packs_matmul(data: Factor, weight: Array, dots: Dots) -> bool:
    """Return whether there is a kernel for the product of data and a constant weight."""
    rank, inner = len(data.data.ty.shape), data.data.ty.shape[-1] if len(data.data.ty.shape) else None
    if weight.ndim != 2 or rank < 2 or not isinstance(inner, tirx.IntImm) or not weight.size or not _is_along_rows(data.point, rank):
        return False
    return _fits(weight, 0, dots)


def packs_matmul_of_two(data: Factor, other: Factor) -> bool:
    """Return whether there is a kernel for the product of two tensors that are computed."""
    left, right = list(data.data.ty.shape), list(other.data.ty.shape)
    if len(left) < 2 or len(right) < 2:
        return False
    known = all(isinstance(extent, tirx.IntImm) and int(extent) > 0 for extent in (*right[-2:], left[-1]))
    batches = len(right) == 2 or (len(left) == len(right) and tvm_ffi.structural_equal(left[:-2], right[:-2]))
    return known and batches and _is_along_rows(data.point, len(left)) and _is_along_columns(other.point, len(right))


def packs_conv2d(call: Any, data: Factor, weight: Array, dots: Dots) -> bool:
    """Return whether there is a kernel for what a two-dimensional convolution of data and a constant weight computes."""
    attrs, shape = call.attrs, list(data.data.ty.shape)
    layouts = str(attrs.data_layout), str(attrs.kernel_layout), str(attrs.out_layout or attrs.data_layout)
    is_of_all = data.point is None or math.prod(int(n) if isinstance(n, tirx.IntImm) else 0 for n in data.point.ty.shape) == 1
    known = all(isinstance(extent, tirx.IntImm) and int(extent) > 0 for extent in shape[1:])
    if layouts != ("NCHW", "OIHW", "NCHW") or int(attrs.groups) != 1 or not is_of_all or not known or not weight.size:
        return False
    return _fits(weight, _OF_A_FILTER, dots)


def _is_along_rows(point: Any, rank: int) -> bool:
    """Return whether a zero point is one number, or one of each row."""
    if point is None or not len(point.ty.shape):
        return True
    shape = list(point.ty.shape)
    return len(shape) <= rank and isinstance(shape[-1], tirx.IntImm) and int(shape[-1]) == 1


def _is_along_columns(point: Any, rank: int) -> bool:
    """Return whether a zero point is one number, or one of each column."""
    if point is None or len(point.ty.shape) < 2:
        return True
    shape = list(point.ty.shape)
    return len(shape) <= rank and isinstance(shape[-2], tirx.IntImm) and int(shape[-2]) == 1


def _shift(dtype: str, as_read: str) -> int:
    """Return what is added to numbers of a type that an instruction reads as another."""
    return {("int8", "uint8"): 128, ("uint8", "int8"): -128}.get((dtype, as_read), 0)


def _fits(weight: Array, axes: int | tuple[int, ...], dots: Dots) -> bool:
    """Return whether there are numbers for weights that the instruction takes."""
    low, high = (found(weight.astype("int64"), axes) for found in (np.min, np.max))
    if dots.weight != "int8":
        limit = 256
        return bool(-limit < low.min() and high.max() < limit)
    return bool((high - low).max() <= 255)


def _split(weight: Array, axes: int | tuple[int, ...], dots: Dots) -> tuple[Array, Array]:
    """Return numbers that the instruction takes for weights that fit, and what is to be added to those of each column or filter.

    Args:
        axes: of a sum.
    """
    low, high = (found(weight.astype("int64"), axes, keepdims=True) for found in (np.min, np.max))
    if dots.weight != "int8":
        return weight, np.zeros(low.size, "int32")
    points = np.where(high > 127, high - 127, np.where(low < -128, low + 128, 0)).astype("int32")
    return weight - points, -points.reshape(-1)


def _wrapped(array: Array) -> Array:
    """Return int64 numbers modulo 2 ** 32, as int32."""
    return (array & 0xFFFFFFFF).astype("uint32").view("int32").reshape(array.shape)


def _constant(array: Any) -> Any:
    return relax.const(np.asarray(array, "int32"), "int32")


def _words_of(array: Array, dots: Dots) -> Array:
    """Return [..., group] numbers as [...] words."""
    return np.ascontiguousarray(array.astype(dots.weight)).view("int32")[..., 0]


def _in_panels(matrix: Array, panel: int, dots: Dots) -> Array:
    """Return a [rows, columns] matrix as words, [panels, words of a column, panel]."""
    rows, columns = matrix.shape
    words, panels = -(-rows // dots.group), -(-columns // panel)
    filled = np.zeros((words * dots.group, panels * panel), "int32")
    filled[:rows, :columns] = matrix
    return np.ascontiguousarray(_words_of(filled.reshape(words, dots.group, panels, panel).transpose(2, 0, 3, 1), dots))


def _in_words(weight: Array, dots: Dots) -> Array:
    """Return [outputs, inputs, height, width] weights as words, [outputs, words of a pixel, height, width]."""
    outputs, inputs, height, width = weight.shape
    words = -(-inputs // dots.group)
    filled = np.zeros((outputs, words * dots.group, height, width), "int32")
    filled[:, :inputs] = weight
    return np.ascontiguousarray(_words_of(filled.reshape(outputs, words, dots.group, height, width).transpose(0, 1, 3, 4, 2), dots))


def _filters_in_panels(words: Array, panel: int) -> Array:
    """Return [outputs, ...] weights as [panels, ..., panel]."""
    panels = -(-words.shape[0] // panel)
    filled = np.zeros((panels * panel, *words.shape[1:]), "int32")
    filled[: words.shape[0]] = words
    return np.ascontiguousarray(np.moveaxis(filled.reshape(panels, panel, *words.shape[1:]), 1, -1))


def _matmul(columns: int, panel: int, dots: Dots) -> Any:
    def integer_matmul(data: Any, weight: Any) -> Any:
        count, group = int(data.shape[-1]), dots.group
        flip = -0x7F7F7F80 if _shift(str(data.dtype), dots.data) else 0
        element = _as_read(str(data.dtype), dots.data)

        def gathered(*at: Any) -> Any:
            *row, place = at
            numbers = []
            for index in range(group):
                position = place * group + index
                last = tirx.const(count - 1, "int64")
                number = element(data(*row, position if count % group == 0 else tirx.min(position, last)))
                inside = position < count
                numbers.append(number if count % group == 0 else tirx.if_then_else(inside, number, tirx.const(0, dots.data)))
            return word(numbers, dots.data)

        batch = len(weight.shape) - 3
        lead = list(weight.shape[: max(batch + 2 - len(data.shape), 0)])  # data of one matrix is that of each
        words = te.compute([*data.shape[:-1], weight.shape[-2]], gathered, name="words", attrs={WORDS: [count, flip]})
        k = te.reduce_axis((0, weight.shape[-2]), name="k")
        return te.compute(
            [*lead, *data.shape[:-1], tirx.const(columns, "int64")],
            lambda *at: te.sum(
                dot(words(*at[len(lead) : -1], k), weight(*at[:batch], at[-1] // panel, k, at[-1] % panel), dots.data), axis=[k]
            ),
            name="integer_matmul",
            attrs={DOTS: dots.data},
        )

    return integer_matmul


def _panels(panel: int, dots: Dots) -> Any:
    def integer_panels(data: Any) -> Any:
        *batch, inner, columns = data.shape
        count, across, group = int(inner), int(columns), dots.group
        element = _as_read(str(data.dtype), dots.weight)

        def gathered(*at: Any) -> Any:
            *outer, number, place, lane = at
            # What stands in the columns behind the last is not looked at.
            column = number * panel + lane
            column = column if across % panel == 0 else tirx.min(column, _long(across - 1))
            numbers = []
            for index in range(group):
                row = place * group + index
                found = element(data(*outer, row if count % group == 0 else tirx.min(row, _long(count - 1)), column))
                numbers.append(found if count % group == 0 else tirx.if_then_else(row < count, found, tirx.const(0, dots.weight)))
            return word(numbers, dots.weight)

        shape = [*batch, _long(-(-across // panel)), _long(-(-count // group)), _long(panel)]
        return te.compute(shape, gathered, name="integer_panels")

    return integer_panels


def _as_read(dtype: str, as_read: str) -> Any:
    """Return the function from a number of a type to that number as an instruction reads it."""
    shift = _shift(dtype, as_read)

    def element(number: Any) -> Any:
        return (number.astype("int32") + tirx.const(shift, "int32")).astype(as_read) if shift else number.astype(as_read)

    return element


def _conv2d(outputs: int, strides: tuple[int, ...], padding: tuple[int, ...], dilation: tuple[int, ...], dots: Dots, dtype: str) -> Any:
    (down, across), (top, left, bottom, right) = strides, padding
    group, lanes = dots.group, dots.vectors.lanes
    element = _as_read(dtype, dots.data)

    def integer_conv2d(data: Any, weight: Any, point: Any) -> Any:
        panel = int(weight.shape[4]) if len(weight.shape) > 4 else 0
        batch, inputs, height, width = data.shape[0], *(int(extent) for extent in list(data.shape)[1:])
        blocks, high, wide = (int(extent) for extent in list(weight.shape)[1:4])
        out_rows = (height + top + bottom - (high - 1) * dilation[0] - 1) // down + 1
        out_columns = (width + left + right - (wide - 1) * dilation[1] - 1) // across + 1
        flat, by_row = (high, wide) == (1, 1) and not panel, high == 1
        step = down if by_row else 1
        rows = out_rows if by_row else (out_rows - 1) * down + (high - 1) * dilation[0] + 1
        phases = 1 if wide == 1 else across
        columns = out_columns + (wide - 1) * dilation[1] // across
        slack = 0 if panel else lanes - 1

        def gathered(n: Any, block: Any, phase: Any, y: Any, x: Any) -> Any:
            row, column = y * step - top, x * across + phase - left
            within = [row >= 0, row < height, column >= 0, column < width]
            around = point().astype(dots.data)
            numbers = []
            for index in range(group):
                channel = block * group + index
                number = tirx.if_then_else(tirx.all(*within), element(data[n, channel, row, column]), around)
                ragged = inputs % group != 0
                numbers.append(tirx.if_then_else(channel < inputs, number, tirx.const(0, dots.data)) if ragged else number)
            return word(numbers, dots.data)

        geometry = [inputs, top, left, step, across, height, width, rows, columns]
        attrs = {WORDS: geometry}
        rc, ry, rx = (te.reduce_axis((0, _long(extent)), name=name) for extent, name in ((blocks, "rc"), (high, "ry"), (wide, "rx")))
        if flat:
            shape = [batch, _long(blocks), _long(out_rows * out_columns + slack)]
            zero = _long(0)
            words = te.compute(shape, lambda n, c, p: gathered(n, c, zero, p // out_columns, p % out_columns), name="words", attrs=attrs)
        else:
            shape = [batch, _long(blocks), _long(phases), _long(rows), _long(columns + slack)]
            words = te.compute(shape, gathered, name="words", attrs=attrs)

        def factor(n: Any, y: Any, x: Any) -> Any:
            if flat:
                return words[n, rc, y * out_columns + x]
            offset = rx * dilation[1]
            return words[n, rc, offset % phases, (y if by_row else y * down + ry * dilation[0]), x + offset // across]

        def filters(weight: Any, c: Any) -> Any:
            return weight[c // panel, rc, ry, rx, c % panel] if panel else weight[c, rc, ry, rx]

        return te.compute(
            [batch, _long(outputs), _long(out_rows), _long(out_columns)],
            lambda n, c, y, x: te.sum(dot(factor(n, y, x), filters(weight, c), dots.data), axis=[rc, ry, rx]),
            name="integer_conv2d",
            attrs={DOTS: dots.data},
        )

    return integer_conv2d


def _long(extent: int) -> Any:
    return tirx.const(extent, "int64")
