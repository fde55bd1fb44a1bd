"""Time measured on a machine that others use too."""

from __future__ import annotations

from collections.abc import Callable

TRIES = 30
"""Most measurements; on a quiet machine the first is enough."""


def least(measure: Callable[[], float], enough: float) -> float:
    """Return the least of some measurements: what others do on the machine only ever adds to it. Stops below ``enough``."""
    best = float("inf")
    for _ in range(TRIES):
        best = min(best, measure())
        if best < enough:
            break
    return best
