"""What each offline model was given and what it gave in one run, copied out, for whoever compares it with something else."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from time import perf_counter_ns
from typing import Any

import numpy as np

from landbridge.runtime.binding import Binding
from landbridge.runtime.dtypes import to_bfloat16
from landbridge.runtime.memory import empty, view
from landbridge.runtime.opaque import copied
from landbridge.runtime.plan import Extern
from landbridge.runtime.records import dataclass


@dataclass(frozen=True)
class Crossed:
    """A value at the border of an offline model.

    Attributes:
        name: the user's.
        buffer: of the plan.
        array: a copy; elements of types that NumPy lacks are unsigned integers of the same width. Of a sequence or the like it is that.
    """

    name: str
    buffer: int
    array: Any


@dataclass(frozen=True)
class Boundary:
    """One call of an offline model.

    Attributes:
        step: its index in the plan.
        model: what the user calls the model.
        device: where it ran.
        inputs: in the order of the call, as they were before it.
        outputs: in the order of the results.
    """

    step: int
    model: str
    device: str
    inputs: tuple[Crossed, ...]
    outputs: tuple[Crossed, ...]


@dataclass(frozen=True)
class Tapped:
    """Calls the steps one by one and copies the borders of offline models out.

    Attributes:
        found: each boundary is appended to it.
        given: values, by the user's names, that offline models on devices give in place of being called; the memory of these devices
            must be the host's, as in a replay.
    """

    found: list[Boundary]
    given: Mapping[str, Any] = field(default_factory=dict)

    def __call__(self, binding: Binding, phases: dict[str, int]) -> None:
        """Run all steps; the copying out is in no phase."""
        for index, phase, call in binding.calls:
            step = binding.plan.steps[index]
            inputs = _copied(binding, step.inputs) if isinstance(step, Extern) else ()
            started = perf_counter_ns()
            if isinstance(step, Extern) and step.device != "cpu" and self.given:
                _give(binding, step.outputs, self.given)
            else:
                call()
            phases[phase] += perf_counter_ns() - started
            if isinstance(step, Extern):
                record = binding.opened.records[step.model]
                outputs = _copied(binding, step.outputs)
                self.found.append(Boundary(index, record.title, record.device, inputs, outputs))


def _give(binding: Binding, buffers: tuple[int, ...], given: Mapping[str, Any]) -> None:
    for buffer in buffers:
        found = binding.plan.buffers[buffer]
        value = given[found.name]
        if found.storage == "late":
            binding.late[buffer] = np.asarray(value)
            continue
        if found.dtype == "bfloat16" and value.dtype.kind == "f":
            value = to_bfloat16(value)
        np.copyto(view(binding.addresses[buffer], found.dtype, binding.shape(buffer)), value, casting="same_kind")


def _copied(binding: Binding, buffers: tuple[int, ...]) -> tuple[Crossed, ...]:
    return tuple(Crossed(binding.plan.buffers[buffer].name, buffer, _copy(binding, buffer)) for buffer in buffers)


def _copy(binding: Binding, buffer: int) -> Any:
    if buffer in binding.late:
        return copied(binding.late[buffer])
    dtype, shape, address = binding.plan.buffers[buffer].dtype, binding.shape(buffer), binding.addresses[buffer]
    device = binding.device(buffer)
    if device is None:
        return view(address, dtype, shape).copy()
    array, target = empty(dtype, shape)
    if array.nbytes:
        device.copy_out(target, address, array.nbytes)
    return array
