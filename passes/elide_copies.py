"""Let each value cross each link at most once, and only where somebody needs it (R5).

All copies of a placed program are taken away and as few as can be are put back: a value and its copies are one value at several
places; what it needs is the union of the ways from where it is made to where it is read, one copy for each link of it. Between the CPU
and its devices the links are a tree, so nothing smaller will do. Round trips, copies of copies and copies that nobody reads are gone
with it. Copies that stay keep their names; each is right behind what it copies, so that it can run beside what follows.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, ClassVar

import tvm

from landbridge.ir.body import Binding, Body, is_constant, is_copy, operands
from landbridge.ir.program import DERIVED, ModuleInfo
from landbridge.passes.rewrite import Deriver, home, origins, reading, rewritten
from landbridge.runtime.device import Device


@dataclass(frozen=True)
class ElideCopies:
    """Replace the copies of each value by the least that reach all its readers."""

    name: ClassVar[str] = "elide-copies"
    phase: ClassVar[str] = "placed"

    def run(self, module: tvm.IRModule) -> tvm.IRModule:
        """Return the module with as few copies as can be, or ``module`` itself when it has no more already."""
        body = Body.of(module)
        plan = _Copies(body, ModuleInfo.of(module), Deriver(module, body))
        bindings: list[Binding] = []
        for param in body.params:
            bindings += plan.behind(param)
        for binding in body.bindings:
            if is_copy(binding.value):
                continue
            bindings += plan.of_constants(operands(binding.value))
            bindings.append(reading(binding, {operand: plan.at_reader(operand) for operand in operands(binding.value)}))
            bindings += plan.behind(binding.var)
        bindings += plan.of_constants(body.outputs)
        outputs = [plan.at_reader(output) for output in body.outputs]
        return rewritten(module, body, bindings, outputs, plan.derive.vdevices)


class _Copies:
    """The copies that each value needs, made when asked for, once."""

    def __init__(self, body: Body, info: ModuleInfo, derive: Deriver) -> None:
        self.info, self.derive = info, derive
        self._origin = origins(body)
        self._written: dict[tuple[Any, Device], Binding] = {}
        self._needs: dict[Any, dict[Device, None]] = {}
        self._made: dict[Any, dict[Device, Any]] = {}
        for binding in body.bindings:
            if is_copy(binding.value):
                key = self._origin[binding.var], home(binding.var)
                if key not in self._written or DERIVED in self._written[key].var.name:
                    self._written[key] = binding  # the user's own name for it, where there is one
        reads = [value for binding in body.bindings if not is_copy(binding.value) for value in operands(binding.value)]
        for value in (*reads, *body.outputs):
            self._needs.setdefault(self.original(value), {})[home(value)] = None

    def original(self, value: Any) -> Any:
        """Return the value that ``value`` is a copy of, or itself."""
        return self._origin.get(value, value)

    def at_reader(self, value: Any) -> Any:
        """Return what a reader of ``value`` reads from now on."""
        original = self.original(value)
        return self._made.get(original, {}).get(home(value), original)

    def behind(self, original: Any) -> Iterator[Binding]:
        """Yield the copies of ``original`` that its readers need, in the order of their devices; nothing when called again."""
        if original in self._made:
            return
        made = self._made[original] = {home(original): original}
        for device in sorted(self._needs.get(original, ())):
            for here, there in pairwise(self.info.topology.route(home(original), device)):
                if there not in made:
                    binding = self._copy(original, made[here], there)
                    made[there] = binding.var
                    yield binding

    def of_constants(self, values: Sequence[Any]) -> Iterator[Binding]:
        """Yield the copies of the constants that ``values`` are or are copies of: these have no definition to be behind."""
        for original in map(self.original, values):
            if is_constant(original):
                yield from self.behind(original)

    def _copy(self, original: Any, source: Any, device: Device) -> Binding:
        """Return the copy that the program has already, with its operand made right, or a new one."""
        written = self._written.get((original, device))
        if written is None:
            return self.derive.copy(source, device, of=original)
        return reading(written, {operands(written.value)[0]: source})
