"""Compute at compile time what depends on constants only.

NumPy does the arithmetic, so folding costs next to nothing (TVM's own folding compiles a program for every expression). Only
operators whose result is the same to the last bit are folded; nothing is folded that would make the constants much larger.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import tvm
from tvm import relax

from landbridge.ir import body as ir_body
from landbridge.ir.dtypes import bits_of, holds
from landbridge.ir.sizes import dtype_of, shape_of
from landbridge.runtime.dims import product

_GROWTH_NBYTES = 1 << 16
"""A folded constant may be this much larger than the constants it comes from."""

Array = np.ndarray[Any, Any]
Shape = tuple[int, ...]


def _reshaped(call: Any, shape: Shape, array: Array) -> Array | None:
    return array.reshape(shape)


def _transposed(call: Any, shape: Shape, array: Array) -> Array | None:
    axes = call.attrs.axes
    return np.transpose(array, None if axes is None else [int(axis) for axis in axes])


def _broadcast(call: Any, shape: Shape, array: Array) -> Array | None:
    return np.broadcast_to(array, shape)


def _converted(call: Any, shape: Shape, array: Array) -> Array | None:
    source, target = str(array.dtype), str(call.attrs.dtype)
    if not holds(source, target) and (source, target) != ("float32", "float16"):
        return None
    return array.astype(target)


def _divided(call: Any, shape: Shape, left: Array, right: Array) -> Array | None:
    return np.divide(left, right) if np.issubdtype(left.dtype, np.floating) else None


_FOLDS: dict[str, Callable[..., Array | None]] = {
    "relax.reshape": _reshaped,
    "relax.flatten": _reshaped,
    "relax.squeeze": _reshaped,
    "relax.expand_dims": _reshaped,
    "relax.permute_dims": _transposed,
    "relax.broadcast_to": _broadcast,
    "relax.astype": _converted,
    "relax.add": lambda call, shape, left, right: np.add(left, right),
    "relax.subtract": lambda call, shape, left, right: np.subtract(left, right),
    "relax.multiply": lambda call, shape, left, right: np.multiply(left, right),
    "relax.divide": _divided,
    "relax.sqrt": lambda call, shape, array: np.sqrt(array),
    "relax.negative": lambda call, shape, array: np.negative(array),
}


def fold_constants(module: tvm.IRModule) -> tvm.IRModule:
    """Return ``module`` with what is constant in its functions computed; ``module`` itself where nothing is."""
    folded = {g: f if (new := _fold_function(f)) is None else new for g, f in module.functions.items() if isinstance(f, relax.Function)}
    if all(folded[g].same_as(module[g]) for g in folded):
        return module
    result = tvm.IRModule({**dict(module.functions.items()), **folded}, attrs=module.attrs)
    return relax.transform.Normalize()(result)


def _fold_function(function: Any) -> Any:
    """Return the function with its constant bindings bound to constants, or None where there are none."""
    known: dict[Any, Any] = {}
    blocks = []
    for block in function.body.blocks:
        kept = []
        for binding in block.bindings:
            if isinstance(binding, relax.MatchCast):
                kept.append(binding)
                continue
            value = ir_body.substitute(binding.value, known)
            constant = _fold(value, binding.var.ty)
            if constant is not None:
                known[binding.var] = value = constant
            kept.append(relax.VarBinding(binding.var, value))
        blocks.append(relax.DataflowBlock(kept) if isinstance(block, relax.DataflowBlock) else relax.BindingBlock(kept))
    if not known:
        return None
    return relax.Function(function.params, relax.SeqExpr(blocks, function.body.body), function.ret_ty, attrs=function.attrs)


def _fold(value: Any, result_type: Any) -> Any:
    """Return the constant that ``value`` is, or None."""
    if ir_body.is_constant(value):
        return value
    fold = _FOLDS.get(getattr(value.op, "name", "")) if isinstance(value, relax.Call) else None
    operands = [argument for argument in value.args if not isinstance(argument, relax.ShapeExpr)] if fold else []
    if fold is None or not operands or not all(ir_body.is_constant(operand) for operand in operands):
        return None
    arrays = [operand.value.numpy() for operand in operands]
    shape = shape_of(result_type)
    if shape is None or not all(isinstance(size, int) for size in shape):
        return None
    if product([*shape, bits_of(dtype_of(result_type)) // 8]) > sum(array.nbytes for array in arrays) + _GROWTH_NBYTES:
        return None
    with np.errstate(all="ignore"):
        result = fold(value, shape, *arrays)
    if result is None or str(result.dtype) != dtype_of(result_type) or result.shape != shape:
        return None
    return relax.const(np.ascontiguousarray(result).reshape(shape), dtype_of(result_type))
