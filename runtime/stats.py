"""What a session has done, in numbers."""

from __future__ import annotations

from landbridge.runtime.lifecycle import State
from landbridge.runtime.records import dataclass


@dataclass(frozen=True)
class Stats:
    """What a session has done.

    Attributes:
        state: of the session.
        runs: that ended well.
        failures: runs that did not; inputs that were refused are not among them.
        elapsed_ns: of all runs that ended well, in total.
        active: runs under way.
        leases: prepared runs, each with memory of its own.
        bound: bound runs that are alive.
    """

    state: State
    runs: int
    failures: int
    elapsed_ns: int
    active: int
    leases: int
    bound: int
