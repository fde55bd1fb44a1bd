"""What the report says of a device's memory, against what is in use there."""

from __future__ import annotations

import numpy as np
import pytest

import landbridge as lb
from landbridge.simulators.ascend.make_om import make_om
from support.atlas_device import Simulator
from support.small_onnx import node, small_model

ROUNDING_NBYTES = 64
"""The vendor rounds each allocation up, by less than this."""


def matmul(wide: int, name: str) -> bytes:
    weights = np.ones((wide, wide), np.float32)
    model = small_model([node("MatMul", "x w", "y")], {"x": ("float32", ("n", wide))}, {"y": ("float32", ("n", wide))}, {"w": weights})
    return make_om(model, gears=(1, 8), name=name)


class Chain(lb.nn.Module):
    """Two offline models on one device, one of them called twice."""

    def __init__(self) -> None:
        self.first = lb.AtlasRuntimeSubgraph(matmul(32, "first"))
        self.second = lb.AtlasRuntimeSubgraph(matmul(32, "second"))

    def forward(self, x):  # type: ignore[no-untyped-def]  # as users write it
        return self.first(self.second(self.first(x)[0])[0])[0]


@pytest.mark.parametrize("batch", [1, 8, 20])
def test_the_peak_of_a_device_is_what_is_in_use_there(batch: int) -> None:
    simulator = Simulator()
    simulator.reset()
    compiled = lb.compile(lb.from_module(Chain(), {"x": lb.TensorSpec((batch, 32), "float32")}))
    with compiled.load(simulate=["atlas"]) as session:
        np.testing.assert_allclose(session.run({"x": np.ones((batch, 32), np.float32)})["output"], np.full((batch, 32), 32.0**3))
        live = simulator.live()
    told = compiled.report.peak_nbytes["atlas0"]
    assert isinstance(told, int)
    assert told <= live["bytes"] <= told + live["buffer"] * ROUNDING_NBYTES
    simulator.reset()
