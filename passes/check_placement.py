"""Strict mode (R8): the program must obey R2-R4 and R6 as it is written, as in MegEngine; nothing is inserted.

Every violation is reported at once, each with the line to add and where. What it finds wrong is what ``convert-dtypes``,
``convert-layouts``, ``hoist-casts`` and ``insert-copies`` would mend in auto mode.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

import tvm

from landbridge.ir.body import Binding, Body, extern_symbol, is_constant, is_copy, is_extern, operands, operator_name
from landbridge.ir.fixes import cast_fix, copy_fix, transpose_fix
from landbridge.ir.images import TO_NHWC, permuted
from landbridge.ir.location import place, value_name
from landbridge.ir.program import ExternEntry, ModuleInfo
from landbridge.ir.sizes import dtype_of, shape_of
from landbridge.passes.rewrite import destination, home, operator_device
from landbridge.runtime.device import CPU, Device
from landbridge.runtime.errors import PlacementError


@dataclass(frozen=True)
class CheckPlacement:
    """Refuse a program with values that are not where their operators run. Changes nothing."""

    name: ClassVar[str] = "check-placement"
    phase: ClassVar[str] = "placed"

    def run(self, module: tvm.IRModule) -> tvm.IRModule:
        """Return ``module`` itself.

        Raises:
            PlacementError: all that strict mode does not accept, each with the line to add.
        """
        check = _Check(ModuleInfo.of(module), Body.of(module))
        found = list(check.violations())
        if found:
            count = "one place" if len(found) == 1 else f"{len(found)} places"
            raise PlacementError(
                f'{count} where mode="strict" needs a line more:\n  ' + "\n  ".join(found),
                at=check.info.model,
                hint='add these lines, or compile with mode="auto", which inserts what is missing',
                code="LB2201",
            )
        return module


@dataclass(frozen=True)
class _Check:
    info: ModuleInfo
    body: Body

    def violations(self) -> Iterator[str]:
        """Yield a line for each violation, in program order."""
        for binding in self.body.bindings:
            if is_copy(binding.value):
                yield from self._copy(binding)
            elif is_extern(binding.value):
                yield from self._call(binding, self.info.externs[extern_symbol(binding.value)])
            elif operator_device(self.info, binding.value) is not None:
                yield from self._operator(binding)
        for output, wish in zip(self.body.outputs, self.info.outputs, strict=True):
            if wish.device is not None and home(output) != wish.device:
                found = f"output '{wish.name}' is wanted on {wish.device}, {self._quoted(output)} is on {home(output)}"
                yield f"{place(self.info, wish.name)}: {found}; at the end add: {self._copy_lines(output, wish.device)}"

    def _copy(self, binding: Binding) -> Iterator[str]:
        source, end = operands(binding.value)[0], destination(binding.value)
        start = home(source)
        if not self.info.topology.linked(start, end):
            found = f"{self._quoted(source)} is copied from {start} to {end}, which are not linked"
            yield f"{self._at(binding)}: {found}; in its place write: {self._copy_lines(source, end)}"

    def _operator(self, binding: Binding) -> Iterator[str]:
        operator = operator_name(binding.value)
        for operand in dict.fromkeys(operands(binding.value)):
            if not home(operand).is_cpu:
                found = f"{operator} runs on the cpu, its operand {self._quoted(operand)} is on {home(operand)}"
                yield f"{self._at(binding)}: {found}; before it add: {self._copy_lines(operand, CPU)}"

    def _call(self, binding: Binding, entry: ExternEntry) -> Iterator[str]:
        pairs = zip(operands(binding.value), entry.signature.inputs, strict=True)
        wanted = ((operand, port.dtype, permuted(port, shape_of(operand.ty), {}) is not None) for operand, port in pairs)
        for operand, dtype, turned in dict.fromkeys(wanted):
            is_there, fits = home(operand) == entry.device, dtype_of(operand.ty) == dtype
            if is_there and fits and not turned:
                continue
            takes = [*([] if fits else [dtype]), *(["NHWC"] if turned else [])]
            given = [*([] if fits else [dtype_of(operand.ty)]), *(["NCHW"] if turned else [])]
            wants = " and ".join([*([] if is_there else [f"runs on {entry.device}"]), *([f"takes {' '.join(takes)}"] if takes else [])])
            has = " and ".join([*([] if is_there else [f"on {home(operand)}"]), *([" ".join(given)] if given else [])])
            lines = (
                self._cast_lines(operand, "" if fits else dtype, turned, entry.device) if takes else self._copy_lines(operand, entry.device)
            )
            yield f"{self._at(binding)}: {entry.name} {wants}, its operand {self._quoted(operand)} is {has}; before it add: {lines}"

    def _copy_lines(self, value: Any, device: Device) -> str:
        return self._way(value, home(value), device)

    def _cast_lines(self, value: Any, dtype: str, turned: bool, device: Device) -> str:
        """Return the lines that convert ``value`` on the CPU, going there and to ``device`` as needed.

        Args:
            dtype: the element type to convert to, "" where it has it.
            turned: whether its axes are to be permuted to NHWC.
        """
        name = value_name(self.info, value)
        conversions = [cast_fix(name, dtype) if dtype else "", transpose_fix(name, TO_NHWC) if turned else ""]
        lines = [self._way(value, home(value), CPU), *conversions, self._way(value, CPU, device)]
        return "; ".join(line for line in lines if line)

    def _way(self, value: Any, source: Device, target: Device) -> str:
        try:
            route = self.info.topology.route(source, target)
        except PlacementError as error:
            return f"nothing, there is {error.message} ({error.hint})"
        return copy_fix(value_name(self.info, value), route) if len(route) > 1 else ""

    def _quoted(self, value: Any) -> str:
        name = value_name(self.info, value)
        return f"({name})" if is_constant(value) else f"'{name}'"

    def _at(self, binding: Binding) -> str:
        return place(self.info, self.info.user_name(binding.var))
