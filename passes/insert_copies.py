"""Bring every operand to its operator's device, and every output to where it is wanted (R2, R3): the bridge over the CPU.

A copy follows the topology's route, link by link; a copy that the user wrote between devices that are not linked becomes such a route.
One copy for each (value, device) serves all who need it, the user's own ones included. Nothing is taken away here: what is one copy
too many is for ``elide-copies``.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any, ClassVar

import tvm

from landbridge.ir.body import Binding, Body, is_copy, operands
from landbridge.ir.location import place_of
from landbridge.ir.program import ModuleInfo
from landbridge.ir.topology import Topology
from landbridge.passes.rewrite import Deriver, destination, home, operator_device, reading, rewritten, wanted_outputs
from landbridge.runtime.device import CPU, Device
from landbridge.runtime.errors import PlacementError


@dataclass(frozen=True)
class InsertCopies:
    """Insert the copies without which an operator would read from another device."""

    name: ClassVar[str] = "insert-copies"
    phase: ClassVar[str] = "placed"

    def run(self, module: tvm.IRModule) -> tvm.IRModule:
        """Return the module with the copies, or ``module`` itself when none is missing.

        Raises:
            PlacementError: the topology has no way to where a value is needed.
        """
        body, info = Body.of(module), ModuleInfo.of(module)
        bridge = _Bridge(info, Deriver(module, body))
        for binding in body.bindings:
            bridge.add(binding)
        wanted = zip(body.outputs, wanted_outputs(info, body), strict=True)
        outputs = [bridge.bring(output, device) for output, device in wanted]
        return rewritten(module, body, bridge.bindings, outputs, bridge.derive.vdevices)


class _Bridge:
    """The bindings so far; ``copies`` has, for each original value, its copies by device."""

    def __init__(self, info: ModuleInfo, derive: Deriver) -> None:
        self.info, self.derive = info, derive
        self.bindings: list[Binding] = []
        self.origin: dict[Any, Any] = {}
        self.copies: dict[Any, dict[Device, Any]] = {}

    def add(self, binding: Binding) -> None:
        """Append a binding, and before it the copies that it needs."""
        value = binding.value
        if is_copy(value):
            self._add_copy(binding)
            return
        device = operator_device(self.info, value)
        brought = {} if device is None else {operand: self.bring(operand, device) for operand in operands(value)}
        self.bindings.append(reading(binding, brought))

    def bring(self, value: Any, device: Device) -> Any:
        """Return ``value`` on ``device``: itself, a copy that there is, or a new one."""
        if home(value) == device:
            return value
        original = self.origin.get(value, value)
        copies = self.copies.setdefault(original, {home(original): original})
        if device not in copies:
            start = CPU if CPU in copies else home(original)
            for here, there in pairwise(self._route(original, start, device)):
                if there not in copies:
                    self._append_copy(self.derive.copy(copies[here], there, of=original), original)
        return copies[device]

    def _add_copy(self, binding: Binding) -> None:
        """Append a copy of the user's; from a neighbour of its destination."""
        source, device = operands(binding.value)[0], destination(binding.value)
        original = self.origin.get(source, source)
        if not self._topology.linked(home(source), device):
            before = self._route(original, home(source), device)[-2]
            binding = reading(binding, {source: self.bring(source, before)})
        self._append_copy(binding, original)

    def _append_copy(self, binding: Binding, original: Any) -> None:
        self.bindings.append(binding)
        self.origin[binding.var] = original
        self.copies.setdefault(original, {home(original): original}).setdefault(home(binding.var), binding.var)

    @property
    def _topology(self) -> Topology:
        return self.info.topology

    def _route(self, value: Any, source: Device, target: Device) -> tuple[Device, ...]:
        try:
            return self._topology.route(source, target)
        except PlacementError as error:
            raise PlacementError(error.message, at=place_of(self.info, value), hint=error.hint, code=error.code) from error
