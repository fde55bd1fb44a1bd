"""Whether what a vendor needs is here: its Python package, a device; an error says what is missing."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from landbridge.runtime.errors import DeviceError, UnsupportedError


def import_package(module: str, *, package: str = "", at: str, hint: str) -> Any:
    """Return a module of a vendor's package.

    Args:
        module: its name in Python.
        package: what it is called where it is installed from; ``module`` by default.
        at: the device that needs it.
        hint: how it is installed.

    Raises:
        DeviceError: it is missing, or does not load.
    """
    try:
        return import_module(module)
    except (ImportError, OSError) as error:
        raise DeviceError(
            f"the Python package {package or module} is missing or cannot be loaded",
            at=at,
            hint=hint,
            vendor_text=str(error),
            code="LB4001",
        ) from error


def check_only_device(kind: str, title: str, ordinal: int, *, simulate: bool) -> None:
    """Check which device of a vendor is asked for that has one, this machine's CPU. ``title`` is what the vendor calls itself.

    Raises:
        DeviceError: ``ordinal`` is not 0.
        UnsupportedError: a simulator is asked for.
    """
    if simulate:
        hint = "it runs on every CPU: leave it out of the simulated vendors"
        raise UnsupportedError(f"{kind} has no simulator", hint=hint, code="LB2302")
    if ordinal != 0:
        message = f"there is no such device; {title} devices here: {kind}0"
        raise DeviceError(message, at=f"{kind}{ordinal}", hint="name that one", code="LB4002")
