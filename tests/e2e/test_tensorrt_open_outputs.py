"""A TensorRT engine with an output whose shape only the data tells, between regions of the CPU: the reference's results."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from onnx import parser

import landbridge as lb
from landbridge.cli import main
from support import cuda_double
from support.cuda_double import CudaDouble
from support.recordings import check_recording
from support.tensorrt_double import make_module, plan, tensor

MODEL = """<ir_version: 8, opset_import: ["" : 17]> g (float[n,4] x) => (float[n,4] y, int64[2,m] where) {
  s = Neg(x)
  kept = Relu(s)
  where = NonZero(kept)
  y = Neg(kept)
}"""
"""The engine has the place of Relu and NonZero; there are host kernels before and after it."""

TENSORS = [tensor("s", [-1, 4]), tensor("kept", [-1, 4], output=True), tensor("where", [2, -1], "INT64", output=True)]
ENGINE = plan("finder", TENSORS, [{"s": [[1, 4], [4, 4], [8, 4]]}, {"s": [[9, 4], [9, 4], [64, 4]]}])


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> Iterator[CudaDouble]:
    double = cuda_double.use(monkeypatch)
    monkeypatch.setitem(sys.modules, "tensorrt", make_module(double))
    yield double
    assert double.live() == 0


def program(tmp_path: Path) -> Any:
    """The model with the engine, whose signature is captured first."""
    file = tmp_path / "finder.engine"
    file.write_bytes(ENGINE)
    assert main(["capture", str(file)]) == 0
    engine = lb.ExternModel.from_file(file)
    assert engine.signature.open_outputs == (False, True)
    return lb.replace(lb.from_onnx(parser.parse_model(MODEL)), inputs=["s"], outputs=["kept", "where"], by=engine)


def images() -> list[Any]:
    rng = np.random.default_rng(0)
    some = [rng.standard_normal((n, 4)).astype(np.float32) for n in (3, 1, 40, 8, 64, 3)]
    return [*some, np.ones((5, 4), np.float32), np.full((5, 4), -1, np.float32)]


def test_the_results_are_the_references(gpu: CudaDouble, tmp_path: Path) -> None:
    session = onnxruntime.InferenceSession(parser.parse_model(MODEL).SerializeToString(), providers=["CPUExecutionProvider"])
    compiled = lb.compile(program(tmp_path))
    crossings = [(c.value, c.source, c.destination) for c in compiled.report.copies]
    assert crossings == [("s", "cpu", "gpu0"), ("kept", "gpu0", "cpu"), ("where", "gpu0", "cpu")]
    with lb.load(compiled.save(tmp_path / "net.lbr")) as loaded:
        most = 0
        for x in images():
            found = loaded.run({"x": x})
            for name, expected in zip(("y", "where"), session.run(None, {"x": x}), strict=True):
                np.testing.assert_array_equal(found[name], expected, err_msg=name)
            most = max(most, gpu.live())
            assert gpu.live() == most, "a call left something on the GPU, or gave back what the next one needs"


def test_a_recording_answers_in_place_of_the_gpu(gpu: CudaDouble, tmp_path: Path) -> None:
    lb.compile(program(tmp_path)).save(tmp_path / "net.lbr")
    check_recording(tmp_path / "net.lbr", {"x": images()[0]}, tmp_path / "recording")


def test_without_room_the_error_names_the_output_and_the_next_run_is_right(gpu: CudaDouble, tmp_path: Path) -> None:
    with lb.compile(program(tmp_path)).load() as session:
        session.run({"x": np.ones((64, 4), np.float32)})
        gpu.budget(4096)
        with pytest.raises(lb.errors.DeviceError, match="output 'where', whose size only the data tells: no room for 4096 bytes"):
            session.run({"x": np.full((64, 4), -1, np.float32)})
        gpu.budget(16 << 20)
        x = images()[0]
        np.testing.assert_array_equal(session.run({"x": x})["where"], np.stack(np.nonzero(x < 0)))


def test_a_region_on_the_cpu_reads_what_is_as_long_as_the_data_say(gpu: CudaDouble, tmp_path: Path) -> None:
    signature = lb.Signature(
        (lb.Port("s", "float32", ("batch", 4)),), (lb.Port("kept", "float32", ("batch", 4)), lb.Port("where", "int64", (2, "found")))
    )
    doubling = parser.parse_model('<ir_version: 8, opset_import: ["" : 17]> g (int64[2,m] w) => (int64[2,m] v) { v = Add(w, w) }')

    class Net(lb.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.finder = lb.TensorrtRuntimeSubgraph(ENGINE, signature=signature)
            self.twice = lb.OnnxruntimeRuntimeSubgraph(doubling.SerializeToString())

        def forward(self, x: Any) -> Any:
            return self.twice(self.finder(lb.nn.relu(x))[1])[0]

    with lb.compile(lb.from_module(Net(), {"x": lb.TensorSpec(("n", 4), "float32")})).load() as session:
        for x in images():
            (found,) = session.run({"x": x}).values()
            np.testing.assert_array_equal(found, 2 * np.stack(np.nonzero(np.maximum(x, 0))))
