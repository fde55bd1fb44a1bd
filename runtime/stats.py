"""What a session has done, in numbers."""

from __future__ import annotations

from landbridge.runtime.lifecycle import Lifecycle, State
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

    @staticmethod
    def of(life: Lifecycle) -> Stats:
        """Return what the leases of a session have counted."""
        leases = life.leases.all()
        return Stats(
            state=life.state,
            runs=sum(lease.runs for lease in leases),
            failures=sum(lease.failures for lease in leases),
            elapsed_ns=sum(lease.elapsed_ns for lease in leases),
            active=sum(lease.turn.locked() for lease in leases),
            leases=sum(lease.runner is not None for lease in leases),
            bound=len(life.bound),
        )
