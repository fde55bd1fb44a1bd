"""Count the bytes of an arena that are needed, moment by moment, from what a plan's steps read and write alone."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from landbridge.codegen.check_contents import Access
from landbridge.runtime.dims import evaluate
from landbridge.runtime.plan import Plan

Bytes = NDArray[np.bool_]


def most_live_bytes(plan: Plan, accesses: Sequence[Sequence[Access]], device: str = "cpu") -> int:
    """Return how many bytes are needed at the moment when most are; a plan of known sizes, in which nothing is copied once.

    Goes backwards: before it is read a byte is needed, before it is written it is not. Two buffers may not need the same byte.
    """
    nbytes = evaluate(plan.arenas[device], {})
    needed: dict[int, Bytes] = {}

    def show(buffer: int) -> tuple[Bytes, slice] | None:
        start, end = 0, evaluate(plan.buffers[buffer].nbytes, {})
        while plan.buffers[buffer].storage == "alias":
            start, buffer = start + evaluate(plan.buffers[buffer].offset, {}), plan.buffers[buffer].base
        if plan.buffers[buffer].storage != "arena" or plan.buffers[buffer].device != device:
            return None
        start += evaluate(plan.buffers[buffer].offset, {})
        return needed.setdefault(buffer, np.zeros(nbytes, bool)), slice(start, start + end)

    def mark(buffers: Sequence[int], value: bool) -> None:
        for found in map(show, buffers):
            if found is not None:
                found[0][found[1]] = value

    mark([output.buffer for output in plan.outputs], True)
    most = _count(needed)
    for access in reversed([access for step in accesses for access in step]):
        mark((*access.reads, *access.writes), True)  # what is read and what is written have places at once
        most = max(most, _count(needed))
        mark(access.writes, False)
        mark(access.reads, True)
    return most


def _count(needed: dict[int, Bytes]) -> int:
    """Return how many bytes are needed."""
    by = np.sum(list(needed.values()), axis=0, dtype=int) if needed else np.zeros(0, int)
    assert by.max(initial=0) <= 1, "two buffers need the same byte"
    return int(by.sum())
