"""Run a binding: put the inputs where the steps read them, call the steps, return what they wrote.

Nothing here checks what was checked at load or at the gate.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from time import perf_counter_ns
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from landbridge.runtime.binding import Binding
from landbridge.runtime.dtypes import is_packed, unpack
from landbridge.runtime.gate import Value
from landbridge.runtime.heap import Block
from landbridge.runtime.memory import DeviceTensor, OpenDevice, address_of, empty, view
from landbridge.runtime.opaque import copied
from landbridge.runtime.plan import Interface
from landbridge.runtime.steps import COPY_IN, COPY_OUT, EXECUTE, HOST, Call

INPUTS, OUTPUTS = "inputs", "outputs"

PHASES = (INPUTS, HOST, COPY_IN, EXECUTE, COPY_OUT, OUTPUTS)
"""Where the time of a run goes: taking the inputs in, the four kinds of steps, and giving the outputs out."""

NO_TIME = dict.fromkeys(PHASES, 0)
"""The nanoseconds of a run that has not begun; copied for each."""

SMALL = 16384
"""Bytes up to which a tensor of the host is copied to and from memory of the binding, which takes less than asking for its address."""

Way = Literal["late", "copied", "placed", "on device"]
"""How an output gets to the caller: as the array that a late step made; copied from its buffer; written into a fresh array by the steps
themselves; written into fresh memory of its device."""


Stepper = Callable[[Binding, dict[str, int]], None]
"""Calls every step of a binding, in order, and adds the nanoseconds spent in each phase."""


def call_steps(binding: Binding, phases: dict[str, int]) -> None:
    """Call the steps and nothing else."""
    if binding.overlap is not None:
        binding.overlap.run(phases)
        return
    now = perf_counter_ns()
    for phase, calls in binding.groups:
        started = now
        for call in calls:
            call()
        now = perf_counter_ns()
        phases[phase] += now - started


class Watched:
    """Calls the steps, and can be asked by another thread which one it has got to.

    Attributes:
        step: its index in the plan, of several the one that began last; None before and after.
    """

    def __init__(self) -> None:
        self.step: int | None = None

    def __call__(self, binding: Binding, phases: dict[str, int]) -> None:
        """Run all steps."""
        if binding.overlap is not None:
            binding.overlap.run(phases, self)
            self.step = None
            return
        now = perf_counter_ns()
        for index, phase, call in binding.calls:
            self.step, started = index, now
            call()
            now = perf_counter_ns()
            phases[phase] += now - started
        self.step = None

    def begin(self, index: int) -> None:
        """Remember the step."""
        self.step = index

    def end(self, index: int, phase: str, started_ns: int, elapsed_ns: int) -> None:
        """Take no note: another one may have begun meanwhile."""


class Runner:
    """A binding with the ways of its inputs and outputs worked out.

    Attributes:
        binding: what it runs.
        ways: of the outputs, in the plan's order.
    """

    def __init__(self, binding: Binding) -> None:
        self.binding = binding
        plan = binding.plan
        shared = Counter(binding.roots[entry.buffer] for entry in plan.outputs)
        on_device = {binding.roots[entry.buffer] for entry in plan.outputs if plan.buffers[entry.buffer].device != "cpu"}
        self.ways = tuple(_way(binding, entry, shared, on_device) for entry in plan.outputs)
        self._homes = tuple(
            binding.roots[entry.buffer]
            for entry, way in zip(plan.outputs, self.ways, strict=True)
            if way == "copied" and is_free(binding, entry.buffer) and binding.roots[entry.buffer] not in on_device
        )
        self._small = {position: self._home(entry.buffer) for position, entry in enumerate(plan.inputs) if _is_small(binding, entry.buffer)}
        self._large = tuple((position, entry.buffer) for position, entry in enumerate(plan.inputs) if position not in self._small)
        self._ready = self._small_outputs()

    def _home(self, buffer: int) -> NDArray[Any]:
        """Return a buffer in memory of the binding, where it stays."""
        binding = self.binding
        if binding.roots[buffer] in binding.movable:
            binding.place_home(binding.roots[buffer])
        return view(binding.addresses[buffer], binding.plan.buffers[buffer].dtype, binding.shape(buffer))

    def _small_outputs(self) -> dict[str, NDArray[Any]] | None:
        """Return where the steps leave the outputs, by name, if all of them are small; else None."""
        binding, outputs = self.binding, self.binding.plan.outputs
        fixed = all(
            way == "copied" and is_free(binding, entry.buffer) and _is_small(binding, entry.buffer)
            for entry, way in zip(outputs, self.ways, strict=True)
        )
        return {entry.name: self._home(entry.buffer) for entry in outputs} if fixed else None

    def run(self, values: list[Value], phases: dict[str, int], steps: Stepper = call_steps) -> dict[str, Any]:
        """Return the outputs by name, in memory that nobody else has.

        Args:
            values: the inputs in the plan's order, from the gate.
            phases: nanoseconds spent in each of `PHASES` are added to it.
            steps: how they are called, for whoever wants to look.

        Raises:
            DeviceError: a step failed, which it names; the next run starts afresh.
        """
        binding = self.binding
        started = perf_counter_ns()
        for position, home in self._small.items():
            home[...] = values[position]
        for position, buffer in self._large:
            refresh = feed(binding, buffer, values[position], prepare=False)
            if refresh is not None:
                refresh()
        targets = {} if self._ready is not None else self._place_outputs()
        phases[INPUTS] += perf_counter_ns() - started
        if binding.overlap is not None:
            binding.overlap.kept = values, targets
        steps(binding, phases)
        now = perf_counter_ns()
        result = self._collect_all(values, targets) if self._ready is None else {name: home.copy() for name, home in self._ready.items()}
        phases[OUTPUTS] += perf_counter_ns() - now
        return result

    def _collect_all(self, values: list[Value], targets: dict[str, Value]) -> dict[str, Any]:
        """Return the outputs by name: those in ``targets`` are there already."""
        binding = self.binding
        given = {entry.buffer: value for entry, value in zip(binding.plan.inputs, values, strict=True)}
        result = {}
        for entry, way in zip(binding.plan.outputs, self.ways, strict=True):
            target = targets.get(entry.name)
            output = self._collect(entry, way, given) if target is None else target
            dtype = binding.plan.buffers[entry.buffer].dtype
            if way != "late" and is_packed(dtype) and isinstance(output, np.ndarray):
                output = unpack(output, dtype, binding.shape(entry.buffer))
            result[entry.name] = output
        binding.late.clear()
        return result

    def _place_outputs(self) -> dict[str, Value]:
        """Place the outputs that the steps write straight into the caller's memory, and return these by name."""
        binding = self.binding
        for root in self._homes:
            binding.place_home(root)
        targets: dict[str, Value] = {}
        blocks: dict[int, Block] = {}
        for entry, way in zip(binding.plan.outputs, self.ways, strict=True):
            buffer, root = binding.plan.buffers[entry.buffer], binding.roots[entry.buffer]
            if way == "placed":
                array, address = empty(buffer.dtype, binding.shape(entry.buffer), binding.reserved(root))
                binding.place(root, address)
                targets[entry.name] = array
            elif way == "on device":
                if root not in blocks:
                    blocks[root] = binding.allocate(root)
                    binding.place(root, blocks[root].address)
                targets[entry.name] = device_tensor(binding, entry.buffer, blocks[root])
        return targets

    def _collect(self, entry: Interface, way: Way, given: dict[int, Value]) -> Value:
        """Return an output that is not where it should be yet."""
        binding, buffer = self.binding, entry.buffer
        if way == "late":
            return copied(binding.late[buffer])
        if binding.plan.buffers[buffer].device == "cpu":
            return view(binding.addresses[buffer], binding.plan.buffers[buffer].dtype, binding.shape(buffer)).copy()
        source = given.get(binding.roots[buffer])
        if isinstance(source, DeviceTensor) and source.address == binding.addresses[binding.roots[buffer]]:
            return device_tensor(binding, buffer, source.block)
        target = device_tensor(binding, buffer, binding.allocate(binding.roots[buffer]))
        copy_on_device(target.on, target.address, binding.addresses[buffer], target.nbytes)
        return target


def _way(binding: Binding, entry: Interface, shared: Counter[int], on_device: set[int]) -> Way:
    root = binding.roots[entry.buffer]
    if binding.plan.buffers[entry.buffer].storage == "late":
        return "late"
    if not is_free(binding, entry.buffer):
        return "copied"
    if binding.plan.buffers[entry.buffer].device != "cpu":
        return "on device"
    whole = shared[root] == 1 and binding.shift(entry.buffer) == 0 and not _is_small(binding, entry.buffer)
    return "placed" if whole and root not in binding.keyed and root not in on_device else "copied"


def _is_small(binding: Binding, buffer: int) -> bool:
    """Return whether a buffer of the host, of whole elements, is cheaper to copy than to place."""
    described = binding.plan.buffers[buffer]
    plain = described.device == "cpu" and described.storage != "late" and not is_packed(described.dtype)
    return plain and binding.reserved(binding.roots[buffer]) <= SMALL


def is_free(binding: Binding, buffer: int) -> bool:
    """Return whether an output's memory can be chosen anew for each run."""
    root = binding.roots[buffer]
    return root in binding.movable and binding.plan.buffers[root].storage != "input"


def device_tensor(binding: Binding, buffer: int, block: Block) -> DeviceTensor:
    """Return a buffer, whose root is in ``block``, as a caller holds it."""
    described = binding.plan.buffers[buffer]
    device = binding.opened.devices[described.device]
    return DeviceTensor(device, block, block.address + binding.shift(buffer), described.dtype, binding.shape(buffer))


def feed(binding: Binding, root: int, value: Value, *, prepare: bool) -> Call | None:
    """Place an input where the steps read it.

    Args:
        root: the input's buffer.
        prepare: also use the caller's memory where that means to prepare offline models anew.

    Returns:
        What copies the value into the binding's own memory, where it cannot be used as it is.
    """
    if binding.plan.buffers[root].storage == "late":  # it is no tensor of numbers
        binding.late[root] = value
        return None
    if isinstance(value, DeviceTensor):
        value.on.check_open()
        if value.capacity >= binding.reserved(root):
            binding.place(root, value.address)
            return None
        roomy, tensor = binding.place_home(root), value
        return lambda: copy_on_device(tensor.on, roomy, tensor.address, tensor.nbytes)
    device = binding.device(root)
    if device is None:
        address = usable_address(binding, root, value) if prepare or root not in binding.keyed else None
        if address is not None:
            binding.place(root, address)
            return None
        home = view(binding.place_home(root), binding.plan.buffers[root].dtype, binding.shape(root))
        return lambda: np.copyto(home, value)
    home_address = binding.place_home(root)
    return lambda: copy_to_device(device, home_address, value)


def usable_address(binding: Binding, root: int, array: NDArray[Any]) -> int | None:
    """Return the address of an array if steps can work in its memory in the place of a root's."""
    if array.nbytes < binding.reserved(root) or not array.flags.c_contiguous:
        return None
    address = address_of(array)
    return address if address % binding.alignment(root) == 0 else None


def copy_to_device(device: OpenDevice, address: int, array: NDArray[Any]) -> None:
    """Copy an array, of any strides, to an address on a device."""
    if array.size:
        dense = np.ascontiguousarray(array)
        device.copy_in(address, address_of(dense), dense.nbytes)


def copy_on_device(device: OpenDevice, destination: int, source: int, nbytes: int) -> None:
    """Copy within a device, over the host: drivers need not know more than two ways."""
    if nbytes:
        array, address = empty("uint8", (nbytes,))
        device.copy_out(address, source, nbytes)
        device.copy_in(destination, address, array.nbytes)
