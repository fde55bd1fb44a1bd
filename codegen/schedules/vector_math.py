"""Expand exp, tanh, sigmoid and erf of float32 numbers into plain arithmetic, which vectorises; libm's take one number at a time.

Largest errors against float64 over the whole range, where the result is a normal number (tests hold them to it): exp and sigmoid 2e-7
relative, tanh 4e-7 relative, erf 4e-7 absolute and 5e-6 relative. Infinities and NaN come out as from libm.

Source: exp after Cephes' expf (https://www.netlib.org/cephes/), tanh and erf after Eigen's rational approximations
(https://gitlab.com/libeigen/eigen).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import tvm
import tvm_ffi
from tvm import tirx

_EXP = (1.9875691500e-4, 1.3981999507e-3, 8.3334519073e-3, 4.1665795894e-2, 1.6666665459e-1, 5.0000001201e-1)
_LOG2_E = 1.44269504088896341
_LN2_HIGH = 0.693359375  # few bits: a multiple of it is exact
_LN2_LOW = -2.12194440e-4
_EXP_RANGE = (-104.0, 89.0)  # beyond: 0 and infinity

_TANH_ODD = (
    -2.76076847742355e-16,
    2.00018790482477e-13,
    -8.60467152213735e-11,
    5.12229709037114e-08,
    1.48572235717979e-05,
    6.37261928875436e-04,
    4.89352455891786e-03,
)
_TANH_EVEN = (1.19825839466702e-06, 1.18534705686654e-04, 2.26843463243900e-03, 4.89352518554385e-03)
_TANH_RANGE = 7.90531110763549805  # the approximation is not to be used beyond
_TANH_ONE = 9.02  # from there on the result is 1 in float32
_TANH_SMALL = 4e-4  # up to there the result is the argument

_ERF_ODD = (
    -2.72614225801306e-10,
    2.77068142495902e-08,
    -2.10102402082508e-06,
    -5.69250639462346e-05,
    -7.34990630326855e-04,
    -2.95459980854025e-03,
    -1.60960333262415e-02,
)
_ERF_EVEN = (-1.45660718464996e-05, -2.13374055278905e-04, -1.68282697438203e-03, -7.37332916720468e-03, -1.42647390514189e-02)
_ERF_RANGE = 4.0  # from there on the result is 1 in float32


def expand_math(kernel: Any) -> Any:
    """Return the kernel with its float32 functions as arithmetic."""

    def expanded(call: Any) -> Any:
        expand = _EXPANSIONS.get(str(getattr(call.op, "name", "")))
        return call if expand is None or str(call.ty.dtype) != "float32" else _bound(call.args[0], expand)

    body = tvm_ffi.structural_map(kernel.body, [(tvm.ir.Call, expanded)])
    return kernel if body.same_as(kernel.body) else tirx.PrimFunc(kernel.params, body, kernel.ret_type, kernel.attrs)


def has_expanded(body: Any) -> bool:
    """Return whether a statement or expression calls a function that `expand_math` may expand."""
    found: list[str] = []
    tvm_ffi.structural_walk(body, (tvm.ir.Call, lambda call: found.append(str(getattr(call.op, "name", "")))))
    return any(name in _EXPANSIONS for name in found)


def _number(value: float) -> Any:
    return tirx.const(value, "float32")


def _bound(value: Any, body: Callable[[Any], Any]) -> Any:
    """Return ``body`` of a variable that is ``value``, so that it is computed once."""
    var = tirx.Var("x", "float32")
    return tirx.Let(var, value, body(var))


def _polynomial(coefficients: Sequence[float], x: Any) -> Any:
    total = _number(coefficients[0])
    for coefficient in coefficients[1:]:
        total = total * x + _number(coefficient)
    return total


def _clamped(x: Any, low: float, high: float) -> Any:
    """Return ``x`` in a range; NaN stays NaN, which a minimum and a maximum would lose."""
    return tirx.Select(x < _number(low), _number(low), tirx.Select(x > _number(high), _number(high), x))


def _exp(argument: Any) -> Any:
    def powers(x: Any) -> Any:
        return _bound(tirx.floor(x * _number(_LOG2_E) + _number(0.5)), lambda n: _bound(reduced(x, n), lambda r: scaled(r, n)))

    def reduced(x: Any, n: Any) -> Any:
        return (x - n * _number(_LN2_HIGH)) - n * _number(_LN2_LOW)

    def scaled(r: Any, n: Any) -> Any:
        near_one = _polynomial(_EXP, r) * (r * r) + r + _number(1.0)
        return _bound(tirx.floor(n * _number(0.5)), lambda half: near_one * _power_of_two(half) * _power_of_two(n - half))

    return _bound(_clamped(argument, *_EXP_RANGE), powers)


def _power_of_two(exponent: Any) -> Any:
    bits = (exponent.astype("int32") + tirx.const(127, "int32")) * tirx.const(1 << 23, "int32")
    return tirx.reinterpret("float32", bits)


def _sigmoid(x: Any) -> Any:
    return _number(1.0) / (_number(1.0) + _exp(_number(0.0) - x))


def _rational(odd: Sequence[float], even: Sequence[float], x: Any) -> Any:
    return _bound(x * x, lambda square: x * _polynomial(odd, square) / _polynomial(even, square))


def _tanh(x: Any) -> Any:
    rational = _bound(_clamped(x, -_TANH_RANGE, _TANH_RANGE), lambda y: _rational(_TANH_ODD, _TANH_EVEN, y))
    inside = tirx.Select(x > _number(_TANH_ONE), _number(1.0), tirx.Select(x < _number(-_TANH_ONE), _number(-1.0), rational))
    return tirx.Select(tirx.And(x > _number(-_TANH_SMALL), x < _number(_TANH_SMALL)), x, inside)


def _erf(x: Any) -> Any:
    return _bound(_clamped(x, -_ERF_RANGE, _ERF_RANGE), lambda y: _rational(_ERF_ODD, _ERF_EVEN, y))


_EXPANSIONS: dict[str, Callable[[Any], Any]] = {
    "tirx.exp": _exp,
    "tirx.sigmoid": _sigmoid,
    "tirx.tanh": _tanh,
    "tirx.erf": _erf,
}
