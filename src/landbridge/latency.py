"""Measure a session: how long its runs take, which part of a run takes it, and what would make it shorter."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from landbridge.runtime.execute import PHASES
from landbridge.runtime.session import Session

Call = Callable[[], Any]

ELSEWHERE = "elsewhere"
"""What of a run is in none of its phases: the checks of the inputs and the session's own bookkeeping."""


@dataclass(frozen=True)
class Effort:
    """How long to measure: whatever of the two is reached first.

    Attributes:
        runs: at most so many, or None.
        seconds: at most so long, but never less than one run.
    """

    runs: int | None = None
    seconds: float = 3.0

    def done(self, runs: int, started: float) -> bool:
        """Return whether so many runs since ``started`` are enough."""
        return runs > 0 and ((self.runs is not None and runs >= self.runs) or time.perf_counter() - started >= self.seconds)


@dataclass(frozen=True)
class Spread:
    """Times of many runs, in nanoseconds.

    Attributes:
        p50: the median.
        p90: nine of ten runs took no longer.
        p99: 99 of a hundred took no longer.
        min: the shortest.
        max: the longest.
        mean: their sum by their number.
        variation: standard deviation as a share of the mean.
    """

    p50: float
    p90: float
    p99: float
    min: float
    max: float
    mean: float
    variation: float

    @staticmethod
    def of(times: Sequence[int]) -> Spread:
        """Return the spread of some times, of which there is one at least."""
        array = np.asarray(times, np.float64)
        mean = float(array.mean())
        p50, p90, p99 = (float(value) for value in np.percentile(array, (50, 90, 99)))
        return Spread(p50, p90, p99, float(array.min()), float(array.max()), mean, float(array.std() / mean) if mean else 0.0)


@dataclass(frozen=True)
class StepTime:
    """One step of the plan.

    Attributes:
        step: its index.
        phase: such as "host".
        name: the user's name of what it does.
        p50: nanoseconds, the median.
    """

    step: int
    phase: str
    name: str
    p50: float


@dataclass(frozen=True)
class Crowd:
    """Runs of several callers at once.

    Attributes:
        callers: how many.
        latency: of a run, as its caller sees it.
        per_second: runs of all callers together.
    """

    callers: int
    latency: Spread
    per_second: float


@dataclass(frozen=True)
class Measured:
    """What a measurement found.

    Attributes:
        first_ns: the very first run, which no other run is like.
        runs: how many were measured.
        latency: of a run.
        phases: of each phase of `landbridge.runtime.execute.PHASES`, and `ELSEWHERE`.
        shares: the part of the latency that each phase takes, of 1 together.
        per_second: runs, one after the other.
        steps: each step of the plan, timed by itself in runs of their own.
        other: the call that took turns with the session, where there was one.
    """

    first_ns: int
    runs: int
    latency: Spread
    phases: dict[str, Spread]
    shares: dict[str, float]
    per_second: float
    steps: tuple[StepTime, ...]
    other: Spread | None = None

    def to_json(self) -> dict[str, Any]:
        """Return it as plain data."""
        return {
            "first_ns": self.first_ns,
            "runs": self.runs,
            "latency_ns": vars(self.latency),
            "phases_ns": {name: vars(spread) for name, spread in self.phases.items()},
            "shares": self.shares,
            "runs_per_second": self.per_second,
            "steps": [vars(step) for step in self.steps],
            "reference_latency_ns": vars(self.other) if self.other else None,
        }


def measure(session: Session, inputs: Mapping[str, Any], effort: Effort, *, warm_up: int = 10, other: Call | None = None) -> Measured:
    """Run again and again and return what it took.

    Args:
        warm_up: runs that are not counted, besides the first.
        other: takes turns with the session, so that whatever else the machine does hits both alike.

    Raises:
        InputError, DeviceError: as `Session.run`.
    """
    first = _timed(lambda: session.run(inputs))
    for _ in range(warm_up):
        session.run(inputs)
        if other is not None:
            other()
    totals: list[int] = []
    others: list[int] = []
    phases: dict[str, list[int]] = {name: [] for name in (*PHASES, ELSEWHERE)}
    started = time.perf_counter()
    while not effort.done(len(totals), started):
        total = _timed(lambda: session.run(inputs))
        totals.append(total)
        spent = session.phases()
        for name, elapsed in spent.items():
            phases[name].append(elapsed)
        phases[ELSEWHERE].append(max(total - sum(spent.values()), 0))
        if other is not None:
            others.append(_timed(other))
    whole = sum(totals)
    return Measured(
        first_ns=first,
        runs=len(totals),
        latency=Spread.of(totals),
        phases={name: Spread.of(times) for name, times in phases.items()},
        shares={name: sum(times) / whole for name, times in phases.items()},
        per_second=len(totals) / (whole / 1e9),
        steps=_steps(session, inputs, min(len(totals), 20)),
        other=Spread.of(others) if others else None,
    )


def crowd(run: Call, callers: int, effort: Effort) -> Crowd:
    """Return what each of several callers at once sees, each of which runs again and again.

    Raises:
        Exception: the first that ``run`` raised in any of them.
    """
    times: list[list[int]] = [[] for _ in range(callers)]
    errors: list[BaseException] = []
    together = threading.Barrier(callers + 1)
    share = Effort(None if effort.runs is None else -(-effort.runs // callers), effort.seconds)

    def work(mine: list[int]) -> None:
        together.wait()
        started = time.perf_counter()
        try:
            while not errors and not share.done(len(mine), started):
                mine.append(_timed(run))
        except Exception as error:  # raised again below, in the caller's thread
            errors.append(error)

    threads = [threading.Thread(target=work, args=(mine,), daemon=True) for mine in times]
    for thread in threads:
        thread.start()
    together.wait()
    started = time.perf_counter()
    for thread in threads:
        thread.join()
    elapsed = time.perf_counter() - started
    if errors:
        raise errors[0]
    every = [taken for mine in times for taken in mine]
    return Crowd(callers, Spread.of(every), len(every) / elapsed)


def streamed(session: Session, inputs: Mapping[str, Any], effort: Effort) -> float:
    """Return how many requests a second `Session.stream` does.

    Raises:
        InputError, DeviceError: as `Session.run`.
    """
    started = time.perf_counter()
    requests = itertools.takewhile(lambda item: not effort.done(item[0], started), ((count, inputs) for count in itertools.count()))
    done = sum(1 for _ in session.stream(request for _, request in requests))
    return done / (time.perf_counter() - started)


def _timed(call: Call) -> int:
    started = time.perf_counter_ns()
    call()
    return time.perf_counter_ns() - started


def _steps(session: Session, inputs: Mapping[str, Any], runs: int) -> tuple[StepTime, ...]:
    """Return the median time of each step, in runs of which every step is timed by itself."""
    found: dict[tuple[int, str, str], list[float]] = {}
    for _ in range(runs):
        for event in session.profile(inputs)[1].to_json()["traceEvents"]:
            if event["ph"] == "X":
                found.setdefault((event["args"]["step"], event["cat"], event["name"]), []).append(event["dur"] * 1e3)
    return tuple(StepTime(*key, float(np.median(times))) for key, times in found.items())
