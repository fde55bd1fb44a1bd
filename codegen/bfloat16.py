"""Conversions between floats and bfloat16, which kernels see as the 16 bits that hold it: TVM has no arithmetic of it for the host.

Casts that the compiler inserts at offline models come here; an ONNX model's own are written like this by the front end. Kernels say
which conversion they are, for passes that do without.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import tvm
from tvm import relax, te, tirx, topi

from landbridge.ir.sizes import dtype_of

BFLOAT16 = "bfloat16"
_WIDE = "float32"

_MAKES = "landbridge.makes"
"""Attribute of a kernel with one argument and one result: the type, float32 or bfloat16, that it makes of the other of these."""

_ROUNDS = "landbridge.rounds"
"""Attribute of a kernel that rounds float32 numbers to those that bfloat16 has."""

_OPAQUE_PATTERN = 8  # relay's kOpaque


def _cast(builder: Any, call: Any) -> Any:
    tensor, dtype = call.args[0], str(call.attrs.dtype)
    source = dtype_of(tensor.ty)
    if BFLOAT16 not in (source, dtype) or source == dtype:
        return tvm.ir.Op.get("relax.astype").get_attr("FLegalize")(builder, call)
    if dtype == BFLOAT16:
        if source != "float32":
            tensor = builder.emit(builder.call_te(topi.cast, tensor, "float32"))
        return narrow(builder, tensor)
    wide = widen(builder, tensor)
    return wide if dtype == "float32" else builder.call_te(topi.cast, builder.emit(wide), dtype)


def widen(builder: Any, tensor: Any) -> Any:
    """Return the call of a kernel that makes float32 of a tensor of bfloat16."""
    result = relax.TensorType(tensor.ty.shape, _WIDE)
    return _on_bits(builder, tensor, bits_of(tensor), from_bfloat16, result, {_MAKES: _WIDE})


def narrow(builder: Any, tensor: Any) -> Any:
    """Return the call of a kernel that makes bfloat16 of a tensor of float32."""
    return _on_bits(builder, tensor, tensor, to_bfloat16, relax.TensorType(tensor.ty.shape, BFLOAT16), {_MAKES: BFLOAT16})


def before_widening(call: Any, module: tvm.IRModule) -> Any | None:
    """Return the tensor of bfloat16 that a call makes float32 of, or None where it does something else."""
    return _before(call, module, BFLOAT16, _WIDE)


def before_narrowing(call: Any, module: tvm.IRModule) -> Any | None:
    """Return the tensor of float32 that a call makes bfloat16 of, or None where it does something else."""
    return _before(call, module, _WIDE, BFLOAT16)


def _before(call: Any, module: tvm.IRModule, source: str, result: str) -> Any | None:
    operator = getattr(call.op, "name", "") if isinstance(call, relax.Call) else ""
    if operator == "relax.astype":
        return call.args[0] if (dtype_of(call.args[0].ty), str(call.attrs.dtype)) == (source, result) else None
    return call.args[1].fields[0] if operator == "relax.call_tir" and _attribute(call, module, _MAKES) == result else None


def _attribute(call: Any, module: tvm.IRModule, name: str) -> str | None:
    """Return an attribute of the kernel that is called, or None where it has none of this name, or is none of the module's."""
    kernel = module.functions.get(call.args[0])
    found = None if kernel is None or kernel.attrs is None else kernel.attrs.get(name)
    return None if found is None else str(found)


def rounded(builder: Any, tensor: Any) -> Any:
    """Return the call of a kernel that rounds float32 numbers to those of bfloat16; it may be fused with others."""
    return builder.call_te(_rounded, tensor, primfunc_name_hint="round", primfunc_attrs={_ROUNDS: BFLOAT16})


def is_rounding(call: Any, module: tvm.IRModule) -> bool:
    """Return whether a call is one that `rounded` made."""
    return getattr(call.op, "name", "") == "relax.call_tir" and _attribute(call, module, _ROUNDS) is not None


def bits_of(tensor: Any) -> Any:
    """Return a variable of the type as which kernels see a tensor of bfloat16."""
    return relax.Var("bits", relax.TensorType(tensor.ty.shape, "uint16"))


def _on_bits(
    builder: Any, tensor: Any, seen: Any, function: Callable[[Any], Any], result: Any, attributes: Mapping[str, str] | None = None
) -> Any:
    """Return the call of a kernel that reads ``tensor`` as if it were ``seen``."""
    kernel, arguments, _, *extents = relax.utils.gen_call_tir_inputs(function, seen)
    given = [tensor if argument.same_as(seen) else argument for argument in arguments]
    return relax.call_tir(builder.add_func(alone(kernel, attributes), function.__name__), given, result, *extents)


def alone(kernel: Any, attributes: Mapping[str, str] | None = None) -> Any:
    """Return a kernel with these attributes that is fused with no other: for TVM its buffers are not of the types of its arguments."""
    kernel = kernel.without_attr("global_symbol").with_attr("op_pattern", _OPAQUE_PATTERN)
    return kernel if attributes is None else kernel.with_attrs(dict(attributes))


def from_bfloat16(bits: Any) -> Any:
    """Return the float32 values of ``bits``, a tensor of uint16."""
    return te.compute(bits.shape, lambda *i: tirx.reinterpret("float32", bits(*i).astype("uint32") << 16), name="widen")


def to_bfloat16(data: Any) -> Any:
    """Return the bits of ``data``, float32, rounded to the nearest bfloat16, ties to even; a NaN stays one."""
    return te.compute(data.shape, lambda *i: (_nearest(data(*i)) >> 16).astype("uint16"), name="narrow")


def _rounded(data: Any) -> Any:
    return te.compute(data.shape, lambda *i: tirx.reinterpret("float32", (_nearest(data(*i)) >> 16) << 16), name="round")


def _nearest(number: Any) -> Any:
    """Return bits of which the upper half is the nearest bfloat16."""
    bits = tirx.reinterpret("uint32", number)
    even = bits + tirx.const(0x7FFF, "uint32") + ((bits >> 16) & tirx.const(1, "uint32"))
    return tirx.Select(tirx.isnan(number), bits | tirx.const(0x400000, "uint32"), even)


BFLOAT16_CASTS = {"relax.astype": _cast}
"""How conversions become kernels."""
