"""How messages name a place in a program: the user's model and the user's name in it, as in ``model.onnx:/layer1/act``."""

from __future__ import annotations

from typing import Any

from tvm import relax

from landbridge.ir.program import ModuleInfo

CONSTANT = "a constant"
"""What messages call a value that the model holds and nobody named."""


def value_name(info: ModuleInfo, value: Any) -> str:
    """Return what the user calls a value: a variable's name, or `CONSTANT`."""
    return info.user_name(value) if isinstance(value, relax.Var) else CONSTANT


def place(info: ModuleInfo, name: str) -> str:
    """Return where the thing called ``name`` is, with the model's name in front where the model has one."""
    return f"{info.model}:{name}" if info.model else name


def place_of(info: ModuleInfo, value: Any) -> str:
    """Return where a value is, with the model's name in front where the model has one."""
    return place(info, value_name(info, value))
