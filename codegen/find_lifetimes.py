"""Find out when the memory of each tensor in an arena is in use.

A tensor that is computed in the memory of a larger one begins to live when it is written itself: until then its place in the whole is free
for others. So memory is told of part by part where its parts are known to follow one another without a gap, and as one where not.
"""

from __future__ import annotations

import functools
import operator
from bisect import bisect_left, bisect_right
from collections.abc import Collection, Iterable, Sequence
from typing import NamedTuple

from landbridge.codegen.check_contents import Access
from landbridge.codegen.plan_memory import Lifetime
from landbridge.runtime.dims import Size
from landbridge.runtime.plan import Buffer, Copy, Extern, Segment, Step

Lives = dict[int, dict[int, Lifetime]]
"""For each buffer that is memory in an arena its parts, in order: for each of them a buffer that shows just this part, and its life."""


class _Use(NamedTuple):
    moment: int
    step: int
    buffer: int


class _Part(NamedTuple):
    start: int
    nbytes: Size
    buffer: int


def memory_of(buffers: Sequence[Buffer], buffer: int) -> int:
    """Return the buffer whose memory ``buffer`` shows."""
    while buffers[buffer].base >= 0:
        buffer = buffers[buffer].base
    return buffer


def find_lifetimes(
    buffers: Sequence[Buffer], steps: Sequence[Step], accesses: Sequence[Sequence[Access]], outputs: Collection[int]
) -> Lives:
    """Return when each part of the memory in arenas is in use.

    Args:
        accesses: for each step what it does, moment by moment: one for each kernel of a segment.
        outputs: buffers that are needed to the end.
    """
    uses: dict[int, list[_Use]] = {}
    moment = 0
    for number, moments in enumerate(accesses):
        for access in moments:
            for buffer in dict.fromkeys((*access.reads, *access.writes)):
                uses.setdefault(memory_of(buffers, buffer), []).append(_Use(moment, number, buffer))
            moment += 1
    kept = [(memory_of(buffers, output), _Use(moment, -1, output)) for output in sorted(outputs)]
    for memory, use in kept:
        uses.setdefault(memory, []).append(use)
    once = {memory_of(buffers, step.destination) for step in steps if isinstance(step, Copy) and step.once}
    ended = _ended(buffers, steps)

    def life(part: _Part, used: Sequence[_Use], memory: int) -> Lifetime:
        first, last = (0, moment) if memory in once else (used[0].moment, used[-1].moment)  # a copy made once lives for ever
        users = functools.reduce(operator.or_, (1 << use.step for use in used if use.step >= 0))
        return Lifetime(part.nbytes, first, last, users, ended[used[0].step], part.start)

    lives: Lives = {}
    for memory in sorted(memory for memory in uses if buffers[memory].storage == "arena"):
        parts = _parts(buffers, memory, [use.buffer for use in uses[memory]])
        of_parts = zip(parts, _uses_of(parts, uses[memory], buffers), strict=True)
        lives[memory] = {part.buffer: life(part, used, memory) for part, used in of_parts}
    return lives


def _parts(buffers: Sequence[Buffer], memory: int, used: Iterable[int]) -> list[_Part]:
    """Return the smallest parts that are used and follow one another; all as one where that leaves something out."""
    whole = _Part(0, buffers[memory].nbytes, memory)
    smallest: dict[int, tuple[int, int]] = {}
    for buffer in dict.fromkeys(used):
        span = _span(buffers, buffer)
        if span is None:
            return [whole]
        start, end = span
        if start < end and (start not in smallest or end < smallest[start][0]):
            smallest[start] = end, buffer
    found: list[_Part] = []
    start = 0
    while start in smallest:
        end, buffer = smallest[start]
        found.append(_Part(start, end - start, buffer))
        start = end
    return found if start == whole.nbytes and len(found) > 1 else [whole]


def _uses_of(parts: Sequence[_Part], uses: Iterable[_Use], buffers: Sequence[Buffer]) -> list[list[_Use]]:
    """Return for each part the uses of buffers that show any of it."""
    found: list[list[_Use]] = [[] for _ in parts]
    starts = [part.start for part in parts]
    for use in uses:
        span = _span(buffers, use.buffer) if len(parts) > 1 else None
        first, last = (0, len(parts)) if span is None else (bisect_right(starts, span[0]) - 1, bisect_left(starts, span[1]))
        for part in found[first:last]:
            part.append(use)
    return found


def _span(buffers: Sequence[Buffer], buffer: int) -> tuple[int, int] | None:
    """Return where a buffer begins and ends in the memory that it shows, or None where that depends on named dimensions."""
    nbytes, start = buffers[buffer].nbytes, 0
    while buffers[buffer].base >= 0:
        offset = buffers[buffer].offset
        if not isinstance(offset, int):
            return None
        start, buffer = start + offset, buffers[buffer].base
    return (start, start + nbytes) if isinstance(nbytes, int) else None


def _ended(buffers: Sequence[Buffer], steps: Sequence[Step]) -> list[int]:
    """Return for each step those that have certainly ended when it begins, and itself, a bit each.

    A session lets steps run at the same time where they do not wait for each other (`landbridge.runtime.overlap`); memory that
    such steps shared would make them wait.
    """
    last: dict[tuple[str, ...], int] = {}
    result: list[int] = []
    for number, step in enumerate(steps):
        waits = set(step.after)
        if not isinstance(step, Extern):
            ends = ("cpu",) if isinstance(step, Segment) else (buffers[step.source].device, buffers[step.destination].device)
            waits |= {last[ends]} if ends in last else set()
            last[ends] = number
        result.append(functools.reduce(operator.or_, (result[earlier] for earlier in waits), 1 << number))
    return result
