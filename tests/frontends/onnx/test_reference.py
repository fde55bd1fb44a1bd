from __future__ import annotations

from typing import Any

import numpy as np

import landbridge as lb
from support.run_onnx import run_program
from support.small_onnx import node, small_model


def _resize(mode: str) -> Any:
    return small_model(
        [node("Resize", "x _ scales", "y", mode="linear", coordinate_transformation_mode=mode)],
        {"x": ("float32", [1, 1, 2, 4]), "scales": ("float32", [4])},
        {"y": ("float32", [None, None, None, None])},
    )


def test_what_onnx_runtime_gets_wrong_runs_in_the_reference_evaluator() -> None:
    program = lb.from_onnx(_resize("align_corners"))
    (model,) = program.externs.values()
    (entry,) = program.fallbacks.values()
    assert model.options == {"evaluator": "reference"}
    assert entry.reason.endswith("ONNX Runtime rounds the size before it aligns the corners: in the reference evaluator")
    x = np.arange(1, 9, dtype=np.float32).reshape(1, 1, 2, 4)
    found = run_program(program, {"x": x, "scales": np.array([1, 1, 0.6, 0.6], np.float32)})["y"]
    np.testing.assert_allclose(found, [[[[1, 3.142857]]]], rtol=1e-5)  # ONNX Runtime says 4


def test_the_rest_runs_in_onnx_runtime() -> None:
    (model,) = lb.from_onnx(_resize("asymmetric")).externs.values()
    assert model.options == {}
