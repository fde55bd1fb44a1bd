"""The pool of threads: who gets how many, that each task runs once, and that all host libraries of a process use one."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tvm import relax
from tvm.relax import op

from landbridge.codegen import build
from landbridge.codegen.schedules.default import PARALLEL_ITERATIONS
from landbridge.runtime.artifact import to_bytes
from landbridge.runtime.errors import UsageError
from landbridge.runtime.session import load
from support.placed_programs import build_main, placed

_SOURCES = Path(sys.modules["landbridge.codegen.link"].__file__ or "").parent
_TASK = ctypes.CFUNCTYPE(None, ctypes.c_int, ctypes.c_int, ctypes.c_void_p)

ROWS = 1024
assert ROWS * ROWS > PARALLEL_ITERATIONS


class _PoolTable(ctypes.Structure):
    _fields_ = (
        ("version", ctypes.c_uint32),
        ("enter", ctypes.CFUNCTYPE(None, ctypes.c_int)),
        ("leave", ctypes.CFUNCTYPE(None)),
        ("launch", ctypes.CFUNCTYPE(None, _TASK, ctypes.c_void_p, ctypes.c_int)),
        ("size", ctypes.CFUNCTYPE(ctypes.c_int)),
    )


class _Pool:
    """A pool of its own, whose callers are this thread again and again."""

    def __init__(self, library: Path, size: int) -> None:
        self.library = ctypes.CDLL(str(library))
        self.library.lb_pool.restype = ctypes.POINTER(_PoolTable)
        self.table: Any = self.library.lb_pool().contents
        os.environ["LANDBRIDGE_NUM_THREADS"] = str(size)
        assert self.table.size() == size

    def tasks(self, most: int = 0) -> int:
        """Return as how many tasks a launch runs; each has run once."""
        ran: list[tuple[int, int]] = []
        self.table.launch(_TASK(lambda task, count, context: ran.append((task, count))), None, most)
        assert sorted(ran) == [(task, len(ran)) for task in range(len(ran))]
        return len(ran)


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("threads") / "threads.so"
    _compile("-O1", "-shared", "-fPIC", str(_SOURCES / "threads.c"), "-o", str(path))
    return path


@pytest.fixture
def pool(compiled: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[int], _Pool]:
    """Return how to make a pool of a size."""
    monkeypatch.setenv("LANDBRIDGE_NUM_THREADS", "1")  # and restore it after the test

    def make(size: int) -> _Pool:
        path = tmp_path / f"pool{len(list(tmp_path.iterdir()))}.so"
        path.write_bytes(compiled.read_bytes())
        return _Pool(path, size)

    return make


def _compile(*arguments: str) -> None:
    flags = ["-std=c11", "-Wall", "-Wextra", "-Werror", f"-I{_SOURCES}", "-pthread"]
    subprocess.run(["cc", *flags, *arguments], check=True)


def test_a_caller_gets_all_threads_and_callers_divide_them(pool: Callable[[int], _Pool]) -> None:
    four = pool(4)
    counts = []
    for _ in range(6):
        four.table.enter(0)
        counts.append(four.tasks())
    assert counts == [4, 2, 2, 1, 1, 1]
    for _ in range(5):
        four.table.leave()
    assert four.tasks() == 4


def test_a_session_may_have_fewer_threads_or_more(pool: Callable[[int], _Pool]) -> None:
    two = pool(2)
    for limit, expected in ((0, 2), (1, 1), (3, 3), (2, 2)):
        two.table.enter(limit)
        assert two.tasks() == expected
        two.table.leave()
    two.table.enter(0)
    assert two.tasks(most=1) == 1


def test_a_launch_in_a_launch_is_serial_and_one_beside_it_gets_what_is_left(pool: Callable[[int], _Pool]) -> None:
    three = pool(3)
    inner: list[int] = []
    three.table.enter(0)
    three.table.launch(_TASK(lambda task, count, context: inner.append(three.tasks())), None, 0)
    assert inner == [1, 1, 1]


def test_a_worker_that_is_woken_stays_off_the_processor_of_the_caller(pool: Callable[[int], _Pool]) -> None:
    """Next to the caller it would wait for it: a launch of 0.9 ms was no faster on two threads."""
    allowed = os.sched_getaffinity(0)
    if len(allowed) < 2:
        pytest.skip("one processor")
    made, caller, here = pool(2), threading.get_native_id(), ctypes.CDLL(None).sched_getcpu
    _, stayed = _worker_masks(made), 0  # the first launch starts the worker
    for _ in range(20):
        time.sleep(0.005)  # the worker has gone to sleep
        before = here()
        masks = _worker_masks(made)
        if masks and here() == before:
            assert masks == [allowed - {before}]
            stayed += 1
    assert stayed
    assert os.sched_getaffinity(caller) == allowed


def test_workers_go_where_their_caller_may(pool: Callable[[int], _Pool]) -> None:
    allowed = os.sched_getaffinity(0)
    made = pool(2)
    _worker_masks(made)
    try:
        for one in allowed:
            os.sched_setaffinity(0, {one})
            found: list[set[int]] = []
            while not found:
                time.sleep(0.005)
                found = _worker_masks(made)
            assert found == [{one}]
    finally:
        os.sched_setaffinity(0, allowed)


def _worker_masks(pool: _Pool) -> list[set[int]]:
    """Return the processors of the workers that took part in a launch."""
    caller = threading.get_native_id()
    masks: list[set[int]] = []

    def task(number: int, count: int, context: Any) -> None:
        time.sleep(0.003)
        if threading.get_native_id() != caller:
            masks.append(os.sched_getaffinity(0))

    pool.table.launch(_TASK(task), None, 0)
    return masks


@pytest.mark.parametrize(("callers", "launches", "threads"), [(1, 1500, 2), (3, 400, 4), (20, 40, 3)])
def test_tasks_run_once_without_races_and_on_no_more_threads(sanitized: Path, callers: int, launches: int, threads: int) -> None:
    environment = {**os.environ, "TSAN_OPTIONS": "atexit_sleep_ms=0"}
    command = [str(sanitized), str(callers), str(launches), str(threads)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) <= threads + callers - 1  # callers may come while a launch has all threads


@pytest.fixture(scope="module")
def sanitized(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the program that launches from many threads at once, and fails where it finds a race."""
    path = tmp_path_factory.mktemp("stress") / "stress"
    sources = (str(Path(__file__).with_name("stress_threads.c")), str(_SOURCES / "threads.c"))
    try:
        _compile("-O1", "-fsanitize=thread", *sources, "-o", str(path))
    except subprocess.CalledProcessError:
        pytest.skip("the C compiler has no thread sanitizer")
    return path


def _artifact(factor: float) -> bytes:
    module = build_main({"x": ((ROWS, ROWS), "float32")}, lambda emit, x: [emit(op.multiply(x, relax.const(factor)))])
    return to_bytes(build(placed(module, outputs=["y"]), name=f"times {factor}"))


def _sigmoids(steps: int) -> bytes:
    """Return an artifact that computes much with little memory."""

    def make(emit: Any, x: Any) -> list[Any]:
        for _ in range(steps):
            x = emit(op.sigmoid(x))
        return [emit(op.sum(x))]

    return to_bytes(build(placed(build_main({"x": ((ROWS, ROWS), "float32")}, make), outputs=["y"]), name=f"{steps} steps"))


_IN_ANOTHER_PROCESS = f"""
import os, sys, time
sys.path[:0] = {sys.path!r}
from landbridge.runtime.session import load
import numpy as np
x = np.ones(({ROWS}, {ROWS}), "float32")
tasks = lambda: len(os.listdir("/proc/self/task"))
before = tasks()
kept = []
for path, threads in zip(sys.argv[1::2], sys.argv[2::2]):
    kept.append(load(path, threads=int(threads) or None))
    kept[-1](x)
    print(tasks() - before)
time.sleep(0.01)
started = time.process_time()
time.sleep(0.3)
print(round((time.process_time() - started) * 1000))
"""


@pytest.fixture(scope="module")
def artifacts(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("artifacts")
    for factor in (2.0, 3.0):
        (folder / f"{factor:.0f}.lbr").write_bytes(_artifact(factor))
    return [folder / "2.lbr", folder / "3.lbr"]


def _workers(size: int, *calls: tuple[Path, int]) -> tuple[list[int], int]:
    """Return the number of workers after each call, and the milliseconds of processor time that the process takes when it is idle."""
    arguments = [str(argument) for call in calls for argument in call]
    environment = {**os.environ, "LANDBRIDGE_NUM_THREADS": str(size)}
    done = subprocess.run(
        [sys.executable, "-c", _IN_ANOTHER_PROCESS, *arguments], env=environment, check=True, capture_output=True, text=True
    )
    *counts, idle = map(int, done.stdout.split())
    return counts, idle


def test_two_artifacts_share_the_threads_of_the_process_which_sleep_when_idle(artifacts: list[Path]) -> None:
    counts, idle_ms = _workers(3, (artifacts[0], 0), (artifacts[1], 0))
    assert counts == [2, 2]
    assert idle_ms < 20  # of 300


def test_a_session_says_how_many_threads_it_uses(artifacts: list[Path]) -> None:
    assert _workers(3, (artifacts[0], 1), (artifacts[1], 2), (artifacts[1], 0), (artifacts[0], 5))[0] == [0, 1, 2, 4]


def test_a_session_without_a_thread_is_refused(artifacts: list[Path]) -> None:
    with pytest.raises(UsageError, match="0 threads"):
        load(artifacts[0], threads=0)


def test_limited_sessions_give_the_right_numbers(artifacts: list[Path]) -> None:
    x = np.random.default_rng(0).standard_normal((ROWS, ROWS)).astype("float32")
    for path, factor in zip(artifacts, (2, 3), strict=True):
        for threads in (None, 1, 3):
            with load(path, threads=threads) as session:
                np.testing.assert_array_equal(session(x)["y"], x * np.float32(factor))


@pytest.mark.long
def test_two_sessions_on_two_threads_do_as_much_as_two_processors_can(tmp_path: Path) -> None:
    """Two callers with two processors: at least 1.4 times what one caller does on one thread."""
    if len(os.sched_getaffinity(0)) < 2:
        pytest.skip("one processor")
    artifacts = [tmp_path / "2.lbr", tmp_path / "3.lbr"]
    for steps, path in enumerate(artifacts, 20):
        path.write_bytes(_sigmoids(steps))
    code = f"""
import sys, threading, time
sys.path[:0] = {sys.path!r}
from landbridge.runtime.session import load
import numpy as np
sessions = [load(path, threads=int(sys.argv[1])) for path in sys.argv[2:]]
counts = [0] * len(sessions)
until = time.perf_counter() + 1
def work(index):
    x = np.ones(({ROWS}, {ROWS}), "float32")
    while time.perf_counter() < until:
        sessions[index](x)
        counts[index] += 1
threads = [threading.Thread(target=work, args=(index,)) for index in range(len(sessions))]
for thread in threads: thread.start()
for thread in threads: thread.join()
print(sum(counts))
"""

    def runs(threads: int, *paths: Path) -> int:
        command = [sys.executable, "-c", code, str(threads), *map(str, paths)]
        return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)

    ratios: list[float] = []
    until = time.monotonic() + 60
    while time.monotonic() < until and max(ratios, default=0) < 1.4:  # other work on the machine may be in the way of a try
        ratios.append(runs(2, *artifacts) / runs(1, artifacts[0]))
    assert max(ratios) >= 1.4, ratios
