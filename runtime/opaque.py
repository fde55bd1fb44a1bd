"""Values that are no tensors of numbers: strings, sequences, optionals, maps, and tensors whose rank only the data tells.

They stay on the host, as Python and NumPy have them, and only models on the CPU that can hold such values read and write them.
Their dtype in a plan is a text:

- ``string``: a tensor of strings, of the shape that the buffer has;
- ``tensor(T)``: a tensor of any rank, of a dtype or of strings;
- ``sequence(X)``, ``optional(X)``: of any of these but ``string``, nested;
- ``map(K,X)``: from integers or strings; where X is a tensor, what is mapped to are its only elements, as Python has them.

As inputs and outputs, tensors are NumPy arrays, those of strings of objects that are ``str``; a sequence is a list, a map a dict,
and an optional is None or its value.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from landbridge.runtime.dtypes import BITS, holder
from landbridge.runtime.errors import InputError

STRING = "string"
"""The dtype of a tensor of strings whose rank is known."""

_KEYS = ("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", STRING)
_OUTER = re.compile(r"(tensor|sequence|optional|map)\((.*)\)", re.DOTALL)
_MAX_DEPTH = 16


def is_opaque(dtype: str) -> bool:
    """Return whether ``dtype`` is one of a value that is no tensor of numbers.

    Example:
        >>> is_opaque("sequence(map(string,tensor(float32)))"), is_opaque("float32"), is_opaque("sequence(float32)")
        (True, False, False)
    """
    return dtype == STRING or _is_nested(dtype, 0)


def _is_nested(dtype: str, depth: int) -> bool:
    found = _OUTER.fullmatch(dtype)
    if found is None or depth > _MAX_DEPTH:
        return False
    kind, inner = found.groups()
    if kind == "tensor":
        return inner in BITS or inner == STRING
    if kind == "map":
        key, separator, inner = inner.partition(",")
        return bool(separator) and key in _KEYS and _is_nested(inner, depth + 1)
    return _is_nested(inner, depth + 1)


def takes_numpy(dtype: str) -> bool:
    """Return whether all numbers in a value of an opaque dtype are of types that NumPy has itself."""
    names = re.findall(r"[a-z0-9_]+", dtype)
    return all(name not in BITS or holder(name).name == name for name in names)


def admit(value: Any, dtype: str, at: str) -> Any:
    """Return a caller's value as the models take it: strings as arrays of ``str`` objects, sequences as lists.

    Raises:
        InputError: it is not of this type; ``at`` says what the caller calls it.
    """
    found = _OUTER.fullmatch(dtype)
    if found is None:
        return _strings(value, at)
    kind, inner = found.groups()
    if kind == "tensor":
        return _strings(value, at) if inner == STRING else _numbers(value, inner, at)
    if kind == "optional":
        return None if value is None else admit(value, inner, at)
    if kind == "map":
        key, _, inner = inner.partition(",")
        return _map(value, key, inner, at)
    if not isinstance(value, list | tuple):
        raise InputError(f"{_name(value)}, expected a list for {dtype}", at=at, hint="give [array, …]", code="LB1203")
    return [admit(item, inner, f"{at}[{index}]") for index, item in enumerate(value)]


def _strings(value: Any, at: str) -> NDArray[Any]:
    array = np.asarray(value)
    if array.dtype.kind in "UT":
        return np.asarray(array.astype(object))
    if array.dtype.kind == "O" and all(isinstance(text, str) for text in array.flat):
        return array
    if array.size == 0:
        return array.astype(object)
    raise InputError(
        f"{array.dtype} {list(array.shape)}, expected strings", at=at, hint='give np.array(["…"], dtype=object)', code="LB1203"
    )


def _numbers(value: Any, dtype: str, at: str) -> NDArray[Any]:
    array = np.asarray(value)
    wanted = holder(dtype)
    if array.dtype.name == dtype and array.dtype.itemsize == wanted.itemsize:  # ml_dtypes' bfloat16 and the like
        return array.view(wanted)
    if array.dtype.newbyteorder("=") != wanted:
        hint = f'convert it: array.astype("{wanted}")' if wanted.name == dtype else f"give the bits of {dtype} as {wanted}"
        raise InputError(f"{array.dtype} {list(array.shape)}, expected {dtype}", at=at, hint=hint, code="LB1203")
    return array.astype(wanted, copy=False)


def _map(value: Any, key: str, inner: str, at: str) -> dict[Any, Any]:
    if not isinstance(value, Mapping):
        raise InputError(f"{_name(value)}, expected a dict for map({key},{inner})", at=at, hint="give {key: value}", code="LB1203")
    kind = str if key == STRING else int
    for name in value:
        if not isinstance(name, kind):
            raise InputError(
                f"the key {name!r} is {_name(name)}, expected {kind.__name__}", at=at, hint=f"make it {kind.__name__}", code="LB1203"
            )
    if not inner.startswith("tensor("):
        return {name: admit(item, inner, f"{at}[{name!r}]") for name, item in value.items()}
    scalar = str if STRING in inner else (float, int) if "float" in inner else int
    for name, item in value.items():
        if not isinstance(item, scalar):
            raise InputError(
                f"{_name(item)}, expected an element of {inner}", at=f"{at}[{name!r}]", hint="give a number or a string", code="LB1203"
            )
    return dict(value)


def _name(value: Any) -> str:
    return type(value).__name__


def problem(value: Any, dtype: str) -> str:
    """Return in what a value that a model made differs from its dtype, or ""."""
    try:
        admit(value, dtype, "")
    except InputError as error:
        return error.message
    return ""


def copied(value: Any) -> Any:
    """Return a value in memory of its own."""
    if isinstance(value, np.ndarray):
        return value.copy()
    if isinstance(value, list):
        return [copied(item) for item in value]
    return {key: copied(item) for key, item in value.items()} if isinstance(value, dict) else value


def example(dtype: str, shape: Sequence[int]) -> Any:
    """Return the plainest value of a dtype: zeros, empty strings, an empty sequence or map, None."""
    if dtype in BITS:
        return np.zeros(shape, holder(dtype))
    if dtype == STRING:
        return np.full(tuple(max(extent, 0) for extent in shape), "", dtype=object)
    kind = dtype.partition("(")[0]
    if kind == "tensor":
        inner = dtype[len("tensor(") : -1]
        return np.array("", dtype=object) if inner == STRING else np.zeros((), holder(inner))
    return {"sequence": list, "map": dict}.get(kind, lambda: None)()


def extents(value: Any, dtype: str) -> tuple[int, ...]:
    """Return the shape of a value as its buffer has one: that of a tensor of strings, else ()."""
    return tuple(value.shape) if dtype == STRING else ()
