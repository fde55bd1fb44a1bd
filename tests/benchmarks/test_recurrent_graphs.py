"""The recurrent layers that the comparison runs: they are valid, and native code gives what ONNX Runtime gives."""

from __future__ import annotations

from types import ModuleType

import numpy as np
import onnx
import onnxruntime
import pytest

import landbridge as lb
from support.scripts import load_script


@pytest.fixture(scope="module")
def script() -> ModuleType:
    return load_script("recurrent_graphs")


@pytest.mark.parametrize(("kind", "both_ways"), [("LSTM", True), ("GRU", False)])
def test_a_layer_is_native_and_gives_what_onnx_runtime_gives(script: ModuleType, kind: str, both_ways: bool) -> None:
    model = script.layer(kind, 5, 2, 6, 20, both_ways=both_ways)
    onnx.checker.check_model(model, full_check=True)
    session = lb.load(lb.compile(lb.from_onnx(model, fallback=False)).to_bytes())
    x = np.random.default_rng(1).standard_normal((5, 2, 6)).astype("float32")
    expected = onnxruntime.InferenceSession(model.SerializeToString()).run(None, {"x": x})
    for found, wanted in zip(session.run({"x": x}).values(), expected, strict=True):
        np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-6)
