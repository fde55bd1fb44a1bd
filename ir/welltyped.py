"""Whether the declared element types and shapes of results fit what operators make of their operands.

Devices are left aside: Relax's inference refuses operands on two devices for some operators and drops devices for others, so
operands are stripped of theirs before it is asked.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import tvm
from tvm import relax

from landbridge.ir.body import Binding, is_cast, is_copy, is_extern, operands, substitute
from landbridge.ir.devices import tensor_types
from landbridge.ir.sizes import dtype_of, render_type, shape_of


def contradictions(binding: Binding) -> Iterator[str]:
    """Yield in which way what is declared of a binding's result, and what its operator makes, cannot both be true.

    What inference leaves open, and extents that are expressions, contradict nothing.
    """
    declared = tensor_types(binding.var.ty)
    try:
        made = _made(binding.value)
    except (TypeError, ValueError, RuntimeError) as error:
        yield f"its operator refuses its operands: {str(error).splitlines()[-1].strip()}"
        return
    if made is None:
        return
    if len(declared) != len(made) or any(_contradict(*pair) for pair in zip(declared, made, strict=True)):
        yield f"is declared as {_render(declared)}, its operator makes {_render(made)}"


def _made(value: Any) -> tuple[Any, ...] | None:
    """Return the types of what ``value`` computes, or None where they are not Relax's to say."""
    if is_extern(value):
        return None  # the signature says
    if is_copy(value):
        return tensor_types(operands(value)[0].ty)
    if is_cast(value):
        return (_without_device(operands(value)[0].ty, value.attrs.dtype),)
    if not isinstance(value, relax.Call):
        return tuple(tensor_type for part in _parts(value) for tensor_type in tensor_types(part.ty))
    bare = {operand: relax.Var("operand", _without_device(operand.ty)) for operand in operands(value) if isinstance(operand, relax.Var)}
    call = substitute(value, bare)
    return tensor_types(relax.BlockBuilder().normalize(relax.Call(call.op, call.args, call.attrs, call.ty_args)).ty)


def _without_device(of_type: Any, dtype: Any = None) -> Any:
    if isinstance(of_type, tvm.ir.TupleType):
        return tvm.ir.TupleType([_without_device(field) for field in of_type.fields])
    if of_type.shape is None:
        return relax.TensorType(dtype=dtype or of_type.dtype, ndim=of_type.ndim)
    return relax.TensorType(of_type.shape, dtype or of_type.dtype)


def _contradict(found: Any, expected: Any) -> bool:
    if expected.dtype is not None and dtype_of(found) != dtype_of(expected):
        return True
    if found.ndim >= 0 and expected.ndim >= 0 and found.ndim != expected.ndim:
        return True
    left, right = shape_of(found), shape_of(expected)
    if left is None or right is None:
        return False
    return any(isinstance(a, int) and isinstance(b, int) and a != b for a, b in zip(left, right, strict=True))


def _render(types: tuple[Any, ...]) -> str:
    text = ", ".join(render_type(tensor_type) for tensor_type in types)
    return text if len(types) == 1 else f"({text})"


def _parts(value: Any) -> tuple[Any, ...]:
    """Return what a value that is no call stands for: a variable, a part of a tuple, or the fields of a tuple."""
    return (value,) if not isinstance(value, relax.Tuple) else tuple(part for field in value.fields for part in _parts(field))
