"""Lend prepared runs to threads: for each set of extents a few, each to one thread at a time.

A thread has a lease for as long as it holds its lock, and nothing else counts leases: whatever ends a run, an interrupt too, gives the
lease back with the lock, and whoever holds all locks knows that nothing runs. Leases are made when they are wanted, up to a limit, and
as long as the devices have memory for them; beyond that, threads wait.
"""

from __future__ import annotations

import itertools
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence

from landbridge.runtime.binding import Binding
from landbridge.runtime.errors import DeviceError
from landbridge.runtime.execute import NO_TIME, Runner
from landbridge.runtime.open_artifact import OpenArtifact

_LOG = logging.getLogger(__name__)

Dims = tuple[int, ...]

_POOLS = 8
"""For how many sets of extents leases are kept."""

_POLL_S = 0.0005
"""How often a lock is looked at by who waits for it to be free. (A lock that is taken with a timeout can be lost to an interrupt.)"""


class Lease:
    """A prepared run that one thread uses at a time.

    Attributes:
        turn: the thread that holds it has the lease.
        binding: what is prepared; None before, and after it had to make way for others.
        runner: of the binding.
        runs: that ended well.
        failures: runs that did not.
        elapsed_ns: of those that ended well.
        phases: of the last one.
    """

    def __init__(self) -> None:
        self.turn = threading.Lock()
        self.binding: Binding | None = None
        self.runner: Runner | None = None
        self.runs = 0
        self.failures = 0
        self.elapsed_ns = 0
        self.phases = NO_TIME.copy()

    def close(self) -> None:
        """Give everything back; for who holds the turn. Idempotent."""
        self.runner = None
        if self.binding is not None:
            self.binding.close()
        self.binding = None


class _Pool:
    """The leases of one set of extents."""

    def __init__(self, limit: int, used: int) -> None:
        self.leases: tuple[Lease, ...] = ()
        self.limit = limit
        self.used = used

    def free(self) -> Lease | None:
        for lease in self.leases:
            if not lease.turn.locked():
                return lease
        return None

    def is_busy(self) -> bool:
        return any(lease.turn.locked() for lease in self.leases)


class Leases:
    """All leases of a session.

    Attributes:
        limit: how many there are at most for one set of extents.
        making: held by who makes a lease, which is nowhere to be found before it is made.
        retired: leases that had to make way; what they counted still counts.
        abandoned: bindings that their owners were collected without closing. They are closed at the next occasion, and not while
            something is collected: a vendor may hold a lock then.
    """

    def __init__(self, opened: OpenArtifact, limit: int) -> None:
        self.limit = limit
        self.retired: list[Lease] = []
        self.abandoned: deque[Binding] = deque()
        self._opened = opened
        self._pools: dict[Dims, _Pool] = {}
        self.making = threading.Lock()
        self._unfinished: Lease | None = None
        self._clock = itertools.count()
        self._refusal: Callable[[], Exception] | None = None

    def choose(self, dims: Dims) -> Lease:
        """Return a lease for these extents whose turn to wait for: a free one where there is one.

        Its runner is None where it had to make way in the meantime: then choose again.

        Raises:
            PlanError, DeviceError, InputError, MemoryError: as `Binding`; what `refuse` said.
        """
        pool = self._pools.get(dims)
        if pool is not None:
            pool.used = next(self._clock)
            lease = pool.free()
            if lease is not None:
                return lease
            if len(pool.leases) >= pool.limit:
                return pool.leases[pool.used % len(pool.leases)]
        with self.making:
            return self._make(dims)

    def all(self) -> list[Lease]:
        """Return every lease there is or was."""
        return [*self.retired, *(lease for pool in list(self._pools.values()) for lease in pool.leases)]

    def extents(self) -> list[Dims]:
        """Return the extents that there are leases for, in the order in which they were first wanted."""
        return list(self._pools)

    def refuse(self, refusal: Callable[[], Exception]) -> None:
        """Make no lease any more: raise what ``refusal`` returns instead."""
        self._refusal = refusal

    def close(self) -> None:
        """Give everything back; nothing may run any more. Idempotent."""
        for lease in self.all():
            lease.close()
        self._sweep()
        self._pools.clear()

    def sweep(self) -> None:
        """Close what nobody owns any more."""
        with self.making:
            self._sweep()

    def _make(self, dims: Dims) -> Lease:
        self._sweep()
        if self._refusal is not None:
            raise self._refusal()
        pool = self._pools.get(dims) or _Pool(self.limit, next(self._clock))
        found = pool.free() if pool.leases else None
        if found is not None:
            return found
        if not pool.leases:
            self._make_way(_POOLS - 1)
        lease = self._unfinished = Lease()
        try:
            self._fill(lease, dims)
        except (DeviceError, MemoryError) as error:
            self._sweep()
            if pool.leases:  # there is no room for another: wait for one of these
                _LOG.debug("%d leases for %s, not one more: %s", len(pool.leases), dims, error)
                pool.limit = len(pool.leases)
                return pool.leases[0]
            if not self._make_way(0):
                raise
            lease = self._unfinished = Lease()
            self._fill(lease, dims)
        pool.leases = (*pool.leases, lease)
        self._pools[dims] = pool
        self._unfinished = None
        return lease

    def _fill(self, lease: Lease, dims: Dims) -> None:
        lease.binding = Binding(self._opened, dims)
        lease.runner = Runner(lease.binding)

    def _sweep(self) -> None:
        """Close abandoned bindings, and a lease that an error or an interrupt left half made."""
        while self.abandoned:
            self.abandoned[0].close()
            self.abandoned.popleft()
        if self._unfinished is not None and self._unfinished not in self.all():
            self._unfinished.close()
        self._unfinished = None

    def _make_way(self, count: int) -> bool:
        """Close the leases of extents that were not used for the longest time, until those of ``count`` extents are left.

        Those in use stay.

        Returns:
            Whether anything was closed.
        """
        for dims, pool in sorted(self._pools.items(), key=lambda item: item[1].used):
            if len(self._pools) > count and not pool.is_busy():
                self.retired.extend(self._pools.pop(dims).leases)
        closed = any(lease.binding is not None for lease in self.retired)
        total = Lease()
        for lease in self.retired:
            with lease.turn:
                lease.close()
            total.runs, total.failures = total.runs + lease.runs, total.failures + lease.failures
            total.elapsed_ns += lease.elapsed_ns
        self.retired = [total]
        return closed


def wait_for(turns: Iterable[threading.Lock], give_up: Callable[[], bool]) -> bool:
    """Wait until nobody holds any of these locks any more, where nobody who takes one now keeps it; return whether that is so."""
    for turn in turns:
        while turn.locked():
            if give_up():
                return False
            time.sleep(_POLL_S)
    return True


def default_limit(symbols: Sequence[str], processors: int) -> int:
    """Return how many leases to have: enough that every processor and every offline model has something to do, and one to wait."""
    return min(max(processors, 2 * len(symbols) + 1) + 1, 16)
