"""Open a vendor's library where its installation may have put it."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from pathlib import Path

from landbridge.runtime.errors import DeviceError


def open_first(places: Sequence[Path], *, called: str, at: str, hint: str) -> ctypes.CDLL:
    """Return the library from the first place that has it; a bare name is left to the system's search.

    Args:
        called: what messages call it, such as "the Ascend library libascendcl.so".
        at: whose library it is to be, for the error.
        hint: what to install, for the error.

    Raises:
        DeviceError: it is in none of the places, or does not load.
    """
    failures = []
    for path in places:
        if path.is_absolute() and not path.exists():
            continue
        try:
            return ctypes.CDLL(str(path))
        except OSError as error:
            failures.append(str(error))
    raise DeviceError(f"{called} does not load: {'; '.join(failures)}", at=at, hint=hint, code="LB4001")
