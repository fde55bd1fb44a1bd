"""Run those steps of a plan at the same time that do not depend on each other: calls of two devices, a copy during a call.

Which steps may run together follows from the plan: a step waits for those that it names, for those that write what it reads or use
memory that it writes, and for the one before it in the host's code, in a model that takes one call at a time, and in the copies of a
device in one direction. The thread that runs goes on with one of the steps that a step makes ready, and hands the others to helpers;
what is one line of steps never comes here. Handing over takes time, so whether it is worth it is tried out, in the first runs of a
binding and again now and then. Nothing is under way any more when a run returns, however it ends.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from functools import partial
from queue import SimpleQueue
from time import perf_counter_ns
from typing import TYPE_CHECKING, Protocol

import numpy as np

from landbridge.runtime.errors import DeviceLost
from landbridge.runtime.plan import Copy, Segment, Step

if TYPE_CHECKING:
    from landbridge.runtime.binding import Binding
    from landbridge.runtime.workers import Workers

PreparedStep = tuple[int, str, Callable[[], object]]
"""Index in the plan, phase, call."""

HANDOVER_NS = 60_000
"""About what it costs to hand a step to another thread and to wait for that: one that is asleep has to wake up."""

_TRIES = 3
"""How often each way is timed before one is chosen; the first times of both count for nothing when later ones are better."""

_AGAIN = 5000
"""After so many runs the choice is made anew: what else the machine does may have changed."""

_MOST_STEPS = 1024
"""Longer plans run in their order: finding out who may run with whom takes the square of their length."""

_HELPERS = 64
"""The most threads that help all runs of a session; what finds none waits for one."""


class Watcher(Protocol):
    """Who looks on while steps run; called on the threads that run them."""

    def begin(self, index: int) -> None:
        """Take note that a step begins."""

    def end(self, index: int, phase: str, started_ns: int, elapsed_ns: int) -> None:
        """Take note of when a step began, by `time.perf_counter_ns`, and how long it took."""


def find_overlap(binding: Binding) -> Overlap | None:
    """Return what runs the steps of a binding together, or None where each has to wait for the one before."""
    steps = [binding.plan.steps[index] for index, _, _ in binding.calls]
    if len(steps) > _MOST_STEPS:
        return None
    queues = _queues(binding, steps)
    if is_one_line(reduced(queues)):  # so is most often the case, and it takes no look at the memory to know
        return None
    conflicts = _conflicts(binding, steps)
    before = reduced([own | other for own, other in zip(queues, conflicts, strict=True)])
    return None if is_one_line(before) else Overlap(binding.calls, before, binding.opened.helpers)


def _queues(binding: Binding, steps: Sequence[Step]) -> list[set[int]]:
    """Return for each step the positions of those that it names, and of the one before it on what takes one at a time."""
    positions = {index: position for position, (index, _, _) in enumerate(binding.calls)}
    last: dict[tuple[str, ...], int] = {}
    found = []
    for position, step in enumerate(steps):
        waits = {positions[index] for index in step.after if index in positions}
        queue = _queue(binding, step)
        if queue is not None:
            waits |= {last[queue]} if queue in last else set()
            last[queue] = position
        found.append(waits)
    return found


def _queue(binding: Binding, step: Step) -> tuple[str, ...] | None:
    """Return what a step needs for itself alone while it runs."""
    if isinstance(step, Copy):
        ends = binding.plan.buffers[step.source].device, binding.plan.buffers[step.destination].device
        return ("copy", *ends)
    if isinstance(step, Segment) or binding.opened.records[step.model].device == "cpu":
        return ("host",)
    model = binding.opened.models[step.model]
    return None if model.concurrent else ("model", str(id(model)))


def _conflicts(binding: Binding, steps: Sequence[Step]) -> list[set[int]]:
    """Return for each step the positions of the earlier ones that must not run at the same time, for the memory that both use."""
    spaces: dict[str, list[tuple[int, int, int, bool]]] = {}
    for position, step in enumerate(steps):
        for buffers, writes in ((step.reads, False), (step.writes, True)):
            for buffer in buffers:
                space, start, end = binding.span(buffer)
                spaces.setdefault(space, []).append((position, start, end, writes))
    found: list[set[int]] = [set() for _ in steps]
    for accesses in spaces.values():
        table = np.array(accesses, np.int64)
        position, start, end, writes = table.T
        for row, (at, first, last, wrote) in enumerate(accesses):
            earlier = slice(0, row)
            touching = (start[earlier] < last) & (end[earlier] > first) & ((writes[earlier] != 0) | wrote) & (position[earlier] < at)
            found[at].update(position[earlier][touching].tolist())
    return found


def reduced(before: Sequence[set[int]]) -> list[tuple[int, ...]]:
    """Return for each position those it waits for directly, leaving out whom these wait for. All are earlier ones."""
    ancestors: list[int] = []
    result = []
    for waits in before:
        known, direct = 0, []
        for earlier in sorted(waits, reverse=True):
            if not known >> earlier & 1:
                direct.append(earlier)
                known |= ancestors[earlier] | 1 << earlier
        ancestors.append(known)
        result.append(tuple(direct))
    return result


def is_one_line(before: Sequence[tuple[int, ...]]) -> bool:
    """Return whether each waits for the one before it."""
    return all(position - 1 in waits for position, waits in enumerate(before) if position)


def longest(before: Sequence[tuple[int, ...]], times: Sequence[int]) -> int:
    """Return how long the steps take when each begins as soon as it may."""
    ends: list[int] = []
    for waits, time in zip(before, times, strict=True):
        ends.append(max((ends[earlier] for earlier in waits), default=0) + time)
    return max(ends, default=0)


class Overlap:
    """Runs the steps of one binding, in the way that was found to be faster. Not for two threads at once.

    Attributes:
        calls: of all steps, in an order in which they may run one after the other.
        first: positions of those that wait for nothing.
        later: for each position those that wait for it.
        counts: for each position how many it waits for.
        helpers: threads.
        kept: what must live as long as something is under way.
    """

    def __init__(self, calls: Sequence[PreparedStep], before: Sequence[tuple[int, ...]], helpers: Workers) -> None:
        self.calls = tuple(calls)
        self.counts = tuple(len(waits) for waits in before)
        self.first = tuple(position for position, count in enumerate(self.counts) if count == 0)
        self.later = tuple(
            tuple(position for position, waits in enumerate(before) if earlier in waits) for earlier in range(len(self.calls))
        )
        self.helpers = helpers
        self.kept: object = None
        self._before = before
        self._handovers = max(len(self.first) - 1, 0) + sum(max(len(positions) - 1, 0) for positions in self.later)
        self._flight: _Flight | None = None
        self._times = [0] * len(self.calls)
        self._in_turn: list[int] = []
        self._together: list[int] = []
        self._runs = 0

    @property
    def together(self) -> bool:
        """Whether the next run is to let steps run at the same time."""
        if len(self._in_turn) < _TRIES:
            return False
        if len(self._together) < _TRIES:
            return longest(self._before, self._times) + self._handovers * HANDOVER_NS < min(self._in_turn)
        return min(self._together) < min(self._in_turn)

    def step(self) -> None:
        """Run, for who wants no times."""
        self.run(dict.fromkeys((phase for _, phase, _ in self.calls), 0))

    def run(self, phases: dict[str, int], watcher: Watcher | None = None) -> None:
        """Run all steps once.

        Args:
            phases: the nanoseconds of each step are added to its phase; of steps that run at the same time each counts in full.
            watcher: is told of each step.

        Raises:
            DeviceError: of the first step that failed, or that of a device that was lost; no other has begun afterwards.
        """
        self.settle()
        together = self.together
        started = perf_counter_ns()
        self._flight = _Flight(self, phases, watcher)
        if together:
            self._flight.fly()
        else:
            self._flight.walk()
        self._flight = self.kept = None
        self._note(perf_counter_ns() - started, together=together)

    def settle(self) -> None:
        """Wait for what an interrupt of an interrupt left under way."""
        if self._flight is not None:
            self._flight.land()
        self._flight = None

    def note_step(self, position: int, elapsed_ns: int) -> None:
        """Take note of how long a step takes by itself."""
        least = self._times[position]
        self._times[position] = min(least, elapsed_ns) if least else elapsed_ns

    def _note(self, elapsed_ns: int, *, together: bool) -> None:
        self._runs += 1
        if self._runs % _AGAIN == 0:
            self._in_turn, self._together, self._times = [], [], [0] * len(self.calls)
            return
        found = self._together if together else self._in_turn
        if len(found) < _TRIES:
            found.append(elapsed_ns)


class _Flight:
    """One run. Its state belongs to who holds the lock; a helper does nothing without having entered."""

    def __init__(self, overlap: Overlap, phases: dict[str, int], watcher: Watcher | None) -> None:
        self.overlap = overlap
        self.phases = phases
        self.watcher = watcher
        self.waiting = list(overlap.counts)
        self.left = len(overlap.calls)
        self.stopped = False
        self.active = 0
        self.errors: list[BaseException] = []
        self.alone: list[int] = []
        self.lock = threading.Lock()
        self.ended: SimpleQueue[None] = SimpleQueue()

    def walk(self) -> None:
        """Run one step after the other, in the plan's order."""
        for position in range(self.left):
            self.overlap.note_step(position, self._call(position))

    def fly(self) -> None:
        """Run every step as soon as it may; return when nothing is under way."""
        first, *others = self.overlap.first
        try:
            self._hand_over(others)
            self._work(first)
            while self.left and not self.stopped:
                if self.alone:
                    self._work(self.alone.pop())
                else:
                    self.ended.get()
        except Exception as error:  # it may not be the one that tells most
            self._fail(error)
        finally:
            self.land()
        if self.errors:
            raise next((error for error in self.errors if isinstance(error, DeviceLost)), self.errors[0])

    def land(self) -> None:
        """Let nothing begin any more and wait for what is under way; an interrupt has to wait too."""
        interrupt: KeyboardInterrupt | None = None
        while True:
            try:
                with self.lock:
                    self.stopped = True
                while self.active:
                    self.ended.get()
                break
            except KeyboardInterrupt as error:
                interrupt = error
        if interrupt is not None:
            raise interrupt

    def _hand_over(self, positions: Sequence[int]) -> None:
        for position in positions:
            try:
                self.overlap.helpers.submit(partial(self._help, position), _HELPERS)
            except RuntimeError:  # the system gives no thread: the one that there is does it
                self.alone.append(position)

    def _help(self, position: int) -> None:
        with self.lock:
            if self.stopped:
                return
            self.active += 1
        try:
            self._work(position)
        except BaseException as error:  # the thread that waits for this raises it
            self._fail(error)
        finally:
            with self.lock:
                self.active -= 1
            self.ended.put(None)

    def _fail(self, error: BaseException) -> None:
        with self.lock:
            self.errors.append(error)
            self.stopped = True

    def _work(self, position: int | None) -> None:
        """Run a step, and then one after the other those that become ready by it."""
        while position is not None and not self.stopped:
            elapsed_ns = self._call(position)
            ready = self._finish(position, elapsed_ns)
            position = ready[0] if ready else None
            self._hand_over(ready[1:])

    def _call(self, position: int) -> int:
        """Run a step and return the nanoseconds that it took."""
        index, phase, call = self.overlap.calls[position]
        if self.watcher is not None:
            self.watcher.begin(index)
        started = perf_counter_ns()
        call()
        elapsed = perf_counter_ns() - started
        if self.watcher is not None:
            self.watcher.end(index, phase, started, elapsed)
        with self.lock:
            self.phases[phase] += elapsed
        return elapsed

    def _finish(self, position: int, elapsed_ns: int) -> list[int]:
        """Take note that a step has ended; return those that become ready."""
        ready = []
        with self.lock:
            for later in self.overlap.later[position]:
                self.waiting[later] -= 1
                if self.waiting[later] == 0:
                    ready.append(later)
            self.left -= 1
        return ready
