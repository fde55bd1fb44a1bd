"""The whole way with the real Ascend files: compiled without a device, run on the simulator, equal to their true weights."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import landbridge as lb
from landbridge.simulators.ascend.make_om import make_om
from support.om_data import om_data_dir
from support.small_onnx import node, small_model

Array = NDArray[Any]

TOLERANCE = 2e-3
"""Relative to max(1, |y|): the file computes in float16, whose rounding of 27 products of about 1 reaches 2.1e-3."""


class Whole(lb.nn.Module):
    """A model that is one offline model."""

    def __init__(self, data: bytes) -> None:
        self.model = lb.AtlasRuntimeSubgraph(data)

    def forward(self, inputs):  # type: ignore[no-untyped-def]  # as users write it
        return self.model(inputs)


class Between(Whole):
    """relu -> offline model -> relu."""

    def forward(self, x):  # type: ignore[no-untyped-def]
        return lb.nn.relu(self.model(lb.nn.relu(x))[0])


class BetweenWithCopies(Whole):
    """The same with the copies written, as MegEngine wants them."""

    def forward(self, x):  # type: ignore[no-untyped-def]
        x = lb.copy(lb.nn.relu(x), "atlas0")
        return lb.nn.relu(lb.copy(self.model(x)[0], "cpux"))


@pytest.fixture(scope="module")
def static_om() -> bytes:
    return (om_data_dir() / "model_om.om").read_bytes()


@pytest.fixture(scope="module")
def dynamic_om() -> bytes:
    return (om_data_dir() / "model_dyn_om.om").read_bytes()


def convolution(x: Array) -> Array:
    """The definition: a valid 3x3 convolution by the true weights, in float64."""
    weights = np.load(om_data_dir() / "conv1_weights.npy").astype(np.float64)
    windows = np.lib.stride_tricks.sliding_window_view(x.astype(np.float64), (3, 3), axis=(2, 3))
    result: Array = np.einsum("nchwij,ocij->nohw", windows, weights)
    return result


def assert_close(found: Array, expected: Array) -> None:
    assert found.shape == expected.shape
    worst = (np.abs(found - expected) / np.maximum(1, np.abs(expected))).max()
    assert worst <= TOLERANCE


def relu_model(*shape: int | str) -> Any:
    return small_model([node("Relu", "x", "y")], {"x": ("float32", shape)}, {"y": ("float32", shape)})


def images(n: int) -> Array:
    return np.random.default_rng(n).standard_normal((n, 3, 16, 16)).astype("float32")


def test_one_offline_model_with_its_input_on_the_device(static_om: bytes, tmp_path: Path) -> None:
    model = lb.from_module(Whole(static_om), {"inputs": lb.TensorSpec((4, 3, 16, 16), "float32", device="atlas0")})
    compiled = lb.compile(model)
    assert [(c.source, c.destination) for c in compiled.report.copies] == [("atlas0", "cpu")]
    path = compiled.save(tmp_path / "whole.lbr")
    ones = np.ones((4, 3, 16, 16), "float32")
    with lb.load(path, simulate=["atlas"]) as session:
        from_host = session.run({"inputs": ones})["output"]
        on_device = session.to_device(ones, "atlas0")
        from_device = session.run({"inputs": on_device})["output"]
    assert_close(from_host, convolution(ones))
    assert from_host.tobytes() == from_device.tobytes()


def test_a_new_process_gives_the_same_bits(static_om: bytes, tmp_path: Path) -> None:
    x = images(4)
    compiled = lb.compile(lb.from_module(Between(static_om), {"x": lb.TensorSpec((4, 3, 16, 16), "float32")}))
    path = compiled.save(tmp_path / "net.lbr")
    here = compiled.load(simulate=["atlas"]).run({"x": x})["output"]
    np.save(tmp_path / "x.npy", x)
    program = (
        "import sys, numpy as np; from landbridge.runtime import load\n"
        f"y = load({str(path)!r}, simulate=['atlas']).run({{'x': np.load({str(tmp_path / 'x.npy')!r})}})['output']\n"
        f"np.save({str(tmp_path / 'y.npy')!r}, y); assert not {{'tvm', 'onnx', 'networkx'}} & set(sys.modules)"
    )
    subprocess.run(
        [sys.executable, "-c", program], check=True, env={"PYTHONPATH": str(Path(lb.__file__).parents[1]), "PATH": "/usr/bin:/bin"}
    )
    assert np.load(tmp_path / "y.npy").tobytes() == here.tobytes()
    assert_close(here, np.maximum(convolution(np.maximum(x, 0)), 0))


@pytest.mark.parametrize(("batch", "split"), [(1, "1"), (6, "4+2"), (20, "8+8+4")])
def test_a_batch_is_split_over_the_gears(dynamic_om: bytes, batch: int, split: str) -> None:
    x = images(batch)
    fixed = lb.compile(lb.from_module(Between(dynamic_om), {"x": lb.TensorSpec((batch, 3, 16, 16), "float32")}))
    assert fixed.report.launches == {"model": f"{batch} -> {split}, nothing padded"}
    opened = lb.compile(lb.from_module(Between(dynamic_om), {"x": lb.TensorSpec(("n", 3, 16, 16), "float32")}))
    expected = np.maximum(convolution(np.maximum(x, 0)), 0)
    for compiled in (fixed, opened):
        with compiled.load(simulate=["atlas"]) as session:
            assert_close(session.run({"x": x})["output"], expected)
            assert f"{batch} -> {split}" in session.plan_text({"n": batch} if compiled is opened else {})


def test_one_artifact_takes_every_batch(dynamic_om: bytes) -> None:
    session = lb.compile(lb.from_module(Between(dynamic_om), {"x": lb.TensorSpec(("n", 3, 16, 16), "float32")})).load(simulate=["atlas"])
    for batch in (20, 1, 7, 20, 3):
        x = images(batch)
        assert_close(session.run({"x": x})["output"], np.maximum(convolution(np.maximum(x, 0)), 0))


def test_buffers_on_the_device_have_room_for_a_whole_largest_gear_after_the_last_piece(dynamic_om: bytes) -> None:
    plan = lb.compile(lb.from_module(Between(dynamic_om), {"x": lb.TensorSpec((20, 3, 16, 16), "float32")})).artifact.plan
    rows = {
        buffer.name: buffer.nbytes // (buffer.shape[1] * buffer.shape[2] * buffer.shape[3] * 4)
        for buffer in plan.buffers
        if buffer.device == "atlas0"
    }
    assert rows
    assert all(count >= 16 + 8 for count in rows.values())  # the last piece of 8+8+4 starts at row 16 and may write 8


def test_auto_mode_inserts_exactly_two_crossings(static_om: bytes) -> None:
    report = lb.compile(lb.from_module(Between(static_om), {"x": lb.TensorSpec((4, 3, 16, 16), "float32", device="cpux")})).report
    assert [(c.value, c.nbytes, c.source, c.destination) for c in report.copies] == [
        ("relu", 4 * 3 * 16 * 16 * 4, "cpu", "atlas0"),
        ("model", 4 * 17 * 14 * 14 * 4, "atlas0", "cpu"),
    ]
    assert all(crossing.reason for crossing in report.copies)
    assert report.minimum_copies == 2
    assert report.casts == ()


def test_strict_mode_names_both_missing_copies_and_the_lines_to_add(static_om: bytes) -> None:
    model = lb.from_module(Between(static_om), {"x": lb.TensorSpec((4, 3, 16, 16), "float32")}, name="between")
    with pytest.raises(lb.errors.PlacementError) as caught:
        lb.compile(model, mode="strict")
    text = str(caught.value)
    assert 'relu = lb.copy(relu, "atlas0")' in text
    assert 'model = lb.copy(model, "cpu")' in text


def test_strict_mode_accepts_the_copies_written(static_om: bytes) -> None:
    x = images(4)
    model = lb.from_module(BetweenWithCopies(static_om), {"x": lb.TensorSpec((4, 3, 16, 16), "float32")})
    compiled = lb.compile(model, mode="strict")
    assert len(compiled.report.copies) == 2
    with compiled.load(simulate=["atlas"]) as session:
        assert_close(session.run({"x": x})["output"], np.maximum(convolution(np.maximum(x, 0)), 0))


def test_a_batch_that_no_gears_reach_is_refused_with_the_nearest() -> None:
    blob = make_om(relu_model("n", 4), gears=(2, 4))
    model = lb.from_module(Whole(blob), {"inputs": lb.TensorSpec((3, 4), "float32")})
    with pytest.raises(lb.errors.SignatureError, match=r"\[3, 4\], expected a batch that is a sum of its gears 2, 4"):
        lb.compile(model)
    session = lb.compile(lb.from_module(Whole(blob), {"inputs": lb.TensorSpec(("n", 4), "float32")})).load(simulate=["atlas"])
    with pytest.raises(lb.errors.InputError, match=r"batch 3 .*2, 4"):
        session.run({"inputs": np.ones((3, 4), "float32")})
    np.testing.assert_array_equal(session.run({"inputs": np.full((6, 4), -1, "float32")})["output"], np.zeros((6, 4), "float32"))


def test_a_float16_model_fed_float32_is_cast_on_the_cpu_where_fewer_bytes_cross() -> None:
    class Net(Whole):
        def forward(self, x):  # type: ignore[no-untyped-def]
            return lb.astype(self.model(x)[0], "float32")

    blob = make_om(relu_model(2, 8), input_dtype="float16", output_dtype="float16")
    compiled = lb.compile(lb.from_module(Net(blob), {"x": lb.TensorSpec((2, 8), "float32")}))
    assert [(c.dtype, c.nbytes, c.source, c.destination) for c in compiled.report.copies] == [
        ("float16", 32, "cpu", "atlas0"),
        ("float16", 32, "atlas0", "cpu"),
    ]
    assert [(c.source, c.destination) for c in compiled.report.casts] == [("float32", "float16"), ("float16", "float32")]
    x = np.linspace(-4, 4, 16, dtype="float32").reshape(2, 8)
    found = compiled.load(simulate=["atlas"]).run({"x": x})["output"]
    np.testing.assert_array_equal(found, np.maximum(x.astype("float16"), 0).astype("float32"))
