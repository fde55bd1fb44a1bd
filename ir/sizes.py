"""Between Relax's shapes and the runtime's sizes (`landbridge.runtime.dims`).

A symbolic dimension is known by its name: within one program equal names are equal extents.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tvm import sym, tirx

from landbridge.ir.dtypes import bits_of
from landbridge.runtime.dims import OPERATORS, Size, names, product, render_shape
from landbridge.runtime.errors import PassError

OPAQUE = "opaque"
"""What `dtype_of` calls the element type of values that are no tensors of numbers; in Relax they have none."""

_DIM_TYPE = "int64"

_OPERATOR_OF_NODE = {
    "Add": "+",
    "Sub": "-",
    "Mul": "*",
    "FloorDiv": "//",
    "FloorMod": "%",
    "Div": "//",  # extents are not negative, so both roundings give the same
    "Mod": "%",
    "Max": "max",
    "Min": "min",
}

_NODE_OF_OPERATOR = {
    "+": lambda a, b: a + b,
    "-": lambda a, b: a - b,
    "*": lambda a, b: a * b,
    "//": tirx.floordiv,
    "%": tirx.floormod,
    "max": tirx.max,
    "min": tirx.min,
}


def size_of(expr: Any) -> Size:
    """Return an extent of a Relax shape as a size.

    Raises:
        PassError: it has an operator that sizes do not have.
    """
    if isinstance(expr, int):
        return int(expr)
    if isinstance(expr, tirx.IntImm):
        return int(expr.value)
    if isinstance(expr, tirx.Var):
        return str(expr.name)
    if isinstance(expr, tirx.Cast):
        return size_of(expr.value)
    operator = _OPERATOR_OF_NODE.get(type(expr).__name__)
    if operator is None:
        raise PassError(f"an extent that is no size: {expr}")
    left, right = size_of(expr.a), size_of(expr.b)
    if isinstance(left, int) and isinstance(right, int):
        return OPERATORS[operator](left, right)
    return [operator, left, right]


def expr_of(size: Size, dims: Mapping[str, Any]) -> Any:
    """Return ``size`` as an extent of a Relax shape, where ``dims`` has the variable of each named dimension."""
    if isinstance(size, int):
        return tirx.IntImm(_DIM_TYPE, size)
    if isinstance(size, str):
        return dims[size]
    return _NODE_OF_OPERATOR[size[0]](expr_of(size[1], dims), expr_of(size[2], dims))


def shape_of(tensor_type: Any) -> tuple[Size, ...] | None:
    """Return the shape of a tensor type as sizes, or None where only the data will tell it."""
    shape = tensor_type.shape
    values = getattr(shape, "values", None)
    return None if values is None else tuple(size_of(extent) for extent in values)


def dtype_of(tensor_type: Any) -> str:
    """Return the element type of a tensor type by its NumPy name; that of strings, sequences and the like is `OPAQUE`."""
    return OPAQUE if tensor_type.dtype is None else str(tensor_type.dtype) or OPAQUE


def nbytes_of(tensor_type: Any) -> Size:
    """Return the bytes of a tensor of this type; 0 where only the data will tell its shape, and of what is no tensor of numbers."""
    shape = shape_of(tensor_type)
    if shape is None or dtype_of(tensor_type) == OPAQUE:
        return 0
    return dense_nbytes(dtype_of(tensor_type), shape)


def dense_nbytes(dtype: str, shape: Sequence[Size]) -> Size:
    """Return the bytes of a dense tensor; elements of less than a byte are packed."""
    bits = bits_of(dtype)
    if bits % 8 == 0:
        return product((*shape, bits // 8))
    total = product((*shape, bits))
    return -(-total // 8) if isinstance(total, int) else ["//", ["+", total, 7], 8]


def render_type(tensor_type: Any) -> str:
    """Return a tensor type as messages write it, such as ``float32 [n, 3]``."""
    shape = shape_of(tensor_type)
    if shape is None:
        return f"{dtype_of(tensor_type)} of {tensor_type.ndim} dimensions" if tensor_type.ndim >= 0 else dtype_of(tensor_type)
    return f"{dtype_of(tensor_type)} {render_shape(shape)}"


def equal_sizes(left: Size, right: Size) -> bool:
    """Return whether two sizes are proven equal whatever their dimensions are."""
    if left == right:
        return True
    if isinstance(left, int) and isinstance(right, int):
        return False
    dims = {name: tirx.Var(name, _DIM_TYPE) for name in dict.fromkeys((*names(left), *names(right)))}
    return bool(sym.Analyzer().can_prove_equal(expr_of(left, dims), expr_of(right, dims)))


def equal_shapes(left: Sequence[Size], right: Sequence[Size]) -> bool:
    """Return whether two shapes have the same number of extents and each pair is proven equal."""
    return len(left) == len(right) and all(equal_sizes(a, b) for a, b in zip(left, right, strict=True))


def dims_in(types: Sequence[Any]) -> dict[str, Any]:
    """Return the variable of each named dimension in ``types``, in the order in which they appear."""
    found: dict[str, Any] = {}
    for tensor_type in types:
        for extent in getattr(getattr(tensor_type, "shape", None), "values", ()):
            if isinstance(extent, tirx.IntImm):
                continue
            for variable in tirx.analysis.undefined_vars(extent):
                found.setdefault(str(variable.name), variable)
    return found
