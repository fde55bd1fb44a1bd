"""Expand exp, log, tanh, sigmoid and erf of float32 numbers into plain arithmetic, which vectorises; libm's take one number at a time.

Largest errors against float64 over the whole range, where the result is a normal number (tests hold them to it): 2e-7 relative for exp,
log and sigmoid, 4e-7 relative for tanh and erf. exp is 0 where it would be less than 1.7e-38 (the smallest normal number is 1.2e-38);
tanh and erf stay within -1 and 1. Infinities and NaN come out as from libm.

Source: log after Cephes' logf (https://www.netlib.org/cephes/); the coefficients of the others were fitted to the functions in float64
for the smallest relative error, tanh and erf as an odd polynomial over an even one.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import tvm
import tvm_ffi
from tvm import tirx

_EXP = (1.381443114951253e-3, 8.368796668946743e-3, 4.1668396443128586e-2, 1.6666519641876220e-1, 4.9999994039535522e-1, 1.0, 1.0)
_LOG2_E = 1.44269504088896341
_LN2_HIGH = 0.693359375  # few bits: a multiple of it is exact
_LN2_LOW = -2.12194440e-4
_EXP_RANGE = (-87.3, 89.0)  # beyond: 0 and infinity
_ROUNDER = float(3 << 22)  # added to a small number it leaves no bits for a fraction
_BIAS = 126  # of exponents, less one

_LOG = (
    7.0376836292e-2,
    -1.1514610310e-1,
    1.1676998740e-1,
    -1.2420140846e-1,
    1.4249322787e-1,
    -1.6668057665e-1,
    2.0000714765e-1,
    -2.4999993993e-1,
    3.3333331174e-1,
)
_ROOT_HALF_BITS = 0x3F3504F3  # of the square root of 1/2, as float32
_SMALLEST_NORMAL = 1.17549435e-38

_TANH_ODD = (1.335471644381414e-8, 2.0609129933291115e-5, 3.4955914597958326e-3, 1.3381028175354004e-1, 1.0)
_TANH_EVEN = (7.776583288432448e-7, 3.2856399775482714e-4, 2.587699517607689e-2, 4.671434462070465e-1, 1.0)
_TANH_RANGE = 9.0  # from there on the result is 1 in float32

_ERF_ODD = (
    2.02590831577254e-6,
    2.846862480510026e-4,
    3.8081191014498472e-3,
    5.287531390786171e-2,
    1.915494054555893e-1,
    1.1283791065216064,
)
_ERF_EVEN = (
    3.783172360272147e-5,
    1.170714502222836e-3,
    1.5055004507303238e-2,
    1.1455923318862915e-1,
    5.030888915061951e-1,
    1.0,
)
_ERF_RANGE = 3.95  # from there on the result is 1 in float32


def expand_math(kernel: Any) -> Any:
    """Return the kernel with its float32 functions as arithmetic."""

    def expanded(call: Any) -> Any:
        name = str(getattr(call.op, "name", ""))
        if name == "tirx.pow" and str(call.ty.dtype) == "float32" and _quarters(call.args[1]):
            return _bound(call.args[0], lambda x: _power(x, _quarters(call.args[1])))
        expand = _EXPANSIONS.get(name)
        return call if expand is None or str(call.ty.dtype) != "float32" else expand(call.args[0])

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
    """Return ``body`` of a variable that is ``value``, so that it is computed once.

    As few as possible are to stand inside of each other: TVM's time doubles several times with each level.
    """
    var = tirx.Var("x", "float32")
    return tirx.Let(var, value, body(var))


def _polynomial(coefficients: Sequence[float], x: Any) -> Any:
    total = _number(coefficients[0])
    for coefficient in coefficients[1:]:
        total = total * x + _number(coefficient)
    return total


def _clamped(x: Any, low: float, high: float) -> Any:
    """Return ``x`` in a range; NaN stays NaN, as both give their second operand where one is NaN (tests hold them to it)."""
    return tirx.Max(_number(low), tirx.Min(_number(high), x))


def _exp(argument: Any) -> Any:
    """Return 2 * exp(r) * 2 ** (n - 1) for the argument as n * ln 2 + r: so the power of two is a normal number up to the largest n."""

    def powers(x: Any) -> Any:
        # The low bits of the sum are n and the bias; its other bits are shifted out where it becomes an exponent.
        rounded = x * _number(_LOG2_E) + _number(_ROUNDER + _BIAS)
        return _bound(rounded, lambda sum_: _bound(sum_ - _number(_ROUNDER + _BIAS), lambda n: scaled(x, n, _power_of_two(sum_))))

    def scaled(x: Any, n: Any, power: Any) -> Any:
        reduced = (x - n * _number(_LN2_HIGH)) - n * _number(_LN2_LOW)
        return _bound(reduced, lambda r: _polynomial([2 * coefficient for coefficient in _EXP], r) * power)

    return _bound(_clamped(argument, *_EXP_RANGE), powers)


def _power_of_two(biased: Any) -> Any:
    """Return the number whose exponent is in the lowest bits of a number's bits."""
    return tirx.reinterpret("float32", tirx.reinterpret("int32", biased) << _integer(23))


def _integer(value: int) -> Any:
    return tirx.const(value, "int32")


def _log(argument: Any) -> Any:
    return _bound(argument, _log_of)


def _log_of(x: Any) -> Any:
    def of_normal(number: Any, less: Any) -> Any:
        bits = tirx.reinterpret("int32", number)
        return _bound_integer((bits - _integer(_ROOT_HALF_BITS)) >> _integer(23), lambda exponent: split(bits, exponent, less))

    def split(bits: Any, exponent: Any, less: Any) -> Any:
        near_one = tirx.reinterpret("float32", bits - (exponent << _integer(23)))
        return _bound(near_one - _number(1.0), lambda f: _bound(exponent.astype("float32") - less, lambda e: summed(f, e)))

    def summed(f: Any, e: Any) -> Any:
        small = _polynomial(_LOG, f) * (f * f * f) + e * _number(_LN2_LOW) - f * f * _number(0.5)
        return f + small + e * _number(_LN2_HIGH)

    infinity, nan = (tirx.const(value, "float32") for value in (math.inf, math.nan))
    tiny = x < _number(_SMALLEST_NORMAL)
    number = tirx.Select(tiny, x * _number(2.0**23), x)
    positive = _bound(number, lambda n: of_normal(n, tirx.Select(tiny, _number(23.0), _number(0.0))))
    not_above = tirx.Select(x >= _number(0.0), _number(0.0) - infinity, nan)
    return tirx.Select(x > _number(0.0), tirx.Select(x < infinity, positive, x), tirx.Select(x <= _number(0.0), not_above, x))


def _bound_integer(value: Any, body: Callable[[Any], Any]) -> Any:
    var = tirx.Var("i", "int32")
    return tirx.Let(var, value, body(var))


def _sigmoid(x: Any) -> Any:
    return _number(1.0) / (_number(1.0) + _exp(_number(0.0) - x))


def _rational(odd: Sequence[float], even: Sequence[float], reach: float, argument: Any) -> Any:
    """Return an odd polynomial over an even one, whose rounding is not to lead beyond 1."""

    def quotient(x: Any, u: Any) -> Any:
        return (x * u * _polynomial(odd[:-1], u) + _number(odd[-1]) * x) / _polynomial(even, u)

    return _bound(_clamped(argument, -reach, reach), lambda x: _bound(x * x, lambda u: _clamped(quotient(x, u), -1.0, 1.0)))


def _tanh(x: Any) -> Any:
    return _rational(_TANH_ODD, _TANH_EVEN, _TANH_RANGE, x)


def _erf(x: Any) -> Any:
    return _rational(_ERF_ODD, _ERF_EVEN, _ERF_RANGE, x)


def _quarters(exponent: Any) -> int:
    """Return how many quarters a constant exponent between 0 and 2 is; 0 for any other."""
    quarters = float(exponent.value) * 4 if isinstance(exponent, tirx.FloatImm) else 0.0
    return int(quarters) if quarters in range(1, 9) else 0


def _power(x: Any, quarters: int) -> Any:
    """Return a power as roots and products: each rounds once, nothing overflows before the result does."""
    root = tirx.sqrt(x)
    parts = [x] * (quarters // 4) + [root] * (quarters % 4 // 2) + [tirx.sqrt(root)] * (quarters % 2)
    product = parts[0]
    for part in parts[1:]:
        product = product * part
    infinity = tirx.infinity("float32")
    return product if quarters % 4 == 0 else tirx.Select(x == -infinity, infinity, product)


_EXPANSIONS: dict[str, Callable[[Any], Any]] = {
    "tirx.exp": _exp,
    "tirx.log": _log,
    "tirx.sigmoid": _sigmoid,
    "tirx.tanh": _tanh,
    "tirx.erf": _erf,
}
