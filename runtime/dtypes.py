"""Element types: how many bits they take, and what NumPy holds them in.

A dtype is a name, as in signatures and plans: NumPy's own, and those that NumPy lacks (`bfloat16`, the 8-bit floats, `int4`),
spelled as in ``ml_dtypes``. Arrays of the latter go in and out of a session as unsigned integers of the same width: the bits.
Types of less than a byte are packed in memory, the first element in the low bits, and each tensor starts on a byte of its own; an array
of them has a byte for each element, the bits in the low ones.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

BITS: dict[str, int] = {
    "bool": 8,
    "int8": 8,
    "int16": 16,
    "int32": 32,
    "int64": 64,
    "uint8": 8,
    "uint16": 16,
    "uint32": 32,
    "uint64": 64,
    "float16": 16,
    "float32": 32,
    "float64": 64,
    "complex64": 64,
    "complex128": 128,
    "bfloat16": 16,
    "float8_e3m4": 8,
    "float8_e4m3": 8,
    "float8_e4m3b11fnuz": 8,
    "float8_e4m3fn": 8,
    "float8_e4m3fnuz": 8,
    "float8_e5m2": 8,
    "float8_e5m2fnuz": 8,
    "float8_e8m0fnu": 8,
    "float4_e2m1fn": 4,
    "int4": 4,
    "uint4": 4,
    "int2": 2,
    "uint2": 2,
}
"""Bits of one element, by the name of the dtype."""

_NUMPY = frozenset(name for name in BITS if hasattr(np, name)) | {"bool"}


def is_dtype(name: str) -> bool:
    """Return whether ``name`` is a dtype that a plan may have."""
    return name in BITS


def nbytes_of(dtype: str, shape: Iterable[int]) -> int:
    """Return the bytes that a dense tensor takes.

    Example:
        >>> nbytes_of("float16", (2, 3)), nbytes_of("int4", (3,)), nbytes_of("float64", ())
        (12, 2, 8)
    """
    return (math.prod(shape) * BITS[dtype] + 7) // 8


def is_packed(dtype: str) -> bool:
    """Return whether several elements share a byte, so that no NumPy array has one element each."""
    return BITS[dtype] < 8


def pack(array: NDArray[Any], dtype: str) -> NDArray[np.uint8]:
    """Return the bytes that a packed tensor has in memory.

    Args:
        array: a byte for each element; only its low bits count.

    Example:
        >>> pack(np.array([1, 2, 15], np.uint8), "uint4").tolist()
        [33, 15]
    """
    bits, per_byte = BITS[dtype], 8 // BITS[dtype]
    elements = np.zeros(-(-array.size // per_byte) * per_byte, np.uint8)
    elements[: array.size] = array.view(np.uint8).reshape(-1) & ((1 << bits) - 1)
    shifts = (np.arange(per_byte) * bits).astype(np.uint8)
    packed: NDArray[np.uint8] = np.bitwise_or.reduce(elements.reshape(-1, per_byte) << shifts, axis=1)
    return packed


def unpack(data: NDArray[np.uint8], dtype: str, shape: tuple[int, ...]) -> NDArray[np.uint8]:
    """Return a packed tensor with a byte for each element; the bits of a signed one fill it, so that it can be looked at as int8.

    Example:
        >>> unpack(np.array([33, 15], np.uint8), "int4", (3,)).view(np.int8).tolist()
        [1, 2, -1]
    """
    bits, per_byte = BITS[dtype], 8 // BITS[dtype]
    shifts = (np.arange(per_byte) * bits).astype(np.uint8)
    elements: NDArray[np.uint8] = ((data.reshape(-1, 1) >> shifts) & ((1 << bits) - 1)).astype(np.uint8).reshape(-1)
    if dtype.startswith("int"):
        sign = np.uint8(1 << (bits - 1))
        elements = (elements ^ sign) - sign
    return elements[: math.prod(shape)].reshape(shape)


def holder(dtype: str) -> np.dtype[np.generic]:
    """Return the NumPy dtype that an array of ``dtype`` has: its own, or the unsigned integer of its width.

    Example:
        >>> holder("float32"), holder("bfloat16"), holder("float8_e5m2")
        (dtype('float32'), dtype('uint16'), dtype('uint8'))
    """
    return np.dtype(dtype if dtype in _NUMPY else f"uint{max(BITS[dtype], 8)}")


def to_bfloat16(array: NDArray[Any]) -> NDArray[np.uint16]:
    """Return floats rounded to bfloat16, nearest and ties to even, as the bits that hold them.

    Example:
        >>> to_bfloat16(np.array([1.0, 1.00390625, np.nan], np.float32)).tolist()
        [16256, 16256, 32704]
    """
    bits = np.ascontiguousarray(array, np.float32).view(np.uint32).astype(np.uint64)
    rounded = ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint16)
    return np.where(np.isnan(array), np.uint16(0x7FC0), rounded)
