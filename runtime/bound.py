"""A run on memory that the caller gave once and for all: nothing but the steps."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from landbridge.runtime import dtypes
from landbridge.runtime.binding import Binding
from landbridge.runtime.errors import DeviceError, InputError, SessionClosed, did_you_mean
from landbridge.runtime.execute import copy_on_device, feed, is_free, usable_address
from landbridge.runtime.gate import TensorInfo, Value
from landbridge.runtime.memory import DeviceTensor, view
from landbridge.runtime.opaque import is_opaque
from landbridge.runtime.plan import Interface
from landbridge.runtime.steps import Call

if TYPE_CHECKING:
    from landbridge.runtime.lifecycle import Lifecycle


class BoundRun:
    """Reads the arrays it was made with and writes the arrays it was made with, each time it is called.

    Arrays that are C-contiguous and aligned to 16 bytes (64, where an offline model uses them) are worked in directly; others are
    copied in or out by each call. The arrays must stay alive and must not be reshaped; the extents are those they had.
    """

    _binding: Binding | None = None

    def __init__(self, life: Lifecycle) -> None:
        """Prepare nothing yet.

        Args:
            life: of the session.
        """
        self.turn = threading.Lock()
        self._life = life
        self._calls: list[Call] = [self._refuse]
        self._kept: tuple[Any, ...] = ()

    def prepare(self, dims: tuple[int, ...], values: list[Value], outputs: Mapping[str, Any]) -> None:
        """Place everything.

        Args:
            dims: the extents, in the order of the plan's dimensions.
            values: the inputs in the plan's order, from the gate.
            outputs: where to write, by name.

        Raises:
            InputError: an output is missing, unknown, of another dtype or shape, not writable, or overlaps an input.
            DeviceError: out of memory, or a vendor refused the arguments.
        """
        self._binding = binding = Binding(self._life.opened, dims)
        self._kept = (values, dict(outputs))
        targets = _check_outputs(binding, values, outputs)
        before = [feed(binding, entry.buffer, value, prepare=True) for entry, value in zip(binding.plan.inputs, values, strict=True)]
        after = _place_outputs(binding, targets)
        for extern in binding.externs:
            extern.prepare()
        steps = [call for _, calls in binding.groups for call in calls] if binding.overlap is None else [binding.overlap.step]
        self._calls = [*(call for call in before if call is not None), *steps, *after]

    def __call__(self) -> None:
        """Read the inputs, run, write the outputs.

        Raises:
            DeviceError: a step failed, which it names.
            SessionClosed: after `close`, or after the session was closed.
        """
        with self.turn:
            try:
                for call in self._calls:
                    call()
            except DeviceError as error:
                self._life.note(error)
                raise

    def close(self) -> None:
        """Give its memory back. Idempotent."""
        with self.turn:
            self.stop()
            if self._binding is not None:
                self._binding.close()
            self._binding = None

    def stop(self) -> None:
        """Refuse calls from now on, but for one that has begun."""
        self._calls = [self._refuse]

    def after_fork(self) -> None:
        """Refuse, in a forked child; give nothing back."""
        self.turn = threading.Lock()
        self._binding = None
        self.stop()

    def _refuse(self) -> None:
        self._life.check()
        raise SessionClosed("this bound run is closed", hint="bind again")

    def __del__(self) -> None:
        if self._binding is not None:
            self._life.leases.abandoned.append(self._binding)


def check_holdable(infos: Iterable[TensorInfo]) -> None:
    """Check that an array can hold each input and output as it is in memory.

    Raises:
        InputError: one is packed, or no tensor of numbers.
    """
    for info in infos:
        if is_opaque(info.dtype) or dtypes.is_packed(info.dtype):
            raise InputError(
                f"{info.dtype}, which no array holds as it is in memory, so that it cannot be bound",
                at=f"'{info.name}'",
                hint="use run",
                code="LB1209",
            )


def check_same_memory(infos: Iterable[TensorInfo], inputs: Mapping[str, Any], values: Iterable[Value]) -> None:
    """Check that what the gate admitted is the callers' own memory, which later calls are to read.

    Raises:
        InputError: an array had to be converted.
    """
    for info, value in zip(infos, values, strict=True):
        given = inputs[info.name]
        if isinstance(given, np.ndarray) and isinstance(value, np.ndarray) and given.size and not np.may_share_memory(given, value):
            raise InputError(
                f"{given.dtype.str} is not this machine's byte order",
                at=f"input '{info.name}'",
                hint="convert it once before",
                code="LB1203",
            )


def _check_outputs(binding: Binding, values: list[Value], outputs: Mapping[str, Any]) -> list[tuple[Interface, Value]]:
    names = [entry.name for entry in binding.plan.outputs]
    for name in outputs:
        if name not in names:
            raise InputError(f"there is no output '{name}'", hint=did_you_mean(str(name), names), code="LB1209")
    missing = [name for name in names if name not in outputs]
    if missing:
        raise InputError(f"no place for output '{missing[0]}'", hint="give an array for each output", code="LB1209")
    arrays = [value for value in values if isinstance(value, np.ndarray)]
    targets: list[tuple[Interface, Value]] = []
    for entry in binding.plan.outputs:
        target = outputs[entry.name]
        _check_output(binding, entry, target)
        if isinstance(target, np.ndarray):
            if any(np.may_share_memory(target, array) for array in arrays):
                raise InputError(
                    "overlaps an input or another output in memory",
                    at=f"output '{entry.name}'",
                    hint="give it memory of its own",
                    code="LB1209",
                )
            arrays.append(target)
        targets.append((entry, target))
    return targets


def _check_output(binding: Binding, entry: Interface, target: Any) -> None:
    at = f"output '{entry.name}'"
    buffer, shape = binding.plan.buffers[entry.buffer], binding.shape(entry.buffer)
    if buffer.storage == "late":
        raise InputError("its shape depends on the data, so that it cannot be bound", at=at, hint="use run", code="LB1209")
    wanted = f"{buffer.dtype} {list(shape)}"
    if buffer.device != "cpu":
        if not isinstance(target, DeviceTensor) or target.on is not binding.opened.devices[buffer.device]:
            raise InputError(
                f"{type(target).__name__}, expected a tensor on {buffer.device}",
                at=at,
                hint="make it by to_device of this session",
                code="LB1209",
            )
        target.on.check_open()
        found, fine = f"{target.dtype} {list(target.shape)}", (target.dtype, target.shape) == (buffer.dtype, shape)
    else:
        if type(target) is not np.ndarray:
            raise InputError(f"{type(target).__name__}, expected a NumPy array", at=at, hint=f"np.empty({shape}, …)", code="LB1209")
        if not target.flags.writeable:
            raise InputError("a read-only array", at=at, hint="give one that can be written", code="LB1209")
        found, fine = f"{target.dtype} {list(target.shape)}", (target.dtype, target.shape) == (dtypes.holder(buffer.dtype), shape)
    if not fine:
        raise InputError(f"{found}, expected {wanted}", at=at, hint=f"give {wanted}", code="LB1203")


def _place_outputs(binding: Binding, targets: list[tuple[Interface, Value]]) -> list[Callable[[], object]]:
    """Let the steps write into the caller's memory where that is possible, and return what copies the rest there."""
    taken: set[int] = set()
    after: list[Callable[[], object]] = []
    for entry, target in targets:
        root = binding.roots[entry.buffer]
        reserved = binding.reserved(root)
        if isinstance(target, DeviceTensor):
            address = target.address if target.capacity >= reserved else None
        else:
            address = usable_address(binding, root, target)
        if address is not None and root not in taken and is_free(binding, entry.buffer) and binding.shift(entry.buffer) == 0:
            taken.add(root)
            binding.place(root, address)
        else:
            if is_free(binding, entry.buffer) and root not in taken:
                binding.place_home(root)
            after.append(_copy_out(binding, entry.buffer, target))
    return after


def _copy_out(binding: Binding, buffer: int, target: Value) -> Callable[[], object]:
    addresses = binding.addresses
    if isinstance(target, DeviceTensor):
        return lambda: copy_on_device(target.on, target.address, addresses[buffer], target.nbytes)
    array: NDArray[Any] = target
    dtype, shape = binding.plan.buffers[buffer].dtype, binding.shape(buffer)
    return lambda: np.copyto(array, view(addresses[buffer], dtype, shape))
