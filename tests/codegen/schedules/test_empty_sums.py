from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import tvm
from tvm.relax import op

from landbridge.codegen import build
from landbridge.codegen.graph import read_graph
from landbridge.codegen.lower import lower
from landbridge.codegen.schedule_steps import schedule_steps
from landbridge.codegen.schedules.default import Default
from landbridge.codegen.schedules.empty_sums import start_sums
from support.host_library import HostRun
from support.placed_programs import build_main, placed

TARGET = tvm.target.Target({"kind": "llvm"})


def _kernel(make: Any, shape: Any) -> Any:
    graph = read_graph(placed(build_main({"x": (shape, "float32")}, lambda emit, x: [make(emit, x)])))
    (kernel,) = lower(graph, schedule_steps(graph), TARGET).kernels.functions.values()
    return Default().apply(kernel, TARGET)


def _sum(axis: int) -> Any:
    return lambda emit, x: emit(op.sum(x, axis=[axis]))


def test_a_sum_over_a_named_dimension_starts_before_its_loop() -> None:
    kernel = _kernel(_sum(0), ("n", 4))
    assert "T.init" in str(kernel.script())
    started = start_sums(kernel)
    assert "T.init" not in str(started.script())
    assert str(started.script()).count("T.sblock") == str(kernel.script()).count("T.sblock") + 1
    assert start_sums(started) is started


@pytest.mark.parametrize("kernel", [_kernel(_sum(1), ("n", 4)), _kernel(lambda emit, x: emit(op.exp(x)), ("n", 4))], ids=["sum", "exp"])
def test_what_has_iterations_for_certain_stays_as_it_is(kernel: Any) -> None:
    assert start_sums(kernel) is kernel


def test_a_batch_of_nothing_sums_to_nothing() -> None:
    results: dict[str, Any] = {"sum": lambda x: op.sum(x, axis=[0]), "largest": lambda x: op.max(x, axis=[0]), "all": op.sum}
    main = build_main({"x": (("n", 4), "float32")}, lambda emit, x: [emit(make(x)) for make in results.values()])
    run = HostRun(build(placed(main, outputs=list(results)), name="sums"))
    found = run(x=np.zeros((0, 4), "float32"))
    np.testing.assert_array_equal(found["sum"], np.zeros(4, "float32"))
    np.testing.assert_array_equal(found["all"], np.float32(0))
    assert (found["largest"] <= np.finfo("float32").min).all()
    rows = np.arange(12, dtype="float32").reshape(3, 4)
    np.testing.assert_array_equal(run(x=rows)["sum"], rows.sum(0))
