"""What a run needs of each device's memory, by what it is for. Worked out from the plan and the signatures: nothing of it is stored."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from landbridge.runtime import dims
from landbridge.runtime.dims import Size
from landbridge.runtime.plan import Plan
from landbridge.runtime.records import dataclass

if TYPE_CHECKING:
    from landbridge.runtime.artifact import ExternRecord


@dataclass(frozen=True)
class DeviceMemory:
    """The memory of one device.

    Attributes:
        device: such as "atlas0".
        arena: bytes of the arena, for one run at a time; each further run under way has an arena of its own.
        constants: bytes of the model's constants.
        weights: bytes of its offline models' weights, as far as their files tell.
        workspace: bytes that its offline models need while they run, as far as their files tell.
        staging: bytes for copies of the inputs, where what a caller gives cannot be used in place.
        gears: the largest gear of each offline model that has some, such as "backbone.om: 8"; the arena has room for it.
    """

    device: str
    arena: Size = 0
    constants: int = 0
    weights: int = 0
    workspace: int = 0
    staging: Size = 0
    gears: tuple[str, ...] = ()

    @property
    def total(self) -> Size:
        """All of it together."""
        return dims.total([self.arena, self.staging, self.constants, self.weights, self.workspace])


def memory_of(plan: Plan, externs: Sequence[ExternRecord]) -> tuple[DeviceMemory, ...]:
    """Return the memory of the CPU and of each other device of a plan."""
    devices = dict.fromkeys(["cpu", *plan.arenas, *(record.device for record in externs), *(buffer.device for buffer in plan.buffers)])
    return tuple(_memory_of(device, plan, [record for record in externs if record.device == device]) for device in devices)


def _memory_of(device: str, plan: Plan, externs: Sequence[ExternRecord]) -> DeviceMemory:
    ends: dict[str, int] = {}
    for buffer in plan.buffers:
        if buffer.storage == "constant" and buffer.device == device:
            ends[buffer.section] = max(ends.get(buffer.section, 0), buffer.offset + buffer.nbytes)
    loaded = {(record.vendor, record.section, *sorted(record.options.items())): record.signature for record in externs}
    staged = [buffer.nbytes for buffer in plan.buffers if buffer.storage == "input" and buffer.device == device]
    gears = {
        record.name or record.symbol: max(record.signature.gears.choices)
        for record in externs
        if record.signature.gears is not None and record.signature.gears.choices
    }
    return DeviceMemory(
        device,
        arena=plan.arenas.get(device, 0),
        constants=sum(ends.values()),
        weights=sum(signature.weight_nbytes for signature in loaded.values()),
        workspace=sum(signature.workspace_nbytes for signature in loaded.values()),
        staging=dims.total(staged),
        gears=tuple(f"{name}: {'x'.join(map(str, gear))}" for name, gear in gears.items()),
    )
