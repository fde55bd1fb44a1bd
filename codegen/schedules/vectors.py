"""What a target's vector unit offers to schedules."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tvm.target import codegen as llvm


@dataclass(frozen=True)
class Vectors:
    """The vector registers of a processor.

    Attributes:
        lanes: float32 numbers in a register.
        registers: how many there are.
    """

    lanes: int
    registers: int

    @property
    def accumulators(self) -> int:
        """How many registers may hold sums: the others are for operands."""
        return 28 if self.registers >= 32 else 12


def vectors_of(target: Any) -> Vectors:
    """Return the vector registers of a TVM target."""
    features = {str(feature) for feature in llvm.llvm_get_cpu_features(target)}
    if "avx512f" in features:
        return Vectors(16, 32)
    if "avx2" in features and "fma" in features:
        return Vectors(8, 16)
    return Vectors(4, 32 if "neon" in features else 16)
