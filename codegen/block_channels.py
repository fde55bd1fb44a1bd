"""Choose the layout of images on the way from convolution to convolution: channels in blocks of 16.

A convolution whose channels fill blocks gives its result in blocks, and what follows it (element-wise steps, pooling, joined channels,
further convolutions) takes and gives blocks, too. Where something else reads the result, it is taken out of the blocks; a value that is
only read in blocks never is. Constants are laid out here, once.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import tvm
import tvm_ffi
from tvm import relax, tirx

from landbridge.codegen import blocked_operators as blocked
from landbridge.codegen.bfloat16 import is_rounding, rounded
from landbridge.codegen.blocked_pools import POOLS
from landbridge.codegen.blocked_response import read_response
from landbridge.codegen.rewriting import rewrite
from landbridge.codegen.schedules.blocked import BLOCK
from landbridge.ir import body as ir_body

_SAFE = (
    "relax.astype",
    "relax.nn.relu",
    "relax.nn.leakyrelu",
    "relax.clip",
    "relax.sigmoid",
    "relax.tanh",
    "relax.nn.silu",
    "relax.nn.gelu",
)
_UNARY = (*_SAFE, "relax.abs", "relax.negative", "relax.exp", "relax.sqrt", "relax.erf", "relax.nn.gelu_tanh", "relax.nn.dropout")
_BINARY = ("relax.add", "relax.subtract", "relax.multiply", "relax.maximum", "relax.minimum", "relax.divide", "relax.power")
_SAFE_BINARY = _BINARY[:5]
"""The safe ones give finite numbers where a block is filled up, whose products with the zeros of filled weights are zero."""

_OF_ELEMENTS = (*_UNARY, *_BINARY)
_ELEMENTS = ("float32", "float16")
"""Types of images of which single elements are computed in blocks; sums of others are made those of float32 before."""

_FEWEST_INPUTS = 8
"""Of fewer input channels that lie in no blocks yet, a convolution reads them as they lie."""


def block_channels(module: tvm.IRModule) -> tvm.IRModule:
    """Return ``module`` with convolutions, and what can go with them, over channels in blocks; what is not read is left for clean-up."""
    blocker = _Blocker(module)
    return rewrite(module, blocker, blocker.start)


@relax.expr_functor.mutator
class _Blocker(relax.PyExprMutator):  # type: ignore[misc]  # TVM has no types
    """Attributes: ``sources``, for a value the one that holds it in blocks."""

    def __init__(self, module: tvm.IRModule) -> None:
        super().__init__(module)
        self.module = module
        self.start()

    def start(self, _: Any = None) -> None:
        """Forget the values of the function before."""
        self.sources: dict[Any, Any] = {}

    def visit_var_binding_(self, binding: Any) -> None:
        """Keep in mind where the value is in blocks."""
        self.found: Any = None
        super().visit_var_binding_(binding)
        if self.found is not None:
            self.sources[self.lookup(binding.var)] = self.found
            self.found = None

    def lookup(self, var: Any) -> Any:
        """Return what stands for a variable of the function before."""
        return self.visit_expr(var)

    def visit_call_(self, call: Any) -> Any:
        """Return the call over blocks and out of them, or the call as it is."""
        call = self.visit_expr_post_order(call)
        operator = getattr(call.op, "name", "")
        rewrite = _rounding if is_rounding(call, self.module) else _REWRITES.get(operator)
        known = _is_image(call.ty, _ELEMENTS if operator in _OF_ELEMENTS else ("float32",))
        result = rewrite(self, call) if rewrite is not None and known else None
        if result is None:
            return call
        self.found = self.builder_.emit(result)
        return self.plain(self.found, int(call.ty.shape[1]))

    def plain(self, value: Any, channels: int) -> Any:
        """Return ``value`` out of blocks."""
        batch, _, height, width, _ = value.ty.shape
        if channels % BLOCK == 0 and _is_one(height) and _is_one(width):
            return relax.op.reshape(value, relax.ShapeExpr([batch, channels, height, width]))
        return self.builder_.call_te(blocked.from_blocks(channels), value, primfunc_name_hint="from_blocks")

    def in_blocks(self, value: Any) -> Any | None:
        """Return the value that holds ``value`` in blocks, or None where there is none."""
        return self.sources.get(value) if isinstance(value, relax.Var) else None

    def put_in_blocks(self, value: Any) -> Any:
        """Return ``value`` in blocks, moved there where it is not."""
        found = self.in_blocks(value)
        if found is None:
            found = self.builder_.emit(self.builder_.call_te(blocked.to_blocks, value, primfunc_name_hint="to_blocks"))
            if isinstance(value, relax.Var):
                self.sources[value] = found
        return found


def _is_one(extent: Any) -> bool:
    return isinstance(extent, tirx.IntImm) and int(extent) == 1


def _is_image(value_type: Any, dtypes: tuple[str, ...] = ("float32",)) -> bool:
    """Return whether this is the type of images of known size."""
    return (
        isinstance(value_type, relax.TensorType)
        and str(value_type.dtype) in dtypes
        and value_type.shape is not None
        and len(value_type.shape) == 4
        and all(isinstance(extent, tirx.IntImm) for extent in list(value_type.shape)[1:])
    )


def _channels(value: Any) -> int:
    return int(value.ty.shape[1])


def _convolution(blocker: _Blocker, call: Any) -> Any | None:
    data, weight = call.args
    attrs = call.attrs
    layouts = str(attrs.data_layout), str(attrs.kernel_layout), str(attrs.out_layout or attrs.data_layout)
    if layouts != ("NCHW", "OIHW", "NCHW") or not _is_image(data.ty) or not ir_body.is_constant(weight):
        return None
    array = weight.value.numpy()
    inputs, outputs, groups = _channels(data), array.shape[0], int(attrs.groups)
    geometry = tuple(tuple(int(n) for n in values) for values in (attrs.strides, attrs.padding, attrs.dilation))
    if groups > 1 and groups == inputs == outputs and groups % BLOCK == 0:
        if blocker.in_blocks(data) is None:
            return None
        constant = blocked.blocked_constant(np.ascontiguousarray(array.transpose(1, 0, 2, 3)))
        kernel = blocked.depthwise(*geometry)
        return blocker.builder_.call_te(kernel, blocker.in_blocks(data), relax.const(constant), primfunc_name_hint="conv2d")
    if outputs < BLOCK or (groups > 1 and ((inputs // groups) % BLOCK or (outputs // groups) % BLOCK)):
        return None
    source = blocker.in_blocks(data)
    plain = source is None and inputs < _FEWEST_INPUTS
    source = data if plain else blocker.put_in_blocks(data)
    constant = blocked.blocked_weight(array, plain_input=plain)
    kernel = blocked.convolution(blocked.blocks_of(outputs), groups, *geometry)
    return blocker.builder_.call_te(kernel, source, relax.const(constant), primfunc_name_hint="conv2d")


def _unary(blocker: _Blocker, call: Any) -> Any | None:
    source = blocker.in_blocks(call.args[0])
    if source is None or (call.op.name not in _SAFE and _channels(call) % BLOCK):
        return None
    return relax.Call(call.op, [source, *call.args[1:]], call.attrs, call.ty_args)


def _rounding(blocker: _Blocker, call: Any) -> Any | None:
    source = blocker.in_blocks(call.args[1].fields[0])
    return None if source is None else rounded(blocker.builder_, source)


def _binary(blocker: _Blocker, call: Any) -> Any | None:
    """Return the operator on blocks where one operand is in blocks and the other is too, or is a constant of each channel."""
    if call.op.name not in _SAFE_BINARY and _channels(call) % BLOCK:
        return None
    operands = [blocker.in_blocks(argument) for argument in call.args]
    if all(operand is None for operand in operands):
        return None
    for position, (argument, operand) in enumerate(zip(call.args, operands, strict=True)):
        if operand is not None and not tvm_ffi.structural_equal(argument.ty.shape, call.ty.shape):
            return None
        if operand is not None:
            continue
        if ir_body.is_constant(argument):
            operands[position] = _constant_in_blocks(argument, _channels(call))
        elif tvm_ffi.structural_equal(argument.ty.shape, call.ty.shape) and _channels(call) % BLOCK == 0:
            operands[position] = blocker.put_in_blocks(argument)
        if operands[position] is None:
            return None
    return relax.Call(call.op, operands, call.attrs, call.ty_args)


def _constant_in_blocks(constant: Any, channels: int) -> Any | None:
    """Return a constant that goes with images in blocks, or None where it is none."""
    array = constant.value.numpy()
    if array.size == 1:
        return relax.const(array.reshape(()), str(array.dtype))
    shape = (1,) * (4 - array.ndim) + array.shape
    if array.ndim > 4 or shape[0] != 1 or shape[1] not in (1, channels):
        return None
    if shape[1] == 1:
        return relax.const(np.ascontiguousarray(array.reshape(1, 1, *shape[2:], 1)))
    return relax.const(blocked.blocked_constant(array.reshape(shape)))


def _pool(blocker: _Blocker, call: Any) -> Any | None:
    source = blocker.in_blocks(call.args[0])
    kernel = POOLS[call.op.name](call) if source is not None else None
    return None if kernel is None else blocker.builder_.call_te(kernel, source, primfunc_name_hint="pool")


def _concat(blocker: _Blocker, call: Any) -> Any | None:
    parts = call.args[0]
    if isinstance(parts, relax.Var):
        parts = blocker.lookup_binding(parts)
    if not isinstance(parts, relax.Tuple) or call.attrs.axis is None or int(call.attrs.axis) != 1:
        return None
    fields = list(parts.fields)
    if not all(_is_image(field.ty) and _channels(field) % BLOCK == 0 for field in fields):
        return None
    if not any(blocker.in_blocks(field) is not None for field in fields):
        return None
    return relax.op.concat(relax.Tuple([blocker.put_in_blocks(field) for field in fields]), axis=1)


def _divide(blocker: _Blocker, call: Any) -> Any | None:
    response = read_response(blocker, call) if _is_image(call.ty) else None
    if response is None:
        return _binary(blocker, call)
    source, kernel = response
    return blocker.builder_.call_te(kernel, source, primfunc_name_hint="lrn")


_REWRITES: dict[str, Callable[[_Blocker, Any], Any | None]] = {
    "relax.nn.conv2d": _convolution,
    "relax.concat": _concat,
    **dict.fromkeys(_UNARY, _unary),
    **dict.fromkeys(_BINARY, _binary),
    **dict.fromkeys(POOLS, _pool),
    "relax.divide": _divide,
}
