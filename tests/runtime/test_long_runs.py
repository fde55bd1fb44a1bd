"""What a session does for a long time and from many threads. The small sizes run always, the large ones in the long tests."""

from __future__ import annotations

import random
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any

import numpy as np
import pytest

from landbridge.runtime import load
from landbridge.runtime.artifact import to_bytes
from landbridge.runtime.errors import DeviceError
from landbridge.runtime.leases import Lease
from landbridge.runtime.session import Session
from support.counts import counts
from support.graph_shapes import SHAPES
from support.sessions import Toys, forget_calls, image

SHAPES_OF_ALL_KINDS = ("host code", "a model between segments", "two devices", "a device in the host's memory")

long = pytest.mark.long

pytestmark = pytest.mark.timeout(3600)


class Chance:
    """Numbers that are there now and then: what `ToyVendor.failing` takes."""

    def __init__(self, of: float) -> None:
        self._of = of
        self._draw = random.Random(4)

    def __contains__(self, number: object) -> bool:
        return self._draw.random() < self._of


@pytest.fixture
def often() -> Iterator[None]:
    """Let threads take turns as often as they can."""
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(interval)


def hammer(toys: Toys, threads: int, runs: int) -> Counter[str]:
    """Run every shape on so many threads; return how many runs were right, wrong, and failed by one of the injected faults."""
    found: Counter[str] = Counter()
    with ExitStack() as stack:
        sessions = [(stack.enter_context(load(to_bytes(SHAPES[name][0]()))), SHAPES[name][1]) for name in SHAPES_OF_ALL_KINDS]
        for session, _ in sessions:
            session(image(2))
        for vendor in toys.values():
            vendor.failing = Chance(0.01)  # type: ignore[assignment] # it answers what is asked of it
        with ThreadPoolExecutor(threads) as pool:
            for part in pool.map(lambda seed: _work(sessions, seed, runs), range(threads)):
                found += part
        for vendor in toys.values():
            vendor.failing = range(0)
            for driver in vendor.drivers:
                driver.calls.clear()
        for session, expected in sessions:
            found += _one(session, expected, image(2, 9))
            assert session.stats().active == 0
    return found


def _work(sessions: list[tuple[Session, Any]], seed: int, runs: int) -> Counter[str]:
    found: Counter[str] = Counter()
    for i in range(runs):
        for session, expected in sessions:
            found += _one(session, expected, image(1 + (seed + i) % 3, (seed * 1000 + i) % 4096))
    return found


def _one(session: Session, expected: Any, x: Any) -> Counter[str]:
    try:
        outputs = session(x)
    except DeviceError as error:
        return Counter(["failed" if error.vendor_code == 77 else "strange"])
    right = all(np.array_equal(np.asarray(outputs[name]), value) for name, value in expected(x).items())
    return Counter(["right" if right else "wrong"])


@pytest.mark.parametrize(("threads", "runs"), [(8, 20), pytest.param(32, 1000, marks=long)])
def test_many_threads_with_one_fault_in_a_hundred_calls(toys: Toys, often: None, threads: int, runs: int) -> None:
    found = hammer(toys, threads, runs)
    print(f"{threads} threads x {runs} runs x {len(SHAPES_OF_ALL_KINDS)} shapes: {dict(found)}")  # noqa: T201 - a figure
    assert found.keys() == {"right", "failed"}
    assert found.total() == (threads * runs + 1) * len(SHAPES_OF_ALL_KINDS)
    assert found["failed"] < found["right"] / 10


def test_threads_that_share_memory_are_noticed(toys: Toys, often: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """The positive control: leases that several threads have at once."""

    class Open:
        def locked(self) -> bool:
            return False

        def __enter__(self) -> None:
            """Let everybody in."""

        def __exit__(self, *_: Any) -> None:
            """Let everybody out."""

    class Shared(Lease):
        def __init__(self) -> None:
            super().__init__()
            self.turn = Open()  # type: ignore[assignment] # no lock

    monkeypatch.setattr("landbridge.runtime.leases.Lease", Shared)
    wrong = 0
    with load(to_bytes(SHAPES["a model between segments"][0]())) as session:

        def work(seed: int) -> None:
            nonlocal wrong
            for i in range(200):
                x = image(2, 1000 * seed + i)
                wrong += not np.array_equal(session(x)["y"], SHAPES["a model between segments"][1](x)["y"])

        threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert wrong > 0


def gained(job: Any, times: int) -> dict[str, int]:
    """Return what there is more after a job was done so many times, in the best of a few rounds: caches fill up, a leak goes on."""
    least: dict[str, int] = {}
    for _ in range(12):
        before = counts()
        for _ in range(times):
            job()
        after = counts()
        found = {name: after[name] - before[name] for name in before}
        least = min((least or found), found, key=lambda gain: (gain["heap"], gain["blocks"]))
        if not any(gain > 0 for gain in least.values()):
            break
    return least


@long
def test_a_hundred_thousand_runs_gain_nothing(toys: Toys) -> None:
    x = image(3)
    with load(to_bytes(SHAPES["a model between segments"][0]())) as session:

        def job() -> None:
            session(x)
            forget_calls(toys)

        found = gained(job, 100_000)
    print(f"gained by 100,000 runs: {found}")  # noqa: T201 - a figure
    assert all(found[name] == 0 for name in ("descriptors", "mapped files", "threads"))
    assert found["blocks"] <= 64
    assert found["heap"] <= 1024, "a leak of one byte would be a hundred times that"


@long
def test_a_thousand_sessions_gain_nothing(toys: Toys) -> None:
    data = to_bytes(SHAPES["a model between segments"][0]())

    def job() -> None:
        with load(data) as session:
            session(image(3))
        for vendor in toys.values():
            vendor.entered.clear()
            vendor.drivers.clear()

    found = gained(job, 1000)
    print(f"gained by 1,000 sessions: {found}")  # noqa: T201 - a figure
    assert all(found[name] == 0 for name in ("descriptors", "mapped files", "threads"))
    assert found["blocks"] <= 64
    assert found["heap"] < 1000, "less than a byte a session"


@pytest.mark.parametrize("runs", [20_000, pytest.param(12_000_000, marks=long)])
def test_a_soak_at_full_speed(toys: Toys, runs: int) -> None:
    """A day and a third at 100 runs a second, with a fault in a thousand calls: every result right, and nothing gained at the end."""
    make, expected = SHAPES["a model between segments"]
    draw = random.Random(20)
    inputs = [image(2, draw.randrange(4096)) for _ in range(997)]
    wanted = [expected(x)["y"] for x in inputs]
    found: Counter[str] = Counter()
    slowest: list[float] = []  # of each part, the time that one run in a thousand exceeds
    with load(to_bytes(make())) as session:
        session(inputs[0])
        for vendor in toys.values():
            vendor.failing = Chance(0.001)  # type: ignore[assignment] # it answers what is asked of it
        begin: dict[str, int] = {}
        for part in range(20):
            times = np.empty(runs // 20)
            for i in range(runs // 20):
                which = (part * 31 + i) % len(inputs)
                started = time.perf_counter()
                try:
                    outcome = "right" if np.array_equal(session(inputs[which])["y"], wanted[which]) else "wrong"
                except DeviceError as error:
                    outcome = "failed" if error.vendor_code == 77 else "wrong"
                times[i] = time.perf_counter() - started
                found[outcome] += 1
                if i % 1000 == 0:
                    forget_calls(toys)
            slowest.append(float(np.quantile(times, 0.999)))
            del times
            forget_calls(toys)
            begin = begin or counts()
        end = counts()
    drift = np.median(slowest[-5:]) / np.median(slowest[:5]) - 1
    print(f"{runs} runs: {dict(found)}; the slowest run in a thousand {drift:+.1%} slower at the end")  # noqa: T201 - a figure
    assert found["wrong"] == 0
    assert found.total() == runs // 20 * 20
    assert 0 < found["failed"] < found["right"] / 100
    assert all(end[name] == begin[name] for name in ("descriptors", "mapped files", "threads"))
    assert end["blocks"] - begin["blocks"] <= 256
    assert end["heap"] - begin["heap"] <= 1 << 16
