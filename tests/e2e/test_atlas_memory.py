"""Several Ascend models on one device, and several devices, in one artifact; and what its report says of their memory."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import parser

import landbridge as lb
from landbridge.ir.program import Program
from landbridge.runtime.dims import evaluate
from landbridge.runtime.errors import DeviceError
from landbridge.simulators.ascend.make_om import make_om
from support.atlas_device import Simulator

HEAD = '<ir_version: 8, opset_import: ["" : 17]> g '
ROWS = 6
GEARS = (2, 4)
OVERHEAD = 64
"""What an allocation takes beyond its size: it is rounded up to 32 bytes, and 32 more."""


@pytest.fixture
def simulator(monkeypatch: pytest.MonkeyPatch) -> Iterator[Simulator]:
    """Afterwards it has the memory again that the environment says then."""
    found = Simulator()
    found.reset()
    yield found
    monkeypatch.undo()
    found.reset()


def network() -> Any:
    return parser.parse_model(f"""{HEAD} (float[n, 8] x) => (float[n, 8] y)
        {{ a = Relu(x)  p = Sigmoid(a)  b = Neg(p)  q = Tanh(b)  c = Abs(q)  r = Sqrt(c)  y = Neg(r) }}""")


def model(operator: str, gears: tuple[int, ...] = GEARS) -> lb.ExternModel:
    text = f"{HEAD} (float[n, 8] s) => (float[n, 8] t) {{ t = {operator}(s) }}"
    return lb.ExternModel.from_bytes(make_om(parser.parse_model(text), gears=gears, fp16=False), name=f"{operator}.om")


def on_devices(*places: str) -> Program:
    program = lb.from_onnx(network())
    regions = (("a", "p", "Sigmoid"), ("b", "q", "Tanh"), ("c", "r", "Sqrt"))
    for (given, made, operator), device in zip(regions, places, strict=True):
        program = lb.replace(program, inputs=[given], outputs=[made], by=model(operator), device=device)
    return program


@pytest.mark.parametrize("places", [("atlas0", "atlas0", "atlas0"), ("atlas0", "atlas1", "atlas0"), ("atlas2", "atlas1", "atlas0")])
def test_models_and_devices_in_one_artifact(simulator: Simulator, tmp_path: Path, places: tuple[str, ...]) -> None:
    compiled = lb.compile(on_devices(*places))
    assert len(compiled.report.copies) == compiled.report.minimum_copies == 6
    compiled.save(tmp_path / "net.lbr")
    x = np.random.default_rng(0).standard_normal((ROWS, 8)).astype(np.float32)
    with lb.load(tmp_path / "net.lbr", simulate=["atlas"]) as session:
        assert simulator.live()["model"] == 3
        assert simulator.live()["context"] == 2 * len(set(places))  # the driver's own, and the default one of the device
        for _ in range(2):
            found = session.run({"x": x})["y"]
        expected = -np.sqrt(np.abs(np.tanh(-(1 / (1 + np.exp(-np.maximum(x, 0)))))))
        np.testing.assert_allclose(found, expected, rtol=1e-5)
    assert simulator.live() == {}


def test_the_report_tells_the_memory_that_is_taken(simulator: Simulator, tmp_path: Path) -> None:
    """Of three models, each with its weights and workspace, and of buffers for the largest gears."""
    compiled = lb.compile(on_devices("atlas0", "atlas0", "atlas0"))
    compiled.save(tmp_path / "net.lbr")
    told = evaluate(compiled.report.peak_nbytes["atlas0"], {"n": ROWS})
    with lb.load(tmp_path / "net.lbr", simulate=["atlas"]) as session:
        session.run({"x": np.zeros((ROWS, 8), np.float32)})
        taken, buffers = simulator.live()["bytes"], simulator.live()["buffer"]
    selectors = 3 * 8  # the hidden input of each model
    assert told <= taken <= told + selectors + buffers * OVERHEAD
    models = sum(m.signature.workspace_nbytes + m.signature.weight_nbytes for m in map(model, ("Sigmoid", "Tanh", "Sqrt")))
    largest = math.prod((ROWS + max(GEARS) - min(GEARS), 8)) * 4
    assert told >= models + 2 * largest


def test_a_device_without_room_for_the_models_says_how_much_is_missing(
    simulator: Simulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    compiled = lb.compile(on_devices("atlas0", "atlas0", "atlas0"))
    compiled.save(tmp_path / "net.lbr")
    monkeypatch.setenv("LANDBRIDGE_SIM_ATLAS_MEMORY", "1K")
    with pytest.raises(DeviceError, match=r"no room for \d+ bytes, \d+ are free"):
        lb.load(tmp_path / "net.lbr", simulate=["atlas"])
    assert simulator.live() == {}
