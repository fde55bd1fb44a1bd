"""Convert what an offline model is given to the element types that it expects.

Only conversions that the compiler may insert by itself (`landbridge.ir.dtypes.convertible`); any other one has been an error of
``check-signatures``. The conversion is written where the call is; ``hoist-casts`` and ``insert-copies`` bring its operand to it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import tvm

from landbridge.ir.body import Binding, Body, extern_symbol, is_extern, operands
from landbridge.ir.dtypes import convertible
from landbridge.ir.program import ModuleInfo
from landbridge.ir.sizes import OPAQUE, dtype_of
from landbridge.passes.rewrite import Deriver, rewritten, with_operands


@dataclass(frozen=True)
class ConvertDtypes:
    """Insert a cast at each input of an offline model that is given another element type, one for each value and type."""

    name: ClassVar[str] = "convert-dtypes"
    phase: ClassVar[str] = "devices"

    def run(self, module: tvm.IRModule) -> tvm.IRModule:
        """Return the module with the casts, or ``module`` itself when none is missing."""
        body, info = Body.of(module), ModuleInfo.of(module)
        derive = Deriver(module, body)
        bindings: list[Binding] = []
        converted: dict[tuple[Any, str], Any] = {}

        def as_expected(value: Any, dtype: str) -> Any:
            if dtype_of(value.ty) in (dtype, OPAQUE) or not convertible(dtype_of(value.ty), dtype):
                return value
            if (value, dtype) not in converted:
                bindings.append(derive.cast(value, dtype))
                converted[value, dtype] = bindings[-1].var
            return converted[value, dtype]

        for binding in body.bindings:
            call = binding.value
            if is_extern(call):
                ports = info.externs[extern_symbol(call)].signature.inputs
                given = operands(call)
                expected = [as_expected(value, port.dtype) for value, port in zip(given, ports, strict=True)]
                call = call if tuple(expected) == given else with_operands(call, expected)
            bindings.append(binding if call is binding.value else Binding(binding.var, call))
        return rewritten(module, body, bindings, body.outputs, derive.vdevices)
