"""The lean runtime: opens an artifact and runs it. Imports the standard library and NumPy, nothing else.

Example:
    from landbridge import runtime

    with runtime.load("detector.lbr") as session:
        outputs = session.run({"image": image})

Each name below is imported when it is first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from landbridge.runtime.device import Device
    from landbridge.runtime.memory import DeviceTensor
    from landbridge.runtime.session import Session, load

__all__ = ["load", "Session", "DeviceTensor", "Device"]

_HOME = {"load": "session", "Session": "session", "DeviceTensor": "memory", "Device": "device"}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
    value = globals()[name] = getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
    return value
