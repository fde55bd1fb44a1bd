"""Ascend models of one size with an output whose shape only the data tells: its driver hands it to the host as it came out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import parser

import landbridge as lb
from landbridge.runtime.errors import UnsupportedError
from landbridge.simulators.ascend.make_om import make_om
from support.atlas_device import Simulator
from support.recordings import check_recording

HEAD = '<ir_version: 8, opset_import: ["" : 17]> g '
X = "float[3,4]"


def finder() -> lb.ExternModel:
    """A model that gives its features, and where they are not zero."""
    text = f"{HEAD} ({X} s) => ({X} t, int64[r,c] where) {{ t = Relu(s)  where = NonZero(t) }}"
    return lb.ExternModel.from_bytes(make_om(parser.parse_model(text), fp16=False), name="finder.om")


def images() -> list[Any]:
    rng = np.random.default_rng(0)
    some = [rng.standard_normal((3, 4)).astype(np.float32) for _ in range(3)]
    return [*some, np.full((3, 4), -1, np.float32), np.ones((3, 4), np.float32)]


def test_the_signature_names_the_extent_that_is_open() -> None:
    signature = finder().signature
    assert [port.shape for port in signature.outputs] == [(3, 4), (2, "output1_dim1")]
    assert signature.open_outputs == (False, True)


def test_an_output_as_long_as_the_data_say(tmp_path: Path) -> None:
    simulator = Simulator()
    simulator.reset()
    text = f"{HEAD} ({X} x) => ({X} y, int64[2,m] where) {{ s = Identity(x)  t = Relu(s)  where = NonZero(t)  y = Neg(t) }}"
    program = lb.replace(lb.from_onnx(parser.parse_model(text)), inputs=["x"], outputs=["t", "where"], by=finder())
    compiled = lb.compile(program)
    compiled.save(tmp_path / "net.lbr")
    with lb.load(tmp_path / "net.lbr", simulate=["atlas"]) as session:
        before = None
        for x in images():
            found = session.run({"x": x})
            np.testing.assert_array_equal(found["y"], -np.maximum(x, 0))
            np.testing.assert_array_equal(found["where"], np.stack(np.nonzero(np.maximum(x, 0))))
            assert before in (None, simulator.live()), "a call left something on the device"
            before = simulator.live()
    assert simulator.live() == {}


def test_a_recording_answers_in_place_of_the_device(tmp_path: Path) -> None:
    text = f"{HEAD} ({X} x) => ({X} y, int64[2,m] where) {{ s = Identity(x)  t = Relu(s)  where = NonZero(t)  y = Neg(t) }}"
    program = lb.replace(lb.from_onnx(parser.parse_model(text)), inputs=["x"], outputs=["t", "where"], by=finder())
    lb.compile(program).save(tmp_path / "net.lbr")
    x = images()[0]
    here = check_recording(tmp_path / "net.lbr", {"x": x}, tmp_path / "recording", simulate=["atlas"])
    assert here["where"].shape == (2, int((x > 0).sum()))


def test_the_module_api(tmp_path: Path) -> None:
    blob = finder().data

    class Net(lb.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.finder = lb.AtlasRuntimeSubgraph(blob)

        def forward(self, x: Any) -> Any:
            return self.finder(lb.nn.relu(x))[1]

    compiled = lb.compile(lb.from_module(Net(), {"x": lb.TensorSpec((3, 4), "float32")}))
    compiled.save(tmp_path / "net.lbr")
    with lb.load(tmp_path / "net.lbr", simulate=["atlas"]) as session:
        for x in images():
            (found,) = session.run({"x": x}).values()
            np.testing.assert_array_equal(found, np.stack(np.nonzero(np.maximum(x, 0))))


def test_such_a_value_does_not_go_to_a_device() -> None:
    text = f"{HEAD} (int64[2,n] s) => (int64[2,n] t) {{ t = Abs(s) }}"
    reader = make_om(parser.parse_model(text), dims_gears=((1,), (12,)), fp16=False)

    class Net(lb.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.finder = lb.AtlasRuntimeSubgraph(finder().data)
            self.reader = lb.AtlasRuntimeSubgraph(reader)

        def forward(self, x: Any) -> Any:
            return self.reader(self.finder(x)[1])[0]

    with pytest.raises((UnsupportedError, lb.errors.SignatureError), match=r"shape|dimensions"):
        lb.compile(lb.from_module(Net(), {"x": lb.TensorSpec((3, 4), "float32")}))


def test_without_the_device_the_region_gives_the_same_on_the_cpu(tmp_path: Path) -> None:
    text = f"{HEAD} ({X} x) => ({X} u, int64[2,c] w) {{ s = Neg(x)  t = Relu(s)  where = NonZero(t)  u = Neg(t)  w = Identity(where) }}"
    program = lb.replace(lb.from_onnx(parser.parse_model(text)), inputs=["s"], outputs=["t", "where"], by=finder(), fallback="onnxruntime")
    lb.compile(program).save(tmp_path / "net.lbr")
    for simulate in (["atlas"], []):
        with lb.load(tmp_path / "net.lbr", simulate=simulate) as session:
            assert session.choices[0].vendor == ("atlas" if simulate else "onnxruntime")
            for x in images():
                found = session.run({"x": x})
                np.testing.assert_array_equal(found["u"], -np.maximum(-x, 0))
                np.testing.assert_array_equal(found["w"], np.nonzero(np.maximum(-x, 0)))


def test_on_another_device_than_the_plan_s_the_arguments_are_copied_there(tmp_path: Path) -> None:
    text = f"{HEAD} ({X} x) => ({X} u, int64[2,c] w) {{ s = Neg(x)  t = Relu(s)  where = NonZero(t)  u = Neg(t)  w = Identity(where) }}"
    program = lb.replace(
        lb.from_onnx(parser.parse_model(text)),
        inputs=["s"],
        outputs=["t", "where"],
        by=[finder(), finder()],
        device=["atlas9", "atlas1"],
    )
    with lb.compile(program).load(simulate=["atlas"]) as session:
        assert session.choices[0].device == "atlas1"
        for x in images():
            found = session.run({"x": x})
            np.testing.assert_array_equal(found["u"], -np.maximum(-x, 0))
            np.testing.assert_array_equal(found["w"], np.nonzero(np.maximum(-x, 0)))
