"""Do work in a forked child, so that a crash in it is a message here and not the end of the user's process.

TVM's importer, its lowering and LLVM are native code that a strange model can bring down. What they do runs in a copy of this process;
what it finds comes back over a pipe as it is found. The environment variable ``LANDBRIDGE_ISOLATE=0`` keeps all of it in this process, for
debuggers and profilers.
"""

from __future__ import annotations

import contextlib
import ctypes
import faulthandler
import gc
import logging
import multiprocessing
import os
import pickle
import signal
import sys
import tempfile
import traceback
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import IO, Any

from landbridge.runtime.errors import BugError

_LOG = logging.getLogger(__name__)

ISOLATE = "LANDBRIDGE_ISOLATE"
"""Environment variable: "0" does all work in this process."""

SILENCE_S = 300.0
"""Seconds without a word from a child after which it counts as hung."""

_CRASHES = (signal.SIGSEGV, signal.SIGABRT, signal.SIGBUS, signal.SIGFPE, signal.SIGILL)

_PR_SET_PDEATHSIG = 1

_in_child = False

Send = Callable[[Any], None]
"""Hands what was found to the parent; anything that can be pickled."""


@dataclass(frozen=True)
class Ended:
    """What a child found, and how it ended.

    Attributes:
        found: what it sent, in order.
        death: such as "crashed with SIGSEGV" or "said nothing for 300 s"; "" where it ended by itself.
    """

    found: tuple[Any, ...]
    death: str = ""


@dataclass(frozen=True)
class _Raised:
    """An exception that ended the work, and its traceback as text."""

    error: BaseException
    text: str


class _ChildTraceback(Exception):
    """Where in the child an exception was raised; the cause of the one that is raised here."""

    def __str__(self) -> str:
        return f"in a forked child\n{self.args[0]}"


def isolating() -> bool:
    """Return whether `isolated` does its work in a child; what is such a child itself has none."""
    return not _in_child and os.environ.get(ISOLATE) != "0"


def isolated(work: Callable[[Send], None], silence_s: float = SILENCE_S) -> Ended:
    """Return what ``work`` sends; it runs in a forked child of this process.

    Args:
        work: must not use what a fork does not copy: other threads, sessions.
        silence_s: seconds between two things sent after which the child is killed.

    Raises:
        Exception: whatever ``work`` raises.
    """
    if not isolating():
        found: list[Any] = []
        work(found.append)
        return Ended(tuple(found))
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    reader, writer = multiprocessing.Pipe(duplex=False)
    with reader, tempfile.TemporaryFile() as log:
        pid = _fork()
        if pid == 0:
            _be_child(work, writer, log)
        writer.close()
        return _listen(pid, reader, log, silence_s)


def _fork() -> int:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of forks with threads about: the child uses none of theirs
        return os.fork()


def _be_child(work: Callable[[Send], None], writer: Connection, log: IO[bytes]) -> None:
    """Do the work and end the process; none of the parent's clean-up is the child's."""
    global _in_child
    _in_child = True
    gc.freeze()  # the parent's garbage stays: its destructors may wait for threads that are not here
    try:
        with contextlib.suppress(AttributeError):  # only Linux has it
            ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        faulthandler.disable()  # its handler, as any, may itself crash: on a small stack of its own, and the death would be told as another
        for number in (signal.SIGINT, signal.SIGTERM, *_CRASHES):
            signal.signal(number, signal.SIG_DFL)
        os.dup2(log.fileno(), 2)  # what native code says as it tries and as it dies is no message to a user
        sys.stderr = open(2, "w", closefd=False)  # noqa: SIM115 - as long as the process lives
        work(writer.send)
    except BaseException as error:  # whatever it is, the parent raises it
        _send_error(writer, error)
    finally:
        with contextlib.suppress(OSError, ValueError):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(0)


def _send_error(writer: Connection, error: BaseException) -> None:
    text = traceback.format_exc()
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:  # exceptions of other libraries may be beyond pickling in any way
        error = BugError(f"{type(error).__name__}: {error}")
    with contextlib.suppress(OSError):  # the parent has ended
        writer.send(_Raised(error, text))


def _listen(pid: int, reader: Connection, log: IO[bytes], silence_s: float) -> Ended:
    found: list[Any] = []
    hung = True
    try:
        while reader.poll(silence_s):
            found.append(reader.recv())
    except EOFError:
        hung = False
    finally:
        if hung:
            os.kill(pid, signal.SIGKILL)
        _, status = os.waitpid(pid, 0)
    log.seek(0)
    said = log.read().decode(errors="replace")
    if said:
        _LOG.debug("a child of the compiler said: %s", said)
    if hung or os.WIFSIGNALED(status):
        return Ended(tuple(found), f"said nothing for {silence_s:g} s" if hung else f"crashed with {_signal_name(os.WTERMSIG(status))}")
    if found and isinstance(found[-1], _Raised):
        raise found[-1].error from _ChildTraceback(found[-1].text)
    return Ended(tuple(found))


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
