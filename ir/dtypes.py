"""Element types: their sizes, which holds which, and which conversions the compiler may insert by itself."""

from __future__ import annotations

from functools import cache

from landbridge.runtime.dtypes import BITS
from landbridge.runtime.errors import PassError

_FLOATS: dict[str, tuple[int, int]] = {
    "float8_e4m3fn": (4, 3),
    "float8_e5m2": (5, 2),
    "float16": (5, 10),
    "bfloat16": (8, 7),
    "float32": (8, 23),
    "float64": (11, 52),
}
"""Exponent and fraction bits of each floating type."""


def bits_of(dtype: str) -> int:
    """Return the bits of one element of ``dtype`` in memory; a bool takes a byte.

    Raises:
        PassError: no such element type.
    """
    if dtype not in BITS:
        raise PassError(f"unknown element type '{dtype}'")
    return BITS[dtype]


def is_float(dtype: str) -> bool:
    """Return whether ``dtype`` is a floating type."""
    return dtype in _FLOATS


@cache
def holds(source: str, target: str) -> bool:
    """Return whether ``target`` holds every value of ``source`` exactly, so that going there and back changes nothing.

    Example:
        >>> holds("float16", "float32"), holds("int16", "float16"), holds("uint8", "int8")
        (True, False, False)
    """
    if source == target:
        return True
    if is_float(source):
        return is_float(target) and all(s <= t for s, t in zip(_FLOATS[source], _FLOATS[target], strict=True))
    signed, magnitude = _integer(source)
    if is_float(target):
        return magnitude <= _FLOATS[target][1] + 1
    if target == "bool":
        return False
    target_signed, target_magnitude = _integer(target)
    return magnitude <= target_magnitude and (target_signed or not signed)


def convertible(source: str, target: str) -> bool:
    """Return whether the compiler may convert ``source`` to ``target`` at an offline model's input without being told to.

    Between floating types always (float32 to float16 is what the vendors' own tools do), else only where nothing is lost.
    """
    return (is_float(source) and is_float(target)) or holds(source, target)


def _integer(dtype: str) -> tuple[bool, int]:
    """Return whether an integer type (or bool) has a sign, and the bits of its greatest magnitude."""
    if dtype == "bool":
        return False, 1
    bits = bits_of(dtype)
    return (False, bits) if dtype.startswith("uint") else (True, bits - 1)
