"""Measure what a session promises: overheads, threads, streams, deadlines. ``python benchmarks/sessions.py`` in the repository's root.

Figures of one run on one machine. The host code and the devices are those of the tests; stages are naps of 20 ms.
"""

from __future__ import annotations

import ctypes
import logging
import sys
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT / "src"), str(ROOT / "tests")]

from landbridge.runtime import load  # noqa: E402 - after the path is set
from landbridge.runtime.artifact import to_bytes  # noqa: E402
from landbridge.runtime.errors import DeviceTimeout  # noqa: E402
from landbridge.runtime.host_library import load_host_library  # noqa: E402
from landbridge.runtime.memory import empty  # noqa: E402
from landbridge.runtime.plan import Segment  # noqa: E402
from landbridge.runtime.session import Session  # noqa: E402
from support.host_code import host_library  # noqa: E402
from support.plans import artifact, host_plan, plan, tensor  # noqa: E402
from support.sessions import image, model_session, pipeline  # noqa: E402
from support.simulated import ROWS, Machine, relus  # noqa: E402
from support.toy_vendor import HANG, NAP_S, toy_vendors  # noqa: E402


def best(call: Callable[[], Any], times: int, rounds: int = 20) -> float:
    """Return the microseconds that a call takes, at best."""
    found = []
    for _ in range(rounds):
        started = time.perf_counter_ns()
        for _ in range(times):
            call()
        found.append((time.perf_counter_ns() - started) / times / 1e3)
    return min(found)


def throughput(call: Callable[[], Any], threads: int, seconds: float = 0.25) -> float:
    """Return the calls a second of so many threads."""
    counts = [0] * threads
    until = time.perf_counter() + seconds

    def work(index: int) -> None:
        while time.perf_counter() < until:
            call()
            counts[index] += 1

    workers = [threading.Thread(target=work, args=(index,)) for index in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return sum(counts) / seconds


def overheads() -> None:
    """Print what a run and a bound run cost, for two segments of three floats."""
    with load(to_bytes(artifact(host_plan()))) as session:
        x, y = empty("float32", (4, 3))[0], empty("float32", (4, 3))[0]
        x[:] = 1
        inputs, bound = {"x": x}, session.bind({"x": x}, {"y": y})
        print(f"run                      {best(lambda: session.run(inputs), 500):8.2f} us")
        print(f"bound run                {best(bound, 5000):8.2f} us")
        print(f"run with a deadline      {best(lambda: session.run(inputs, deadline_s=1), 100):8.2f} us")
        print(f"run_async and its result {best(lambda: session.run_async(inputs).result(), 200):8.2f} us")


def threads() -> None:
    """Print the throughput of two threads over that of one, for host code of about a millisecond, beside that of the bare function."""
    steps = [Segment("lb_work", (0, 1), ("n",), (1,), ("Work",), ())]
    function = load_host_library(host_library()).function("lb_work")
    x, y, n = image(2), image(2), (ctypes.c_int64 * 1)(2)
    pointers = (ctypes.c_void_p * 2)(x.ctypes.data, y.ctypes.data)
    with load(to_bytes(artifact(plan([tensor("x", "input"), tensor("y", "arena")], steps, {"x": 0}, {"y": 1})))) as session:
        session.warm_up({"n": 2}, leases=2)
        calls: dict[str, Callable[[], Any]] = {"session": lambda: session(x), "bare function": lambda: function(pointers, n)}
        found: dict[tuple[str, int], float] = {}
        for _ in range(12):
            for name, call in calls.items():
                for count in (1, 2):
                    found[name, count] = max(found.get((name, count), 0), throughput(call, count))
    for name in calls:
        one, two = found[name, 1], found[name, 2]
        print(f"{name:<24} {one:8.0f} runs/s on one thread, {two:.0f} on two: {two / one:.2f} times")


def streams() -> None:
    """Print the pace of streams over that of their slowest stage, and the same of threads that only take turns to sleep."""
    for stages in (2, 3, 5):
        with pipeline(stages) as session:
            pace = min(_pace(session) for _ in range(4))
        print(f"stream of {stages} stages       {NAP_S / pace:8.3f} of 1 / the longest stage")
    lock = threading.Lock()

    def nap() -> None:
        with lock:
            time.sleep(NAP_S)

    print(f"bare turns               {throughput(nap, 4, 1.0) * NAP_S:8.3f} of 1 / the longest stage")


def _pace(session: Session) -> float:
    """Return the seconds between two outputs of a stream, once it flows."""
    ends = [time.perf_counter() for _ in session.stream({"x": image(2)} for _ in range(50))]
    return (ends[-1] - ends[9]) / (len(ends) - 10)


def deadlines() -> None:
    """Print by how much a deadline of 50 ms is overrun, at worst."""
    worst = 0.0
    for _ in range(20):
        HANG.clear()
        session = model_session([tensor("x", "input", "toyhost0"), tensor("y", "arena", "toyhost0")], "hang", "toyhost0")
        started = time.perf_counter()
        try:
            session.run({"x": image(2)}, deadline_s=0.05)
        except DeviceTimeout:
            worst = max(worst, time.perf_counter() - started - 0.05)
        session.close()
        HANG.set()
        time.sleep(0.01)
    print(f"a deadline is overrun by {worst * 1e3:8.1f} ms at most, of 20")


def overlaps() -> None:
    """Print how long two calls on two simulated devices take, to the longer one, and in a row."""
    machine = Machine("atlas")
    machine.reset()
    machine.speed("execute", NAP_S)
    x = np.ones((ROWS, 3), np.float32)
    found = {}
    for devices in ((0,), (0, 1)):
        with load(to_bytes(relus("atlas", devices)), simulate=["atlas"]) as session:
            for _ in range(10):  # in which it finds out what is faster
                session(x)
            found[len(devices)] = best(lambda: session(x), 5, rounds=6)
    machine.reset()
    print(f"calls on two devices     {found[2] / found[1]:8.3f} of the longer one")


def copies() -> None:
    """Print the bandwidth of copies to and from a simulated device, which is memory of this machine, to that of memcpy.

    Each copies between memory of its own, so that none finds in a cache what another left there, and all of it is allocated anew for each
    round: where its pages lie in the caches makes a third of the time of a copy of 1 MB.
    """
    with load(to_bytes(relus("atlas")), simulate=["atlas"]) as session:
        device = session._life.opened.devices["atlas0"]
        for nbytes, rounds in ((1 << 20, 60), (1 << 24, 12), (1 << 26, 6)):
            found: dict[str, list[float]] = {"memcpy": [], "in": [], "out": []}
            kept: list[Any] = []  # given back it would be what the next round gets
            for _ in range(rounds):
                hosts, blocks = [empty("uint8", (nbytes,)) for _ in range(4)], [device.allocate(nbytes) for _ in range(2)]
                for array, _ in hosts:
                    array[:] = 1
                kept += [*hosts, *blocks] if nbytes < 1 << 24 else []
                (_, a), (_, b), (_, c), (_, d) = hosts
                calls: dict[str, Callable[[], Any]] = {
                    "memcpy": partial(ctypes.memmove, b, a, nbytes),
                    "in": partial(device.copy_in, blocks[0].address, c, nbytes),
                    "out": partial(device.copy_out, d, blocks[1].address, nbytes),
                }
                for name, call in calls.items():
                    found[name].append(best(call, max(1, (1 << 23) // nbytes), rounds=4))
            times = {name: median(values) for name, values in found.items()}
            ratios = ", ".join(f"{times['memcpy'] / times[name]:.2f} {name}" for name in ("in", "out"))
            print(f"copies of {nbytes >> 20:3} MB        {ratios}: of memcpy's {nbytes / times['memcpy'] / 1e3:.1f} GB/s")


if __name__ == "__main__":
    logging.disable()
    overheads()
    threads()
    with toy_vendors():
        streams()
        deadlines()
    overlaps()
    copies()
