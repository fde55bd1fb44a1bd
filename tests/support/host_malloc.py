"""Fail the allocations of a host library one by one: ``python -m support.host_malloc ARTIFACT FIRST``, with failing_malloc.c preloaded.

FIRST is the one that fails in the first run of the process, which makes some that later ones do not. Prints how many runs there were,
how many of them failed as they should, and how many blocks the library kept afterwards.
"""

from __future__ import annotations

import ctypes
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np

from landbridge.runtime import load
from landbridge.runtime.errors import DeviceError
from landbridge.runtime.session import Session

PRELOADED = ctypes.CDLL(None)


def watch_library() -> None:
    """Tell where the host library is."""
    lines = [line for line in Path("/proc/self/maps").read_text().splitlines() if "landbridge-host" in line]
    ends = [int(end, 16) for line in lines for end in line.split()[0].split("-")]
    PRELOADED.watch_library(ctypes.c_void_p(min(ends)), ctypes.c_void_p(max(ends)))


def arm(number: int) -> int:
    """Let the n-th allocation from now fail, or none; return how many there were."""
    PRELOADED.failing_malloc.restype = ctypes.c_long
    return int(PRELOADED.failing_malloc(ctypes.c_long(number)))


def live_blocks() -> int:
    """Return how many blocks the library holds."""
    PRELOADED.live_blocks.restype = ctypes.c_long
    return int(PRELOADED.live_blocks())


def on_a_new_thread(session: Session, inputs: Any) -> Any:
    """Run where the library has no memory of earlier runs at hand; return the outputs or the error."""
    found: list[Any] = []

    def run() -> None:
        try:
            found.append(session.run(inputs))
        except DeviceError as error:
            found.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    while Path(f"/proc/self/task/{thread.native_id}").exists():  # its memory is given back after Python is done with it
        time.sleep(0.001)
    return found[0]


def same(left: Any, right: Any) -> bool:
    """Return whether two results are equal in every bit."""
    return left.keys() == right.keys() and all(np.array_equal(left[name], right[name]) for name in left)


def enumerate_failures(session: Session, inputs: Any, first_to_fail: int) -> tuple[int, int, int]:
    """Let each allocation of a run fail; check what each run says, and the runs after it."""
    arm(first_to_fail)
    first = on_a_new_thread(session, inputs)
    arm(0)
    expected = on_a_new_thread(session, inputs)
    assert isinstance(first, DeviceError) or same(first, expected), first
    before = live_blocks()
    runs = failed = 0
    while True:
        arm(runs + 1)
        found = on_a_new_thread(session, inputs)
        made = arm(0)
        if isinstance(found, DeviceError):
            failed += 1
            assert "MemoryError: no " in str(found), found
            assert found.step is not None
            assert session.state == "READY"
        else:
            assert same(found, expected)
        assert same(on_a_new_thread(session, inputs), expected), f"the run after the {runs + 1}th allocation failed"
        runs += 1
        if made < runs:
            return runs, failed, live_blocks() - before


def main() -> None:
    """Print the counts."""
    with load(sys.argv[1]) as session:
        watch_library()
        inputs = {info.name: np.random.default_rng(0).random(info.shape).astype(info.dtype) for info in session.inputs}
        print(*enumerate_failures(session, inputs, int(sys.argv[2])))  # noqa: T201 - read by the test


if __name__ == "__main__":
    main()
