"""Check in one run that offline models keep to what they say: each writes all of its outputs, and nothing else.

Before its turn in the run each model is called twice on the inputs that it gets, with outputs in memory of their own that is filled with
a pattern, between zones that are filled too, and with another pattern the second time. A byte that holds the pattern after both calls
was not written. What a model writes further away than the zones reach is not seen, and neither is a wrong number.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from landbridge.runtime import dtypes
from landbridge.runtime.binding import Binding
from landbridge.runtime.driver import TensorRef
from landbridge.runtime.errors import DeviceError
from landbridge.runtime.heap import Block
from landbridge.runtime.memory import OpenDevice, address_of, allocate_host, view
from landbridge.runtime.plan import Extern
from landbridge.runtime.steps import call_at, placed

ZONE = 4096
"""Bytes before and after an output that must stay as they are."""

_PATTERNS = (0xA5, 0x3C)
"""What memory is filled with in the two calls."""

Bytes = NDArray[np.uint8]


def check_models(binding: Binding, phases: dict[str, int]) -> None:
    """Run all steps, and check each offline model before its turn, as a stepper of `landbridge.runtime.execute`.

    Raises:
        DeviceError: a model left an output unwritten, wrote beyond one, or changed an input; or a step failed.
    """
    for index, _, call in binding.calls:
        step = binding.plan.steps[index]
        if isinstance(step, Extern) and all(binding.plan.buffers[b].storage != "late" for b in (*step.inputs, *step.outputs)):
            try:
                _check(binding, step)
            except DeviceError as error:
                raise placed(error, binding, index) from None
        call()


def _check(binding: Binding, step: Extern) -> None:
    device = binding.opened.devices.get(step.device)
    inputs = [binding.tensor(buffer) for buffer in step.inputs]
    before = [_read(device, ref.address, _nbytes(ref)) for ref in inputs]
    untouched: list[Bytes] = [np.ones(_nbytes(binding.tensor(buffer)), bool).view(np.uint8) for buffer in step.outputs]
    for pattern in _PATTERNS:
        blocks = [_filled(device, binding.reserved(buffer), pattern) for buffer in step.outputs]
        outputs = [
            TensorRef(block.address + ZONE, binding.reserved(buffer), binding.plan.buffers[buffer].dtype, binding.shape(buffer))
            for buffer, block in zip(step.outputs, blocks, strict=True)
        ]
        call_at(binding, step, inputs, outputs)
        for position, (buffer, block) in enumerate(zip(step.outputs, blocks, strict=True)):
            _check_zones(device, block, binding.reserved(buffer), pattern, binding.plan.buffers[buffer].name)
            untouched[position] &= _read(device, outputs[position].address, len(untouched[position])) == pattern
    _check_written(binding, step.outputs, untouched)
    for buffer, old, ref in zip(step.inputs, before, inputs, strict=True):
        if not np.array_equal(old, _read(device, ref.address, len(old))):
            raise DeviceError(f"it changes its input '{binding.plan.buffers[buffer].name}'", hint=_HINT, code="LB4010")


_HINT = "report it to whoever made the offline model or its driver; results of a run cannot be relied upon"


def _check_zones(device: OpenDevice | None, block: Block, reserved: int, pattern: int, name: str) -> None:
    for where, start in (("before the beginning", 0), ("beyond the end", ZONE + reserved)):
        zone = _read(device, block.address + start, ZONE)
        if (zone != pattern).any():
            raise DeviceError(
                f"it writes {where} of output '{name}' ({reserved} bytes): {(zone != pattern).sum()} bytes", hint=_HINT, code="LB4010"
            )


def _check_written(binding: Binding, buffers: Sequence[int], untouched: Sequence[Bytes]) -> None:
    for buffer, left in zip(buffers, untouched, strict=True):
        if left.any():
            name = binding.plan.buffers[buffer].name
            raise DeviceError(f"it leaves {left.sum()} of the {len(left)} bytes of output '{name}' as they were", hint=_HINT, code="LB4010")


def _nbytes(ref: TensorRef) -> int:
    return dtypes.nbytes_of(ref.dtype, ref.shape)


def _filled(device: OpenDevice | None, reserved: int, pattern: int) -> Block:
    """Return memory for an output between two zones, all of it filled."""
    nbytes = reserved + 2 * ZONE
    block = allocate_host(nbytes) if device is None else device.allocate(nbytes)
    content = np.full(nbytes, pattern, np.uint8)
    if device is None:
        view(block.address, "uint8", (nbytes,))[:] = content
    else:
        device.copy_in(block.address, address_of(content), nbytes)
    return block


def _read(device: OpenDevice | None, address: int, nbytes: int) -> Bytes:
    if device is None or nbytes == 0:
        return view(address, "uint8", (nbytes,)).copy()
    content = np.empty(nbytes, np.uint8)
    device.copy_out(address_of(content), address, nbytes)
    return content
