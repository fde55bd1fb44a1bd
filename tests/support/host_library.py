"""Execute a plan on the CPU straight through ctypes, without the runtime, so that codegen is tested by itself.

Devices are arenas in host memory; offline models are Python functions on arrays.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from landbridge.runtime.artifact import HOST_LIBRARY, Artifact
from landbridge.runtime.container import Blob
from landbridge.runtime.dims import evaluate
from landbridge.runtime.plan import Buffer, Copy, Plan, Segment

Array = np.ndarray[Any, Any]
OfflineModel = Callable[..., Sequence[Array]]

_GUARD = 0xA5


def load_library(data: Blob) -> ctypes.CDLL:
    """Load a shared library from its bytes."""
    fd = os.memfd_create("host")  # kept open: the path of a library that is loaded must not be used again
    os.write(fd, data)
    library = ctypes.CDLL(f"/proc/self/fd/{fd}", mode=os.RTLD_NOW)
    library.lb_error.restype = ctypes.c_char_p
    return library


class HostRun:
    """An artifact ready to be executed on arrays."""

    def __init__(self, artifact: Artifact, models: Mapping[str, OfflineModel] | None = None, *, load: bool = True) -> None:
        """Prepare the artifact.

        Args:
            models: the offline models, by symbol.
            load: load the host library; not where it is of another architecture.
        """
        self.artifact = artifact
        self.plan: Plan = artifact.plan
        self.models = models or {}
        self.library = load_library(artifact.sections[HOST_LIBRARY]) if load and HOST_LIBRARY in artifact.sections else None

    def __call__(self, **inputs: Array) -> dict[str, Array]:
        """Return the outputs, by name."""
        memory = Memory(self.artifact, inputs)
        for step in self.plan.steps:
            if isinstance(step, Segment):
                self.call_segment(step, memory)
            elif isinstance(step, Copy):
                memory.view(step.destination)[...] = memory.view(step.source)
            else:
                results = self.models[step.model](*[memory.view(index) for index in step.inputs])
                for index, result in zip(step.outputs, results, strict=True):
                    memory.write(index, result)
        return {output.name: np.array(memory.view(output.buffer)) for output in self.plan.outputs}

    def call_segment(self, step: Segment, memory: Memory) -> None:
        """Call the segment's function on the addresses of its buffers."""
        assert self.library is not None
        pointers = (ctypes.c_void_p * len(step.buffers))(*[memory.view(index).ctypes.data for index in step.buffers])
        dims = (ctypes.c_int64 * max(len(step.dims), 1))(*[memory.dims[name] for name in step.dims])
        code = getattr(self.library, step.symbol)(pointers, dims)
        assert code == 0, self.library.lb_error()


class Memory:
    """The memory of one run."""

    def __init__(self, artifact: Artifact, inputs: Mapping[str, Array]) -> None:
        self.plan = artifact.plan
        self.artifact = artifact
        self.dims: dict[str, int] = {}
        self.late: dict[int, Array] = {}
        self.inputs: dict[int, Array] = {}
        for entry in self.plan.inputs:
            buffer = self.plan.buffers[entry.buffer]
            array = inputs[entry.name]
            self.dims.update({size: extent for size, extent in zip(buffer.shape, array.shape, strict=True) if isinstance(size, str)})
        for entry in self.plan.inputs:
            self.inputs[entry.buffer] = aligned(self.nbytes(self.plan.buffers[entry.buffer]))
            self.view(entry.buffer)[...] = inputs[entry.name]
        self.arenas = {device: aligned(evaluate(size, self.dims), fill=_GUARD) for device, size in self.plan.arenas.items()}
        self.sections = {name: aligned(len(data), data) for name, data in artifact.sections.items() if name.startswith("const/")}

    def nbytes(self, buffer: Buffer) -> int:
        return evaluate(buffer.nbytes, self.dims)

    def host_blocks(self) -> list[Array]:
        """Return the blocks in which all buffers of the host are, each as bytes."""
        return [*self.inputs.values(), *(arena for device, arena in self.arenas.items() if device == "cpu"), *self.sections.values()]

    def view(self, index: int) -> Array:
        """Return the tensor of a buffer."""
        buffer = self.plan.buffers[index]
        if buffer.storage == "late":
            return self.late[index]
        shape = [evaluate(size, self.dims) for size in buffer.shape]
        dtype = np.dtype(buffer.dtype)
        count = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
        return self.raw(index)[:count].view(dtype).reshape(shape)

    def raw(self, index: int) -> Array:
        """Return the bytes of a buffer."""
        buffer = self.plan.buffers[index]
        start = evaluate(buffer.offset, self.dims)
        if buffer.storage == "alias":
            memory = self.raw(buffer.base)
        elif buffer.storage == "constant":
            memory = self.sections[buffer.section]
        else:
            memory = self.inputs[index] if buffer.storage == "input" else self.arenas[buffer.device]
        return memory[start : start + self.nbytes(buffer)]

    def write(self, index: int, result: Array) -> None:
        """Put what an offline model returned into its buffer; the slack behind it gets overwritten, as a device would."""
        if self.plan.buffers[index].storage == "late":
            self.late[index] = result
            return
        self.raw(index)[...] = 0xEE
        self.view(index)[...] = result


def aligned(nbytes: int, data: Blob = b"", fill: int = 0) -> Array:
    """Return ``nbytes`` bytes at an address that is a multiple of 64."""
    memory = np.full(nbytes + 64, fill, np.uint8)
    start = -memory.ctypes.data % 64
    memory[start : start + len(data)] = np.frombuffer(data, np.uint8)
    return memory[start : start + nbytes]
