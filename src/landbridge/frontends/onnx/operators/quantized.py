"""Integers that stand for real numbers: quantisation, and products and convolutions of quantised tensors."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from tvm import relax, te, tirx

from landbridge.codegen.pack_integers import BYTES
from landbridge.frontends.onnx.graph import DTYPES
from landbridge.frontends.onnx.operators.call import Call, Declined, Rule, constant, extents_of
from landbridge.frontends.onnx.operators.narrow import Rounding, is_narrow, narrow

_RANGES: dict[str, tuple[int, int]] = {
    **{f"int{bits}": (-(1 << (bits - 1)), (1 << (bits - 1)) - 1) for bits in (2, 4, 8, 16)},
    **{f"uint{bits}": (0, (1 << bits) - 1) for bits in (2, 4, 8, 16)},
}
"""The least and the greatest number of each type that a tensor may be quantised to."""


def _at(tensor: Any, position: Any, axis: int, block: int) -> Any:
    """Return the scale or zero point of an element: of all, of its place along an axis, or of its block there."""
    if len(tensor.shape) == 0:
        return tensor()
    if block:
        return tensor(*(tirx.floordiv(index, block) if a == axis else index for a, index in enumerate(position)))
    if isinstance(tensor.shape[0], int | tirx.IntImm) and int(tensor.shape[0]) == 1:
        return tensor[0]
    return tensor[position[axis]]


def _axis(call: Call) -> int:
    rank = len(call.shape(0))
    return call.axis("axis", 1, rank) if rank > 1 or call.number("axis", 1) < rank else 0


def _is_plain(call: Call, real: str) -> bool:
    """Return whether scales are of a whole tensor or lie along an axis, so that Relax has the operator.

    Args:
        real: the type of the numbers that are not quantised.
    """
    return real == call.dtype(1) == "float32" and bool(call.shape(0)) and len(call.shape(1)) < 2 and not call.number("block_size", 0)


def _point(call: Call, dtype: str) -> Any:
    return call.tensor(2) if call.has(2) else constant(0, dtype)


def _quantize(call: Call) -> Any:
    data, scale = call.tensor(0), call.tensor(1)
    dtype = _quantised_dtype(call)
    axis, block = _axis(call), call.number("block_size", 0)
    points = [call.tensor(2)] if call.has(2) else []
    if dtype in BYTES and _is_plain(call, call.dtype(0)):
        return call.emit(relax.op.quantize(data, scale, _point(call, dtype), axis=axis, out_dtype=dtype))
    floating = is_narrow(dtype) and dtype.startswith("float")

    def kernel(data: Any, scale: Any, *points: Any) -> Any:
        def element(*position: Any) -> Any:
            number = data(*position).astype("float32") / _at(scale, position, axis, block).astype("float32")
            if floating:
                return number
            number = tirx.nearbyint(number)
            for point in points:
                number = number + _at(point, position, axis, block).astype("float32")
            low, high = _RANGES[dtype]
            number = tirx.max(tirx.min(number, tirx.const(high, "float32")), tirx.const(low, "float32"))
            return number.astype(_holder(dtype))

        return te.compute(data.shape, element, name="quantised")

    result = call.compute(kernel, data, scale, *points, name="quantize")
    return narrow(call.builder, result, dtype, Rounding(bool(call.number("saturate", 1)))) if is_narrow(dtype) else result


def _holder(dtype: str) -> str:
    return {"int4": "int8", "int2": "int8", "uint4": "uint8", "uint2": "uint8"}.get(dtype, dtype)


def _quantised_dtype(call: Call) -> str:
    dtype = call.results[0].dtype or DTYPES.get(call.number("output_dtype", 0), "")
    if dtype in _RANGES or is_narrow(dtype):
        return dtype
    raise Declined(f"quantised to {dtype or 'a type that is not known'}")


def _dequantize(call: Call) -> Any:
    axis, block = _axis(call), call.number("block_size", 0)
    dtype = DTYPES.get(call.number("output_dtype", 0), call.dtype(1))
    dtype = "float32" if is_narrow(dtype) else dtype
    point = call.constant(2) if call.has(2) else np.zeros(1)
    centred = point is not None and not point.any()
    if (call.dtype(0) in BYTES or (call.dtype(0) == "int32" and centred)) and _is_plain(call, dtype):
        return call.emit(relax.op.dequantize(call.tensor(0), call.tensor(1), _point(call, call.dtype(0)), axis=axis))

    def kernel(data: Any, scale: Any, *points: Any) -> Any:
        def element(*position: Any) -> Any:
            number = data(*position).astype("float32")
            for point in points:
                number = number - _at(point, position, axis, block).astype("float32")
            return (number * _at(scale, position, axis, block).astype("float32")).astype(dtype)

        return te.compute(data.shape, element, name="dequantised")

    points = [call.tensor(2)] if call.has(2) else []
    return call.compute(kernel, call.tensor(0), call.tensor(1), *points, name="dequantize")


def _centred(call: Call, index: int, point: int, shape: list[int] | None = None) -> Any:
    """Return a quantised tensor as int32 without its zero point.

    Args:
        point: the input that has the zero point.
        shape: in which a zero point of one axis is laid along the tensor's.
    """
    data = call.tensor(index)
    array = call.constant(index)
    zero = call.constant(point) if call.has(point) else np.zeros((), np.int32)
    if zero is not None and not zero.any():
        return constant(array, "int32") if array is not None else call.emit(relax.op.astype(data, "int32"))
    wide = call.emit(relax.op.astype(data, "int32"))
    points = call.emit(relax.op.astype(call.tensor(point), "int32"))
    if shape is not None and len(extents_of(points)) == 1:
        points = call.emit(relax.op.reshape(points, shape))
    return call.emit(relax.op.subtract(wide, points))


def _along_rows(call: Call, point: int) -> list[int] | None:
    """Return how a zero point or scale of each row of the left factor lies, where there is more than one."""
    return [-1, 1] if call.has(point) and len(call.shape(point)) == 1 and call.shape(point) != [1] else None


def _product(call: Call, left: Any, right: Any) -> Any:
    return call.emit(relax.op.matmul(left, right, out_dtype="int32"))


def _matmul_integer(call: Call) -> Any:
    return _product(call, _centred(call, 0, 2, _along_rows(call, 2)), _centred(call, 1, 3))


def _conv_integer(call: Call) -> Any:
    rank = len(call.shape(1))
    return call.delegate("Conv", [_centred(call, 0, 2), _centred(call, 1, 3, [-1, *[1] * (rank - 1)])])


def _requantised(call: Call, sums: Any, scales: tuple[Any, Any, Any], point: int, where: Callable[[Any, Any], Any]) -> Any:
    """Return sums of products in units of the output's scale, around its zero point.

    Args:
        scales: of both factors and of the result.
        point: the input that has the result's zero point.
        where: from a scale and a position to the scale there.
    """
    dtype = call.dtype(point)
    low, high = _RANGES[dtype]

    def kernel(sums: Any, left: Any, right: Any, out: Any, zero: Any) -> Any:
        def element(*position: Any) -> Any:
            by = where(left, position) * where(right, position) / where(out, position)
            number = tirx.nearbyint(sums(*position).astype("float32") * by) + where(zero, position).astype("float32")
            return tirx.max(tirx.min(number, tirx.const(high, "float32")), tirx.const(low, "float32")).astype(dtype)

        return te.compute(sums.shape, element, name="requantised")

    wide = [call.emit(relax.op.astype(scale, "float32")) if str(scale.ty.dtype) != "float32" else scale for scale in scales]
    return call.compute(kernel, sums, *wide, call.tensor(point), name="requantize")


def _qlinear_matmul(call: Call) -> Any:
    sums = _product(call, _centred(call, 0, 2, _along_rows(call, 2)), _centred(call, 3, 5))

    def where(scale: Any, position: Any) -> Any:
        if len(scale.shape) > 1 or (len(scale.shape) == 1 and int(scale.shape[0]) != 1):
            raise Declined("scales that are not of a whole tensor")
        return scale() if len(scale.shape) == 0 else scale[0]

    return _requantised(call, sums, (call.tensor(1), call.tensor(4), call.tensor(6)), 7, where)


def _qlinear_conv(call: Call) -> Any:
    rank = len(call.shape(3))
    sums = call.emit(call.delegate("Conv", [_centred(call, 0, 2), _centred(call, 3, 5, [-1, *[1] * (rank - 1)])]))
    if call.has(8):
        sums = call.emit(relax.op.add(sums, call.emit(relax.op.reshape(call.tensor(8), [1, -1, *[1] * (rank - 2)]))))
    where = lambda scale, position: _at(scale, position, 1, 0)  # noqa: E731 - of the channel, or of all
    return _requantised(call, sums, (call.tensor(1), call.tensor(4), call.tensor(6)), 7, where)


def _dynamic_quantize(call: Call) -> Any:
    """``DynamicQuantizeLinear``: to uint8, with a scale and a zero point that fit the data."""
    data = call.tensor(0)
    zero, one, levels = constant(0.0, "float32"), constant(1.0, "float32"), constant(255.0, "float32")
    high = call.emit(relax.op.maximum(call.emit(relax.op.max(data)), zero))
    low = call.emit(relax.op.minimum(call.emit(relax.op.min(data)), zero))
    span = call.emit(relax.op.subtract(high, low))
    span = call.emit(relax.op.where(call.emit(relax.op.equal(high, low)), one, span))
    scale = call.emit(relax.op.divide(span, levels))

    def points(low: Any, scale: Any) -> Any:
        return te.compute((), lambda: tirx.nearbyint(tirx.max(tirx.min(-low() / scale(), 255.0), 0.0)).astype("uint8"), name="zero_point")

    point = call.compute(points, low, scale, name="zero_point")

    def kernel(data: Any, scale: Any, point: Any) -> Any:
        def element(*position: Any) -> Any:
            number = tirx.nearbyint(data(*position) / scale()) + point().astype("float32")
            return tirx.max(tirx.min(number, tirx.const(255, "float32")), tirx.const(0, "float32")).astype("uint8")

        return te.compute(data.shape, element, name="quantised")

    return [call.compute(kernel, data, scale, point, name="dynamic_quantize"), scale, point]


OPERATORS: dict[str, Rule] = {
    "ConvInteger": _conv_integer,
    "DequantizeLinear": _dequantize,
    "DynamicQuantizeLinear": _dynamic_quantize,
    "MatMulInteger": _matmul_integer,
    "QLinearConv": _qlinear_conv,
    "QLinearMatMul": _qlinear_matmul,
    "QuantizeLinear": _quantize,
}
