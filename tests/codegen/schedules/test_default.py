from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import tvm
from tvm import relax
from tvm.relax import op

import landbridge as lb
from landbridge.codegen.graph import read_graph
from landbridge.codegen.lower import lower
from landbridge.codegen.schedule_steps import schedule_steps
from landbridge.codegen.schedules.default import Default
from support.placed_programs import build_main, placed
from support.run_onnx import assert_same, reference
from support.small_onnx import node, small_model

TARGET = tvm.target.Target({"kind": "llvm"})


def _scheduled(make: Any, shape: Any) -> str:
    """Return the text of the one kernel of a program, scheduled."""
    graph = read_graph(placed(build_main({"x": (shape, "float32")}, lambda emit, x: [make(emit, x)])))
    (kernel,) = lower(graph, schedule_steps(graph), TARGET).kernels.functions.values()
    scheduled = Default().apply(kernel, TARGET)
    assert scheduled is not None
    return str(scheduled.script())


def _chain(emit: Any, x: Any) -> Any:
    return emit(op.exp(emit(op.negative(emit(op.add(x, relax.const(1.0)))))))


def test_elementwise_steps_become_one_loop_without_memory_between_them() -> None:
    text = _scheduled(_chain, (4, 6))
    assert text.count("T.grid") == 1
    assert "alloc_buffer" not in text


def test_a_short_loop_stays_on_one_thread() -> None:
    assert "parallel" not in _scheduled(_chain, (256, 1023))


def test_a_long_loop_is_spread_over_threads() -> None:
    assert _scheduled(_chain, (256, 1024)).count("T.parallel") == 1


def test_outer_loops_are_joined_where_the_first_is_too_short_to_share() -> None:
    assert "T.parallel(T.int64(128))" in _scheduled(_chain, (2, 64, 4096))


def test_a_loop_of_unknown_length_stays_on_one_thread() -> None:
    assert "parallel" not in _scheduled(_chain, ("n", 1024, 1024))


def test_a_sum_is_spread_over_what_it_keeps() -> None:
    text = _scheduled(lambda emit, x: emit(op.sum(x, axis=[1])), (512, 1024))
    assert "T.parallel(T.int64(512))" in text


def test_a_sum_of_everything_stays_on_one_thread() -> None:
    assert "parallel" not in _scheduled(lambda emit, x: emit(op.sum(x)), (512, 1024))


@pytest.mark.parametrize("operator", [op.nn.softmax, lambda x: op.repeat(x, 2, axis=0)], ids=["softmax", "repeat"])
def test_the_name_of_a_kernel_stays(operator: Any) -> None:
    graph = read_graph(placed(build_main({"x": ((4, 6), "float32")}, lambda emit, x: [emit(operator(x))])))
    ((name, kernel),) = lower(graph, schedule_steps(graph), TARGET).kernels.functions.items()
    assert Default().apply(kernel, TARGET).attrs["global_symbol"] == name.name_hint  # type: ignore[union-attr]  # it takes every kernel


def test_expanded_functions_in_a_row_do_not_nest() -> None:
    """Each level would double TVM's time several times; twelve of them never came to an end."""
    names = ["x", *(f"v{index}" for index in range(11)), "y"]
    nodes = [node(("Sigmoid", "Tanh", "Exp")[index % 3], names[index], names[index + 1]) for index in range(12)]
    model = small_model(nodes, {"x": ("float32", (4, 8))}, {"y": ("float32", (4, 8))})
    x = np.linspace(-3, 1, 32, dtype=np.float32).reshape(4, 8)
    compiled = lb.compile(lb.from_onnx(model))
    assert not compiled.report.fallbacks
    assert_same(compiled.load().run({"x": x}), reference(model, {"x": x}))
