"""Arithmetic on shapes, done while the model is imported.

Exporters write ``Shape -> Gather -> Concat -> Reshape`` and the like. `evaluate` follows small integer tensors through such nodes
as arrays of numbers and symbolic extents, so that what uses them is imported with a shape and not with a tensor. What it does not
follow is left to the importer.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tvm
from tvm import relax, sym, tirx

from landbridge.frontends.onnx.extents import is_at_most, is_equal
from landbridge.frontends.onnx.graph import ELEMENT_TYPES, Node

MAX_ELEMENTS = 64
"""The largest integer tensor that is taken for a shape."""

Extents = np.ndarray[Any, Any]
"""An array of objects, each an ``int`` or a symbolic extent."""

_INTEGERS = (ELEMENT_TYPES["int64"], ELEMENT_TYPES["int32"])


def extents(values: Any) -> Extents:
    """Return numbers and symbolic extents as an array of objects, each simplified."""
    array = np.asarray(values, dtype=object) if not isinstance(values, np.ndarray) else values
    result = np.empty(array.shape, dtype=object)
    analyzer = sym.Analyzer()
    for index in np.ndindex(array.shape):
        result[index] = _simple(array[index], analyzer)
    return result


def shape_extents(shape: Sequence[Any]) -> Extents:
    """Return a Relax shape as a one-dimensional array."""
    array = np.empty(len(shape), dtype=object)
    for axis, extent in enumerate(shape):
        array[axis] = extent
    return extents(array)


def is_static(values: Extents) -> bool:
    """Return whether every element is a number."""
    return all(isinstance(value, int) for value in values.flat)


def constant_of(array: np.ndarray[Any, Any]) -> Any:
    """Return an array as a Relax constant of its own dtype; `relax.const` alone narrows 64-bit numbers."""
    return relax.const(tvm.runtime.tensor(np.ascontiguousarray(array).reshape(array.shape)))


def elements(values: Extents) -> list[Any]:
    """Return for each element the Relax expression of a tensor that has just it: a constant, or a call."""
    return [
        constant_of(np.array([value], np.int64)) if isinstance(value, int) else relax.op.arange(value, value + 1, 1, "int64")
        for value in values.flat
    ]


def evaluate(node: Node, opset: int, inputs: Sequence[Extents | None]) -> Extents | None:
    """Return the output of a node on integer tensors, or None where it is not followed.

    Args:
        inputs: None for an input that is left out.
    """
    rule = _RULES.get(node.proto.op_type)
    if rule is None or len(node.outputs) != 1:
        return None
    try:
        result = rule(_Call(node, opset, inputs))
    except (IndexError, ValueError, TypeError):
        return None  # malformed for this rule; the importer has the message
    if result is None:
        return None
    result = extents(result)
    return result if result.size <= MAX_ELEMENTS else None


def reshaped(target: Extents, source: Sequence[Any], allow_zero: bool) -> Extents:
    """Return the shape that ``Reshape`` gives, its 0 and -1 worked out."""
    analyzer = sym.Analyzer()
    result = [source[axis] if _is(extent, 0) and not allow_zero else extent for axis, extent in enumerate(target)]
    if any(_is(extent, -1) for extent in result):
        total, known = _product(source), _product([extent for extent in result if not _is(extent, -1)])
        rest = total // known if isinstance(total, int) and isinstance(known, int) else tirx.floordiv(total, known)
        result = [rest if _is(extent, -1) else extent for extent in result]
    return shape_extents([_simple(extent, analyzer) for extent in result])


class _Call:
    """The inputs of one node, with the attributes that newer versions have as inputs."""

    def __init__(self, node: Node, opset: int, inputs: Sequence[Extents | None]) -> None:
        self.node, self.opset, self.inputs = node, opset, inputs

    def __getitem__(self, index: int) -> Extents:
        value = self.inputs[index] if index < len(self.inputs) else None
        if value is None:
            raise IndexError(index)
        return value

    def number(self, name: str, default: int) -> int:
        attribute = self.node.attribute(name)
        return default if attribute is None else int(attribute.i)

    def numbers(self, index: int, name: str) -> list[int] | None:
        """Return the numbers in input ``index``, or in the attribute ``name``; None where there are none."""
        if index < len(self.inputs):
            given = self.inputs[index]
            return None if given is None else _ints(given)
        attribute = self.node.attribute(name)
        return None if attribute is None else [int(value) for value in attribute.ints]


def _simple(value: Any, analyzer: Any) -> Any:
    if isinstance(value, int | np.integer):
        return int(value)
    value = analyzer.simplify(value)
    return int(value.value) if isinstance(value, tirx.IntImm) else value


def _is(value: Any, number: int) -> bool:
    return isinstance(value, int) and value == number


def _product(values: Sequence[Any]) -> Any:
    result: Any = 1
    for value in values:
        result = result * value
    return result


def _ints(values: Extents) -> list[int]:
    if not is_static(values):
        raise ValueError("symbolic where a number is needed")
    return [int(value) for value in values.flat]


def _elementwise(function: Callable[[Any, Any], Any]) -> Callable[[_Call], Extents | None]:
    def rule(call: _Call) -> Extents | None:
        left, right = np.broadcast_arrays(call[0], call[1])
        result = np.empty(left.shape, dtype=object)
        for index in np.ndindex(left.shape):
            value = function(left[index], right[index])
            if value is None:
                return None
            result[index] = value
        return result

    return rule


def _divide(left: Any, right: Any) -> Any:
    """Divide extents; ONNX rounds towards zero, which is rounding down where nothing is negative."""
    if not isinstance(right, int) or right <= 0:
        return None
    if isinstance(left, int):
        return left // right if left >= 0 else None
    return tirx.floordiv(left, right) if is_at_most(0, left) else None


def _modulo(left: Any, right: Any) -> Any:
    if not isinstance(right, int) or right <= 0 or isinstance(left, int):
        return None
    return tirx.floormod(left, right) if is_at_most(0, left) else None


def _choose(function: Any, other: Callable[..., int]) -> Callable[[Any, Any], Any]:
    return lambda a, b: other(a, b) if isinstance(a, int) and isinstance(b, int) else function(a, b)


def _equal(left: Any, right: Any) -> int | None:
    """Return whether extents are equal, None where that depends on the dimensions."""
    if is_equal(left, right):
        return 1
    return 0 if is_at_most(left, right - 1) or is_at_most(right, left - 1) else None


def _where(call: _Call) -> Extents | None:
    condition, left, right = np.broadcast_arrays(call[0], call[1], call[2])
    result = np.empty(condition.shape, dtype=object)
    for index, chosen in enumerate(_ints(condition)):
        result.flat[index] = left.flat[index] if chosen else right.flat[index]
    return result


def _gather(call: _Call) -> Extents | None:
    indices = np.array(_ints(call[1]), dtype=np.int64).reshape(call[1].shape)
    return np.asarray(np.take(call[0], indices, axis=call.number("axis", 0)), dtype=object)


def _slice(call: _Call) -> Extents | None:
    starts, ends = call.numbers(1, "starts"), call.numbers(2, "ends")
    if starts is None or ends is None:
        return None
    axes = call.numbers(3, "axes") or list(range(len(starts)))
    steps = call.numbers(4, "steps") or [1] * len(starts)
    result = call[0]
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        if step < 0:
            return None
        result = result[tuple(slice(start, end, step) if a == axis % result.ndim else slice(None) for a in range(result.ndim))]
    return result


def _squeeze(call: _Call) -> Extents | None:
    axes = call.numbers(1, "axes")
    return np.squeeze(call[0], None if axes is None else tuple(axes))


def _unsqueeze(call: _Call) -> Extents | None:
    axes = call.numbers(1, "axes")
    return None if axes is None else np.expand_dims(call[0], tuple(axes))


def _concat(call: _Call) -> Extents | None:
    return np.concatenate([call[index] for index in range(len(call.inputs))], axis=call.number("axis", 0))


def _cast(call: _Call) -> Extents | None:
    return call[0] if call.number("to", 0) in _INTEGERS else None


def _reshape(call: _Call) -> Extents | None:
    return call[0].reshape(_ints(call[1]))


def _reduce_product(call: _Call) -> Extents | None:
    if call[0].ndim != 1:
        return None
    product = extents([_product(list(call[0]))])
    return product if call.number("keepdims", 1) else product.reshape(())


_RULES: dict[str, Callable[[_Call], Extents | None]] = {
    "Identity": lambda call: call[0],
    "Cast": _cast,
    "Gather": _gather,
    "Concat": _concat,
    "Slice": _slice,
    "Squeeze": _squeeze,
    "Unsqueeze": _unsqueeze,
    "Reshape": _reshape,
    "ReduceProd": _reduce_product,
    "Neg": lambda call: 0 - call[0],
    "Equal": _elementwise(_equal),
    "Where": _where,
    "Add": _elementwise(lambda a, b: a + b),
    "Sub": _elementwise(lambda a, b: a - b),
    "Mul": _elementwise(lambda a, b: a * b),
    "Div": _elementwise(_divide),
    "Mod": _elementwise(_modulo),
    "Max": _elementwise(_choose(tirx.max, max)),
    "Min": _elementwise(_choose(tirx.min, min)),
}
"""What is followed, by operator type."""

FOLLOWED = frozenset(_RULES)
"""The types of operators that `evaluate` follows."""
