"""Write products and convolutions of dequantised 8-bit tensors as sums of integers, and scale the sums.

With ``x`` and ``w`` of 8 bits, zero points ``a`` and ``b`` and scales ``s`` and ``t``, in real numbers

    sum s (x - a) t (w - b)  =  (s t) sum (x - a) (w - b)

where ``t`` and ``b`` may be of each output channel or column. The sum on the right is an exact integer: only those that cannot leave 32
bits are taken. Three roundings are left, of the sum to float32, of ``s t`` and of their product, each of at most 2 ** -24 of the number:
with what is exact for the scales as they are given,

    |result - exact|  <=  ((1 + 2 ** -24) ** 3 - 1) |exact|  <  3.001 * 2 ** -24 |exact|

and 2.001 * 2 ** -24 where the sum is below 2 ** 24, as long as neither ``s t`` nor the result is so small that float32 holds fewer bits
of it. (A sum of float32 products of n terms may be wrong by n * 2 ** -24 of the sum of their magnitudes, however small the result is.)

What is left in float32: what `landbridge.codegen.pack_integers` has no kernel for (convolutions in groups are faster in float32), and all
of it for a target without instructions for small integers. Of a product of float32 data and a dequantised constant, too, only the sums are
scaled: ``w - b`` has at most eight bits, which bfloat16 holds exactly, and `landbridge.codegen.pack_weights` keeps such weights in 16 bits.

Source: "Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only Inference", B. Jacob et al., 2018, section 2.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import tvm
from tvm import relax, tirx

from landbridge.codegen.pack_integers import BYTES, Factor, packs_conv2d, packs_matmul, packs_matmul_of_two
from landbridge.codegen.rewriting import producer, rewrite
from landbridge.codegen.schedules.dots import Dots, dots_of
from landbridge.ir import body as ir_body

Array = np.ndarray[Any, Any]

_MOST = 2**31 - 1
"""The greatest sum."""


def multiply_quantised(module: tvm.IRModule, target: Any) -> tvm.IRModule:
    """Return the rewritten module; what is no longer used is left for dead-code elimination.

    Args:
        target: the TVM target whose instructions decide what is faster on integers.
    """
    return rewrite(module, _Multiplier(dots_of(target), module))


@dataclass(frozen=True, eq=False)
class _Dequantised:
    """A float32 tensor that is ``scale * (data - point)``.

    Attributes:
        data: of 8-bit integers.
        scale: float32.
        point: of the type of the data.
        axis: along which the scale and the zero point lie; None where each of them is one number.
    """

    data: Any
    scale: Any
    point: Any
    axis: int | None


@relax.expr_functor.mutator
class _Multiplier(relax.PyExprMutator):  # type: ignore[misc]  # TVM has no types
    def __init__(self, dots: Dots, module: tvm.IRModule) -> None:
        super().__init__(module)
        self.dots = dots

    def visit_call_(self, call: Any) -> Any:
        """Return the scaled sums that stand for a product of dequantised tensors, any other call as it is."""
        call = self.visit_expr_post_order(call)
        if getattr(call.op, "name", "") not in ("relax.matmul", "relax.nn.conv2d") or str(call.ty.dtype) != "float32":
            return call
        data, other = (self.dequantised(argument) for argument in call.args)
        if other is None or ir_body.is_constant(call.args[0] if data is None else data.data):
            return call
        if data is not None and data.axis is None and self.dots.group > 1:
            sums = self.sums_of_weight(call, data, other) if _is_constant(other) else self.sums_of_two(call, data, other)
            if sums is not None:
                return relax.op.multiply(self.builder_.emit(relax.op.astype(sums, "float32")), self.scale(data, other))
        real = self.sums_of_real(call, other) if _is_constant(other) else None
        if real is None:
            return call
        return relax.op.multiply(real, relax.const(other.scale.value.numpy().reshape([] if other.axis is None else [-1])))

    # ---- what is multiplied --------------------------------------------------------------------------------------------------

    def dequantised(self, expr: Any) -> _Dequantised | None:
        """Return what a float32 tensor is made of, or None where that is not 8-bit integers."""
        call = producer(self, expr, "relax.dequantize")
        if call is not None:
            return _read(call)
        for operator, move in (("relax.reshape", self.reshaped), ("relax.permute_dims", self.transposed)):
            moved = producer(self, expr, operator)
            before = None if moved is None else self.dequantised(moved.args[0])
            if before is not None:
                return move(moved, before)
        return None

    def reshaped(self, call: Any, before: _Dequantised) -> _Dequantised | None:
        old, new = list(before.data.ty.shape), list(call.ty.shape)
        axis = before.axis
        if axis is not None:
            known = all(isinstance(extent, tirx.IntImm) for extent in (*old, *new))
            ahead = math.prod(int(extent) for extent in old[:axis]) if known else 0
            found = [i for i in range(len(new)) if known and math.prod(int(extent) for extent in new[:i]) == ahead]
            axis = next((i for i in found if int(new[i]) == int(old[before.axis or 0])), None)
            if axis is None:
                return None
        return _Dequantised(self.moved(before.data, relax.op.reshape(before.data, call.ty.shape)), before.scale, before.point, axis)

    def transposed(self, call: Any, before: _Dequantised) -> _Dequantised:
        ndim = len(before.data.ty.shape)
        axes = [int(axis) % ndim for axis in call.attrs.axes] if call.attrs.axes is not None else list(range(ndim))[::-1]
        axis = None if before.axis is None else axes.index(before.axis)
        return _Dequantised(self.moved(before.data, relax.op.permute_dims(before.data, axes)), before.scale, before.point, axis)

    def moved(self, data: Any, call: Any) -> Any:
        """Return 8-bit data after a step that only moves it."""
        if not ir_body.is_constant(data):
            return self.builder_.emit(call)
        array, shape = data.value.numpy(), [int(extent) for extent in self.builder_.normalize(call).ty.shape]
        turned = np.transpose(array, [int(a) for a in call.attrs.axes]) if call.op.name == "relax.permute_dims" else array
        return relax.const(np.ascontiguousarray(turned.reshape(shape)))

    def factor(self, found: _Dequantised) -> Factor:
        """Return data less its one zero point, whose int32 form is bound here."""
        if ir_body.is_constant(found.point):
            point = found.point.value.numpy().astype("int32").reshape(())
            return Factor(found.data, relax.const(point) if point.any() else None)
        wide = self.builder_.emit(relax.op.astype(found.point, "int32"))
        return Factor(found.data, self.builder_.emit(relax.op.reshape(wide, [])) if len(wide.ty.shape) else wide)

    # ---- sums ----------------------------------------------------------------------------------------------------------------

    def sums_of_weight(self, call: Any, data: _Dequantised, other: _Dequantised) -> Any:
        """Return the int32 sums of the products of data and a constant weight, or None where they stay in float32."""
        product = call.op.name == "relax.matmul"
        ndim = len(other.data.ty.shape)
        if other.axis not in (None, ndim - 1 if product else 0):
            return None
        array, points = other.data.value.numpy().astype("int32"), other.point.value.numpy().astype("int32").reshape(-1)
        weight = array - (points if product else points.reshape(-1, *[1] * (ndim - 1)))
        factor = self.factor(data)
        packs = packs_matmul(factor, weight, self.dots) if product else packs_conv2d(call, factor, weight, self.dots)
        if not packs or np.abs(weight).sum(0 if product else (1, 2, 3), "int64").max() * _greatest(data) > _MOST:
            return None
        return self.sums(call, factor, relax.const(weight, "int32"))

    def sums_of_two(self, call: Any, data: _Dequantised, other: _Dequantised) -> Any:
        """Return the int32 sums of the products of two computed tensors, or None where they stay in float32."""
        if call.op.name != "relax.matmul" or other.axis is not None:
            return None
        left, right = self.factor(data), self.factor(other)
        if not packs_matmul_of_two(left, right) or int(data.data.ty.shape[-1]) * _greatest(data) * _greatest(other) > _MOST:
            return None
        return self.sums(call, left, self.centred(right))

    def sums_of_real(self, call: Any, other: _Dequantised) -> Any:
        """Return the float32 sums of the products of real data and a constant matrix that is not scaled, or None for other constants."""
        if call.op.name != "relax.matmul" or len(other.data.ty.shape) != 2 or other.axis not in (None, 1):
            return None
        weight = other.data.value.numpy().astype("float32") - other.point.value.numpy().astype("float32")
        return self.builder_.emit(relax.op.matmul(call.args[0], relax.const(weight)))

    def sums(self, call: Any, data: Factor, weight: Any) -> Any:
        attrs = call.attrs
        if call.op.name == "relax.matmul":
            return self.builder_.emit(relax.op.matmul(self.centred(data), weight, out_dtype="int32"))
        geometry = {"strides": attrs.strides, "padding": attrs.padding, "dilation": attrs.dilation}
        return self.builder_.emit(relax.op.nn.conv2d(self.centred(data), weight, **geometry, out_dtype="int32"))

    def centred(self, factor: Factor) -> Any:
        wide = self.builder_.emit(relax.op.astype(factor.data, "int32"))
        return wide if factor.point is None else self.builder_.emit(relax.op.subtract(wide, factor.point))

    # ---- scales --------------------------------------------------------------------------------------------------------------

    def scale(self, data: _Dequantised, other: _Dequantised) -> Any:
        """Return the product of both scales, as it lies along sums."""
        # Vectors of scales lie along the last axis of a product, the second of a convolution.
        shape = [] if other.axis is None else [-1] if other.axis else [-1, 1, 1]
        both = (data.scale, other.scale)
        if all(ir_body.is_constant(one) for one in both):
            left, right = (one.value.numpy().astype("float64") for one in both)
            return relax.const((left.reshape(()) * right.reshape(shape)).astype("float32"))
        left, right = (self.builder_.emit(relax.op.reshape(one, to)) for one, to in zip(both, ([], shape), strict=True))
        return self.builder_.emit(relax.op.multiply(left, right))


def _read(call: Any) -> _Dequantised | None:
    data, scale, point = call.args
    ndim = len(data.ty.shape)
    types = str(call.ty.dtype), str(scale.ty.dtype), str(point.ty.dtype)
    if str(data.ty.dtype) not in BYTES or types != ("float32", "float32", str(data.ty.dtype)):
        return None
    of_all = all(all(isinstance(extent, tirx.IntImm) and int(extent) == 1 for extent in one.ty.shape) for one in (scale, point))
    return _Dequantised(data, scale, point, None if of_all else int(call.attrs.axis) % ndim)


def _is_constant(found: _Dequantised) -> bool:
    return all(ir_body.is_constant(one) for one in (found.data, found.scale, found.point))


def _greatest(found: _Dequantised) -> int:
    """Return the greatest magnitude of 8-bit data less its zero point."""
    low, high = (-128, 127) if str(found.data.ty.dtype) == "int8" else (0, 255)
    if not ir_body.is_constant(found.point):
        return 255
    point = int(found.point.value.numpy().reshape(()))
    return max(high - point, point - low)
