"""Sizes that depend on named dimensions.

A size is an ``int``, the name of a dimension (``"batch"``), or ``[operator, left, right]`` with sizes on both sides, where the
operator is one of `OPERATORS`. That is plain data, so that it travels in a JSON manifest and any language can evaluate it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from landbridge.runtime.errors import PlanError

Size = Any
"""``int | str | [operator, Size, Size]``"""

OPERATORS: dict[str, Callable[[int, int], int]] = {
    "+": lambda a, b: a + b,
    "-": lambda a, b: a - b,
    "*": lambda a, b: a * b,
    "//": lambda a, b: a // b,
    "%": lambda a, b: a % b,
    "max": max,
    "min": min,
}
"""The operators of a size; ``//`` and ``%`` round towards minus infinity, as in Python."""


def evaluate(size: Size, dims: Mapping[str, int]) -> int:
    """Return the value of ``size`` where each named dimension has the value that ``dims`` gives it.

    Raises:
        PlanError: a name without a value, an unknown operator, or a division by zero.
    """
    if isinstance(size, int):
        return size
    if isinstance(size, str):
        if size not in dims:
            raise PlanError(f"no value for dimension '{size}'")
        return dims[size]
    operator, left, right = size
    if operator not in OPERATORS:
        raise PlanError(f"unknown operator '{operator}' in a size")
    right_value = evaluate(right, dims)
    if operator in ("//", "%") and right_value == 0:
        raise PlanError(f"division by zero in size {render(size)}")
    return OPERATORS[operator](evaluate(left, dims), right_value)


def product(sizes: Iterable[Size]) -> Size:
    """Return the product of ``sizes``, folded as far as it is known.

    Example:
        >>> product([2, "n", 3])
        ['*', 'n', 6]
    """
    known, rest = 1, []
    for size in sizes:
        if isinstance(size, int):
            known *= size
        else:
            rest.append(size)
    if not rest or known == 0:
        return known
    result = rest[0]
    for size in rest[1:]:
        result = ["*", result, size]
    return result if known == 1 else ["*", result, known]


def names(size: Size) -> tuple[str, ...]:
    """Return the dimensions that ``size`` depends on, each once, in the order in which they appear."""
    if isinstance(size, int):
        return ()
    if isinstance(size, str):
        return (size,)
    return tuple(dict.fromkeys((*names(size[1]), *names(size[2]))))


_STRENGTH = {"+": 1, "-": 1, "*": 2, "//": 2, "%": 2}
"""How strongly an operator binds; what binds more weakly inside it gets parentheses."""


def render(size: Size) -> str:
    """Return ``size`` as one reads it, such as ``(n+7)*128``."""
    if isinstance(size, int | str):
        return str(size)
    operator, left, right = size
    if operator in ("max", "min"):
        return f"{operator}({render(left)}, {render(right)})"
    strength = _STRENGTH.get(operator, 0)
    return f"{_inside(left, strength)}{operator}{_inside(right, strength + 1)}"


def _inside(size: Size, strength: int) -> str:
    weaker = not isinstance(size, int | str) and _STRENGTH.get(size[0], strength) < strength
    return f"({render(size)})" if weaker else render(size)


def render_shape(shape: Iterable[Size]) -> str:
    """Return a shape as one reads it, such as ``[n, 3, 16]``."""
    return "[" + ", ".join(render(size) for size in shape) + "]"
