"""Sums over thousands of float16 numbers: in float16 they would be wrong in the second digit, in float32 they are rounded once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper

import landbridge as lb
from support.run_onnx import run_program

_random = np.random.default_rng(3)
TERMS = 4000


def _numbers(*shape: int) -> NDArray[np.float16]:
    return _random.random(shape).astype(np.float16)


def _check(node: Any, feeds: Mapping[str, NDArray[np.float16]], expected: NDArray[np.float32], shapes: Sequence[Sequence[Any]]) -> None:
    inputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT16, shape) for name, shape in zip(feeds, shapes, strict=True)]
    graph = helper.make_graph([node], "sum", inputs, [helper.make_tensor_value_info("y", TensorProto.FLOAT16, None)])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    program = lb.from_onnx(onnx.shape_inference.infer_shapes(model))
    assert not program.fallbacks
    found = run_program(program, feeds)["y"]
    assert found.dtype == np.float16
    np.testing.assert_allclose(found, expected.astype(np.float16), rtol=2**-10)  # one unit in the last place: float32 rounds too


def test_matrix_product() -> None:
    a, b = _numbers(2, TERMS), _numbers(TERMS, 3)
    expected = a.astype(np.float32) @ b.astype(np.float32)
    _check(helper.make_node("MatMul", ["a", "b"], ["y"]), {"a": a, "b": b}, expected, [["n", TERMS], [TERMS, 3]])


def test_convolution() -> None:
    x, w = _numbers(1, TERMS, 2, 2), _numbers(2, TERMS, 1, 1)
    expected = np.einsum("nchw,oc->nohw", x.astype(np.float32), w[:, :, 0, 0].astype(np.float32))
    _check(helper.make_node("Conv", ["x", "w"], ["y"]), {"x": x, "w": w}, expected, [x.shape, w.shape])


def test_sum_and_mean() -> None:
    x = _numbers(2, TERMS)
    wide = x.astype(np.float32)
    _check(helper.make_node("ReduceSum", ["x"], ["y"]), {"x": x}, wide.sum(keepdims=True), [["n", TERMS]])
    _check(helper.make_node("ReduceMean", ["x"], ["y"], axes=[1]), {"x": x}, wide.mean(1, keepdims=True), [["n", TERMS]])
