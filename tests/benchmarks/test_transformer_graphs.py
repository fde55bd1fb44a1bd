"""The layers that the comparison runs: they are valid, and native code gives what ONNX Runtime gives."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest

import landbridge as lb
from support.scripts import load_script

_LONG = pytest.mark.long


@pytest.fixture(scope="module")
def script() -> ModuleType:
    return load_script("transformer_graphs")


CASES: list[Any] = [
    ("exported", 7),
    ("operators", 7),
    pytest.param("packed", 7, marks=_LONG),
    pytest.param("exported", None, marks=_LONG),
    pytest.param("packed", None, marks=_LONG),
    pytest.param("operators", None, marks=_LONG),
]


@pytest.mark.parametrize(("form", "length"), CASES)
def test_a_layer_is_native_and_gives_what_onnx_runtime_gives(script: ModuleType, form: str, length: int | None, tmp_path: Path) -> None:
    model = script.transformer_layer(form, length, hidden=32, heads=4)
    onnx.save(model, tmp_path / "layer.onnx")
    program = lb.from_onnx(str(tmp_path / "layer.onnx"), fallback=False)
    session = lb.load(lb.compile(program).to_bytes())
    x = np.random.default_rng(1).standard_normal((1, 7, 32)).astype("float32")
    expected = onnxruntime.InferenceSession(model.SerializeToString()).run(None, {"x": x})[0]
    np.testing.assert_allclose(session.run({"x": x})["y"], expected, rtol=1e-5, atol=1e-5)  # of size 1, sums of 128 products
