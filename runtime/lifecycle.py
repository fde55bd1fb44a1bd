"""The states of a session, and how it comes to its end: closed, collected, failed, forked, or with the process.

A session is READY until it is closed or fails. `Lifecycle.close` lets no run begin any more (DRAINING), waits for those under way,
gives everything back (CLOSED). A session FAILED when a run missed its deadline, since a vendor's call cannot be broken off, or when a
device was lost. Then nothing is called any more; what the run that hangs may still use is not given back before it returns.
"""

from __future__ import annotations

import logging
import threading
import time
import weakref
from typing import TYPE_CHECKING, Literal

from landbridge.runtime import forks
from landbridge.runtime.errors import DeviceError, DeviceLost, DeviceTimeout, LandbridgeError, SessionClosed, SessionForked
from landbridge.runtime.leases import Leases, wait_for
from landbridge.runtime.open_artifact import OpenArtifact
from landbridge.runtime.workers import Workers

if TYPE_CHECKING:
    from landbridge.runtime.bound import BoundRun

_LOG = logging.getLogger(__name__)

State = Literal["READY", "DRAINING", "FAILED", "CLOSED"]
"""What a session can be."""

_AT_EXIT_S = 2.0
"""How long the end of the process waits for runs on other threads."""


class Lifecycle:
    """What a session consists of, and its state. It outlives the session for as long as a run hangs.

    Attributes:
        name: of the artifact.
        opened: the artifact on this machine.
        leases: the prepared runs.
        bound: those of callers.
        aside: held by whoever uses devices without a lease.
        workers: run requests that nobody waits for.
        state: of the session.
    """

    def __init__(self, name: str, opened: OpenArtifact, leases: Leases) -> None:
        self.name = name
        self.opened = opened
        self.leases = leases
        self.bound: weakref.WeakSet[BoundRun] = weakref.WeakSet()
        self.aside = threading.Lock()
        self.workers = Workers()
        self.state: State = "READY"
        self._reason: DeviceError | None = None
        self._forked = False
        self._closing = threading.Lock()
        forks.register(self)

    def check(self) -> None:
        """Raise what a call on a session that is not READY gets."""
        if self.state != "READY":
            raise self._refusal()

    def note(self, error: DeviceError) -> None:
        """Take note of what a step raised, and put the state after it into the error."""
        if isinstance(error, DeviceLost):
            self.fail(error)
        error.state = self.state

    def fail(self, reason: DeviceError) -> None:
        """Let nothing begin any more, for this reason."""
        if self.state not in ("READY", "DRAINING"):
            return
        self._reason, self.state = reason, "FAILED"
        self._stop()
        _LOG.error("the session on '%s' has failed: %s", self.name, reason.message)

    def close(self, timeout: float | None) -> None:
        """Wait for what is under way, then give everything back. Idempotent; interrupted, it goes on when it is called again.

        Raises:
            DeviceTimeout: what is under way takes longer than ``timeout`` seconds; the session stays DRAINING.
        """
        if self.state == "CLOSED":
            return
        until = None if timeout is None else time.monotonic() + timeout
        if self.state == "READY":
            self.state = "DRAINING"
        self._stop()
        free = wait_for([*self._turns(), self._closing], lambda: self._has_failed() or (until is not None and time.monotonic() >= until))
        if self._has_failed():
            self.end(wait_s=0)
            return
        if not free:
            message = f"the session on '{self.name}' has a run under way for longer than {timeout} s"
            error = DeviceTimeout(message, hint="call close again to wait on")
            error.state = self.state
            raise error
        with self._closing:
            self._give_back()

    def end(self, wait_s: float = _AT_EXIT_S) -> None:
        """Close what is free within this time, and leave alone what is not: when the session failed, is collected, or the process ends."""
        if self.state == "CLOSED":
            return
        if self.state == "READY":
            self.state = "DRAINING"
        self._stop()
        until = time.monotonic() + wait_s
        if wait_for(self._turns(), lambda: self._has_failed() or time.monotonic() >= until):
            with self._closing:
                self._give_back()
            return
        _LOG.warning("'%s': a run does not return; what it uses is not given back", self.name)
        self.state = "CLOSED"
        self.workers.close()
        forks.keep_forever(self)

    def after_run(self) -> None:
        """Give back what had to wait for a run that hung, after it returned."""
        if self.state == "CLOSED" and self._reason is not None and not any(turn.locked() for turn in self._turns()):
            with self._closing:
                self._give_back()

    def after_fork(self) -> None:
        """Refuse everything, in a forked child."""
        if self.state == "CLOSED":
            return
        forks.keep_forever(self)
        self.state, self._forked = "CLOSED", True
        self.aside = threading.Lock()  # another thread may have held it
        for device in (*self.opened.devices.values(), *self.opened.homes.values()):
            device.closed = True
        for run in list(self.bound):
            run.after_fork()

    def _has_failed(self) -> bool:
        return self.state == "FAILED"

    def _give_back(self) -> None:
        for run in list(self.bound):
            run.close()
        self.workers.close()
        self.leases.close()
        self.opened.close()
        self.state = "CLOSED"

    def _stop(self) -> None:
        self.leases.refuse(self._refusal)
        for run in list(self.bound):
            run.stop()

    def _turns(self) -> list[threading.Lock]:
        return [self.leases.making, self.aside, *(run.turn for run in list(self.bound)), *(lease.turn for lease in self.leases.all())]

    def _refusal(self) -> LandbridgeError:
        if self._forked:
            return SessionForked(
                f"the session on '{self.name}' was loaded before the process was forked", hint="load the artifact in the child"
            )
        if self.state == "FAILED" and self._reason is not None:
            hint = "close it and load the artifact again; where a device was lost, in a new process"
            error = type(self._reason)(f"the session on '{self.name}' has failed: {self._reason.message}", at=self._reason.at, hint=hint)
            error.step, error.device, error.state = self._reason.step, self._reason.device, self.state
            return error
        being = "being closed" if self.state == "DRAINING" else "closed"
        return SessionClosed(f"the session on '{self.name}' is {being}", hint="load the artifact again")
