from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from tvm import relax, tirx
from tvm.relax import op

from landbridge.codegen import build
from landbridge.codegen.emit import SegmentSource, emit_segments
from landbridge.codegen.kernel_calls import KernelCall, Scalar
from landbridge.runtime.plan import Buffer, Segment
from support.host_library import HostRun
from support.placed_programs import build_main, placed


def test_a_segment_is_a_function_that_calls_its_kernels_in_order() -> None:
    buffers = (
        Buffer("x", "cpu", "float32", ("batch size", 3), "input"),
        Buffer("y", "cpu", "bool", (), "arena"),
    )
    segment = Segment("lb_segment_0", (0, 1), ("batch size",), (1,), (), ())
    call = KernelCall("all_positive", (7,), (9,), (Scalar(["//", "batch size", 2]),))
    text = emit_segments([SegmentSource(segment, buffers, (call,), {7: 0, 9: 1})], {"all_positive": "function_of_it"})
    assert text == (
        '#include "support.h"\n'
        "\n"
        "LbKernel function_of_it;\n"
        "\n"
        "static const LbTensor tensors_0[] = {\n"
        "  {2, {2, 32, 1}, 0},\n"
        "  {0, {6, 8, 1}, 2},\n"
        "};\n"
        "static const LbStep steps_0[] = {\n"
        '  {function_of_it, "all_positive", 0, 3},\n'
        "};\n"
        "static const int32_t arguments_0[] = {\n"
        "  0, 1, -1,\n"
        "};\n"
        "LB_EXPORT int lb_segment_0(void **buffers, const int64_t *dims) {\n"
        "  (void)dims;\n"
        "  static const LbSegment segment = {tensors_0, 2, steps_0, 1, arguments_0};\n"
        "  const int64_t extents[] = {dims[0], 3};\n"
        "  const int64_t scalars[] = {lb_floordiv(dims[0], 2)};\n"
        "  return lb_run(&segment, buffers, extents, scalars);\n"
        "}\n"
    )


@pytest.mark.parametrize(
    ("extent", "expected"),
    [
        (lambda n, m: n * 2 + m, lambda n, m: n * 2 + m),
        (lambda n, m: tirx.floordiv(n + 1, 2), lambda n, m: (n + 1) // 2),
        (lambda n, m: tirx.floormod(n * m, 5), lambda n, m: n * m % 5),
        (lambda n, m: tirx.max(n, m) - tirx.min(n, m), lambda n, m: abs(n - m)),
    ],
    ids=["sum", "quotient", "remainder", "extremes"],
)
def test_shapes_are_computed_in_the_library(extent: Any, expected: Any) -> None:
    def make(emit: Any, x: Any) -> list[Any]:
        n, m = x.ty.shape
        return [emit(op.full((extent(n, m),), relax.const(3.0), "float32")), emit(op.exp(x))]

    run = HostRun(build(placed(build_main({"x": (("n", "m"), "float32")}, make), outputs=["threes", "y"]), name="shapes"))
    for n, m in ((1, 1), (4, 9), (7, 2)):
        found = run(x=np.zeros((n, m), "float32"))
        assert found["threes"].tolist() == [3.0] * expected(n, m)
