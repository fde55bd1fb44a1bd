"""Turn products of bfloat16 with constant weights into kernels over pairs, for targets that have an instruction for them.

What is multiplied are the bits as they are in memory; sums are float32 (`landbridge.codegen.schedules.dots` has their bound). On other
targets the data is widened first, and `landbridge.codegen.pack_weights` keeps the weights in 16 bits.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import tvm
from tvm import relax, te, tirx

from landbridge.codegen.bfloat16 import alone, before_widening, bits_of
from landbridge.codegen.half_weights import is_bfloat16
from landbridge.codegen.rewriting import rewrite
from landbridge.codegen.schedules.dots import DOTS, Dots, bfloat16_dots_of, dot, word
from landbridge.codegen.schedules.integer_product import WORDS
from landbridge.codegen.schedules.matmul import tile_of
from landbridge.ir import body as ir_body

Array = np.ndarray[Any, Any]


def pack_bfloat16(module: tvm.IRModule, target: Any) -> tvm.IRModule:
    """Return ``module`` with products of bfloat16 with constant weights as kernels over pairs, where the target multiplies those."""
    dots = bfloat16_dots_of(target)
    return module if dots is None else rewrite(module, _Packer(dots, module))


@relax.expr_functor.mutator
class _Packer(relax.PyExprMutator):  # type: ignore[misc]  # TVM has no types
    def __init__(self, dots: Dots, module: tvm.IRModule) -> None:
        super().__init__(module)
        self.dots, self.module = dots, module

    def visit_call_(self, call: Any) -> Any:
        """Return what stands for a product of bfloat16, any other call as it is."""
        call = self.visit_expr_post_order(call)
        if getattr(call.op, "name", "") != "relax.matmul" or not ir_body.is_constant(call.args[1]):
            return call
        wide, matrix = call.args[0], call.args[1].value.numpy()
        data = before_widening(self.lookup_binding(wide), self.module) if isinstance(wide, relax.Var) else None
        if data is None or matrix.ndim != 2 or not matrix.size or not is_bfloat16(matrix):
            return call
        is_known = len(data.ty.shape) > 1 and isinstance(data.ty.shape[-1], tirx.IntImm)
        return self.product(data, matrix) if is_known else call

    def product(self, data: Any, matrix: Array) -> Any:
        """Return the product of a tensor of bfloat16 and a matrix."""
        rows, columns = data.ty.shape[-2], matrix.shape[1]
        _, panel = tile_of(int(rows) if isinstance(rows, tirx.IntImm) else rows, columns, self.dots.vectors)
        seen, pairs = bits_of(data), relax.const(_pairs_in_panels(matrix, panel))
        kernel, arguments, _, *extents = relax.utils.gen_call_tir_inputs(_matmul(columns, panel, self.dots), seen, pairs)
        given = [data if argument.same_as(seen) else argument for argument in arguments]
        result = relax.TensorType([*list(data.ty.shape)[:-1], tirx.const(columns, "int64")], "float32")
        return relax.call_tir(self.builder_.add_func(alone(kernel), "bfloat16_matmul"), given, result, *extents)


def _pairs_in_panels(matrix: Array, panel: int) -> Array:
    """Return a [rows, columns] float32 matrix as words of two numbers of a column, [panels, words of a column, panel]."""
    rows, columns = matrix.shape
    words, panels = -(-rows // 2), -(-columns // panel)
    filled = np.zeros((words * 2, panels * panel), "uint16")
    filled[:rows, :columns] = matrix.view("uint32") >> 16
    pairs = filled.reshape(words, 2, panels, panel).transpose(2, 0, 3, 1)
    return np.ascontiguousarray(pairs).view("int32")[..., 0]


def _matmul(columns: int, panel: int, dots: Dots) -> Any:
    def bfloat16_matmul(data: Any, weight: Any) -> Any:
        *rows, count = list(data.shape)

        def gathered(*at: Any) -> Any:
            numbers = []
            for index in range(2):
                position = at[-1] * 2 + index
                inside = tirx.if_then_else(position < count, data(*at[:-1], tirx.min(position, count - 1)), tirx.const(0, dots.element))
                numbers.append(data(*at[:-1], position) if int(count) % 2 == 0 else inside)
            return word(numbers, dots.data)

        words = te.compute([*rows, weight.shape[1]], gathered, name="words", attrs={WORDS: [int(count), 0]})
        k = te.reduce_axis((0, weight.shape[1]), name="k")
        return te.compute(
            [*rows, tirx.const(columns, "int64")],
            lambda *at: te.sum(dot(words(*at[:-1], k), weight(at[-1] // panel, k, at[-1] % panel), dots.data), axis=[k]),
            name="bfloat16_matmul",
            attrs={DOTS: dots.data},
        )

    return bfloat16_matmul
