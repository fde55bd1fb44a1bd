"""Sizes that depend on named dimensions.

A size is an ``int``, the name of a dimension (``"batch"``), or ``[operator, left, right]`` with sizes on both sides, where the
operator is one of `OPERATORS`. That is plain data, so that it travels in a JSON manifest and any language can evaluate it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
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


def total(sizes: Iterable[Size]) -> Size:
    """Return the sum of ``sizes``, multiples of the same size added up.

    Example:
        >>> render(total([["*", "n", 128], 8, ["*", "n", 256], "m", 32]))
        'n*384+m+40'
    """
    multiples: dict[str, tuple[int, Size]] = {}
    for size in sizes:
        factor, rest = factored(size)
        key = json.dumps(rest)
        multiples[key] = (factor + multiples.get(key, (0, rest))[0], rest)
    return _joined("+", multiples)


def largest(sizes: Iterable[Size]) -> Size:
    """Return the greatest of ``sizes``, whatever the dimensions (at least 0) are."""
    multiples: dict[str, tuple[int, Size]] = {}
    for size in sizes:
        factor, rest = factored(size)
        key = json.dumps(rest)
        multiples[key] = (max(factor, multiples.get(key, (0, rest))[0]), rest)
    return _joined("max", multiples)


def factored(size: Size) -> tuple[int, Size]:
    """Return ``size`` as a number times the rest."""
    if isinstance(size, int):
        return size, 1
    if isinstance(size, str) or size[0] != "*":
        return 1, size
    (left, left_rest), (right, right_rest) = factored(size[1]), factored(size[2])
    return left * right, product([left_rest, right_rest])


def _joined(operator: str, multiples: Mapping[str, tuple[int, Size]]) -> Size:
    """Return the multiples joined by ``operator``, what is known last."""
    terms = [product([rest, factor]) for factor, rest in multiples.values() if factor]
    terms.sort(key=lambda term: isinstance(term, int))
    return _balanced(operator, terms or [0])


def _balanced(operator: str, terms: Sequence[Size]) -> Size:
    """Return all ``terms`` joined by ``operator``, as flat as possible: readers of plans limit how deep a size may be."""
    if len(terms) == 1:
        return terms[0]
    middle = len(terms) // 2
    return [operator, _balanced(operator, terms[:middle]), _balanced(operator, terms[middle:])]


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
    return f"{_inside(left, strength)}{operator}{_inside(right, strength + (operator != '+'))}"


def _inside(size: Size, strength: int) -> str:
    weaker = not isinstance(size, int | str) and _STRENGTH.get(size[0], strength) < strength
    return f"({render(size)})" if weaker else render(size)


def render_shape(shape: Iterable[Size]) -> str:
    """Return a shape as one reads it, such as ``[n, 3, 16]``."""
    return "[" + ", ".join(render(size) for size in shape) + "]"
