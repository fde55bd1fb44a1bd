"""The graphs before and after offline models mean what their NumPy and C forms mean: ONNX Runtime runs them, too."""

from __future__ import annotations

import ctypes
from typing import Any

import numpy as np
import onnxruntime
import pytest

from support.scripts import load_script

graphs = load_script("processing_graphs")


def _reference(processing: Any) -> list[Any]:
    session = onnxruntime.InferenceSession(processing.model.SerializeToString(), providers=["CPUExecutionProvider"])
    return list(session.run(None, dict(processing.feeds)))


def _close(found: Any, expected: Any, tolerance: float) -> None:
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        assert (one.shape, one.dtype) == (other.shape, other.dtype)
        np.testing.assert_allclose(one.astype("float64"), other.astype("float64"), rtol=1e-5, atol=tolerance)


@pytest.mark.parametrize("name", graphs.graphs())
def test_numpy_and_onnx_runtime_agree(name: str) -> None:
    processing = graphs.graphs()[name]()
    tolerance = {"log-mel": 5e-3, "picture": 1e-3, "detections": 1e-4}.get(name, 1e-5)  # ONNX Runtime's DFT of 400 is not exact
    _close(_reference(processing), processing.numpy(processing.feeds), tolerance)


@pytest.mark.parametrize("scaled", [False, True])
@pytest.mark.parametrize("form", graphs.FORMS)
def test_every_form_of_the_picture_means_the_same(form: str, scaled: bool) -> None:
    processing = graphs.picture(form, scaled=scaled)
    _close(_reference(processing), processing.numpy(processing.feeds), 2e-3)


@pytest.fixture(scope="module")
def hand() -> ctypes.CDLL:
    library: ctypes.CDLL = graphs.by_hand()
    return library


def _pointers(*arrays: Any) -> list[Any]:
    return [ctypes.c_void_p(array.ctypes.data) for array in arrays]


def test_the_picture_by_hand_is_right(hand: ctypes.CDLL) -> None:
    processing = graphs.picture(graphs.FORMS[0])
    result = np.zeros((1, 3, graphs.SIDE, graphs.SIDE), "float16")
    hand.lb_hand_picture(*_pointers(processing.feeds["image"], result))
    _close([result], processing.numpy(processing.feeds), 1e-3)


def test_the_detections_by_hand_are_right(hand: ctypes.CDLL) -> None:
    processing = graphs.detections()
    found = [
        np.zeros((1, graphs.CANDIDATES, 4), "float32"),
        np.zeros((1, graphs.CANDIDATES), "float32"),
        np.zeros((1, graphs.CANDIDATES), "int64"),
        np.zeros((graphs.MOST, 3), "int64"),
    ]
    count = hand.lb_hand_detections(*_pointers(processing.feeds["raw"], processing.feeds["logits"], *found))
    _close([*found[:3], found[3][:count]], processing.numpy(processing.feeds), 1e-3)
