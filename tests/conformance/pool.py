"""Run cases, each in a forked child with a time limit, so that a crash or an endless loop takes no other case along.

The parent has imported everything; a child costs no start.
"""

from __future__ import annotations

import io
import os
import pickle
import select
import signal
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import IO, Any

from conformance.cases import Case
from conformance.outcome import Outcome, preload, run_case, run_ort


@dataclass
class _Child:
    case: Case
    pid: int
    pipe: int
    log: IO[bytes]
    deadline: float
    data: bytes = b""


def run_all(cases: Sequence[Case], *, workers: int = 2, limit_s: float = 120, compare: bool = True) -> Iterator[Outcome]:
    """Yield the outcome of each case as it comes.

    Args:
        workers: how many run at once.
        limit_s: seconds after which a case counts as hung.
        compare: whether ONNX Runtime runs them too.
    """
    preload()
    waiting = list(reversed(cases))
    running: dict[int, _Child] = {}
    try:
        while waiting or running:
            while waiting and len(running) < workers:
                child = _start(waiting.pop(), limit_s, compare)
                running[child.pipe] = child
            ready, _, _ = select.select(list(running), [], [], 0.5)
            for pipe in ready:
                child = running[pipe]
                chunk = os.read(pipe, 1 << 16)
                child.data += chunk
                if not chunk:
                    del running[pipe]
                    yield _outcome(child, hung=False)
            for pipe, child in [item for item in running.items() if item[1].deadline < time.monotonic()]:
                os.kill(child.pid, signal.SIGKILL)
                del running[pipe]
                yield _outcome(child, hung=True)
    finally:
        for child in running.values():
            os.kill(child.pid, signal.SIGKILL)
            os.waitpid(child.pid, 0)


def _start(case: Case, limit_s: float, compare: bool) -> _Child:
    read, write = os.pipe()
    log = tempfile.TemporaryFile()  # noqa: SIM115 - it lives as long as the child
    pid = os.fork()
    if pid:
        os.close(write)
        return _Child(case, pid, read, log, time.monotonic() + limit_s)
    try:
        os.close(read)
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
        start = time.monotonic()
        verdict, reason = run_case(case)
        elapsed_s = time.monotonic() - start
        with os.fdopen(write, "wb", buffering=0) as stream:
            pickle.dump((verdict, reason, elapsed_s), stream)
            if compare:
                pickle.dump(run_ort(case), stream)
    finally:
        os._exit(0)  # none of the parent's clean-up is the child's


def _outcome(child: _Child, *, hung: bool) -> Outcome:
    _, status = os.waitpid(child.pid, 0)
    os.close(child.pipe)
    found = list(_unpickle(child.data))
    case = child.case
    child.log.seek(0)
    said = child.log.read().decode(errors="replace").strip().splitlines()
    child.log.close()
    if not found:
        if hung:
            return Outcome(case.name, case.kind, "hung", "it did not end in time")
        ended = f"signal {os.WTERMSIG(status)}" if os.WIFSIGNALED(status) else f"exit status {os.WEXITSTATUS(status)}"
        return Outcome(case.name, case.kind, "crashed", f"{ended}: {said[-1][:200] if said else 'no word'}")
    (verdict, reason, elapsed_s), *rest = found
    ort = rest[0] if rest else "hung" if hung else "crashed" if os.WIFSIGNALED(status) else ""
    return Outcome(case.name, case.kind, verdict, reason, ort, round(elapsed_s, 3))


def _unpickle(data: bytes) -> Iterator[Any]:
    stream = io.BytesIO(data)
    while stream.tell() < len(data):
        try:
            yield pickle.load(stream)
        except (EOFError, pickle.UnpicklingError):
            return
