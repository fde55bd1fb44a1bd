from __future__ import annotations

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper

import landbridge as lb
from support.run_onnx import Feeds, run_program


def _run(op: str, dtype: int, x: NDArray[np.generic], *, keepdims: int, axes: list[int] | None = None) -> NDArray[np.generic]:
    node = helper.make_node(op, ["x"], ["y"], keepdims=keepdims, **({"axes": axes} if axes else {}))
    inputs = [helper.make_tensor_value_info("x", dtype, ["n", *x.shape[1:]])]
    graph = helper.make_graph([node], "reduction", inputs, [helper.make_tensor_value_info("y", dtype, None)])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    program = lb.from_onnx(onnx.shape_inference.infer_shapes(model))
    assert not program.fallbacks
    feeds: Feeds = {"x": x}
    return run_program(program, feeds)["y"]


@pytest.mark.parametrize(("op", "infinity", "reduce"), [("ReduceMax", -np.inf, np.max), ("ReduceMin", np.inf, np.min)])
@pytest.mark.parametrize("keepdims", [0, 1])
def test_nothing_but_infinities_stay_infinite(op: str, infinity: float, reduce: object, keepdims: int) -> None:
    x = np.random.default_rng(0).standard_normal((2, 3, 4)).astype(np.float32)
    x[0, 1] = infinity
    assert callable(reduce)
    np.testing.assert_array_equal(_run(op, TensorProto.FLOAT, x, axes=[2], keepdims=keepdims), reduce(x, axis=2, keepdims=bool(keepdims)))


def test_all_axes_at_once() -> None:
    x = np.full((2, 3), -np.inf, np.float16)
    np.testing.assert_array_equal(_run("ReduceMax", TensorProto.FLOAT16, x, keepdims=0), np.float16(-np.inf))


def test_integers_are_reduced_as_before() -> None:
    x = np.array([[-5, -7], [2, 9]], np.int32)
    np.testing.assert_array_equal(_run("ReduceMax", TensorProto.INT32, x, axes=[1], keepdims=0), [-5, 9])
