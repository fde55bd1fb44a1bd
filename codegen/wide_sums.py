"""Legalize sums of float16 numbers so that they are added up in float32.

TVM would add in float16, where a long sum stops growing once a term is less than half a unit in its last place; NumPy, ONNX Runtime and
the vendors' own libraries add in float32 and round once.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tvm
from tvm import relax, topi

_NARROW = "float16"
_WIDE = "float32"


def _narrowed(builder: Any, value: Any) -> Any:
    return builder.call_te(topi.cast, builder.emit(value), _NARROW)


def _default(operator: str) -> Callable[[Any, Any], Any]:
    found: Callable[[Any, Any], Any] = tvm.ir.Op.get(operator).get_attr("FLegalize")
    return found


def _matmul(builder: Any, call: Any) -> Any:
    default = _default("relax.matmul")
    if str(call.ty.dtype) != _NARROW:
        return default(builder, call)
    return _narrowed(builder, default(builder, builder.normalize(relax.op.matmul(*call.args, out_dtype=_WIDE))))


def _convolution(operator: str, build: Callable[..., Any]) -> Callable[[Any, Any], Any]:
    default = _default(operator)

    def legalize(builder: Any, call: Any) -> Any:
        if str(call.ty.dtype) != _NARROW:
            return default(builder, call)
        names = ("strides", "padding", "dilation", "groups", "data_layout", "kernel_layout", "out_layout")
        attributes = {name: getattr(call.attrs, name) for name in names}
        return _narrowed(builder, default(builder, builder.normalize(build(*call.args, **attributes, out_dtype=_WIDE))))

    return legalize


def _of_one(operator: str) -> Callable[[Any, Any], Any]:
    default = _default(operator)

    def legalize(builder: Any, call: Any) -> Any:
        if str(call.ty.dtype) != _NARROW:
            return default(builder, call)
        terms = builder.emit(builder.call_te(topi.cast, call.args[0], _WIDE))
        return _narrowed(builder, default(builder, builder.normalize(relax.Call(call.op, [terms], call.attrs))))

    return legalize


WIDE_SUMS: dict[str, Callable[[Any, Any], Any]] = {
    "relax.matmul": _matmul,
    "relax.nn.conv2d": _convolution("relax.nn.conv2d", relax.op.nn.conv2d),
    "relax.nn.conv3d": _convolution("relax.nn.conv3d", relax.op.nn.conv3d),
    "relax.sum": _of_one("relax.sum"),
    "relax.mean": _of_one("relax.mean"),
    "relax.nn.softmax": _of_one("relax.nn.softmax"),
    "relax.nn.log_softmax": _of_one("relax.nn.log_softmax"),
}
"""For `relax.transform.LegalizeOps`."""
