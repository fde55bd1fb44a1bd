"""Make two-dimensional convolutions of float16 those of float32, between two conversions of images.

There are layouts and tiles for float32 only, and sums are float32 anyway: the result is rounded once, as it is for a product. A convolution
uses each weight for many pixels, so that converting weights again and again costs more than reading twice the bytes: they are float32 in
the artifact.
"""

from __future__ import annotations

from typing import Any

import tvm
from tvm import relax

from landbridge.codegen.rewriting import rewrite
from landbridge.ir import body as ir_body

_NARROW = "float16"
_WIDE = "float32"


def widen_convolutions(module: tvm.IRModule) -> tvm.IRModule:
    """Return ``module`` with its convolutions of float16 with constant weights as those of float32."""
    return rewrite(module, _Widener(module))


@relax.expr_functor.mutator
class _Widener(relax.PyExprMutator):  # type: ignore[misc]  # TVM has no types
    def visit_call_(self, call: Any) -> Any:
        """Return what stands for a convolution of float16, any other call as it is."""
        call = self.visit_expr_post_order(call)
        is_convolution = getattr(call.op, "name", "") == "relax.nn.conv2d" and ir_body.is_constant(call.args[1])
        if not is_convolution or {str(one.ty.dtype) for one in (call, *call.args)} != {_NARROW}:
            return call
        data, weight = call.args
        names = ("strides", "padding", "dilation", "groups", "data_layout", "kernel_layout", "out_layout")
        attributes = {name: getattr(call.attrs, name) for name in names}
        wide = self.builder_.emit(relax.op.astype(data, _WIDE))
        filters = relax.const(weight.value.numpy().astype(_WIDE))
        sums = self.builder_.emit(relax.op.nn.conv2d(wide, filters, **attributes, out_dtype=_WIDE))
        return relax.op.astype(sums, _NARROW)
