"""Compute at compile time those dequantised constants that are not computed with as integers.

It runs after `landbridge.codegen.multiply_quantised`, which wants them as they are. Weights of convolutions are always computed: there are
fast kernels only for weights that can be packed. Others are where they are small, so that a model does not become four times as large.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import tvm
import tvm_ffi
from tvm import relax

from landbridge.codegen.rewriting import rewrite
from landbridge.ir import body as ir_body

_MOST_ELEMENTS = 1 << 16
"""Of a constant that is no weight of a convolution."""


def dequantise_weights(module: tvm.IRModule) -> tvm.IRModule:
    """Return the rewritten module."""
    writer = _Writer(module)
    return rewrite(module, writer, writer.start)


@relax.expr_functor.mutator
class _Writer(relax.PyExprMutator):  # type: ignore[misc]  # TVM has no types
    def __init__(self, module: tvm.IRModule) -> None:
        super().__init__(module)
        self.weights: set[str] = set()

    def start(self, function: Any) -> None:
        """Note which variables are weights of convolutions, also before they are moved."""
        self.weights = set()
        for block in reversed(list(function.body.blocks)):
            for binding in reversed(list(block.bindings)):
                self.note(binding)

    def note(self, binding: Any) -> None:
        """Note what a binding says of weights."""
        value = binding.value
        operator = getattr(value.op, "name", "") if isinstance(value, relax.Call) else ""
        moved = operator in ("relax.reshape", "relax.permute_dims") and str(binding.var.name) in self.weights
        if moved or operator.startswith("relax.nn.conv"):
            tvm_ffi.structural_walk(value.args[0 if moved else 1], [(relax.Var, lambda var: self.weights.add(str(var.name)))])

    def visit_var_binding_(self, binding: Any) -> None:
        """Bind the constant that a dequantised one is; leave any other binding as it is."""
        value = binding.value
        if isinstance(value, relax.Call) and getattr(value.op, "name", "") == "relax.dequantize":
            few = math.prod(int(n) for n in value.args[0].ty.shape) <= _MOST_ELEMENTS if ir_body.is_constant(value.args[0]) else False
            if (few or str(binding.var.name) in self.weights) and all(ir_body.is_constant(argument) for argument in value.args):
                constant = dequantised(value)
                if constant is not None:
                    self.set_var_remap(binding.var, self.builder_.emit(constant))
                    return
        super().visit_var_binding_(binding)


def dequantised(call: Any) -> Any:
    """Return the constant that ``relax.dequantize`` makes of constants, to the last bit, or None where it is not float32."""
    data, scale, point = (argument.value.numpy() for argument in call.args)
    if str(call.ty.dtype) != "float32" or scale.dtype != np.float32 or data.dtype.kind not in "iu":
        return None
    axis = int(call.attrs.axis) % max(data.ndim, 1)
    along = [-1 if i == axis else 1 for i in range(data.ndim)]
    scale, point = (one.reshape(along) if one.size > 1 else one.reshape(()) for one in (scale, point))
    return relax.const(((data.astype("int64") - point).astype("float32") * scale).astype("float32"))
