"""Tensors of element types that no processor computes with: bfloat16, the floats of 8 and 4 bits, integers of 4 and 2 bits.

Kernels see such a tensor as its bytes (`landbridge.codegen.emit`). Here it becomes a tensor of a wide type that holds every value, and a
tensor of wide type is rounded back. What rounding means is not written down again: the tables are found by probing onnx's own conversion.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

import ml_dtypes
import numpy as np
from onnx.reference.ops.op_cast import cast_to
from tvm import relax, te, tirx
from tvm.script.ir_builder import tirx as ib

from landbridge.codegen.bfloat16 import alone
from landbridge.codegen.bfloat16 import narrow as narrow_to_bfloat16
from landbridge.codegen.bfloat16 import widen as widen_bfloat16
from landbridge.frontends.onnx.graph import ELEMENT_TYPES
from landbridge.frontends.onnx.operators.call import Array, constant, extents_of, product
from landbridge.frontends.onnx.operators.loops import loops, variable
from landbridge.ir.sizes import dtype_of
from landbridge.runtime.dtypes import BITS

WIDE: dict[str, str] = {
    "bfloat16": "float32",
    "float8_e4m3fn": "float32",
    "float8_e4m3fnuz": "float32",
    "float8_e5m2": "float32",
    "float8_e5m2fnuz": "float32",
    "float8_e8m0fnu": "float32",
    "float4_e2m1fn": "float32",
    "int4": "int8",
    "uint4": "uint8",
    "int2": "int8",
    "uint2": "uint8",
}
"""The type that holds every value of a narrow one."""

_BYTE = 8


@dataclass(frozen=True)
class Rounding:
    """How numbers beyond the range, or between two values, are rounded: the attributes of ``Cast``."""

    saturate: bool = True
    mode: str = "up"


def widened(array: Array) -> Array:
    """Return an array in the wide type, where its own is a narrow one.

    Example:
        >>> widened(np.array([1.5], ml_dtypes.bfloat16)).dtype
        dtype('float32')
    """
    return array.astype(WIDE[str(array.dtype)]) if str(array.dtype) in WIDE else array


def is_narrow(dtype: str) -> bool:
    """Return whether an element type is a narrow one."""
    return dtype in WIDE


def widen(builder: Any, tensor: Any) -> Any:
    """Return a narrow tensor in its wide type."""
    dtype = dtype_of(tensor.ty)
    wide, shape = WIDE[dtype], extents_of(tensor)
    if dtype == "bfloat16":
        return builder.emit(widen_bfloat16(builder, tensor))
    bits, table = BITS[dtype], constant(_values(dtype), wide)
    result = relax.TensorType(shape, wide)
    return _on_bytes(builder, tensor, partial(_looked_up, bits=bits), result, table, relax.ShapeExpr(shape))


def narrow(builder: Any, tensor: Any, dtype: str, rounding: Rounding | None = None) -> Any:
    """Return a tensor rounded to a narrow type."""
    shape = extents_of(tensor)
    found = relax.TensorType(shape, dtype)
    if dtype == "bfloat16":
        if dtype_of(tensor.ty) != "float32":
            tensor = builder.emit(relax.op.astype(tensor, "float32"))
        return builder.emit(narrow_to_bfloat16(builder, tensor))
    bits = _bits(builder, tensor, dtype, rounding or Rounding())
    return _to_bytes(builder, bits, lambda codes: _packed(codes, BITS[dtype]), found)


def _bits(builder: Any, tensor: Any, dtype: str, rounding: Rounding) -> Any:
    """Return the bits of each rounded element, in the low ones of a byte."""
    source = dtype_of(tensor.ty)
    if WIDE[dtype] != "float32":
        return builder.emit(relax.op.astype(tensor, "int32" if source.startswith("float") else "uint8"))
    if source not in ("float32", "float64"):
        source = "float32"
        tensor = builder.emit(relax.op.astype(tensor, source))
    steps = _steps(dtype, source, rounding)
    tables = [constant(table) for table in (steps.starts, steps.positive, steps.negative)]
    return builder.emit_te(partial(_searched, nan=steps.nan), tensor, *tables, primfunc_name_hint=f"round_to_{dtype}")


# ---- kernels -----------------------------------------------------------------------------------------------------------------


def _on_bytes(builder: Any, tensor: Any, function: Callable[..., Any], result: Any, *more: Any) -> Any:
    """Bind a kernel that reads a narrow tensor as bytes, flat where there are several in a byte."""
    bits, shape = BITS[dtype_of(tensor.ty)], extents_of(tensor)
    seen = relax.Var("bits", relax.TensorType(_seen(shape, bits), "uint8"))
    function_, arguments, _, *extents = relax.utils.gen_call_tir_inputs(function, seen, *more)
    kernel = builder.add_func(alone(function_), "widen")
    given = [tensor if argument.same_as(seen) else argument for argument in arguments]
    return builder.emit(relax.call_tir(kernel, given, result, *extents))


def _to_bytes(builder: Any, tensor: Any, function: Callable[..., Any], result: Any) -> Any:
    """Bind a kernel that writes a narrow tensor as bytes."""
    function_, arguments, _, *extents = relax.utils.gen_call_tir_inputs(function, tensor)
    kernel = builder.add_func(alone(function_), "narrow")
    return builder.emit(relax.call_tir(kernel, arguments, result, *extents))


def _seen(shape: list[Any], bits: int) -> list[Any]:
    """Return the shape in which kernels see a narrow tensor."""
    return shape if bits == _BYTE else [_nbytes(product(shape), bits)]


def _nbytes(count: Any, bits: int) -> Any:
    per_byte = _BYTE // bits
    return (count + per_byte - 1) // per_byte if isinstance(count, int) else tirx.floordiv(count + (per_byte - 1), per_byte)


def _flat(position: Any, shape: Any) -> Any:
    """Return the place of an element in C order."""
    result: Any = tirx.const(0, "int64")
    for index, extent in zip(position, shape, strict=True):
        result = result * extent + index
    return result


def _looked_up(data: Any, table: Any, shape: list[Any], bits: int) -> Any:
    """Return the value of each element from a table by its bits."""

    def value(*position: Any) -> Any:
        if bits == _BYTE:
            return table[data(*position).astype("int32")]
        place = _flat(position, shape) * bits
        byte = data[tirx.floordiv(place, _BYTE)].astype("int32")
        return table[(byte >> tirx.floormod(place, _BYTE).astype("int32")) & ((1 << bits) - 1)]

    return te.compute(data.shape if bits == _BYTE else shape, value, name="widen")


def _packed(codes: Any, bits: int) -> Any:
    """Return bytes of elements' bits, the first element in the low ones."""
    if bits == _BYTE:
        return te.compute(codes.shape, lambda *i: codes(*i).astype("uint8"), name="narrow")
    count, per_byte = product(list(codes.shape)), _BYTE // bits

    def element(place: Any) -> Any:
        position = []
        for extent in reversed(codes.shape):
            position.append(tirx.floormod(place, extent))
            place = tirx.floordiv(place, extent)
        return codes(*reversed(position)).astype("int32") & ((1 << bits) - 1)

    def byte(index: Any) -> Any:
        parts = [(index * per_byte + part, bits * part) for part in range(per_byte)]
        total: Any = tirx.const(0, "int32")
        for place, shift in parts:
            total = total | tirx.if_then_else(place < count, element(place) << shift, tirx.const(0, "int32"))
        return total.astype("uint8")

    return te.compute([_nbytes(count, bits)], byte, name="narrow")


def _searched(data: Any, starts: Any, positive: Any, negative: Any, nan: int) -> Any:
    """Return for each element the code whose range it is in: the number of ranges that start at or below its magnitude."""
    half = (int(starts.shape[0]) + 1) // 2
    word = "int64" if str(data.dtype) == "float64" else "int32"

    def body(source: Any, starts: Any, positive: Any, negative: Any, result: Any) -> None:
        with ib.serial(0, product(list(data.shape))) as i:
            value, found, size = source[i], variable("int32", tirx.const(0, "int32")), half
            while size:
                found[0] = found[0] + tirx.Select(tirx.abs(value) >= starts[found[0] + (size - 1)], size, 0)
                size //= 2
            minus = tirx.reinterpret(word, value) < tirx.const(0, word)
            code = tirx.Select(minus, negative[found[0]], positive[found[0]])
            result[i] = tirx.Select(tirx.isnan(value), tirx.const(nan, "uint8"), code)

    return loops("rounded", [data, starts, positive, negative], [(data.shape, "uint8")], body)


# ---- tables ------------------------------------------------------------------------------------------------------------------


@cache
def _values(dtype: str) -> Array:
    """Return the value of every pattern of bits of a narrow type."""
    codes = np.arange(1 << BITS[dtype], dtype=np.uint8)
    if WIDE[dtype] != "float32":
        sign = np.uint8(1 << (BITS[dtype] - 1) if dtype.startswith("int") else 0)
        result: Array = ((codes ^ sign) - sign).view(WIDE[dtype])
        return result
    floats: Array = codes.view(getattr(ml_dtypes, dtype)).astype(np.float32)
    return floats


@dataclass(frozen=True, eq=False)
class Steps:
    """The rounding of magnitudes as a staircase.

    Attributes:
        starts: the least magnitude of each step but the first, filled up with NaN to one less than a power of two.
        positive: the code of each step.
        negative: the code of each step of negative numbers.
        nan: the code of what is no number.
    """

    starts: Array
    positive: Array
    negative: Array
    nan: int


@cache
def _steps(dtype: str, source: str, rounding: Rounding) -> Steps:
    """Find the staircase of onnx's conversion by bisection over the bits of all magnitudes: it never falls."""
    word = np.uint64 if source == "float64" else np.uint32

    def codes(magnitudes: Array, sign: int = 1) -> Array:
        numbers = magnitudes.astype(word).view(source) * np.array(sign, source)
        with np.errstate(all="ignore"):
            return np.asarray(cast_to(numbers, ELEMENT_TYPES[dtype], rounding.saturate, rounding.mode)).view(np.uint8)

    last = int(np.array(np.inf, source).view(word))
    first, end = (int(code) for code in codes(np.array([0, last])))
    targets = np.arange(first + 1, end + 1) if end > first else np.arange(0)
    low, high = np.zeros(len(targets), np.uint64), np.full(len(targets), last, np.uint64)
    while (low + 1 < high).any():
        middle = low + (high - low) // np.uint64(2)
        reached = codes(middle) >= targets
        low, high = np.where(reached, low, middle), np.where(reached, middle, high)
    points = np.unique(high)
    size = 1 << len(points).bit_length()
    starts = np.full(size - 1, np.nan, source)
    starts[: len(points)] = points.astype(word).view(source)
    at = np.concatenate([np.zeros(1, np.uint64), points])
    filler = np.zeros(size - len(at), np.uint8)
    nan = int(np.asarray(cast_to(np.array([np.nan], source), ELEMENT_TYPES[dtype], rounding.saturate, rounding.mode)).view(np.uint8)[0])
    positive, negative = (np.concatenate([codes(at, sign), filler]) for sign in (1, -1))
    return Steps(starts, positive, negative, nan)
