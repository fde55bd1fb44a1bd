"""Conversions between floats and bfloat16, which kernels see as the 16 bits that hold it: TVM has no arithmetic of it for the host.

Casts that the compiler inserts at offline models come here; an ONNX model's own are written like this by the front end. A kernel that
widens says so, for `landbridge.codegen.pack_bfloat16`, which multiplies the bits where the target can.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import tvm
from tvm import relax, te, tirx, topi

from landbridge.ir.sizes import dtype_of

BFLOAT16 = "bfloat16"

_WIDENS = "landbridge.widens"
"""Attribute of a kernel whose one result is its one argument, bfloat16, as float32."""

_OPAQUE_PATTERN = 8  # relay's kOpaque


def _cast(builder: Any, call: Any) -> Any:
    tensor, dtype = call.args[0], str(call.attrs.dtype)
    source = dtype_of(tensor.ty)
    if BFLOAT16 not in (source, dtype) or source == dtype:
        return tvm.ir.Op.get("relax.astype").get_attr("FLegalize")(builder, call)
    if dtype == BFLOAT16:
        if source != "float32":
            tensor = builder.emit(builder.call_te(topi.cast, tensor, "float32"))
        return _on_bits(builder, tensor, tensor, to_bfloat16, relax.TensorType(tensor.ty.shape, BFLOAT16))
    wide = widen(builder, tensor)
    return wide if dtype == "float32" else builder.call_te(topi.cast, builder.emit(wide), dtype)


def widen(builder: Any, tensor: Any) -> Any:
    """Return the call of a kernel that makes float32 of a tensor of bfloat16."""
    result = relax.TensorType(tensor.ty.shape, "float32")
    return _on_bits(builder, tensor, bits_of(tensor), from_bfloat16, result, {_WIDENS: BFLOAT16})


def before_widening(call: Any, module: tvm.IRModule) -> Any | None:
    """Return the tensor of bfloat16 that a call makes float32 of, or None where it does something else."""
    operator = getattr(call.op, "name", "") if isinstance(call, relax.Call) else ""
    if operator == "relax.astype":
        return call.args[0] if (dtype_of(call.args[0].ty), str(call.attrs.dtype)) == (BFLOAT16, "float32") else None
    if operator != "relax.call_tir":
        return None
    attributes = module[call.args[0]].attrs
    return call.args[1].fields[0] if attributes is not None and _WIDENS in attributes else None


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

    def rounded(*position: Any) -> Any:
        bits = tirx.reinterpret("uint32", data(*position))
        even = (bits + tirx.const(0x7FFF, "uint32") + ((bits >> 16) & tirx.const(1, "uint32"))) >> 16
        quiet = (bits >> 16) | tirx.const(0x40, "uint32")
        return tirx.Select(tirx.isnan(data(*position)), quiet, even).astype("uint16")

    return te.compute(data.shape, rounded, name="narrow")


BFLOAT16_CASTS = {"relax.astype": _cast}
"""How conversions become kernels."""
