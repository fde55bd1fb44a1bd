"""Cambricon models on the whole way: compiled without a device, run on the simulator, also beside Atlas in one graph."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import landbridge as lb
from landbridge.runtime.errors import SignatureError, UnsupportedError
from landbridge.runtime.sidecar import sidecar_path, write_sidecar
from landbridge.simulators.ascend.make_om import make_om
from landbridge.simulators.cambricon.make_cambricon import make_cambricon
from support.magicmind_double import installed, make_magicmind
from support.small_onnx import node, small_model

Array = NDArray[Any]

TOLERANCE = 2e-3
"""Relative to max(1, |y|): both simulated devices compute in float16."""

WEIGHTS = np.random.default_rng(7).standard_normal((4, 3, 3, 3)).astype("float32") / 4


def convolution() -> Any:
    return small_model(
        [node("Conv", "x w", "y", pads=[1, 1, 1, 1])],
        {"x": ("float32", ("n", 3, "h", "w"))},
        {"y": ("float32", ("n", 4, "h", "w"))},
        {"w": WEIGHTS},
    )


def sigmoid(*shape: int) -> Any:
    return small_model([node("Sigmoid", "x", "y")], {"x": ("float32", shape)}, {"y": ("float32", shape)})


def expected_convolution(x: Array) -> Array:
    padded = np.pad(x.astype("float64"), ((0, 0), (0, 0), (1, 1), (1, 1)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(2, 3))
    result: Array = np.einsum("nchwij,ocij->nohw", windows, WEIGHTS.astype("float64"))
    return result


def assert_close(found: Array, expected: Array) -> None:
    assert found.shape == expected.shape
    worst = (np.abs(found - expected) / np.maximum(1, np.abs(expected))).max()
    assert worst <= TOLERANCE


def images(*shape: int) -> Array:
    return np.random.default_rng(sum(shape)).standard_normal(shape).astype("float32")


class Nhwc(lb.nn.Module):
    """An NHWC model between NCHW operators, with the transpositions written."""

    def __init__(self, data: bytes, mutable: bool = False) -> None:
        self.model = lb.CambriconRuntimeSubgraph(data, "subnet0", mutable)

    def forward(self, x):  # type: ignore[no-untyped-def]  # as users write it
        y = self.model(lb.nn.permute_dims(lb.nn.relu(x), [0, 2, 3, 1]))[0]
        return lb.nn.relu(lb.nn.permute_dims(y, [0, 3, 1, 2]))


class Both(lb.nn.Module):
    """Cambricon, then Atlas."""

    def __init__(self, cambricon: bytes, atlas: bytes) -> None:
        self.backbone = lb.CambriconRuntimeSubgraph(cambricon, "subnet0")
        self.head = lb.AtlasRuntimeSubgraph(atlas)

    def forward(self, x):  # type: ignore[no-untyped-def]
        y = self.backbone(lb.nn.permute_dims(x, [0, 2, 3, 1]))[0]
        return self.head(y)[0]


def test_a_fixed_model_equals_the_definition() -> None:
    blob = make_cambricon(convolution(), sizes={"n": 2, "h": 8, "w": 6}, input_dtype="float16", output_dtype="float16")
    compiled = lb.compile(lb.from_module(Nhwc(blob), {"x": lb.TensorSpec((2, 3, 8, 6), "float32")}))
    assert [(copy.source, copy.destination, copy.dtype) for copy in compiled.report.copies] == [
        ("cpu", "cambricon0", "float16"),
        ("cambricon0", "cpu", "float16"),
    ]
    x = images(2, 3, 8, 6)
    with compiled.load(simulate=["cambricon"]) as session:
        assert_close(session(x)["output"], np.maximum(expected_convolution(np.maximum(x, 0)), 0))


def test_the_caller_chooses_what_a_mutable_model_leaves_open() -> None:
    blob = make_cambricon(convolution(), tensor_dim_mutable=True, sizes={"h": 8, "w": 6}, input_dtype="float16", output_dtype="float16")
    spec = lb.TensorSpec(("n", 3, "h", "w"), "float32")
    compiled = lb.compile(lb.from_module(Nhwc(blob, mutable=True), {"x": spec}))
    with compiled.load(simulate=["cambricon"]) as session:
        for shape in ((1, 3, 8, 6), (5, 3, 4, 7), (2, 3, 16, 1)):
            x = images(*shape)
            assert_close(session(x)["output"], np.maximum(expected_convolution(np.maximum(x, 0)), 0))


def test_between_atlas_and_cambricon_everything_crosses_over_the_cpu() -> None:
    cambricon = make_cambricon(convolution(), sizes={"h": 8, "w": 6}, input_dtype="float16", output_dtype="float16")
    atlas = make_om(sigmoid(1, 8, 6, 4), input_dtype="float16", output_dtype="float32")
    compiled = lb.compile(lb.from_module(Both(cambricon, atlas), {"x": lb.TensorSpec((1, 3, 8, 6), "float32")}))
    assert [(copy.source, copy.destination) for copy in compiled.report.copies] == [
        ("cpu", "cambricon0"),
        ("cambricon0", "cpu"),
        ("cpu", "atlas0"),
        ("atlas0", "cpu"),
    ]
    x = images(1, 3, 8, 6)
    with compiled.load(simulate=["atlas", "cambricon"]) as session:
        found = session(x)["output"]
    assert_close(found, 1 / (1 + np.exp(-expected_convolution(x).transpose(0, 2, 3, 1))))


def test_an_nchw_value_is_refused_with_the_transposition_to_write() -> None:
    class Wrong(Nhwc):
        def forward(self, x):  # type: ignore[no-untyped-def]
            return self.model(x)[0]

    blob = make_cambricon(convolution(), sizes={"h": 8, "w": 6})
    with pytest.raises(SignatureError, match=r"permute_dims\(x, \[0, 2, 3, 1\]\)"):
        lb.compile(lb.from_module(Wrong(blob), {"x": lb.TensorSpec((1, 3, 8, 6), "float32")}))


def test_a_sidecar_is_enough_to_compile(tmp_path: Path) -> None:
    """The format does not tell, and the vendor's library is not here: only the sidecar knows."""
    file = tmp_path / "net.cambricon"
    file.write_bytes(b"a model whose format is not public")
    signature = lb.Signature((lb.Port("x", "float16", (1, 4)),), (lb.Port("y", "float16", (1, 4)),), versions={"core": "MLU270"})
    write_sidecar(sidecar_path(file), file.read_bytes(), signature, "cambricon", {"symbol": "subnet0"})
    model = small_model(
        [node("Relu", "a", "x"), node("Sigmoid", "x", "y"), node("Relu", "y", "b")],
        {"a": ("float16", (1, 4))},
        {"b": ("float16", (1, 4))},
    )
    offline = lb.ExternModel.from_file(file)
    program = lb.replace(lb.from_onnx(model.SerializeToString()), inputs=["x"], outputs=["y"], by=offline)
    externs = lb.compile(program).artifact.externs
    assert [(extern.vendor, extern.device, dict(extern.options)) for extern in externs] == [
        ("cambricon", "cambricon0", {"symbol": "subnet0"})
    ]


def test_a_magicmind_model_runs_like_any_other() -> None:
    class Net(lb.nn.Module):
        def __init__(self, data: bytes) -> None:
            self.model = lb.MagicMindRuntimeSubgraph(data)

        def forward(self, x):  # type: ignore[no-untyped-def]
            return lb.nn.relu(self.model(x)[0])

    with installed():
        blob = make_magicmind(sigmoid(2, 3))
        compiled = lb.compile(lb.from_module(Net(blob), {"x": lb.TensorSpec((2, 3), "float32")}))
        x = images(2, 3)
        with compiled.load() as session:
            np.testing.assert_allclose(session(x)["output"], 1 / (1 + np.exp(-x)), rtol=1e-6)


def test_two_vendors_on_one_card_are_refused() -> None:
    class Two(lb.nn.Module):
        def __init__(self, first: bytes, second: bytes) -> None:
            self.old = lb.CambriconRuntimeSubgraph(first, "subnet0")
            self.new = lb.MagicMindRuntimeSubgraph(second)

        def forward(self, x):  # type: ignore[no-untyped-def]
            return self.new(self.old(x)[0])[0]

    with installed():
        net = Two(make_cambricon(sigmoid(2, 3)), make_magicmind(sigmoid(2, 3)))
        program = lb.from_module(net, {"x": lb.TensorSpec((2, 3), "float32")})
        with pytest.raises(UnsupportedError) as caught:
            lb.compile(program)
    assert str(caught.value) == (
        "cambricon0 is used by cambricon ('old') and by magicmind ('new'), which do not share memory\n"
        "  hint: run one of them on another device"
    )
