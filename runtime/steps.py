"""The steps of a plan as prepared calls: a run does nothing but call them one after the other."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from landbridge.runtime import dtypes, opaque
from landbridge.runtime.device import CPU
from landbridge.runtime.dims import render_shape
from landbridge.runtime.driver import PreparedCall, TensorRef
from landbridge.runtime.errors import ArtifactCorrupt, DeviceError, InputError
from landbridge.runtime.memory import address_of, empty, view
from landbridge.runtime.plan import LATE, Copy, Extern, Segment, Step

if TYPE_CHECKING:
    from landbridge.runtime.artifact import Artifact
    from landbridge.runtime.binding import Binding

Call = Callable[[], object]

HOST, COPY_IN, EXECUTE, COPY_OUT = "host", "copy in", "execute", "copy out"
"""The phases that steps belong to."""

_PREPARED = 8
"""For how many sets of addresses an offline model stays prepared."""


def prepare_step(binding: Binding, index: int, step: Step) -> tuple[str, Call] | None:
    """Return the phase of a step and a call that executes it, or None where there is nothing to do.

    Offline models and copies are not called on tensors without elements; segments are, and do nothing.

    Raises:
        DeviceError: a vendor refused the arguments.
        InputError: an offline model cannot take these extents.
    """
    if isinstance(step, Segment):
        return HOST, _segment(binding, index, step)
    if isinstance(step, Copy):
        to_cpu = binding.plan.buffers[step.destination].device == "cpu"
        copy = _copy(binding, index, step, to_cpu=to_cpu)
        return None if copy is None else (COPY_OUT if to_cpu else COPY_IN, copy)
    extern = _extern(binding, index, step)
    return None if extern is None else (EXECUTE, extern)


def describe_step(artifact: Artifact, index: int) -> tuple[str, str]:
    """Return a step as messages name it, and its device."""
    step, buffers = artifact.plan.steps[index], artifact.plan.buffers
    if isinstance(step, Segment):
        operators = ", ".join(step.operators[:8]) + (", …" if len(step.operators) > 8 else "")
        return f"step {index} on cpu ({operators or step.symbol})", "cpu"
    if isinstance(step, Extern):
        record = next(record for record in artifact.externs if record.symbol == step.model)
        return f"step {index}, {record.title} on {record.device}", record.device
    source, destination = buffers[step.source], buffers[step.destination]
    where = f"to {destination.device}" if source.device == "cpu" else f"from {source.device}"
    return f"step {index}, copy of '{source.name}' {where}", where.split()[1]


def _segment(binding: Binding, index: int, step: Segment) -> Call:
    library = binding.opened.library
    if library is None:
        raise ArtifactCorrupt("a segment without a host library", at=f"plan.steps[{index}]")
    threads = binding.opened.threads
    function = library.function(step.symbol) if threads is None else library.limited(step.symbol, threads)
    pointers = (ctypes.c_void_p * len(step.buffers))(*(binding.addresses[buffer] for buffer in step.buffers))
    dims = (ctypes.c_int64 * len(step.dims))(*(binding.extents[dim] for dim in step.dims))
    for position, buffer in enumerate(step.buffers):
        root = binding.roots[buffer]
        if root in binding.movable:
            binding.pointers.setdefault(root, []).append((pointers, position, binding.shift(buffer)))

    buffers, extents = ctypes.byref(pointers), ctypes.byref(dims)  # made once, not by each call

    def call() -> None:
        status = function(buffers, extents)
        if status:
            text = library.error()
            error = DeviceError(f"a host kernel failed: {text or f'status {status}'}", vendor_code=status, vendor_text=text, code="LB4012")
            raise placed(error, binding, index)

    return call


def _copy(binding: Binding, index: int, step: Copy, *, to_cpu: bool) -> Call | None:
    source, destination, addresses = step.source, step.destination, binding.addresses
    buffer = binding.plan.buffers[source]
    nbytes = dtypes.nbytes_of(buffer.dtype, binding.shape(source))
    if nbytes == 0:
        return None
    device = binding.opened.devices[binding.plan.buffers[source if to_cpu else destination].device]
    copy = device.copy_out if to_cpu else device.copy_in

    def call() -> None:
        try:
            copy(addresses[destination], addresses[source], nbytes)
        except DeviceError as error:
            placed(error, binding, index)
            raise

    return call


def _extern(binding: Binding, index: int, step: Extern) -> Call | None:
    buffers = binding.plan.buffers
    if any(buffers[buffer].storage == "late" for buffer in (*step.inputs, *step.outputs)):
        run = _run_late if binding.opened.records[step.model].device == str(CPU) else _run_open
        return lambda: run(binding, index, step)
    if step.outputs and all(0 in binding.shape(buffer) for buffer in step.outputs):
        return None
    on_cpu = binding.opened.records[step.model].device == str(CPU)
    for buffer in () if on_cpu else step.inputs:  # what runs on the CPU takes tensors without elements
        if 0 in binding.shape(buffer):
            shape = render_shape(binding.shape(buffer))
            at = describe_step(binding.opened.artifact, index)[0]
            raise InputError(
                f"input '{buffers[buffer].name}' has no elements: {shape}", at=at, hint="give at least one of each", code="LB1211"
            )
    return ExternCall(binding, index, step)


class ExternCall:
    """The call of an offline model, prepared for the addresses that its arguments have when it is called.

    Attributes:
        step: of the plan.
    """

    def __init__(self, binding: Binding, index: int, step: Extern) -> None:
        self.step = step
        self._index = index
        self._binding = binding
        self._model = binding.opened.models[step.model]
        self._turn = binding.opened.turns[step.model]
        self._moving = tuple(buffer for buffer in (*step.inputs, *step.outputs) if binding.roots[buffer] in binding.movable)
        self._prepared: dict[tuple[int, ...], PreparedCall | None] = {}
        self._leaving: tuple[int, ...] | None = None
        binding.externs.append(self)  # which closes it, from now on
        if not self._moving:
            self.prepare()

    def __call__(self) -> None:
        """Run the model to its end."""
        try:
            with self._turn:
                self._get()()
        except DeviceError as error:
            placed(error, self._binding, self._index)
            raise

    def prepare(self) -> PreparedCall:
        """Return the call on the present addresses."""
        with self._turn:
            return self._get()

    def _get(self) -> PreparedCall:
        if self._leaving is not None:
            self._forget(self._leaving)
        addresses = self._binding.addresses
        key = tuple([addresses[buffer] for buffer in self._moving])
        prepared = self._prepared.get(key)
        if prepared is None:
            while len(self._prepared) >= _PREPARED:
                self._forget(next(iter(self._prepared)))
            self._prepared[key] = None  # so that there is a place for what cannot be lost any more
            self._prepared[key] = prepared = self._prepare()
        return prepared

    def _prepare(self) -> PreparedCall:
        inputs = [self._binding.tensor(buffer) for buffer in self.step.inputs]
        outputs = [self._binding.tensor(buffer) for buffer in self.step.outputs]
        try:
            return self._model.prepare(inputs, outputs)
        except DeviceError as error:
            placed(error, self._binding, self._index)
            raise
        except InputError as error:
            error.at = describe_step(self._binding.opened.artifact, self._index)[0]
            raise

    def launches(self) -> tuple[str, int, tuple[int, ...]]:
        """Return the model's name, the batch it is called with, and the batch of each launch where it is split."""
        record = self._binding.opened.records[self.step.model]
        batch = next((self._binding.shape(buffer)[0] for buffer in self.step.inputs if self._binding.shape(buffer)), 1)
        return record.title, batch, tuple(self.prepare().launches)

    def close(self) -> None:
        """Close what is prepared. Idempotent."""
        while self._prepared:
            with self._turn:
                self._forget(next(iter(self._prepared)))

    def _forget(self, key: tuple[int, ...]) -> None:
        """Close what is prepared for some addresses. Where an interrupt ends this half-way, the next call goes on with it."""
        self._leaving = key
        prepared = self._prepared.get(key)
        if prepared is not None:
            prepared.close()
        self._prepared.pop(key, None)
        self._leaving = None


def placed(error: DeviceError, binding: Binding, index: int) -> DeviceError:
    """Return the error with where it happened."""
    error.step = index
    error.at, error.device = describe_step(binding.opened.artifact, index)
    return error


def call_at(binding: Binding, step: Extern, inputs: Sequence[TensorRef], outputs: Sequence[TensorRef]) -> None:
    """Call the offline model of a step once, elsewhere than the plan has it.

    Raises:
        DeviceError: the vendor refused or failed.
    """
    with binding.opened.turns[step.model]:
        call = binding.opened.models[step.model].prepare(inputs, outputs)
        try:
            call()
        finally:
            call.close()


def _run_late(binding: Binding, index: int, step: Extern) -> None:
    """Call a model on the CPU some of whose shapes only the data tells."""
    arrays = [binding.late[buffer] if buffer in binding.late else _on_host(binding, buffer) for buffer in step.inputs]
    try:
        with binding.opened.turns[step.model]:
            results = binding.opened.models[step.model].run_late(arrays)
        _take_late(binding, step, results)
    except DeviceError as error:
        placed(error, binding, index)
        raise


def _run_open(binding: Binding, index: int, step: Extern) -> None:
    """Call a model on a device whose outputs have shapes that only the data tells: its driver hands these to the host."""
    late = [binding.plan.buffers[buffer].storage == "late" for buffer in step.outputs]
    inputs = [binding.tensor(buffer) for buffer in step.inputs]
    outputs = [None if open_ended else binding.tensor(buffer) for buffer, open_ended in zip(step.outputs, late, strict=True)]
    try:
        with binding.opened.turns[step.model]:
            results = binding.opened.models[step.model].run_open(inputs, outputs)
        for buffer, open_ended, result in zip(step.outputs, late, results, strict=True):
            if open_ended:
                _take_array(binding, buffer, result)
    except DeviceError as error:
        placed(error, binding, index)
        raise


def _take_late(binding: Binding, step: Extern, results: list[Any]) -> None:
    """Check what a model returned, and put it where the following steps read it."""
    if len(results) != len(step.outputs):
        raise DeviceError(f"{len(results)} outputs, expected {len(step.outputs)}", code="LB4010")
    for buffer, result in zip(step.outputs, results, strict=True):
        expected = binding.plan.buffers[buffer]
        if opaque.is_opaque(expected.dtype):
            _take_opaque(binding, buffer, result)
            continue
        _take_array(binding, buffer, result)


def _take_array(binding: Binding, buffer: int, result: Any) -> None:
    """Keep a tensor, where it is of the type and as much of the shape as is known."""
    expected = binding.plan.buffers[buffer]
    array: NDArray[np.generic] = np.asarray(result)
    fits = len(array.shape) == len(expected.shape) and all(
        known in (LATE, extent) for known, extent in zip(binding.shape(buffer), array.shape, strict=True)
    )
    if not fits or array.dtype != dtypes.holder(expected.dtype):
        wanted = f"{expected.dtype} {render_shape(binding.shape(buffer))}"
        raise DeviceError(f"output '{expected.name}' came out as {array.dtype} {list(array.shape)}, expected {wanted}", code="LB4010")
    if expected.storage == "late":
        binding.late[buffer] = array
        return
    device, dense = binding.device(buffer), np.ascontiguousarray(array)
    if device is None:
        np.copyto(_host_view(binding, buffer), array)
    elif dense.size:
        device.copy_in(binding.addresses[buffer], address_of(dense), dense.nbytes)


def _take_opaque(binding: Binding, buffer: int, result: Any) -> None:
    """Keep a value that is no tensor of numbers, where it is of its type."""
    expected = binding.plan.buffers[buffer]
    problem = opaque.problem(result, expected.dtype)
    if problem:
        raise DeviceError(f"output '{expected.name}' came out as {problem}", code="LB4010")
    shape = opaque.extents(result, expected.dtype)
    known = binding.shape(buffer)
    if len(shape) != len(known) or any(wanted not in (LATE, extent) for wanted, extent in zip(known, shape, strict=True)):
        raise DeviceError(f"output '{expected.name}' came out as strings {list(shape)}, expected {render_shape(known)}", code="LB4010")
    binding.late[buffer] = result


def _on_host(binding: Binding, buffer: int) -> NDArray[np.generic]:
    """Return a tensor on the host: itself where its memory is the host's, else a copy."""
    device = binding.device(buffer)
    if device is None:
        return _host_view(binding, buffer)
    array, address = empty(binding.plan.buffers[buffer].dtype, binding.shape(buffer))
    if array.nbytes:
        device.copy_out(address, binding.addresses[buffer], array.nbytes)
    return array


def _host_view(binding: Binding, buffer: int) -> NDArray[np.generic]:
    return view(binding.addresses[buffer], binding.plan.buffers[buffer].dtype, binding.shape(buffer))
