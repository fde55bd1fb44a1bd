"""Keep weights in 16 bits where these hold every one of them exactly; they become float32 again in registers.

Nothing is rounded: it is how weights lie that changes, and the time to read them. A product of few rows takes as long as its weights take
to come from memory, half of it then. Where many rows share weights that are in a cache, conversion costs up to a tenth.

bfloat16 numbers lie in words of 32 bits, those of a vector of columns in the low halves and those of the next vector in the high ones: a
shift and a mask make two vectors of float32 of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from tvm import tirx
from tvm.target import codegen as llvm

from landbridge.codegen.schedules.vectors import vectors_of

Array = np.ndarray[Any, Any]


def is_bfloat16(weights: Array) -> bool:
    """Return whether bfloat16 holds each of these float32 numbers exactly."""
    return str(weights.dtype) == "float32" and not (weights.view("uint32") & 0xFFFF).any()


def is_float16(weights: Array) -> bool:
    """Return whether float16 holds each of these float32 numbers exactly."""
    with np.errstate(over="ignore"):
        return np.array_equal(weights.astype("float16").astype("float32"), weights)


@dataclass(frozen=True)
class Kept:
    """How packed weights lie in memory.

    Attributes:
        dtype: "float32", "float16" or "bfloat16".
        lanes: of a vector, where two vectors of bfloat16 numbers are in one of words; otherwise 0.
    """

    dtype: str = "float32"
    lanes: int = 0

    def array(self, packed: Array) -> Array:
        """Return packed float32 weights, whose last axis runs along vectors, as they lie."""
        if self.dtype != "bfloat16":
            return packed.astype(self.dtype)
        bits = packed.view("uint32") >> 16
        if not self.lanes:
            return bits.astype("uint16")
        pairs = bits.reshape(*packed.shape[:-1], -1, 2, self.lanes)
        return np.ascontiguousarray((pairs[..., 0, :] | pairs[..., 1, :] << 16).reshape(*packed.shape[:-1], -1))

    def number(self, weights: Any, outer: Sequence[Any], last: Any) -> Any:
        """Return the weight, float32, that was packed at these indices."""
        if self.dtype != "bfloat16":
            return weights(*outer, last).astype("float32")
        half = tirx.const(16, "uint32")
        if not self.lanes:
            return tirx.reinterpret("float32", weights(*outer, last).astype("uint32") << half)
        pair = tirx.floordiv(last, 2 * self.lanes)
        word = weights(*outer, pair * self.lanes + tirx.floormod(last, self.lanes))
        is_second = tirx.floordiv(tirx.floormod(last, 2 * self.lanes), self.lanes).astype("uint32")
        return tirx.reinterpret("float32", (word >> (is_second * half)) << half)


def kept_as(weights: Array, panel: int, target: Any) -> Kept:
    """Return how float32 weights, packed in panels of so many columns, are to lie."""
    lanes = vectors_of(target).lanes
    if is_bfloat16(weights):
        return Kept("bfloat16", lanes if panel % (2 * lanes) == 0 else 0)
    return Kept("float16") if _converts(target) and is_float16(weights) else Kept()


def _converts(target: Any) -> bool:
    """Return whether a TVM target has an instruction that makes float32 of float16."""
    return not {"f16c", "avx512f", "neon"}.isdisjoint(str(feature) for feature in llvm.llvm_get_cpu_features(target))
