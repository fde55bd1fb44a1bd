"""The quantised graphs that the comparison runs: they are valid, and native code gives what ONNX Runtime gives."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import numpy as np
import onnx
import onnxruntime
import pytest

import landbridge as lb
from support.scripts import load_script


@pytest.fixture(scope="module")
def script() -> ModuleType:
    return load_script("quantised_graphs")


@pytest.mark.parametrize("form", ["integer", "linear", "convolution"])
def test_a_graph_is_native_and_gives_what_onnx_runtime_gives(script: ModuleType, form: str, tmp_path: Path) -> None:
    model = script.convolution(6, 20, 3, 9, stride=2) if form == "convolution" else script.product(5, 40, 30, linear=form == "linear")
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, tmp_path / "model.onnx")
    session = lb.load(lb.compile(lb.from_onnx(str(tmp_path / "model.onnx"), fallback=False)).to_bytes())
    shape = [extent.dim_value for extent in model.graph.input[0].type.tensor_type.shape.dim]
    x = np.random.default_rng(1).integers(0, 256, shape).astype("uint8")
    expected = onnxruntime.InferenceSession(model.SerializeToString()).run(None, {"x": x})[0]
    # Sums are equal; where a sum in units of the result's scale is half-way between two numbers, either may be what it is rounded to.
    np.testing.assert_allclose(session.run({"x": x})["y"], expected, rtol=0, atol=0 if form == "integer" else 1)
    assert len(np.unique(expected)) > 20
