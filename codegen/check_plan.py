"""Prove that a plan's buffers do not get in each other's way, from the definition and without the planner's code.

Every pair of buffers on a device is compared: if there is a moment at which both hold something that is still needed, the bytes that
hold it must not overlap. Where buffers are parts of another one, or written in the place of it, every byte that is read must be the one
that the buffer's own writer left there. What depends on named dimensions is evaluated at several values of them.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from landbridge.codegen.check_contents import Access, content_problems
from landbridge.ir.dtypes import bits_of
from landbridge.runtime.dims import evaluate
from landbridge.runtime.errors import PlanError
from landbridge.runtime.opaque import is_opaque
from landbridge.runtime.plan import LATE, Copy, Extern, Plan, Segment
from landbridge.runtime.signature import Signature

SAMPLES = (1, 2, 3, 7, 16, 33, 100, 4097)
"""The values at which named dimensions are tried."""

_ROWS = 512  # of the table of pairs, at a time


def check_plan(
    plan: Plan, accesses: Sequence[Sequence[Access]], signatures: Mapping[str, Signature], padding: Collection[str] = ()
) -> None:
    """Check a plan.

    Args:
        accesses: for each step what it does, moment by moment: one for each kernel of a segment.
        signatures: of the offline models, which may touch more rows than a tensor has.
        padding: those of them whose batch may be padded.

    Raises:
        PlanError: everything that is wrong, each on a line.
    """
    problems = [*_order_problems(plan, accesses), *_step_problems(plan, accesses)]
    uses = _uses(plan, accesses)
    for dims in _samples(plan.dims, plan.ranges):
        if not _possible(plan, dims):
            continue
        problems += _size_problems(plan, signatures, padding, dims)
        problems += _overlaps(plan, uses, dims)
        problems += content_problems(plan, accesses, [_span(plan, buffer, dims) for buffer in range(len(plan.buffers))])
        if problems:
            break
    if problems:
        raise PlanError("the plan contradicts itself:\n" + "\n".join(dict.fromkeys(problems)))


def _samples(names: Sequence[str], ranges: Mapping[str, tuple[int, int]]) -> list[dict[str, int]]:
    """Return values for the dimensions: all equal, and all different; those that are not in their range are moved into it."""
    if not names:
        return [{}]
    equal = [dict.fromkeys(names, value) for value in SAMPLES]
    different = [{name: SAMPLES[(shift + i) % len(SAMPLES)] for i, name in enumerate(names)} for shift in range(len(SAMPLES))]
    return [{name: _within(value, *ranges.get(name, (0, value))) for name, value in sample.items()} for sample in (*equal, *different)]


def _within(value: int, least: int, largest: int) -> int:
    return min(value if value >= least else least + value, largest)


def _possible(plan: Plan, dims: Mapping[str, int]) -> bool:
    """Return whether no tensor has a negative extent: a program may need an input of some minimal size."""
    try:
        return all(evaluate(extent, dims) >= 0 for buffer in plan.buffers for extent in buffer.shape if extent != LATE)
    except PlanError:  # it would divide by 0
        return False


def _memory(plan: Plan, buffer: int) -> int:
    seen = {buffer}
    while plan.buffers[buffer].storage == "alias":
        buffer = plan.buffers[buffer].base
        if buffer in seen:
            raise PlanError(f"buffer {buffer} is an alias of itself")
        seen.add(buffer)
    return buffer


def _span(plan: Plan, buffer: int, dims: Mapping[str, int]) -> tuple[int, int]:
    """Return where the bytes of a buffer's tensor begin and end in the memory that it shows."""
    start, member = 0, buffer
    while plan.buffers[member].storage == "alias":
        start += evaluate(plan.buffers[member].offset, dims)
        member = plan.buffers[member].base
    return start, start + _tensor_nbytes(plan, buffer, 0, dims)


def _order_problems(plan: Plan, accesses: Sequence[Sequence[Access]]) -> Iterator[str]:
    """Yield reads before writes, second writes, and dependences that are missing."""
    writer: dict[int, int] = {}
    written: set[int] = set()
    inputs = {entry.buffer for entry in plan.inputs}
    for number, (step, moments) in enumerate(zip(plan.steps, accesses, strict=True)):
        if any(not 0 <= other < number for other in step.after):
            yield f"step {number} waits for {step.after}, expected earlier steps"
        for access in moments:
            for buffer in access.reads:
                memory = _memory(plan, buffer)
                if memory not in writer and memory not in inputs and plan.buffers[memory].storage in ("arena", "late"):
                    yield f"step {number} reads {_name(plan, buffer)} before anything is in it"
                elif writer.get(memory, number) not in (number, *step.after):
                    yield f"step {number} reads {_name(plan, buffer)} but does not wait for step {writer[memory]}"
            for buffer in access.writes:
                memory = _memory(plan, buffer)
                if memory in inputs or plan.buffers[memory].storage not in ("arena", "late"):
                    yield f"step {number} writes {_name(plan, buffer)}, which is {plan.buffers[memory].storage}"
                if buffer in written:
                    yield f"step {number} writes {_name(plan, buffer)} again"
                written.add(buffer)
                writer[memory] = number
    for output in plan.outputs:
        memory = _memory(plan, output.buffer)
        if memory not in writer and memory not in inputs and plan.buffers[memory].storage in ("arena", "late"):
            yield f"output '{output.name}' is never written"


def _step_problems(plan: Plan, accesses: Sequence[Sequence[Access]]) -> Iterator[str]:
    """Yield steps whose buffers are not what they do, and copies whose ends do not fit."""
    for number, (step, moments) in enumerate(zip(plan.steps, accesses, strict=True)):
        reads = {buffer for access in moments for buffer in access.reads}
        writes = {buffer for access in moments for buffer in access.writes}
        if isinstance(step, Segment):
            if reads | writes != set(step.buffers) or writes != set(step.writes):
                yield f"step {number} ({step.symbol}) names other buffers than its kernels use"
            if any(plan.buffers[buffer].device != "cpu" for buffer in step.buffers):
                yield f"step {number} ({step.symbol}) touches memory of a device"
        elif isinstance(step, Extern):
            if reads != set(step.inputs) or writes != set(step.outputs):
                yield f"step {number} ({step.model}) names other buffers than it uses"
            memory = [buffer for buffer in (*step.inputs, *step.outputs) if plan.buffers[buffer].storage != "late"]
            if any(plan.buffers[buffer].device != step.device for buffer in memory):
                yield f"step {number} ({step.model}) on {step.device} touches memory of another device"
        else:
            source, destination = plan.buffers[step.source], plan.buffers[step.destination]
            if (source.dtype, source.shape) != (destination.dtype, destination.shape):
                yield f"step {number} copies {_name(plan, step.source)} to a tensor of another type"
            if (source.device == "cpu") == (destination.device == "cpu"):
                yield f"step {number} copies {_name(plan, step.source)} from {source.device} to {destination.device}"


def _size_problems(plan: Plan, signatures: Mapping[str, Signature], padding: Collection[str], dims: Mapping[str, int]) -> Iterator[str]:
    """Yield buffers that are too small for their tensor, their slack, or their aliases, and arenas that are too small."""
    for index, buffer in enumerate(plan.buffers):
        if buffer.storage == "late":
            continue
        nbytes, offset = evaluate(buffer.nbytes, dims), evaluate(buffer.offset, dims)
        if nbytes < _tensor_nbytes(plan, index, 0, dims):
            yield f"{_name(plan, index)} has {nbytes} bytes, fewer than its tensor"
        if offset < 0 or offset % 64:
            yield f"{_name(plan, index)} is at byte {offset}, expected a multiple of 64"
        if buffer.storage == "arena" and offset + nbytes > evaluate(plan.arenas.get(buffer.device, 0), dims):
            yield f"{_name(plan, index)} ends behind the arena of {buffer.device}"
        if buffer.storage == "alias" and offset + nbytes > evaluate(plan.buffers[buffer.base].nbytes, dims):
            yield f"{_name(plan, index)} ends behind what it is an alias of"
    for step in plan.steps:
        if isinstance(step, Extern):
            yield from _slack_problems(plan, step, signatures[step.model], step.model in padding, dims)


def _slack_problems(plan: Plan, step: Extern, signature: Signature, padded: bool, dims: Mapping[str, int]) -> Iterator[str]:
    """Yield buffers that end before what a model with gears may touch: it works in whole gears, the last one included."""
    gears = signature.gears
    batches = gears.batches if gears is not None else ()
    if gears is not None and not batches:
        for number, index in enumerate(step.outputs):
            sizes = [math.prod(shapes[number]) * bits_of(plan.buffers[index].dtype) // 8 for shapes in gears.output_shapes]
            if evaluate(plan.buffers[index].nbytes, dims) < max(sizes, default=0):
                yield f"{_name(plan, index)} has no room for the largest gear of {step.model}: expected {max(sizes)} bytes"
    if not batches:
        return
    ports = zip((*step.inputs, *step.outputs), (*signature.inputs, *signature.outputs), strict=True)
    for index, port in ports:
        if not port.shape or not isinstance(port.shape[0], str):
            continue
        needed = _tensor_nbytes(plan, index, batches[-1] - (1 if padded else batches[0]), dims)
        if evaluate(plan.buffers[index].nbytes, dims) < needed:
            yield f"{_name(plan, index)} has no room for the largest gear of {step.model}: expected {needed} bytes"


def _tensor_nbytes(plan: Plan, index: int, more_rows: int, dims: Mapping[str, int]) -> int:
    buffer = plan.buffers[index]
    if LATE in buffer.shape or is_opaque(buffer.dtype):
        return 0
    extents = [evaluate(size, dims) for size in buffer.shape]
    if extents:
        extents[0] += more_rows
    count = 1
    for extent in extents:
        count *= extent
    return -(-count * bits_of(buffer.dtype) // 8)


_NEVER = 2**62

Times = tuple[int, int]
"""A first and a last moment."""


def _uses(plan: Plan, accesses: Sequence[Sequence[Access]]) -> dict[int, dict[int, Times]]:
    """Return for each buffer with memory in an arena the buffers that show its memory, and from when to when each is used."""
    moments = [access for step in accesses for access in step]
    end = len(moments)
    times = [(buffer, moment) for moment, access in enumerate(moments) for buffer in (*access.reads, *access.writes)]
    times += [(output.buffer, end) for output in plan.outputs]
    times += [(step.destination, moment) for step in plan.steps if isinstance(step, Copy) and step.once for moment in (-1, end)]
    uses: dict[int, dict[int, Times]] = {}
    for buffer, moment in times:
        memory = _memory(plan, buffer)
        if plan.buffers[memory].storage == "arena":
            known = uses.setdefault(memory, {}).get(buffer, (moment, moment))
            uses[memory][buffer] = min(known[0], moment), max(known[1], moment)
    return uses


def _lives(plan: Plan, memory: int, uses: Mapping[int, Times], dims: Mapping[str, int]) -> Iterator[tuple[int, int, int, int]]:
    """Yield the bytes of a buffer, cut wherever what shows them begins or ends: when they are needed first and last, and where they are."""
    offset = evaluate(plan.buffers[memory].offset, dims)
    shown: list[tuple[int, int, Times]] = []
    for buffer, times in uses.items():
        start = offset + _span(plan, buffer, dims)[0]
        shown.append((start, start + evaluate(plan.buffers[buffer].nbytes, dims), times))
    cuts = sorted({cut for start, end, _ in shown for cut in (start, end)})
    column = {cut: number for number, cut in enumerate(cuts)}
    first, last = np.full(len(cuts) - 1, _NEVER), np.full(len(cuts) - 1, -_NEVER)
    for start, end, times in shown:
        piece = slice(column[start], column[end])
        first[piece] = np.minimum(first[piece], times[0])
        last[piece] = np.maximum(last[piece], times[1])
    for number in np.flatnonzero(first < _NEVER).tolist():
        yield int(first[number]), int(last[number]), cuts[number], cuts[number + 1]


def _overlaps(plan: Plan, uses: Mapping[int, Mapping[int, Times]], dims: Mapping[str, int]) -> Iterator[str]:
    """Yield each pair of buffers that share a byte at a moment at which both need it."""
    for device in dict.fromkeys(plan.buffers[index].device for index in uses):
        here = [index for index in uses if plan.buffers[index].device == device]
        found = [(index, *life) for index in here for life in _lives(plan, index, uses[index], dims)]
        table: np.ndarray[Any, np.dtype[np.int64]] = np.array(found, dtype=np.int64).reshape(-1, 5)
        owner, first, last, start, end = table.T
        for row in range(0, len(found), _ROWS):
            part = slice(row, row + _ROWS)
            together = (first[part, None] <= last[None, :]) & (first[None, :] <= last[part, None])
            touching = (start[part, None] < end[None, :]) & (start[None, :] < end[part, None])
            for left, right in zip(*np.nonzero(together & touching & (owner[part, None] != owner[None, :])), strict=True):
                if left + row < right:
                    pair = f"{_name(plan, int(owner[left + row]))} and {_name(plan, int(owner[right]))}"
                    yield f"{pair} share memory on {device} while both are needed"


def _name(plan: Plan, index: int) -> str:
    return f"buffer {index} ('{plan.buffers[index].name}')"
