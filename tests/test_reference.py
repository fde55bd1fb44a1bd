"""The model that an artifact is compared with: any value of it can be asked for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from landbridge.reference import Reference
from landbridge.runtime.errors import ModelError
from support.small_onnx import node, small_model

X = np.array([[-1, 2]], "float32")


@pytest.fixture
def model(tmp_path: Path) -> Path:
    nodes = [node("Relu", "x", "clean"), node("Mul", "clean scale", "y")]
    made: Any = small_model(nodes, {"x": ("float32", (1, 2))}, {"y": ("float32", (1, 2))}, {"scale": np.array([3, 4], "float32")})
    onnx.save(made, tmp_path / "model.onnx", save_as_external_data=True, location="weights", size_threshold=0)
    return tmp_path / "model.onnx"


def test_every_value_can_be_asked_for_and_weights_may_lie_beside_the_model(model: Path) -> None:
    reference = Reference(model)
    assert (reference.title, sorted(reference.names)) == ("model.onnx", ["clean", "x", "y"])
    found = reference.run({"x": X}, ["y", "x", "clean", "clean"])
    assert {name: array.tolist() for name, array in found.items()} == {"x": [[-1, 2]], "clean": [[0, 2]], "y": [[0, 8]]}
    assert list(reference.run({"x": X}, [])) == ["x"]
    assert [array.tolist() for array in reference.evaluator()({"x": X})] == [[[0, 8]]]


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({"z": X}, "model.onnx: the reference has no input 'z'"),
        ({}, "model.onnx: the reference has an input 'x' that the artifact has not"),
        ({"x": X[0]}, "model.onnx: the reference cannot be computed: "),
    ],
)
def test_inputs_that_do_not_fit_are_one_message(inputs: Any, message: str, model: Path) -> None:
    with pytest.raises(ModelError) as caught:
        Reference(model).run(inputs, ["y"])
    assert str(caught.value).startswith(message)
