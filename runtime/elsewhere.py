"""Run an offline model on another device than the one that the plan was made for.

The plan keeps its buffers and copies. The memory of a device on which nothing runs is the host's (`StandIn`); a model that works in
other memory than the plan's has memory of its own there, and its arguments are copied in and out over the host (`BridgedModel`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from landbridge.runtime.driver import LoadedModel, PreparedCall, TensorRef
from landbridge.runtime.dtypes import nbytes_of
from landbridge.runtime.errors import UnsupportedError
from landbridge.runtime.heap import Block
from landbridge.runtime.memory import OpenDevice, allocate_host
from landbridge.runtime.signature import Signature
from landbridge.runtime.vendors.host_memory import HostDriver


class StandIn(HostDriver):
    """The memory of a device on which nothing runs, in the host's."""

    def __init__(self) -> None:
        super().__init__({})

    def load(self, blob: bytes, signature: Signature, options: Mapping[str, str]) -> LoadedModel:
        """Refuse.

        Raises:
            UnsupportedError: always.
        """
        raise UnsupportedError("no model is loaded on a device that is not there")


def stand_in(device: str) -> OpenDevice:
    """Return memory of the host in the place of a device's."""
    opened = OpenDevice(device, host_memory=True)
    opened.driver = StandIn()
    return opened


class BridgedModel(LoadedModel):
    """A model whose arguments are in other memory than that in which it works."""

    def __init__(self, model: LoadedModel, memory: OpenDevice | None, home: OpenDevice | None) -> None:
        """Wrap ``model``.

        Args:
            memory: where the plan has the arguments; None for the host.
            home: where the model works; None for the host.
        """
        self.model, self.memory, self.home = model, memory, home
        self.concurrent = model.concurrent

    def prepare(self, inputs: Sequence[TensorRef], outputs: Sequence[TensorRef]) -> PreparedCall:
        """Bind the arguments, with memory of their own where the model works."""
        return _BridgedCall(self, inputs, outputs)

    def run_late(self, inputs: Sequence[Any]) -> list[Any]:
        """Run on host arrays, which need no bridge."""
        return self.model.run_late(inputs)

    def run_open(self, inputs: Sequence[TensorRef], outputs: Sequence[TensorRef | None]) -> list[Any]:
        """Run on tensors of the plan's device, with memory of their own where the model works."""
        blocks: list[Block] = []
        given = [(ref, own_memory(self.home, ref, blocks)) for ref in inputs]
        taken = [(ref, own_memory(self.home, ref, blocks)) for ref in outputs if ref is not None]
        own = iter([mine for _, mine in taken])
        for theirs, mine in given:
            move(mine.address, theirs, self.memory, self.home)
        results = self.model.run_open([mine for _, mine in given], [None if ref is None else next(own) for ref in outputs])
        for theirs, mine in taken:
            move(theirs.address, mine, self.home, self.memory)
        return results

    def close(self) -> None:
        """Unload the model."""
        self.model.close()


class _BridgedCall(PreparedCall):
    def __init__(self, bridged: BridgedModel, inputs: Sequence[TensorRef], outputs: Sequence[TensorRef]) -> None:
        self._bridged = bridged
        self._blocks: list[Block] = []
        self._inputs = [(ref, own_memory(bridged.home, ref, self._blocks)) for ref in inputs]
        self._outputs = [(ref, own_memory(bridged.home, ref, self._blocks)) for ref in outputs]
        sizes = [nbytes_of(ref.dtype, ref.shape) for ref in (*inputs, *outputs)]
        self._between = allocate_host(max([*sizes, 1])) if bridged.memory is not None and bridged.home is not None else None
        self._call = bridged.model.prepare([own for _, own in self._inputs], [own for _, own in self._outputs])
        self.launches = self._call.launches

    def __call__(self) -> None:
        memory, home = self._bridged.memory, self._bridged.home
        for theirs, own in self._inputs:
            move(own.address, theirs, memory, home, self._between)
        self._call()
        for theirs, own in self._outputs:
            move(theirs.address, own, home, memory, self._between)

    def close(self) -> None:
        """Close the model's call, and give the memory back."""
        self._call.close()
        self._blocks.clear()


def own_memory(home: OpenDevice | None, ref: TensorRef, blocks: list[Block]) -> TensorRef:
    """Return a tensor like ``ref`` in memory of its own on a device, which ``blocks`` keeps."""
    blocks.append(allocate_host(max(ref.capacity, 1)) if home is None else home.allocate(max(ref.capacity, 1)))
    return TensorRef(blocks[-1].address, ref.capacity, ref.dtype, ref.shape)


def move(destination: int, source: TensorRef, start: OpenDevice | None, end: OpenDevice | None, between: Block | None = None) -> None:
    """Copy a tensor from the memory ``start`` to the memory ``end``, at least one of which is a device's.

    Args:
        between: memory of the host that may be used on the way; made where there is none.
    """
    nbytes, address = nbytes_of(source.dtype, source.shape), source.address
    if nbytes == 0:
        return
    if start is not None:
        between = between or (allocate_host(nbytes) if end is not None else None)
        middle = destination if between is None or end is None else between.address
        start.copy_out(middle, address, nbytes)
        address = middle
    if end is not None:
        end.copy_in(destination, address, nbytes)
