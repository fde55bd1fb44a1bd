"""How an output's extent follows the sizes that a model was compiled for (its gears), where it is not simply one of them.

A convolution with a stride gives half the height, say. The file lists the outputs' shapes in every gear, and no other sizes are ever
run: any expression that agrees with all gears is right.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from landbridge.runtime.gears import gear_names
from landbridge.runtime.signature import Signature

_MOST_FACTOR, _MOST_ADDED, _MOST_DIVISOR = 8, 32, 64
"""Bounds of what is tried."""


@dataclass(frozen=True)
class Follows:
    """``(factor * extent of the dimension + added) // divisor``."""

    dimension: str
    factor: int
    added: int
    divisor: int

    def of(self, extent: int) -> int:
        """Return the output's extent for an extent of the dimension."""
        return (self.factor * extent + self.added) // self.divisor


def follows(signature: Signature, output: int, axis: int) -> Follows | None:
    """Return how an extent of an output follows one named dimension of the inputs, the simplest way; None where there is no such way."""
    gears = signature.gears
    if gears is None or not gears.output_shapes:
        return None
    wanted = [shapes[output][axis] for shapes in gears.output_shapes]
    columns = dict(zip(gear_names(signature), zip(*gears.choices, strict=True), strict=True))
    for way in _ways():
        for name, extents in columns.items():
            found = Follows(name, *way)
            if [found.of(extent) for extent in extents] == wanted:
                return found
    return None


def _ways() -> Iterator[tuple[int, int, int]]:
    """Yield factor, added and divisor, simple ones first."""
    for divisor in range(1, _MOST_DIVISOR + 1):
        for factor in range(1, _MOST_FACTOR + 1):
            for added in sorted(range(-_MOST_ADDED, _MOST_ADDED + 1), key=abs):
                yield factor, added, divisor
