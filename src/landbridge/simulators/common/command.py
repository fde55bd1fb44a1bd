"""The end that the command lines of all simulators have: make a model, write it, say what happened."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

from landbridge.runtime.errors import LandbridgeError


def write_model(make: Callable[[], bytes], output: str) -> int:
    """Write what ``make`` returns to ``output``; return the exit status, after a line that says what was written or what is wrong."""
    try:
        blob = make()
        Path(output).write_bytes(blob)
    except (LandbridgeError, OSError) as error:
        sys.stderr.write(f"error: {error}\n")
        return getattr(error, "exit_code", 1)
    sys.stdout.write(f"{output}: {len(blob)} bytes, for the simulator only\n")
    return 0
