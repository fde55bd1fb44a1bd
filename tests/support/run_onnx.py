"""Run a program from ONNX and ONNX Runtime on the same model, and compare."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

import landbridge as lb

Feeds = Mapping[str, NDArray[Any]]


def run_program(program: Any, feeds: Feeds) -> dict[str, NDArray[Any]]:
    """Return the outputs of a program, compiled and run."""
    with lb.compile(program).load() as session:
        return dict(session.run(dict(feeds)))


def reference(model: Any, feeds: Feeds) -> dict[str, NDArray[Any]]:
    """Return what ONNX Runtime makes of the same model."""
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return dict(zip([output.name for output in session.get_outputs()], session.run(None, dict(feeds)), strict=True))


def assert_same(found: Mapping[str, NDArray[Any]], expected: Mapping[str, NDArray[Any]]) -> None:
    """Assert equal names, dtypes and shapes, and values within float32 rounding of another order of summation."""
    assert list(found) == list(expected)
    for name, array in expected.items():
        assert found[name].dtype == array.dtype, name
        np.testing.assert_allclose(found[name], array, rtol=1e-4, atol=1e-5, err_msg=name)
