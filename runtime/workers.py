"""Threads that run requests for callers who do not want to wait, and one for a caller who does not want to wait for ever.

They are daemons: a vendor's call that never returns does not keep the process from ending. An idle one refers to nothing but its queue.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, TypeVar

from landbridge.runtime.errors import DeviceTimeout

T = TypeVar("T")

Job = tuple["Future[Any]", Callable[[], Any]]


class Workers:
    """Does jobs in the order given, on threads that are made when they are wanted."""

    def __init__(self) -> None:
        self._jobs: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._threads = 0
        self._idle = threading.Semaphore(0)
        self._lock = threading.Lock()

    def submit(self, job: Callable[[], T], limit: int) -> Future[T]:
        """Return the result to be of ``job``; at most ``limit`` threads are made.

        Raises:
            RuntimeError: the system gives no thread, and there is none yet; the job will not be done.
        """
        future: Future[T] = Future()
        with self._lock:
            if not self._idle.acquire(blocking=False) and self._threads < limit:
                self._start()
        self._jobs.put((future, job))
        return future

    def _start(self) -> None:
        thread = threading.Thread(target=_work, args=(self._jobs, self._idle), name="landbridge", daemon=True)
        try:
            thread.start()
        except RuntimeError:
            if not self._threads:  # else one of those there are will do it
                raise
        else:
            self._threads += 1

    def close(self) -> None:
        """Let the threads end after the jobs that are waiting."""
        with self._lock:
            for _ in range(self._threads):
                self._jobs.put(None)
            self._threads = 0


def _work(jobs: queue.SimpleQueue[Job | None], idle: threading.Semaphore) -> None:
    while (entry := jobs.get()) is not None:
        _do(*entry)
        del entry
        idle.release()


def _do(future: Future[Any], job: Callable[[], Any]) -> None:
    if not future.set_running_or_notify_cancel():
        return
    try:
        result = job()
    except BaseException as error:  # it belongs to whoever asks for the result
        future.set_exception(error)
    else:
        future.set_result(result)


class Deadline:
    """A job on a thread of its own, which is abandoned when time is up.

    Attributes:
        begun: the job has begun what cannot be broken off.
    """

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.begun = False
        self._over = False
        self._lock = threading.Lock()

    def begin(self) -> None:
        """Begin, from within the job.

        Raises:
            DeviceTimeout: time was up before.
        """
        with self._lock:
            if self._over:
                raise DeviceTimeout("the deadline passed before it began")
            self.begun = True

    def run(self, job: Callable[[], T]) -> tuple[bool, T | None]:
        """Return whether the job ended in time, and its result; what it raises in time is raised."""
        future: Future[T] = Future()
        threading.Thread(target=_do, args=(future, job), name="landbridge-deadline", daemon=True).start()
        try:
            return True, future.result(self.seconds)
        except TimeoutError:
            if not future.done():
                with self._lock:
                    self._over = True
                return False, None
            return True, future.result()
