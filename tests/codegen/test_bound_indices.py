"""Gathers and scatters: right inside of their tensors, and never outside of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import tvm
from tvm import relax
from tvm.relax import op

from landbridge.codegen import build
from landbridge.codegen.graph import read_graph
from landbridge.codegen.lower import lower
from landbridge.codegen.schedule_steps import schedule_steps
from support.host_library import HostRun
from support.placed_programs import build_main, placed

Array = np.ndarray[Any, Any]
ROWS = 4
DATA = np.arange(ROWS * 3, dtype="float32").reshape(ROWS, 3)
WILD = (-(2**62), -5, 0, 3, 4, 2**62)
"""Indices of the first axis, in it and far out of it."""


def _run(expr: Callable[..., Any], **inputs: Array) -> Array:
    """Return ``expr`` of the inputs; the first axis of ``data`` is a named dimension."""
    shapes: dict[str, Any] = {name: (list(array.shape), str(array.dtype)) for name, array in inputs.items()}
    shapes["data"] = (["n", 3], "float32")
    module = build_main(shapes, lambda emit, *params: [emit(expr(*params))])
    return HostRun(build(placed(module, outputs=["y"]), name="indices"))(**inputs)["y"]


def _nearest(indices: Any, *, signed: bool = False) -> Array:
    return np.asarray(np.clip(np.array(indices), -ROWS if signed else 0, ROWS - 1))


@pytest.mark.parametrize("dtype", ["int32", "int64"])
def test_take_stays_inside(dtype: str) -> None:
    indices = np.clip(WILD, np.iinfo(dtype).min, np.iinfo(dtype).max).astype(dtype)
    found = _run(lambda data, i: op.take(data, i, axis=0), data=DATA, indices=indices)
    np.testing.assert_array_equal(found, DATA[_nearest(indices)])


def test_gather_elements_stays_inside() -> None:
    indices = np.array([WILD, WILD[::-1], [1] * 6], "int64").T.copy()
    found = _run(lambda data, i: op.gather_elements(data, i, axis=0), data=DATA, indices=indices)
    np.testing.assert_array_equal(found, np.take_along_axis(DATA, _nearest(indices), 0))


def test_gather_nd_stays_inside_of_each_axis() -> None:
    indices = np.array([[row, column] for row in WILD for column in (-1, 1, 3)], "int64")
    found = _run(op.gather_nd, data=DATA, indices=indices)
    np.testing.assert_array_equal(found, DATA[_nearest(indices[:, 0]), np.clip(indices[:, 1], 0, 2)])


def test_scatter_elements_stays_inside_and_counts_from_the_end() -> None:
    indices = np.array([[2**62, -1, -(2**62)]], "int64")
    updates = np.array([[100, 200, 300]], "float32")
    expected = DATA.copy()
    expected[ROWS - 1, 0], expected[ROWS - 1, 1], expected[0, 2] = 100, 200, 300
    np.testing.assert_array_equal(_run(op.scatter_elements, data=DATA, indices=indices, updates=updates), expected)


def test_scatter_nd_stays_inside() -> None:
    indices = np.array([[2**62], [1]], "int64")
    updates = np.array([[1, 2, 3], [4, 5, 6]], "float32")
    expected = DATA.copy()
    expected[ROWS - 1], expected[1] = updates
    np.testing.assert_array_equal(_run(op.scatter_nd, data=DATA, indices=indices, updates=updates), expected)


def test_gathers_become_one_kernel_with_what_stands_around_them() -> None:
    def make(emit: Any, table: Any, tokens: Any, positions: Any) -> list[Any]:
        rows = [emit(op.take(table, emit(op.add(indices, relax.const(1, "int64"))), axis=0)) for indices in (tokens, positions)]
        return [emit(op.add(*rows))]

    inputs = {"table": ([50, 8], "float32"), "tokens": ([2, 5], "int64"), "positions": ([5], "int64")}
    program = placed(build_main(inputs, make), outputs=["y"])
    graph = read_graph(program)
    kernels = lower(graph, schedule_steps(graph), tvm.target.Target({"kind": "llvm"})).kernels.functions
    assert len(kernels) == 1
    rng = np.random.default_rng(0)
    table, tokens, positions = rng.standard_normal((50, 8)).astype("float32"), rng.integers(0, 49, (2, 5)), rng.integers(0, 49, 5)
    found = HostRun(build(program, name="gathers"))(table=table, tokens=tokens, positions=positions)["y"]
    np.testing.assert_array_equal(found, table[tokens + 1] + table[positions + 1])
