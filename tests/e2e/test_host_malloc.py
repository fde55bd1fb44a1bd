"""Each allocation of a host library fails in its turn: the run says so, nothing is lost, and the next run is right."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from tvm.relax import op

from landbridge.codegen import build
from landbridge.codegen.link import link_library
from landbridge.codegen.target import resolve_target
from landbridge.runtime.artifact import HOST_LIBRARY, write
from landbridge.runtime.plan import Segment
from support.placed_programs import build_main, placed
from support.plans import artifact, plan, tensor

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def by_hand(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return an artifact with the kernels of workspace_kernels.c: what they want depends on no schedule."""
    source = (ROOT / "tests" / "support" / "workspace_kernels.c").read_text()
    buffers = [tensor("x", "input", shape=(4, 3), nbytes=48), tensor("y", "arena", shape=(4, 3), nbytes=48)]
    steps = [Segment("lb_segment_0", (0, 1), (), (1,), ("Twice",), ())]
    sections = {HOST_LIBRARY: link_library([], source, resolve_target())}
    path = tmp_path_factory.mktemp("malloc") / "by_hand.lbr"
    write(artifact(plan(buffers, steps, {"x": 0}, {"y": 1}, dims=()), sections=sections), path)
    return path


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return an artifact of real kernels, some of which want workspace."""

    def make(emit: Any, x: Any) -> list[Any]:
        return [emit(op.nn.softmax(emit(op.matmul(x, x)), axis=0))]

    path = tmp_path_factory.mktemp("malloc") / "compiled.lbr"
    write(build(placed(build_main({"x": ((256, 256), "float32")}, make), outputs=["y"]), name="compiled"), path)
    return path


@pytest.fixture(scope="module")
def failing_malloc(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if shutil.which("cc") is None:
        pytest.skip("needs a C compiler")
    path = tmp_path_factory.mktemp("preload") / "failing_malloc.so"
    source = ROOT / "tests" / "support" / "failing_malloc.c"
    subprocess.run(["cc", "-O1", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC", "-o", path, source, "-ldl"], check=True)
    return path


@pytest.mark.parametrize(("threads", "first"), [(1, 1), (1, 3), (3, 1)])
def test_each_allocation_fails_in_its_turn(by_hand: Path, failing_malloc: Path, threads: int, first: int) -> None:
    runs, failed, kept = enumerated(by_hand, failing_malloc, threads, first)
    assert runs > failed >= 4, "without the memory that keeps workspace for later a run is slower, not wrong"
    if threads == 1:
        assert kept == 0
    else:
        assert kept <= 9 * (threads - 1), "each thread that stays keeps some for its next run"


def test_each_allocation_of_real_kernels_fails_in_its_turn(compiled: Path, failing_malloc: Path) -> None:
    runs, failed, kept = enumerated(compiled, failing_malloc, threads=1, first=1)
    assert runs > failed >= 1
    assert kept == 0


def enumerated(artifact: Path, failing_malloc: Path, threads: int, first: int) -> list[int]:
    """Return the runs, those that failed, and the blocks that were kept, of `support.host_malloc`."""
    environment = {
        **os.environ,
        "PYTHONPATH": f"{ROOT / 'src'}:{ROOT / 'tests'}",
        "LD_PRELOAD": str(failing_malloc),
        "LANDBRIDGE_NUM_THREADS": str(threads),
    }
    command = [sys.executable, "-m", "support.host_malloc", str(artifact), str(first)]
    result = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=200, check=False)
    assert result.returncode == 0, result.stderr[-2000:]
    return [int(number) for number in result.stdout.split()]
