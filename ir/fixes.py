"""The lines that messages propose: what to write, in the user's names, to make a program legal."""

from __future__ import annotations

from collections.abc import Sequence

from landbridge.runtime.device import Device


def copy_fix(name: str, route: Sequence[Device]) -> str:
    """Return the lines that bring the value ``name`` along ``route``, whose first device is where it is.

    Example:
        >>> copy_fix("x", [Device("gpu"), Device("cpu"), Device("atlas")])
        'x = lb.copy(x, "cpu"); x = lb.copy(x, "atlas0")'
    """
    stops = [str(device) for device in route[1:]]
    if name.isidentifier():
        return "; ".join(f'{name} = lb.copy({name}, "{stop}")' for stop in stops)
    return f"copy '{name}' to {' and from there to '.join(stops)}"


def cast_fix(name: str, dtype: str) -> str:
    """Return the line that converts the value ``name`` to ``dtype``."""
    return f'{name} = lb.astype({name}, "{dtype}")' if name.isidentifier() else f"convert '{name}' to {dtype}"


def transpose_fix(name: str, order: Sequence[int]) -> str:
    """Return the line that permutes the axes of the value ``name``."""
    if name.isidentifier():
        return f"{name} = lb.nn.permute_dims({name}, {list(order)})"
    return f"permute the axes of '{name}' by {list(order)}"
