"""Leave out what no output needs. Every operator of a program is a function of its operands, offline models included."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import tvm

from landbridge.ir.body import Body, operands
from landbridge.ir.devices import VDevices
from landbridge.passes.rewrite import rewritten


@dataclass(frozen=True)
class RemoveDead:
    """Remove the bindings on which no output depends."""

    name: ClassVar[str] = "remove-dead"
    phase: ClassVar[str] = "placed"

    def run(self, module: tvm.IRModule) -> tvm.IRModule:
        """Return the module without them, or ``module`` itself when there are none."""
        body = Body.of(module)
        needed = set(body.outputs)
        live = []
        for binding in reversed(body.bindings):
            if binding.var in needed:
                needed.update(operands(binding.value))
                live.append(binding)
        return rewritten(module, body, live[::-1], body.outputs, VDevices(module))
