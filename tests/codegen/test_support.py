"""The C support file: threads and workspace, driven through kernels that use them."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tvm import relax
from tvm.relax import op

from landbridge.codegen import build
from landbridge.codegen.schedules.default import PARALLEL_ITERATIONS
from landbridge.runtime.artifact import HOST_LIBRARY
from support.host_library import HostRun
from support.placed_programs import build_main, placed

ROWS = 1024
assert ROWS * ROWS > PARALLEL_ITERATIONS


def parallel() -> HostRun:
    """Return a program whose kernels use threads, and one of them workspace."""

    def make(emit: Any, x: Any) -> list[Any]:
        return [emit(op.add(x, relax.const(1.0))), emit(op.nn.softmax(x))]

    return HostRun(build(placed(build_main({"x": ((ROWS, ROWS), "float32")}, make), outputs=["more", "softmax"]), name="parallel"))


@pytest.fixture(scope="module")
def run() -> HostRun:
    return parallel()


def _expected(x: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    e = np.exp(x - x.max(1, keepdims=True))
    return np.asarray(e / e.sum(1, keepdims=True))


def _check(run: HostRun, seed: int) -> None:
    x = np.random.default_rng(seed).standard_normal((ROWS, ROWS)).astype("float32")
    found = run(x=x)
    np.testing.assert_array_equal(found["more"], x + 1)
    np.testing.assert_allclose(found["softmax"], _expected(x), rtol=1e-4)


def test_a_parallel_kernel_gives_the_right_numbers(run: HostRun) -> None:
    for seed in range(3):
        _check(run, seed)


def test_threads_may_call_at_once(run: HostRun) -> None:
    failures: list[BaseException] = []

    def work(seed: int) -> None:
        try:
            for _ in range(4):
                _check(run, seed)
        except AssertionError as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []


_IN_ANOTHER_PROCESS = f"""
import importlib.util, os, sys
sys.path[:0] = {sys.path!r}
spec = importlib.util.spec_from_file_location("example", {__file__!r})
module = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)
import numpy as np
run = module.parallel()
tasks = lambda: set(os.listdir("/proc/self/task"))
x = np.ones((module.ROWS, module.ROWS), "float32")
before = tasks()
run(x=x)
print(len(tasks() - before))
"""


@pytest.mark.parametrize(("setting", "workers"), [("1", 0), ("3", 2)])
def test_the_environment_says_how_many_threads(setting: str, workers: int) -> None:
    environment = {**os.environ, "LANDBRIDGE_NUM_THREADS": setting}
    done = subprocess.run([sys.executable, "-c", _IN_ANOTHER_PROCESS], env=environment, check=True, capture_output=True, text=True)
    assert done.stdout.strip() == str(workers)


def test_a_child_of_a_fork_starts_its_own_threads(run: HostRun) -> None:
    _check(run, 1)
    x = np.ones((ROWS, ROWS), "float32")
    child = os.fork()
    if child == 0:
        right = bool((run(x=x)["more"] == 2).all())
        os._exit(0 if right else 1)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0
    _check(run, 2)


def test_no_thread_is_started_where_no_kernel_is_parallel() -> None:
    module = build_main({"x": ((8, 8), "float32")}, lambda emit, x: [emit(op.exp(x))])
    run = HostRun(build(placed(module, outputs=["y"]), name="small"))
    before = set(os.listdir("/proc/self/task"))
    run(x=np.zeros((8, 8), "float32"))
    assert set(os.listdir("/proc/self/task")) <= before


def test_workspace_is_not_lost(run: HostRun) -> None:
    x = np.zeros((ROWS, ROWS), "float32")
    for _ in range(3):
        run(x=x)
    before = _resident_nbytes()
    for _ in range(20):
        run(x=x)
    assert _resident_nbytes() - before < 8 * x.nbytes  # of 20 times the workspace of the softmax, x.nbytes


def _resident_nbytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def test_the_support_file_compiles_without_a_warning(tmp_path: Path, run: HostRun) -> None:
    assert HOST_LIBRARY in run.artifact.sections
    source = Path(sys.modules["landbridge.codegen.link"].__file__ or "").with_name("support.c")
    flags = ["-std=c11", "-Wall", "-Wextra", "-Werror", "-Wpedantic", "-c", "-o", str(tmp_path / "support.o")]
    done = subprocess.run(["cc", *flags, str(source)], capture_output=True, text=True, check=False)
    assert done.stderr == ""
