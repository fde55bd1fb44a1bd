"""Element-wise operators in the forms that TVM's importer refuses or takes wrong."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tvm import relax, te, tirx, topi
from tvm.script.ir_builder import tirx as ib

from landbridge.frontends.onnx.operators.call import Call, Declined, Rule, constant, product
from landbridge.frontends.onnx.operators.loops import loops, variable


def _paired(call: Call, function: Callable[[Any, Any], Any], left: Any, right: Any, name: str) -> Any:
    """Return a function of each pair of elements, the tensors broadcast to each other."""

    def kernel(left: Any, right: Any) -> Any:
        shape = topi.add(*(topi.cast(tensor, "float32") for tensor in (left, right))).shape
        both = [topi.broadcast_to(tensor, shape) for tensor in (left, right)]
        return te.compute(shape, lambda *i: function(both[0](*i), both[1](*i)), name=name)

    return call.compute(kernel, left, right, name=name)


def _bit_shift(call: Call) -> Any:
    """``BitShift``: by less than nothing or by more than the width, all bits go."""
    dtype, left = call.dtype(0), call.text("direction", "") == "LEFT"
    bits = int("".join(c for c in dtype if c.isdigit()))
    unsigned = dtype if dtype.startswith("u") else f"u{dtype}"

    def shifted(a: Any, b: Any) -> Any:
        places = b.astype("int64")  # unsigned numbers from 2 ** 63 on are negative here
        inside = tirx.all(places >= 0, places < bits)
        by = tirx.Select(inside, b, tirx.const(0, dtype))
        zero = tirx.const(0, dtype)
        if left:
            moved = (a.astype(unsigned) << by.astype(unsigned)).astype(dtype)
            return tirx.Select(inside, moved, zero)
        gone = zero if dtype.startswith("u") else tirx.Select(a < zero, tirx.const(-1, dtype), zero)
        return tirx.Select(inside, a >> by, gone)

    return _paired(call, shifted, call.tensor(0), call.tensor(1), "bit_shift")


def _mod(call: Call) -> Any:
    """``Mod`` of floating numbers, with the sign of the divisor as in Python."""
    dtype = call.dtype(0)
    if call.number("fmod", 0) or not dtype.startswith("float"):
        return NotImplemented
    word = "float64" if dtype == "float64" else "float32"

    def remainder(a: Any, b: Any) -> Any:
        a, b = a.astype(word), b.astype(word)
        rest, zero = tirx.call_pure_extern(word, "fmod" if word == "float64" else "fmodf", a, b), tirx.const(0, word)
        other = tirx.any(tirx.all(rest < zero, b > zero), tirx.all(rest > zero, b < zero))
        signed = tirx.Select(rest == zero, tirx.copysign(zero, b), tirx.Select(other, rest + b, rest))
        return tirx.Select(b == zero, rest, signed).astype(dtype)

    return _paired(call, remainder, call.tensor(0), call.tensor(1), "modulo")


def _pow(call: Call) -> Any:
    """``Pow`` of two types, or of whole numbers."""
    base, exponent = call.dtype(0), call.dtype(1)
    if base == exponent and base.startswith("float"):
        return NotImplemented
    left, right = call.tensor(0), call.tensor(1)
    if base.startswith("float") or exponent.startswith("float"):
        word = "float64" if "float64" in (base, exponent) or not base.startswith("float") else "float32"
        both = [call.emit(relax.op.astype(t, word)) if str(t.ty.dtype) != word else t for t in (left, right)]
        return relax.op.astype(call.emit(relax.op.power(*both)), base)
    shape = [call.emit(relax.op.astype(t, "int64")) for t in (left, right)]
    both = [call.emit(relax.op.add(t, call.emit(relax.op.zeros_like(o)))) for t, o in (shape, reversed(shape))]
    return relax.op.astype(call.compute(_whole_power, *both, name="power"), base)


def _whole_power(left: Any, right: Any) -> Any:
    """Return powers of whole numbers by squaring; of a negative exponent what C's division would give."""

    def body(base: Any, exponent: Any, result: Any) -> None:
        with ib.serial(0, product(list(left.shape))) as i:
            power, square, rest = (variable("int64", start) for start in (ib.int64(1), base[i], exponent[i]))
            with ib.While(rest[0] > 0):
                power[0] = tirx.Select(rest[0] & 1 == 1, power[0] * square[0], power[0])
                square[0] = square[0] * square[0]
                rest[0] = rest[0] >> 1
            one = tirx.Select(base[i] == 1, ib.int64(1), ib.int64(0))
            sign = tirx.Select(exponent[i] & 1 == 1, ib.int64(-1), ib.int64(1))
            result[i] = tirx.Select(exponent[i] >= 0, power[0], tirx.Select(base[i] == -1, sign, one))

    return loops("power", [left, right], [(left.shape, "int64")], body)


def _is_inf(call: Call) -> Any:
    """``IsInf`` of one sign."""
    positive, negative = call.number("detect_positive", 1), call.number("detect_negative", 1)
    if positive and negative:
        return NotImplemented
    data = call.tensor(0)
    if not positive and not negative:
        return relax.op.zeros(relax.ShapeExpr(call.shape(0)), "bool")
    return relax.op.equal(data, constant(float("inf") if positive else float("-inf"), call.dtype(0)))


def _celu(call: Call) -> Any:
    """``Celu``: the importer has it in float32 only."""
    return _exponential(call, call.real("alpha", 1.0))


def _elu(call: Call) -> Any:
    """``Elu``: likewise."""
    return NotImplemented if call.dtype(0) == "float32" else _exponential(call, 1.0)


def _exponential(call: Call, slope: float) -> Any:
    """Return what is positive as it is, and ``alpha * (exp(x / slope) - 1)`` of the rest."""
    dtype, alpha = call.dtype(0), call.real("alpha", 1.0)

    def kernel(data: Any) -> Any:
        def element(*i: Any) -> Any:
            x = data(*i).astype("float32" if dtype != "float64" else dtype)
            zero, by, scale = (tirx.const(number, x.ty.dtype) for number in (0, slope, alpha))
            return (tirx.max(x, zero) + tirx.min(scale * (tirx.exp(x / by) - tirx.const(1, x.ty.dtype)), zero)).astype(dtype)

        return te.compute(data.shape, element, name="exponential")

    return call.compute(kernel, call.tensor(0), name=str(call.node.proto.op_type).lower())


def _dropout(call: Call) -> Any:
    """``Dropout`` where nothing is dropped: the data, and a mask of ones."""
    training = call.constant(2) if call.has(2) else None
    ratio = call.constant(1) if call.has(1) else None
    drops = call.has(2) and (training is None or bool(training.any())) and (ratio is None or bool(ratio.any()))
    if drops:
        raise Declined("it draws random numbers")
    mask = relax.op.ones(relax.ShapeExpr(call.shape(0)), call.results[1].dtype or "bool") if call.wants(1) else None
    return [call.tensor(0), mask]


def _prelu(call: Call) -> Any:
    """``PRelu`` as operator set 6 and before has it: a slope for each channel."""
    rank, slopes = len(call.shape(0)), call.shape(1)
    if call.opset >= 7 or len(slopes) != 1 or rank < 2:
        return NotImplemented
    data, slope = call.tensor(0), call.emit(relax.op.reshape(call.tensor(1), [slopes[0], *[1] * (rank - 2)]))
    zero = constant(0, call.dtype(0))
    below = call.emit(relax.op.multiply(data, slope))
    return relax.op.where(call.emit(relax.op.less(data, zero)), below, data)


_BINARY: dict[str, Callable[[Any, Any], Any]] = {
    "Add": relax.op.add,
    "And": relax.op.logical_and,
    "Div": relax.op.divide,
    "Equal": relax.op.equal,
    "Greater": relax.op.greater,
    "Less": relax.op.less,
    "Mul": relax.op.multiply,
    "Or": relax.op.logical_or,
    "Pow": relax.op.power,
    "Sub": relax.op.subtract,
    "Xor": relax.op.logical_xor,
}


def _broadcast_along(call: Call) -> Any:
    """An operator of two tensors as operator set 6 and before has it: the second lies along the axes from ``axis`` on."""
    if call.opset >= 7 or not call.number("broadcast", 0):
        return _pow(call) if call.node.proto.op_type == "Pow" else NotImplemented
    shape, inner = call.shape(0), call.shape(1)
    attribute = call.node.attribute("axis")
    start = len(shape) - len(inner) if attribute is None else int(attribute.i) % max(len(shape), 1)
    after = len(shape) - start - len(inner)
    if after < 0:
        raise Declined("the second tensor has more axes than the first")
    right = call.emit(relax.op.reshape(call.tensor(1), [*inner, *[1] * after]))
    return _BINARY[str(call.node.proto.op_type)](call.tensor(0), right)


OPERATORS: dict[str, Rule] = {
    **dict.fromkeys(_BINARY, _broadcast_along),
    "BitShift": _bit_shift,
    "Celu": _celu,
    "Dropout": _dropout,
    "Elu": _elu,
    "IsInf": _is_inf,
    "Mod": _mod,
    "PRelu": _prelu,
}
