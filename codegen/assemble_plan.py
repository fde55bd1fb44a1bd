"""Make the plan of a lowered program: buffers, steps over them, and the constants' section."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from landbridge.codegen.check_contents import Access
from landbridge.codegen.find_lifetimes import Lives, find_lifetimes, memory_of
from landbridge.codegen.graph import Node
from landbridge.codegen.kernel_calls import KernelCall, Scalar
from landbridge.codegen.lower import Lowered, LoweredStage
from landbridge.codegen.plan_memory import ALIGNMENT, plan_arena
from landbridge.ir.sizes import dense_nbytes
from landbridge.runtime import dims, gears
from landbridge.runtime.dims import Size
from landbridge.runtime.errors import UnsupportedError
from landbridge.runtime.plan import Buffer, Copy, Extern, Interface, Plan, Segment, Step
from landbridge.runtime.signature import BATCH, Signature

CONSTANTS = "const/0"
"""The section with the constants of the graph."""

SEGMENT_PREFIX = "lb_segment_"
"""The host library exports a function of this name and a number for each segment."""


@dataclass(frozen=True)
class Assembled:
    """A plan and what it was made from.

    Attributes:
        plan: what a session executes.
        accesses: for each step what it does, moment by moment: one for each kernel of a segment.
        calls: for each step its kernels, empty for other steps.
        buffer_of: for each value that has one, its buffer.
        constants: the bytes of the section `CONSTANTS`.
        lifetimes: for each buffer in an arena the first and the last moment at which it is used; for those that stand for one whose
            parts live at other times, such as tensors that are computed where they will be joined, in the place of it.
        segments: for each stage that was lowered its segment, by the number of the step, or -1 where no kernel is left of it.
        step_of: the step of each copy and each offline model; a copy in memory that both sides share has none.
    """

    plan: Plan
    accesses: tuple[tuple[Access, ...], ...]
    calls: tuple[tuple[KernelCall, ...], ...]
    buffer_of: dict[int, int]
    constants: bytes
    lifetimes: dict[int, tuple[int, int]]
    segments: tuple[int, ...]
    step_of: dict[Node, int]


Spreads = tuple[tuple[Signature, gears.Spread], ...]
"""For each blob of an offline-model call its signature, and how its batch may be spread over its gears."""


def assemble_plan(lowered: Lowered, models: Mapping[str, Spreads], host_devices: Iterable[str]) -> Assembled:
    """Return the plan.

    Args:
        models: the blobs of each offline-model call, the first of them first; there is room for what any of them writes.
        host_devices: the devices whose memory is the host's; copies to and from them are aliases.

    Raises:
        UnsupportedError: a value whose shape depends on the data is needed on a device.
    """
    return _Assembler(lowered, models, frozenset(host_devices)).assemble()


def nbytes_of(dtype: str, shape: Sequence[Size], slack: int = 0) -> Size:
    """Return the bytes of a tensor with ``slack`` more rows."""
    return dense_nbytes(dtype, [shape[0] if slack == 0 else _plus(shape[0], slack), *shape[1:]] if shape else [])


def _plus(size: Size, more: int) -> Size:
    return size + more if isinstance(size, int) else ["+", size, more]


class _Assembler:
    def __init__(self, lowered: Lowered, models: Mapping[str, Spreads], host_devices: frozenset[str]) -> None:
        self.lowered = lowered
        self.graph = lowered.graph
        self.values = lowered.graph.values
        self.models = models
        self.same = dict(lowered.same)
        self.handed: set[int] = set()  # values on a device that its driver hands to the host
        self.stages = [replace(stage, nodes=tuple(self.without_aliases(stage.nodes, host_devices))) for stage in lowered.stages]
        self.slack: dict[int, int] = {}  # rows beyond the tensor
        self.reserved: dict[int, int] = {}  # bytes in all, where they are more than the tensor's
        self.buffers: list[Buffer] = []
        self.buffer_of: dict[int, int] = {}
        self.keys: dict[tuple[int, str, str, tuple[str, ...]], int] = {}
        self.constants = _Constants()
        self.inputs = {index for _, index in self.graph.inputs}

    def without_aliases(self, nodes: Iterable[Node], host_devices: frozenset[str]) -> Iterable[Node]:
        """Yield the nodes that remain steps; a copy between the CPU and host memory is not one.

        Nor is the copy of a value to the CPU whose shape the data told: the device's driver hands it to the host at once.
        """
        for node in nodes:
            devices = {self.values[node.inputs[0]].device, self.values[node.outputs[0]].device} if node.kind == "copy" else set()
            late = node.kind == "copy" and self.values[node.inputs[0]].late and self.values[node.outputs[0]].device == "cpu"
            if late:
                self.handed.add(node.inputs[0])
            if late or devices & host_devices:
                self.same[node.outputs[0]] = node.inputs[0]
            else:
                yield node

    def content(self, index: int) -> int:
        """Return the value whose bytes ``index`` shows: not what another is a part of, or lies over."""
        while index in self.same and index not in self.lowered.offsets and index not in self.lowered.over:
            index = self.same[index]
        return index

    def assemble(self) -> Assembled:
        self.note_slack()
        inputs = tuple(Interface(name, self.buffer(index)) for name, index in self.graph.inputs)
        steps: list[Step] = []
        accesses: list[tuple[Access, ...]] = []
        calls: list[tuple[KernelCall, ...]] = []
        segments: list[int] = []
        step_of: dict[Node, int] = {}
        for stage in self.stages:
            segments.append(len(steps) if stage.calls else -1)
            if stage.calls:
                steps.append(self.segment(stage, sum(isinstance(step, Segment) for step in steps)))
                accesses.append(tuple(self.access(call.inputs, call.outputs, call.over) for call in stage.calls))
                calls.append(stage.calls)
            for node in stage.nodes:
                step_of[node] = len(steps)
                steps.append(self.device_step(node))
                accesses.append((self.access(node.inputs, node.outputs),))
                calls.append(())
        outputs = tuple(Interface(name, self.buffer(index)) for name, index in self.graph.outputs)
        steps = self.with_dependences(steps, accesses)
        self.settle_sizes()
        lives = find_lifetimes(self.buffers, steps, accesses, {interface.buffer for interface in outputs})
        arenas = self.place(lives)
        plan = Plan(self.graph.dims, tuple(self.buffers), tuple(steps), inputs, outputs, arenas)
        known = tuple(accesses), tuple(calls), self.buffer_of, self.constants.data()
        lifetimes = {part: (life.first, life.last) for parts in lives.values() for part, life in parts.items()}
        return Assembled(plan, *known, lifetimes, tuple(segments), step_of)

    def externs(self) -> Iterable[Node]:
        """Yield the calls of offline models."""
        return (node for stage in self.stages for node in stage.nodes if node.kind == "extern")

    def note_slack(self) -> None:
        """Note what models with gears touch beyond their tensors."""
        for stage in self.stages:
            for node in stage.nodes:
                if node.kind != "extern":
                    continue
                for signature, spread in self.models[node.symbol]:
                    self.note_model(node, signature, spread)

    def note_model(self, node: Node, signature: Signature, spread: gears.Spread) -> None:
        """Note what one of the models that a call may run touches."""
        batches = signature.gears.batches if signature.gears is not None else ()
        rows = gears.slack_rows(batches, spread)
        ports = (*signature.inputs, *signature.outputs)
        for index, port, nbytes in zip((*node.inputs, *node.outputs), ports, gears.reserved_nbytes(signature), strict=True):
            if rows and port.shape and port.shape[0] == BATCH:
                self.slack[index] = max(rows, self.slack.get(index, 0))
            if nbytes:
                self.reserved[index] = max(nbytes, self.reserved.get(index, 0))

    def buffer(self, index: int) -> int:
        """Return the buffer of a value, made when it is first asked for; values that differ in nothing share one."""
        if index in self.buffer_of:
            return self.buffer_of[index]
        value, content = self.values[index], self.content(index)
        if value.late and index in self.same:
            self.buffer_of[index] = self.buffer(self.same[index])
            return self.buffer_of[index]
        key = (content, value.device, value.dtype, tuple(dims.render(size) for size in value.shape))
        found = self.keys.get(key)
        if found is not None and self.slack.get(index, 0) == self.reserved.get(index, 0) == 0:
            self.buffer_of[index] = found
            return found
        base = self.buffer(self.same[index]) if index in self.same else -1
        self.buffers.append(self.make_buffer(index, base))
        self.buffer_of[index] = self.keys[key] = len(self.buffers) - 1
        return self.buffer_of[index]

    def make_buffer(self, index: int, base: int) -> Buffer:
        value = self.values[index]
        buffer = Buffer(value.name, value.device, value.dtype, value.shape, "arena")
        if value.late:
            if value.device != "cpu" and not (index in self.handed and all(index not in node.inputs for node in self.externs())):
                raise UnsupportedError(
                    "its shape depends on the data, so it cannot go to a device", at=f"'{value.name}' on {value.device}", code="LB2304"
                )
            return replace(buffer, storage="late", device="cpu")
        nbytes, reserved = nbytes_of(value.dtype, value.shape, self.slack.get(index, 0)), self.reserved.get(index, 0)
        if reserved:
            nbytes = max(nbytes, reserved) if isinstance(nbytes, int) else ["max", nbytes, reserved]
        buffer = replace(buffer, nbytes=nbytes)
        if base >= 0:
            return replace(buffer, storage="alias", base=base, offset=self.lowered.offsets.get(index, 0))
        if value.constant is not None:
            return replace(buffer, storage="constant", section=CONSTANTS, offset=self.constants.add(value.constant))
        return replace(buffer, storage="input") if index in self.inputs else buffer

    def access(self, reads: Iterable[int], writes: Iterable[int], over: int | None = None) -> Access:
        read, written = (tuple(self.buffer(index) for index in indices) for indices in (reads, writes))
        return Access(read, written, () if over is None else ((self.buffer(over), written[0]),))

    def segment(self, stage: LoweredStage, number: int) -> Segment:
        buffers: dict[int, None] = {}
        written: dict[int, None] = {}
        sizes: list[Size] = []
        for call in stage.calls:
            for argument in call.packed:
                if isinstance(argument, Scalar):
                    sizes.append(argument.size)
                else:
                    buffers[self.buffer(argument)] = None
                    sizes.extend(self.values[argument].shape)
            if call.over is not None:
                buffers[self.buffer(call.over)] = None
            written.update(dict.fromkeys(self.buffer(index) for index in call.outputs))
        used = {name for size in sizes for name in dims.names(size)}
        names = tuple(name for name in self.graph.dims if name in used)
        return Segment(f"{SEGMENT_PREFIX}{number}", tuple(buffers), names, tuple(written), stage.operators, ())

    def device_step(self, node: Node) -> Step:
        inputs = tuple(self.buffer(index) for index in node.inputs)
        outputs = tuple(self.buffer(index) for index in node.outputs)
        if node.kind == "extern":
            device = self.values[node.outputs[0]].device
            return Extern(node.symbol, device, inputs, outputs, ())
        once = self.buffers[inputs[0]].storage == "constant"
        return Copy(inputs[0], outputs[0], (), once)

    def with_dependences(self, steps: Sequence[Step], accesses: Sequence[Sequence[Access]]) -> list[Step]:
        """Return the steps, each with those that make what it reads. Memory is used again in the order of the steps."""
        writer: dict[int, int] = {}
        result = []
        for number, (step, moments) in enumerate(zip(steps, accesses, strict=True)):
            needs = {writer[memory] for moment in moments for b in moment.reads if (memory := memory_of(self.buffers, b)) in writer}
            writer.update({memory_of(self.buffers, b): number for moment in moments for b in moment.writes})
            result.append(replace(step, after=tuple(sorted(needs - {number}))))
        return result

    def settle_sizes(self) -> None:
        """Make every buffer as large as the largest that shows its memory."""
        for index in reversed(range(len(self.buffers))):  # what shows a buffer is made after it
            base = self.buffers[index].base
            if base >= 0:
                nbytes = dims.largest([self.buffers[base].nbytes, self.buffers[index].nbytes])
                self.buffers[base] = replace(self.buffers[base], nbytes=nbytes)

    def place(self, lives: Lives) -> dict[str, Size]:
        """Give arena buffers their offsets; return the size of each arena."""
        arenas: dict[str, Size] = {}
        for device in sorted({self.buffers[memory].device for memory in lives}):
            here = [memory for memory in lives if self.buffers[memory].device == device]
            offsets, arenas[device] = plan_arena([tuple(lives[memory].values()) for memory in here])
            for memory, offset in zip(here, offsets, strict=True):
                self.buffers[memory] = replace(self.buffers[memory], offset=offset)
        return arenas


class _Constants:
    """The constants' section while it grows; equal bytes are kept once."""

    def __init__(self) -> None:
        self.parts: list[bytes] = []
        self.size = 0
        self.offsets: dict[bytes, int] = {}

    def add(self, array: np.ndarray[tuple[int, ...], np.dtype[np.generic]]) -> int:
        """Return the offset of the array's bytes."""
        content = np.ascontiguousarray(array).tobytes()
        digest = hashlib.sha256(content).digest()
        if digest not in self.offsets:
            self.offsets[digest] = self.size
            self.parts.append(content + bytes(-len(content) % ALIGNMENT))
            self.size += len(self.parts[-1])
        return self.offsets[digest]

    def data(self) -> bytes:
        return b"".join(self.parts)
