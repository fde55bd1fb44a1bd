"""Prove that what is read from memory that several buffers share is what was meant to be there.

A buffer may be a view of another one, a part of it, or be written in its place when it is not needed any more. Here every byte of such
memory knows which buffer it was written as last, moment by moment; nothing is taken over from the planner.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from landbridge.runtime.plan import Plan


@dataclass(frozen=True)
class Access:
    """What happens at one moment: buffers that are read, then buffers that are written.

    Attributes:
        over: pairs of a buffer that is read and one that is written in its place, of which each byte is read before it is written.
    """

    reads: tuple[int, ...]
    writes: tuple[int, ...]
    over: tuple[tuple[int, int], ...] = ()


Span = tuple[int, int]
"""Where bytes begin and end in memory."""

Pieces = list[tuple[int, int, int]]
"""Bytes that were written: where they begin and end, and as which buffer."""


def content_problems(plan: Plan, accesses: Sequence[Sequence[Access]], spans: Sequence[Span]) -> Iterator[str]:
    """Yield each read that finds something else than the buffer's own content, and each write over something that is being read.

    Args:
        spans: where each buffer is in the memory that it shows.
    """
    written = [buffer for step in accesses for access in step for buffer in access.writes]
    several = {memory for buffer in written if (memory := _chain(plan, buffer)[-1]) != buffer}
    state: dict[int, Pieces] = {memory: [] for memory in several}
    meant = _Meant(plan, frozenset(written))
    for access in (access for step in accesses for access in step):
        for buffer in access.reads:
            yield from _read(plan, buffer, state, meant, spans)
        for buffer in access.writes:
            memory = _chain(plan, buffer)[-1]
            if memory in state:
                yield from _clashes(plan, access, buffer, spans)
                state[memory] = _with(state[memory], *spans[buffer], buffer)
    for output in plan.outputs:
        yield from _read(plan, output.buffer, state, meant, spans)


class _Meant:
    """Which buffers' bytes a buffer is meant to show."""

    def __init__(self, plan: Plan, written: frozenset[int]) -> None:
        self.plan = plan
        self.written = written
        self.parts: dict[int, set[int]] = {}
        for buffer in written:
            for other in _chain(plan, buffer)[1:]:
                if other in written:
                    break
                self.parts.setdefault(other, set()).add(buffer)

    def by(self, buffer: int) -> set[int]:
        """Return the buffer itself where it is written; else those that are written as parts of it; else what it is a view of."""
        for other in _chain(self.plan, buffer):
            if other in self.written:
                return {other}
            if other in self.parts:
                return self.parts[other]
        return set()


def _chain(plan: Plan, buffer: int) -> list[int]:
    """Return a buffer, the one in whose memory it is, and so on."""
    found = [buffer]
    while plan.buffers[found[-1]].storage == "alias":
        found.append(plan.buffers[found[-1]].base)
    return found


def _read(plan: Plan, buffer: int, state: dict[int, Pieces], meant: _Meant, spans: Sequence[Span]) -> Iterator[str]:
    memory = _chain(plan, buffer)[-1]
    if memory not in state:
        return
    start, end = spans[buffer]
    wanted = meant.by(buffer)
    for first, last, writer in state[memory]:
        if first >= end or last <= start:
            continue
        if first > start:
            break
        if writer not in wanted:
            yield f"{_name(plan, buffer)} is read where {_name(plan, writer)} was written"
            return
        start = last
    if start < end:
        yield f"{_name(plan, buffer)} is read before all of it was written"


def _clashes(plan: Plan, access: Access, buffer: int, spans: Sequence[Span]) -> Iterator[str]:
    """Yield what is read at the same moment where a buffer is written."""
    memory, (start, end) = _chain(plan, buffer)[-1], spans[buffer]
    for other in access.reads:
        first, last = spans[other]
        if _chain(plan, other)[-1] != memory or first >= end or last <= start:
            continue
        if (other, buffer) not in access.over or (first, last) != (start, end):
            yield f"{_name(plan, buffer)} is written over {_name(plan, other)} while that is read"


def _with(pieces: Pieces, start: int, end: int, buffer: int) -> Pieces:
    """Return what is known after ``buffer`` was written there."""
    kept = []
    for first, last, writer in pieces:
        kept += [(first, min(last, start), writer)] if first < start else []
        kept += [(max(first, end), last, writer)] if last > end else []
    return sorted([*kept, (start, end, buffer)] if end > start else kept)


def _name(plan: Plan, index: int) -> str:
    return f"buffer {index} ('{plan.buffers[index].name}')"
