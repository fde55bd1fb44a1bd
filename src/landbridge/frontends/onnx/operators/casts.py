"""Conversions between element types, and the same bits under another type."""

from __future__ import annotations

from typing import Any

from tvm import relax, te, tirx

from landbridge.frontends.onnx.graph import DTYPES, NATIVE_DTYPES
from landbridge.frontends.onnx.operators.call import Call, Declined, Rule
from landbridge.frontends.onnx.operators.narrow import Rounding, is_narrow, narrow


def _cast(call: Call) -> Any:
    """``Cast``, to and from narrow types; the importer has the others."""
    dtype = DTYPES.get(call.number("to", 0), "")
    if is_narrow(dtype):
        rounding = Rounding(bool(call.number("saturate", 1)), call.text("round_mode", "up"))
        return narrow(call.builder, call.tensor(0), dtype, rounding)
    return NotImplemented


def _bit_cast(call: Call) -> Any:
    dtype, source = DTYPES.get(call.number("to", 0), ""), call.dtype(0)
    if dtype not in NATIVE_DTYPES:
        raise Declined(f"native code has no {dtype}")
    data = call.tensor(0)
    if source == dtype:
        return data
    if source == "bool":
        data, source = call.emit(relax.op.astype(data, "uint8")), "uint8"
    if dtype == source:
        return data
    if dtype == "bool":
        raise Declined("a bool has no bits but 0 and 1")
    return call.compute(
        lambda tensor: te.compute(tensor.shape, lambda *i: tirx.reinterpret(dtype, tensor(*i)), name="bits"), data, name="bit_cast"
    )


OPERATORS: dict[str, Rule] = {"BitCast": _bit_cast, "Cast": _cast}
