"""Rearrange a tensor: a constant here and now, so that what reads it sees a constant; any other by operators."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from tvm import relax

from landbridge.frontends.onnx.operators.call import Call, constant, extents_of
from landbridge.ir.body import is_constant


def as_type(call: Call, tensor: Any, dtype: str) -> Any:
    """Return a tensor in another type."""
    if str(tensor.ty.dtype) == dtype:
        return tensor
    return constant(tensor.value.numpy(), dtype) if is_constant(tensor) else call.emit(relax.op.astype(tensor, dtype))


def reshaped(call: Call, tensor: Any, shape: Sequence[Any]) -> Any:
    """Return the elements of a tensor in another shape."""
    if is_constant(tensor):
        return constant(tensor.value.numpy().reshape([int(extent) for extent in shape]))
    return call.emit(relax.op.reshape(tensor, relax.ShapeExpr(list(shape))))


def permuted(call: Call, tensor: Any, axes: Sequence[int]) -> Any:
    """Return a tensor with its axes in another order."""
    if is_constant(tensor):
        return constant(tensor.value.numpy().transpose(axes))
    return call.emit(relax.op.permute_dims(tensor, list(axes)))


def part(call: Call, tensor: Any, axis: int, start: int, stop: int) -> Any:
    """Return some positions on an axis."""
    if is_constant(tensor):
        return constant(tensor.value.numpy()[(*[slice(None)] * axis, slice(start, stop))])
    return call.emit(relax.op.strided_slice(tensor, [axis], [start], [stop]))


def filled(call: Call, tensor: Any, axis: int, extent: int) -> Any:
    """Return a tensor with zeros after its last position on an axis, ``extent`` positions in all."""
    shape = extents_of(tensor)
    if shape[axis] == extent:
        return tensor
    shape[axis] = extent - shape[axis]
    if is_constant(tensor):
        return constant(np.concatenate([tensor.value.numpy(), np.zeros(shape, str(tensor.ty.dtype))], axis))
    return call.emit(relax.op.concat([tensor, call.emit(relax.op.zeros(relax.ShapeExpr(shape), str(tensor.ty.dtype)))], axis=axis))


def added(call: Call, left: Any, right: Any) -> Any:
    """Return the sum of two tensors."""
    if is_constant(left) and is_constant(right):
        return constant(left.value.numpy() + right.value.numpy())
    return call.emit(relax.op.add(left, right))
