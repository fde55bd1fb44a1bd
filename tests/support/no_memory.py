"""Let the n-th allocation of Python fail, for each n in turn, in what a session does. A process of its own runs this: it may crash.

``python -m support.no_memory JOB SHAPE WINDOW`` lets so many allocations fail one after the other, beginning with each in turn; it prints
at how many it began and how many showed as a `MemoryError`. Whatever fails, no lock stays held, nothing leaks, and the next run is right.

That all fail for ever from one on cannot be tried: CPython 3.11 allocates a number when an exception gets to a ``finally``, and begins
anew where it cannot, until it can.
"""

from __future__ import annotations

import ctypes
import gc
import logging
import sys
from collections.abc import Callable, Iterator
from functools import partial
from importlib import import_module
from typing import Any

from landbridge.runtime import load
from landbridge.runtime.artifact import from_bytes, to_bytes
from landbridge.runtime.session import Session
from landbridge.runtime.steps import ExternCall
from support.graph_shapes import SHAPES
from support.session_uses import binds, check, crosses, runs, settle
from support.sessions import Toys, image
from support.toy_vendor import toy_vendors

_testcapi: Any = import_module("_testcapi")

_AS_GOOD = (
    "can't allocate lock",
    "can't allocate read lock",
    "MemoryError: ",
    "error return without exception set",
    "returned NULL without setting an exception",
    "NULL object passed to Py_BuildValue",
)
"""What CPython and its ctypes make of it in places."""

_QUIET = 200
"""After so many that do not show, the last allocation is taken to be passed."""

Job = Callable[[Session], Any]


def closes(session: Session) -> None:
    session.close()


def fails(session: Session) -> None:
    """End in an error of the caller's making."""
    try:
        session.run({"z": image(2)})
    except Exception as error:
        if type(error).__name__ != "InputError":
            raise


JOBS: dict[str, Job] = {"runs": runs, "binds": binds, "crosses": crosses, "closes": closes, "fails": fails}


def attempt(job: Callable[[], Any], first: int, window: int) -> bool:
    """Do a job in which allocations fail from number ``first`` on, ``window`` of them; return whether it showed."""
    try:
        _testcapi.set_nomemory(first, first + window)
        job()
    except (MemoryError, RuntimeError, ctypes.ArgumentError, SystemError) as error:
        if not isinstance(error, MemoryError) and not str(error).endswith(_AS_GOOD):
            raise
        return True
    finally:
        _testcapi.remove_mem_hooks()
    return False


class Numbers:
    """Counts up until nothing shows any more.

    Attributes:
        tried: how many there were.
        showed: how many of them showed.
    """

    def __init__(self) -> None:
        self.tried = self.showed = 0
        self._quiet = 0

    def __iter__(self) -> Iterator[int]:
        first = 0
        while self._quiet < _QUIET:
            yield first
            first += 1

    def note(self, showed: bool) -> None:
        """Take note of whether a failure showed."""
        self.tried += 1
        self.showed += showed
        self._quiet = 0 if showed else self._quiet + 1


def enumerate_use(name: str, shape: str, window: int, toys: Toys) -> Numbers:
    """Let each allocation fail in what a session does."""
    make, expected = SHAPES[shape]
    data, job, numbers = to_bytes(make()), JOBS[name], Numbers()
    for first in numbers:
        session = load(data)
        runs(session)
        numbers.note(attempt(partial(job, session), first, window))
        if name != "closes":
            check(session, expected)
        session.close(timeout=10)
        assert session.state == "CLOSED"
        del session
        settle(toys)
    return numbers


def enumerate_loads(shape: str, window: int, toys: Toys) -> Numbers:
    """Let each allocation fail while a session is made of what was read."""
    make, expected = SHAPES[shape]
    read, numbers = from_bytes(to_bytes(make())), Numbers()
    for first in numbers:
        made: list[Session] = []
        numbers.note(attempt(lambda: made.append(Session(read)), first, window))  # noqa: B023 - called at once
        for session in made:
            check(session, expected)
            session.close(timeout=10)
            del session
        made.clear()
        settle(toys)
    return numbers


def enumerate_reads(shape: str, window: int) -> Numbers:
    """Let each allocation fail while an artifact is read: nothing is said of the artifact."""
    data, numbers = to_bytes(SHAPES[shape][0]()), Numbers()
    for first in numbers:
        numbers.note(attempt(lambda: from_bytes(data), first, window))
    return numbers


def careless(self: ExternCall) -> Any:
    """Lose what the vendor gave where there is no memory to note it."""
    addresses = self._binding.addresses
    key = tuple([addresses[buffer] for buffer in self._moving])
    prepared = self._prepared.get(key)
    if prepared is None:
        self._prepared[key] = prepared = self._prepare()
    return prepared


def main() -> None:
    """Run one enumeration."""
    logging.disable()
    name, shape, window = sys.argv[1], sys.argv[2], int(sys.argv[3])
    if sys.argv[4:] == ["careless"]:
        ExternCall._get = careless  # type: ignore[method-assign] # the positive control
    gc.collect()
    gc.freeze()
    with toy_vendors() as toys:
        if name == "reads":
            numbers = enumerate_reads(shape, window)
        else:
            numbers = enumerate_loads(shape, window, toys) if name == "loads" else enumerate_use(name, shape, window, toys)
    sys.stdout.write(f"{numbers.tried} {numbers.showed}\n")


if __name__ == "__main__":
    main()
