"""Element types: how many bits they take, and what NumPy holds them in.

A dtype is a name, as in signatures and plans: NumPy's own, and those that NumPy lacks (`bfloat16`, the 8-bit floats, `int4`),
spelled as in ``ml_dtypes``. Arrays of the latter go in and out of a session as unsigned integers of the same width: the bits.
Types of less than a byte are packed, the first element in the low bits, and each tensor starts on a byte of its own.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np

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


def holder(dtype: str) -> np.dtype[np.generic]:
    """Return the NumPy dtype that an array of ``dtype`` has: its own, or the unsigned integer of its width.

    Example:
        >>> holder("float32"), holder("bfloat16"), holder("float8_e5m2")
        (dtype('float32'), dtype('uint16'), dtype('uint8'))
    """
    return np.dtype(dtype if dtype in _NUMPY else f"uint{max(BITS[dtype], 8)}")
