"""A plan bound to the extents of its dimensions: memory for every buffer, and every step prepared on it.

Most buffers have one address for the life of a binding. Inputs, and outputs in memory that the plan does not need afterwards, are
*movable*: they can be placed in the caller's memory or in a fresh array for one run, so that nothing is copied. Placing patches the
prepared segments; an offline model is prepared once for each set of addresses (`landbridge.runtime.steps`).

A binding is not to be used by two threads at once (`landbridge.runtime.leases`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from numpy.typing import NDArray

from landbridge.runtime.check_plan import check_sizes, roots
from landbridge.runtime.driver import TensorRef
from landbridge.runtime.heap import Block
from landbridge.runtime.memory import OpenDevice, allocate_host
from landbridge.runtime.open_artifact import OpenArtifact
from landbridge.runtime.overlap import Overlap, find_overlap
from landbridge.runtime.plan import ALIGNMENT, Copy, Extern
from landbridge.runtime.steps import Call, ExternCall, prepare_step


class Binding:
    """Everything that a run with these extents needs.

    Attributes:
        opened: the artifact.
        plan: of the artifact.
        extents: by dimension.
        roots: for each buffer the one whose memory it is.
        addresses: of each buffer, now; 0 for late buffers, and for inputs before the first run.
        movable: the roots that `place` takes.
        keyed: those of them that an offline model reads or writes, so that a new address costs a preparation.
        late: what late buffers hold, by index.
        pointers: for each movable root the (array, index, offset) of each argument of a segment that points into it.
        externs: the prepared offline models, in the order of the steps.
        calls: of all steps that a run executes, in order: index, phase, call.
        groups: the same calls, in runs of one phase.
        overlap: runs these calls where some of them may run at the same time; None where each waits for the one before.
    """

    def __init__(self, opened: OpenArtifact, dims: Sequence[int]) -> None:
        """Allocate, prepare, and do the copies that are done once.

        Args:
            dims: the extents, in the order of the plan's dimensions.

        Raises:
            PlanError: sizes that do not fit each other for these extents.
            DeviceError: out of memory, or a vendor refused the arguments.
            InputError: an offline model cannot take these extents.
        """
        self.opened = opened
        self.plan = opened.artifact.plan
        self.extents = dict(zip(self.plan.dims, dims, strict=True))
        self._sizes = check_sizes(self.plan, self.extents)
        self.roots = roots(self.plan)
        self._shifts = self._find_shifts()
        self._members: dict[int, list[int]] = {}
        for buffer, root in enumerate(self.roots):
            self._members.setdefault(root, []).append(buffer)
        self.addresses = [0] * len(self.plan.buffers)
        self.movable, self.keyed = self._classify()
        self.late: dict[int, NDArray[Any]] = {}
        self.pointers: dict[int, list[tuple[Any, int, int]]] = {}
        self.externs: list[ExternCall] = []
        self.calls: list[tuple[int, str, Call]] = []
        self.groups: list[tuple[str, list[Call]]] = []
        self.overlap: Overlap | None = None
        self._homes: dict[int, Block] = {}
        self._pinning = self._find_pinning()
        try:
            self._allocate()
            self._prepare()
            self.overlap = find_overlap(self)
        except BaseException:
            self.close()
            raise

    def shape(self, buffer: int) -> tuple[int, ...]:
        """Return the extents of a buffer's tensor; a late buffer's are -1 where unknown."""
        return self._sizes[buffer][0]

    def reserved(self, buffer: int) -> int:
        """Return the bytes reserved for a buffer."""
        return self._sizes[buffer][1]

    def alignment(self, root: int) -> int:
        """Return what the address of a root must be a multiple of."""
        library = self.opened.library
        return ALIGNMENT if library is None or root in self.keyed else library.alignment

    def shift(self, buffer: int) -> int:
        """Return where a buffer begins in the memory of its root, in bytes."""
        return self._shifts[buffer]

    def span(self, buffer: int) -> tuple[str, int, int]:
        """Return the memory of a buffer as the plan has it: the name of what it is in, and the first byte and the one after the last."""
        root = self.roots[buffer]
        described = self.plan.buffers[root]
        if described.storage == "arena":  # the part that it shows: what else lies in the root's memory at other times is not its concern
            offset = self._sizes[root][2] + self._shifts[buffer]
            return described.device, offset, offset + self.reserved(buffer)
        return f"{described.storage} {root}", 0, max(self.reserved(root), 1)

    def device(self, buffer: int) -> OpenDevice | None:
        """Return the device whose memory a buffer is, or None for memory of the host."""
        device = self.opened.devices.get(self.plan.buffers[self.roots[buffer]].device)
        return None if device is None or device.host_memory else device

    def tensor(self, buffer: int) -> TensorRef:
        """Return a buffer as an offline model is told of it."""
        return TensorRef(self.addresses[buffer], self.reserved(buffer), self.plan.buffers[buffer].dtype, self.shape(buffer))

    def place(self, root: int, address: int) -> None:
        """Move a movable root, and all that shares its memory, to ``address``."""
        if self.addresses[root] == address:
            return
        self.addresses[root] = 0  # where an interrupt ends this half-way, the next call does not believe that it is done
        for array, index, shift in self.pointers.get(root, ()):
            array[index] = address + shift
        for member in self._members[root]:
            if member != root:
                self.addresses[member] = address + self._shifts[member]
        self.addresses[root] = address

    def place_home(self, root: int) -> int:
        """Move a movable root to memory of this binding, and return the address."""
        if root not in self._homes:
            self._homes[root] = self.allocate(root)
        self.place(root, self._homes[root].address)
        return self._homes[root].address

    def allocate(self, root: int) -> Block:
        """Return fresh memory for a root, on its device."""
        return self._allocate_on(self.plan.buffers[root].device, self.reserved(root))

    def close(self) -> None:
        """Close the prepared calls and give the memory back. Idempotent, and goes on where it was interrupted."""
        if self.overlap is not None:
            self.overlap.settle()
        self.overlap = None
        for extern in self.externs:
            extern.close()
        self.externs, self.calls, self.groups = [], [], []
        self._homes, self.late, self.pointers = {}, {}, {}

    def _find_shifts(self) -> list[int]:
        result = []
        for buffer in range(len(self.plan.buffers)):
            total, member = 0, buffer
            while self.plan.buffers[member].storage == "alias":
                total += self._sizes[member][2]
                member = self.plan.buffers[member].base
            result.append(total)
        return result

    def _classify(self) -> tuple[frozenset[int], frozenset[int]]:
        """Return the movable roots, and those of them that offline models use."""
        steps = self.plan.steps
        once = {self.roots[step.destination] for step in steps if isinstance(step, Copy) and step.once}
        outputs = {self.roots[entry.buffer] for entry in self.plan.outputs}
        movable = {root for root in outputs if self.plan.buffers[root].storage == "arena" and root not in once}
        movable |= {entry.buffer for entry in self.plan.inputs}
        used = {self.roots[buffer] for step in steps if isinstance(step, Extern) for buffer in (*step.inputs, *step.outputs)}
        return frozenset(movable), frozenset(movable & used)

    def _allocate(self) -> None:
        """Give every root but the inputs its first address."""
        sizes: dict[str, int] = {}
        for buffer, (_, nbytes, offset) in zip(self.plan.buffers, self._sizes, strict=True):
            if buffer.storage == "arena":
                sizes[buffer.device] = max(sizes.get(buffer.device, 0), offset + nbytes)
        arenas = {device: self._allocate_on(device, nbytes) for device, nbytes in sizes.items()}
        for index, buffer in enumerate(self.plan.buffers):
            _, nbytes, offset = self._sizes[index]
            if buffer.storage == "arena":
                arena = arenas[buffer.device]
                self._homes[index] = Block(arena.address + offset, nbytes, arena)
                self.place(index, arena.address + offset)
            elif buffer.storage == "constant":
                self.place(index, self.opened.constants[buffer.section].address + offset)

    def _allocate_on(self, device: str, nbytes: int) -> Block:
        opened = self.opened.devices.get(device)
        if opened is not None:
            return opened.allocate(nbytes)
        return allocate_host(nbytes) if self._pinning is None else self._pinning.allocate_host(nbytes)

    def _find_pinning(self) -> OpenDevice | None:
        """Return the first device that pins memory of the host, of those that copies go to or come from."""
        ends = (
            self.plan.buffers[end].device for step in self.plan.steps if isinstance(step, Copy) for end in (step.source, step.destination)
        )
        devices = (self.opened.devices[device] for device in ends if device in self.opened.devices)
        return next((device for device in devices if not device.host_memory and device.driver.pins), None)

    def _prepare(self) -> None:
        for index, step in enumerate(self.plan.steps):
            prepared = prepare_step(self, index, step)
            if prepared is None:
                continue
            phase, call = prepared
            if isinstance(step, Copy) and step.once:
                call()
                continue
            self.calls.append((index, phase, call))
            if self.groups and self.groups[-1][0] == phase:
                self.groups[-1][1].append(call)
            else:
                self.groups.append((phase, [call]))
