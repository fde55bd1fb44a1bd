"""What can happen to a file while it is saved, tried many times. ``python -m support.saves WHAT FOLDER SIZE`` prints what it did.

``calls``: each system call fails in its turn, with each of a few errors; needs ``failing_calls.c`` preloaded. ``kills``: SIZE writers are
killed. ``readers``: two writers and four readers at once, for SIZE seconds. A file is damaged when it is neither the old nor a new
one, complete; then this ends with an exception.
"""

from __future__ import annotations

import ctypes
import errno
import os
import random
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

from landbridge.runtime.save_file import save_file

PIECE, PIECES = 4096, 16
ERRORS = (errno.ENOSPC, errno.EIO, errno.EACCES, errno.EMFILE, errno.EINTR, errno.EDQUOT)

Save = Callable[[Path, int], None]


def save(path: Path, value: int) -> None:
    """Save a file of one byte's repetition."""
    save_file(path, [bytes([value]) * PIECE] * PIECES)


def save_in_place(path: Path, value: int) -> None:
    """Save as one must not: the positive control."""
    with path.open("wb") as file:
        for _ in range(PIECES):
            file.write(bytes([value]) * PIECE)
            file.flush()


def value_of(path: Path) -> int:
    """Return the byte that a file is made of."""
    data = path.read_bytes()
    if len(data) != PIECE * PIECES or data.count(data[:1]) != len(data):
        raise AssertionError(f"damaged: {len(data)} bytes of {PIECE * PIECES}, {len(set(data))} values")
    return data[0]


def calls(folder: Path, write: Save) -> str:
    """Let each call fail; return how many runs there were and how many of them told."""
    arm, path = ctypes.CDLL(None).failing_calls, folder / "a"
    runs = told = 0
    for error in ERRORS:
        write(path, 1)
        arm(0, 0)
        write(path, 2)
        count = arm(0, 0)
        if count < 5:
            raise AssertionError(f"{count} calls: the library is not preloaded")
        for n in range(1, count + 1):
            write(path, 1)
            arm(n, error)
            expected = {2}
            try:
                write(path, 2)
            except OSError as failure:
                told += 1
                expected = {2} if getattr(failure, "__notes__", []) else {1}
            finally:
                arm(0, 0)
            runs += 1
            found = value_of(path)
            if found not in expected:
                raise AssertionError(f"call {n} fails with {errno.errorcode[error]}: the file is {found}, expected {expected}")
            write(path, 3)
            if sorted(os.listdir(folder)) != ["a"]:
                raise AssertionError(f"call {n} fails with {errno.errorcode[error]}: left over: {os.listdir(folder)}")
    return f"{runs} {told}"


def forked(work: Callable[[], None]) -> int:
    """Return the process in which a function runs, and then nothing more."""
    child = os.fork()
    if child == 0:
        try:
            work()
        finally:
            os._exit(1)
    return child


def writes(path: Path, write: Save, seed: int = 0) -> None:
    """Save for ever."""
    value = seed
    while True:
        value = (value + 1) % 251
        write(path, value)


def kills(folder: Path, size: int, write: Save) -> str:
    """Kill so many writers; return how many of them had saved something new."""
    path, draw, changed = folder / "a", random.Random(1), 0
    write(path, 0)
    for _ in range(size):
        before = value_of(path)
        child = forked(lambda: writes(path, write, before))  # noqa: B023 - it runs at once
        time.sleep(draw.random() * 0.03)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        changed += value_of(path) != before
    write(path, 7)
    if sorted(os.listdir(folder)) != ["a"]:
        raise AssertionError(f"left over: {os.listdir(folder)}")
    return f"{size} {changed}"


def reads(path: Path, until: float, tell: int) -> None:
    """Read until it is time, and tell how often."""
    count = 0
    while time.monotonic() < until:
        value_of(path)
        count += 1
    os.write(tell, f"{count}\n".encode())


def readers(folder: Path, seconds: int, write: Save) -> str:
    """Let two write and four read; return how many reads there were."""
    path, until = folder / "a", time.monotonic() + seconds
    write(path, 0)
    out, tell = os.pipe()
    writers = [forked(lambda: writes(path, write, 100 * seed)) for seed in (0, 1)]  # noqa: B023 - it runs at once
    found = [forked(lambda: reads(path, until, tell)) for _ in range(4)]
    for reader in found:
        os.waitpid(reader, 0)
    for writer in writers:
        os.kill(writer, signal.SIGKILL)
        os.waitpid(writer, 0)
    os.close(tell)
    with os.fdopen(out) as lines:
        counts = [int(line) for line in lines]
    if len(counts) != len(found):
        raise AssertionError("a reader saw a damaged file")
    return str(sum(counts))


def main() -> None:
    """Do what the command line says."""
    what, folder, size = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
    write = save_in_place if sys.argv[4:] == ["in place"] else save
    done = {
        "calls": lambda: calls(folder, write),
        "kills": lambda: kills(folder, size, write),
        "readers": lambda: readers(folder, size, write),
    }
    sys.stdout.write(done[what]() + "\n")


if __name__ == "__main__":
    main()
