"""Drop copies to where the value is already: an old program may say ``copy(x, "cpu")`` of a value on the CPU."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import tvm

from landbridge.ir.body import Body, is_copy, operands
from landbridge.ir.devices import VDevices
from landbridge.passes.rewrite import destination, home, reading, replaced, rewritten


@dataclass(frozen=True)
class DropIdleCopies:
    """Replace a copy that crosses nothing by what it copies."""

    name: ClassVar[str] = "drop-idle-copies"
    phase: ClassVar[str] = "devices"

    def run(self, module: tvm.IRModule) -> tvm.IRModule:
        """Return the module without such copies, or ``module`` itself when it has none."""
        body = Body.of(module)
        idle: dict[Any, Any] = {}
        bindings = []
        for binding in body.bindings:
            current = reading(binding, idle)
            if is_copy(current.value) and home(operands(current.value)[0]) == destination(current.value):
                idle[current.var] = operands(current.value)[0]
            else:
                bindings.append(current)
        return rewritten(module, body, bindings, replaced(body.outputs, idle), VDevices(module))
