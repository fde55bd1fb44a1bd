"""Operators that make tensors of little: what they make of bounds that are tensors, against onnx's reference evaluator."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import landbridge as lb
from landbridge.runtime.errors import LandbridgeError
from support.run_operators import One, check, evaluated
from support.small_onnx import node, small_model


def _mel(
    name: str, sizes: tuple[int, int], rate: int, edges: tuple[float, float], constants: tuple[int, ...] = (), **attributes: Any
) -> One:
    inputs = [*(np.array(number, np.int64) for number in (*sizes, rate)), *(np.array(edge, np.float32) for edge in edges)]
    return One(
        name, "MelWeightMatrix", inputs, evaluated("MelWeightMatrix", inputs, **attributes), constants=constants, attributes=attributes
    )


def test_bands_of_the_mel_scale() -> None:
    cases = [
        _mel("all that is known when it runs", (8, 16), 8192, (0.0, 4096.0)),
        _mel("wide", (40, 512), 16000, (20.3, 7600.2), (0, 1, 2)),
        _mel("two in a bin", (20, 32), 8000, (11.1, 3900.7), (0,)),
        _mel("double", (13, 255), 22050, (133.3, 6855.5), (0, 1), output_datatype=11),
        _mel("whole numbers", (13, 64), 22050, (133.3, 6855.5), (1,), output_datatype=7),
    ]
    check(cases)


@pytest.mark.parametrize(("bands", "length"), [(7, 16), (8, 20)])
def test_another_size_than_the_declared_one_is_an_error(bands: int, length: int) -> None:
    inputs = dict.fromkeys(("bands", "length", "rate"), ("int64", ())) | dict.fromkeys(("low", "high"), ("float32", ()))
    model = small_model([node("MelWeightMatrix", " ".join(inputs), "y")], inputs, {"y": ("float32", (9, 8))})
    feeds = {"bands": np.array(bands), "length": np.array(length), "rate": np.array(8192)}
    edges = {"low": np.array(0, np.float32), "high": np.array(4096, np.float32)}
    compiled = lb.compile(lb.from_onnx(model), check="off")
    assert not compiled.report.fallbacks
    with compiled.load() as session, pytest.raises(LandbridgeError, match="not what the model declares"):
        session.run(feeds | edges)
