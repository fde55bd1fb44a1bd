"""Several models compiled at once in one process."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import onnx

import landbridge as lb
from support.run_onnx import assert_same, reference
from support.small_onnx import node, small_model

THREADS = 6


def _model(number: int) -> onnx.ModelProto:
    nodes = [node("MatMul", "x w", "a"), node("Relu", "a", "b"), node("Softmax", "b", "y")]
    weights = np.full((4, 3), number / 4, "float32")
    return small_model(nodes, {"x": ("float32", ("n", 4))}, {"y": ("float32", ("n", 3))}, {"w": weights})


class Net(lb.nn.Module):
    def forward(self, x):  # type: ignore[no-untyped-def]  # as users write it
        return lb.nn.relu(lb.nn.relu(x) + x)


def test_models_compiled_on_several_threads_do_not_mix() -> None:
    x = np.arange(8, dtype="float32").reshape(2, 4)

    def compiled(number: int) -> tuple[bytes, bytes]:
        other = lb.from_module(Net(), {"x": lb.TensorSpec((2, 4), "float32")})
        return lb.compile(lb.from_onnx(_model(number))).to_bytes(), lb.compile(other).to_bytes()

    with ThreadPoolExecutor(THREADS) as threads:
        found = list(threads.map(compiled, range(THREADS)))
    for number, (from_onnx, from_module) in enumerate(found):
        assert_same(lb.load(from_onnx).run({"x": x}), reference(_model(number), {"x": x}))
        assert from_module == found[0][1]
    assert len({from_onnx for from_onnx, _ in found}) == THREADS
