"""Raise `KeyboardInterrupt` at the n-th line of the runtime that is executed, for each n in turn."""

from __future__ import annotations

import dis
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

import landbridge.runtime

_RUNTIME = str(Path(landbridge.runtime.__file__).parent)


class Interrupted:
    """Counts the lines of the runtime that a call executes on this thread, and interrupts at one of them.

    Vendors' drivers are left out, as what they must be true to is tested with faults. So are two places where a trace function is called
    but the interpreter never looks at signals, which it does at calls and at jumps backwards, and where an exception would pass by the
    block around it: a ``try`` itself, and the ``with`` that shows again when its block ends, before it lets go.
    """

    def __init__(self, at: int = 0) -> None:
        self.at = at
        self.count = 0
        self.where = ""

    def __call__(self, job: Callable[[], Any]) -> Any:
        """Do the job and return its result; raise `KeyboardInterrupt` in it at line ``at``, counted from 1."""
        before = sys.gettrace()
        sys.settrace(self._enter)
        try:
            return job()
        finally:
            sys.settrace(before)

    def _enter(self, frame: FrameType, event: str, argument: Any) -> Any:
        name = frame.f_code.co_filename
        return self._line if name.startswith(_RUNTIME) and "/vendors/" not in name else None

    def _line(self, frame: FrameType, event: str, argument: Any) -> Any:
        if event == "line" and frame.f_lasti not in _exits(frame.f_code):
            self.count += 1
            if self.count == self.at:
                self.where = f"{Path(frame.f_code.co_filename).name}:{frame.f_lineno}"
                raise KeyboardInterrupt
        return self._line


@cache
def _exits(code: CodeType) -> frozenset[int]:
    """Return the offsets where a ``with`` begins to let go, pushing None three times for what it is told, and those of a ``try``."""
    instructions = list(dis.get_instructions(code))
    nones = [i.opname == "LOAD_CONST" and i.argval is None for i in instructions]
    starts = [i for i in range(len(nones) - 2) if all(nones[i : i + 3])]
    ends = {instructions[i - (instructions[i - 1].opname == "SWAP")].offset for i in starts}  # swapped with what is returned
    return frozenset(ends | {i.offset for i in instructions if i.opname == "NOP"})
