"""Permute what is NCHW to the NHWC image that an offline model with image preprocessing (AIPP) takes.

Only where `landbridge.ir.images.permuted` says so: the port declares the layout, and the value fits it no other way. The permutation
is written where the call is, as an operator of the CPU; ``insert-copies`` brings its operand there and its result to the device.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import tvm
from tvm import relax

from landbridge.ir.body import Binding, Body, extern_symbol, is_extern, operands, operator_name
from landbridge.ir.images import TO_NHWC, permuted
from landbridge.ir.program import ModuleInfo
from landbridge.ir.sizes import shape_of
from landbridge.passes.rewrite import Deriver, rewritten, with_operands


@dataclass(frozen=True)
class ConvertLayouts:
    """Insert a permutation at each image input of an offline model that is given NCHW, one for each value."""

    name: ClassVar[str] = "convert-layouts"
    phase: ClassVar[str] = "devices"

    def run(self, module: tvm.IRModule) -> tvm.IRModule:
        """Return the module with the permutations, or ``module`` itself when none is missing."""
        body, info = Body.of(module), ModuleInfo.of(module)
        derive = Deriver(module, body)
        producers = {binding.var: binding.value for binding in body.bindings}
        bindings: list[Binding] = []
        turned: dict[Any, Any] = {}

        def as_image(value: Any) -> Any:
            if value not in turned:
                before = _unturned(producers.get(value))
                if before is None:
                    bindings.append(derive.permutation(value, TO_NHWC, "NHWC"))
                turned[value] = bindings[-1].var if before is None else before
            return turned[value]

        for binding in body.bindings:
            call = binding.value
            if is_extern(call):
                ports = info.externs[extern_symbol(call)].signature.inputs
                given = operands(call)
                pairs = zip(given, ports, strict=True)
                expected = [as_image(value) if permuted(port, shape_of(value.ty), {}) else value for value, port in pairs]
                call = call if tuple(expected) == given else with_operands(call, expected)
            bindings.append(binding if call is binding.value else Binding(binding.var, call))
        return rewritten(module, body, bindings, body.outputs, derive.vdevices)


def _unturned(value: Any) -> Any | None:
    """Return the NHWC value that the program itself permuted to NCHW, so that nothing need be permuted back; else None."""
    if not isinstance(value, relax.Call) or operator_name(value) != "permute_dims" or value.attrs.axes is None:
        return None
    axes = [int(axis) for axis in value.attrs.axes]
    return operands(value)[0] if [axes[axis] for axis in TO_NHWC] == [0, 1, 2, 3] else None
