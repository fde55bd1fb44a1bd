"""Move casts to the CPU (R4), each above the copies that feed it: then what crosses is what the cast gives, or it need not cross.

A cast asked for on a device's side takes the value from before the copy that brought it there. A value that an offline model made
has no such place: it is copied out once, and cast on the CPU. That is also where the fewest bytes cross: what an offline model takes
or gives is of the type in its signature, so a narrowing is before the copy in and a widening behind the copy out.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

import tvm

from landbridge.ir.body import Binding, Body, is_cast, is_copy, operands
from landbridge.ir.location import value_name
from landbridge.ir.program import ModuleInfo
from landbridge.passes.base import Declined
from landbridge.passes.rewrite import Deriver, home, reading, rewritten
from landbridge.runtime.device import CPU


@dataclass(frozen=True)
class HoistCasts:
    """Give each cast an operand on the CPU: the value from before the copies to the device, or a copy out.

    Attributes:
        max_depth: how many copies, one of the other, it looks through; it bounds the work on long chains.
    """

    name: ClassVar[str] = "hoist-casts"
    phase: ClassVar[str] = "devices"
    max_depth: int = 8

    def run(self, module: tvm.IRModule) -> tvm.IRModule:
        """Return the rewritten module, or ``module`` itself when every cast is on the CPU."""
        body = Body.of(module)
        derive, copied_from = Deriver(module, body), _copied_from(body)
        bindings: list[Binding] = []
        on_cpu: dict[Any, Any] = {}

        def copied_out(value: Any) -> Any:
            if value not in on_cpu:
                bindings.append(derive.copy(value, CPU))
                on_cpu[value] = bindings[-1].var
            return on_cpu[value]

        for binding in body.bindings:
            if is_cast(binding.value):
                operand = operands(binding.value)[0]
                *_, source = self._upwards(operand, copied_from)
                current = reading(binding, {operand: source if home(source).is_cpu else copied_out(source)})
            else:
                current = binding
            if is_copy(binding.value) and home(binding.var).is_cpu:
                on_cpu.setdefault(operands(binding.value)[0], binding.var)
            bindings.append(current)
        return rewritten(module, body, bindings, body.outputs, derive.vdevices)

    def declined(self, module: tvm.IRModule) -> tuple[Declined, ...]:
        """Return the casts that are behind more copies than `max_depth`, in program order."""
        body, info = Body.of(module), ModuleInfo.of(module)
        copied_from = _copied_from(body)
        found = []
        for binding in body.bindings:
            if is_cast(binding.value):
                *_, source = self._upwards(operands(binding.value)[0], copied_from)
                if not home(source).is_cpu and source in copied_from:
                    found.append(Declined(f"it is behind more copies than max-depth={self.max_depth}", at=value_name(info, binding.var)))
        return tuple(found)

    def _upwards(self, value: Any, copied_from: dict[Any, Any]) -> Iterator[Any]:
        """Yield ``value`` and what it was copied from, up to the first value on the CPU."""
        yield value
        for _ in range(self.max_depth):
            if home(value).is_cpu or value not in copied_from:
                return
            value = copied_from[value]
            yield value


def _copied_from(body: Body) -> dict[Any, Any]:
    return {binding.var: operands(binding.value)[0] for binding in body.bindings if is_copy(binding.value)}
