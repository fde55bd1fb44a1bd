"""One graph with the regions of seven vendors: compiled in auto mode with the fewest crossings, equal to the reference."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest

import landbridge as lb
from landbridge.cli import main
from landbridge.simulators.ascend.make_om import make_om
from landbridge.simulators.cambricon.make_cambricon import make_cambricon
from support import cuda_double
from support.crossings import fewest
from support.cuda_double import CudaDouble
from support.iree_modules import add as iree_add
from support.iree_modules import require_iree, vmfb
from support.small_onnx import node, small_model
from support.tensorrt_double import make_module, plan, tensor
from support.tflite_models import dense, require_litert

Array = np.ndarray[Any, Any]

TOLERANCE = 2e-3
"""The simulated Atlas computes in float16: the rounding of sums of 6 products of at most about 1, and what follows."""

_RANDOM = np.random.default_rng(7)
W_LITERT, W_ATLAS, W_OPENVINO = (_RANDOM.standard_normal(shape).astype("float32") / 3 for shape in ((8, 6), (6, 6), (6, 4)))

CAMBRICON = {"symbol": "subnet0", "tensor_dim_mutable": "true"}
SIMULATED = ("atlas", "cambricon")


def model() -> Any:
    """Return the reference. Each vendor's region is one operator; there are CPU operators between all of them, and forks at two."""
    nodes = [
        node("Relu", "image", "a"),
        node("MatMul", "a w_litert", "b"),  # LiteRT
        node("Sigmoid", "b", "c"),
        node("MatMul", "c w_atlas", "d"),  # Atlas
        node("Mul", "c two", "e"),  # TensorRT
        node("Tanh", "d", "f"),
        node("Neg", "e", "g"),  # Cambricon
        node("Add", "f g", "h"),  # IREE
        node("Relu", "h", "i"),
        node("MatMul", "i w_openvino", "j"),  # OpenVINO
        node("Softmax", "j", "k", axis=1),  # ONNX Runtime
        node("Mul", "k two", "score"),
    ]
    constants = {"w_litert": W_LITERT, "w_atlas": W_ATLAS, "w_openvino": W_OPENVINO, "two": np.array(2, "float32")}
    return small_model(nodes, {"image": ("float32", ("n", 8))}, {"score": ("float32", ("n", 4)), "c": ("float32", ("n", 6))}, constants)


def atlas_blob() -> bytes:
    part = small_model([node("MatMul", "c w", "d")], {"c": ("float32", ("n", 6))}, {"d": ("float32", ("n", 6))}, {"w": W_ATLAS})
    return make_om(part, gears=(1, 2, 4))


def cambricon_blob() -> bytes:
    part = small_model([node("Neg", "e", "g")], {"e": ("float32", ("n", 6))}, {"g": ("float32", ("n", 6))})
    return make_cambricon(part, tensor_dim_mutable=True)


def onnxruntime_blob() -> bytes:
    part = small_model([node("Softmax", "j", "k", axis=1)], {"j": ("float32", ("n", 4))}, {"k": ("float32", ("n", 4))})
    serialised: bytes = part.SerializeToString()
    return serialised


def tensorrt_blob() -> bytes:
    profiles = [{"e": [[1, 6], [2, 6], [4, 6]]}, {"e": [[5, 6], [8, 6], [16, 6]]}]
    return plan("double", [tensor("e", [-1, 6]), tensor("twice", [-1, 6], output=True)], profiles)


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> Iterator[CudaDouble]:
    double = cuda_double.use(monkeypatch)
    monkeypatch.setitem(sys.modules, "tensorrt", make_module(double))
    yield double
    assert double.live() == 0


@pytest.fixture
def program(tmp_path: Path, gpu: CudaDouble) -> Any:
    """The model with all regions replaced; the engine's signature is captured first, for its format does not tell it."""
    require_litert()
    require_iree()
    pytest.importorskip("openvino", reason="needs the package openvino: pip install landbridge[openvino]")
    (tmp_path / "twice.engine").write_bytes(tensorrt_blob())
    assert main(["capture", str(tmp_path / "twice.engine")]) == 0
    found = lb.from_onnx(model())
    regions: list[tuple[str, str, Any]] = [
        ("a", "b", lb.ExternModel.from_bytes(dense(W_LITERT.T, {"a": [-1, 8]}, ("b", [-1, 6])), name="dense.tflite")),
        ("c", "d", lb.ExternModel.from_bytes(atlas_blob(), name="middle.om")),
        ("c", "e", lb.ExternModel.from_file(tmp_path / "twice.engine")),
        ("e", "g", lb.ExternModel.from_bytes(cambricon_blob(), options=CAMBRICON, name="negate.cambricon")),
        ("f g", "h", lb.ExternModel.from_bytes(vmfb(iree_add(shape="?x6")), name="add.vmfb")),
        ("j", "k", lb.ExternModel.from_bytes(onnxruntime_blob(), "onnxruntime", name="softmax.onnx")),
    ]
    for inputs, output, by in regions:
        found = lb.replace(found, inputs=inputs.split(), outputs=[output], by=by)
    return lb.offload(found, "openvino0", inputs=["i"], outputs=["j"])


def reference(image: Array) -> dict[str, Array]:
    session = onnxruntime.InferenceSession(model().SerializeToString(), providers=["CPUExecutionProvider"])
    return dict(zip(["score", "c"], session.run(None, {"image": image}), strict=True))


def test_seven_vendors_in_one_artifact(program: Any, gpu: CudaDouble, tmp_path: Path) -> None:
    compiled = lb.compile(program)
    crossings = [(c.value, c.source, c.destination) for c in compiled.report.copies]
    assert sorted(crossings) == [
        ("a", "cpu", "litert0"),
        ("b", "litert0", "cpu"),
        ("c", "cpu", "atlas0"),
        ("c", "cpu", "gpu0"),
        ("d", "atlas0", "cpu"),
        ("e", "cpu", "cambricon0"),
        ("e", "gpu0", "cpu"),
        ("f", "cpu", "iree0"),
        ("g", "cambricon0", "cpu"),
        ("g", "cpu", "iree0"),
        ("h", "iree0", "cpu"),
        ("i", "cpu", "openvino0"),
        ("j", "openvino0", "cpu"),
    ]
    assert compiled.report.minimum_copies == len(crossings) == fewest(program.module, {"n": 4}).number
    assert {c.value for c in compiled.report.copies if not c.aliased} == {"c", "d", "e", "g"}
    path = compiled.save(tmp_path / "all.lbr")
    with lb.load(path, simulate=SIMULATED) as session:
        assert set(session.simulated) == set(SIMULATED)
        for n in (4, 1, 7, 16, 4):
            image = np.random.default_rng(n).standard_normal((n, 8)).astype("float32")
            found, expected = session.run({"image": image}), reference(image)
            np.testing.assert_allclose(found["c"], expected["c"], rtol=1e-5, atol=1e-6)  # only LiteRT's sums of 8 products before it
            np.testing.assert_allclose(found["score"], expected["score"], rtol=TOLERANCE, atol=TOLERANCE)


def test_a_batch_that_one_vendor_cannot_take_is_said_and_the_next_one_runs(program: Any) -> None:
    with lb.compile(program).load(simulate=SIMULATED) as session:
        with pytest.raises(
            lb.errors.InputError, match=r"no optimisation profile of the engine takes 'e' \[17, 6\]; profile 0: 'e' min \[1, 6\]"
        ):
            session.run({"image": np.ones((17, 8), "float32")})
        image = np.ones((2, 8), "float32")
        np.testing.assert_allclose(session.run({"image": image})["score"], reference(image)["score"], rtol=TOLERANCE, atol=TOLERANCE)


def test_the_module_classes(gpu: CudaDouble) -> None:
    require_litert()
    require_iree()
    port = lb.Port("e", "float32", ("n", 6))
    signature = lb.Signature((port,), (lb.Port("twice", "float32", ("n", 6)),))

    class Net(lb.nn.Module):
        def __init__(self) -> None:
            self.dense = lb.LitertRuntimeSubgraph(dense(W_LITERT.T, {"a": [-1, 8]}, ("b", [-1, 6])))
            self.twice = lb.TensorrtRuntimeSubgraph(tensorrt_blob(), signature=signature)
            self.sum = lb.IreeRuntimeSubgraph(vmfb(iree_add(shape="?x6")))

        def forward(self, x):  # type: ignore[no-untyped-def]  # as users write it
            b = self.dense(x)[0]
            return self.sum(b, self.twice(b)[0])[0]

    image = np.random.default_rng(0).standard_normal((3, 8)).astype("float32")
    with lb.compile(lb.from_module(Net(), {"x": lb.TensorSpec(("n", 8), "float32")})).load() as session:
        np.testing.assert_allclose(session.run({"x": image})["output"], 3 * (image @ W_LITERT), rtol=1e-5, atol=1e-5)
