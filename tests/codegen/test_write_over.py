from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from tvm import relax, te, tirx
from tvm.relax import op

from landbridge.codegen.assemble_plan import assemble_plan
from landbridge.codegen.graph import read_graph
from landbridge.codegen.lower import lower
from landbridge.codegen.schedule_steps import schedule_steps
from landbridge.codegen.target import resolve_target
from landbridge.codegen.write_over import reads_where_it_writes
from support.kernels import Array, case, compute
from support.other_targets import X86_64_V3
from support.placed_programs import build_main, placed

_random = np.random.default_rng(17)
_SHAPE = (4, 5, 16)
_TARGET = resolve_target(X86_64_V3).tvm


def _floats(*shape: int) -> Array:
    return _random.standard_normal(shape).astype("float32")


W = _floats(16, 16)


def _kernel(make: Any) -> Any:
    """Return the kernel of ``make`` over two operands of 4 x 4 numbers, of which the first is looked at."""
    x, y = (te.placeholder([tirx.const(4, "int64")] * 2, "float32", name) for name in ("x", "y"))
    return te.create_prim_func([x, y, make(x, y)])


def _square(element: Any) -> Any:
    return te.compute([tirx.const(4, "int64")] * 2, element)


def _product(x: Any, y: Any) -> Any:
    k = te.reduce_axis((0, tirx.const(4, "int64")), name="k")
    return _square(lambda i, j: te.sum(x[i, k] * y[k, j], axis=k))


def _added(x: Any, y: Any) -> Any:
    return _square(lambda i, j: x[i, j] + y[i, j])


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (_added, True),
        (lambda x, y: _added(_square(lambda i, j: tirx.exp(x[i, j])), y), True),
        (lambda x, y: _added(_product(y, y), x), True),
        (_product, False),
        (lambda x, y: _square(lambda i, j: x[3 - i, j] + y[i, j]), False),
        (lambda x, y: _added(x, _square(lambda i, j: x[j, i])), False),
        (lambda x, y: _square(lambda i, j: _square(lambda a, b: x[a, b] + y[a, b])[j, i]), False),
        (lambda x, y: _square(lambda i, j: x[0, j] + y[i, j]), False),
    ],
    ids=["sum", "two_steps", "after_product", "in_product", "backwards", "also_turned", "turned_later", "one_row"],
)
def test_what_is_read_where_it_is_written_is_told_from_the_kernel(make: Any, expected: bool) -> None:
    assert reads_where_it_writes(_kernel(make), 0, 2) is expected


def _stream(emit: Any, x: Any) -> Any:
    """A residual stream: each product is added to what came before."""
    y = emit(op.matmul(x, relax.const(W)))
    for _ in range(4):
        y = emit(op.add(emit(op.matmul(emit(op.tanh(y)), relax.const(W / 8))), y))
    return op.flip(y, axis=0)


def _streamed(x: Array) -> Array:
    y = x.astype("float64") @ W
    for _ in range(4):
        y = np.tanh(y) @ (W / 8) + y
    return np.flip(y, axis=0).astype("float32")


def _lowered(make: Any) -> Any:
    graph = read_graph(placed(build_main({"x": (_SHAPE, "float32")}, lambda emit, x: [emit(make(emit, x))])))
    return lower(graph, schedule_steps(graph), _TARGET)


def test_a_residual_stream_stays_in_one_place() -> None:
    lowered = _lowered(_stream)
    assert len(lowered.over) == 4
    plan = assemble_plan(lowered, {}, ()).plan
    nbytes = 4 * int(np.prod(_SHAPE))
    assert plan.arenas["cpu"] == 2 * nbytes  # the stream, and the one thing beside it that lives


def test_a_residual_stream_in_one_place_gives_the_same() -> None:
    x = _floats(*_SHAPE)
    one = case("stream", [x], _stream, _streamed(x))
    np.testing.assert_allclose(compute([one])["stream"], one.expected, rtol=1e-4, atol=1e-4)


def test_what_is_needed_later_is_not_written_over() -> None:
    def make(emit: Any, x: Any) -> Any:
        y = emit(op.flip(x, axis=0))
        z = emit(op.matmul(emit(op.matmul(y, relax.const(W))), relax.const(W)))
        total = emit(op.add(emit(op.matmul(z, relax.const(W))), y))
        return op.matmul(emit(op.matmul(total, relax.const(W))), emit(op.permute_dims(y, [0, 2, 1])))

    lowered = _lowered(make)
    assert not lowered.over


def test_inputs_and_constants_are_not_written_over() -> None:
    lowered = _lowered(lambda emit, x: op.add(emit(op.matmul(emit(op.flip(x, axis=0)), relax.const(W))), x))
    assert not lowered.over
