"""Programs that `torch.export` made: names, dimensions, offline models as operators, what is refused, and whole architectures."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import landbridge as lb
from landbridge.runtime.errors import InputError, UnsupportedError, UsageError
from support.small_onnx import node, small_model

pytest.importorskip("torch", reason="PyTorch is not installed: make test-models installs it")

import torch
from torch import nn

from models.architecture import seeded
from models.catalogue import CATALOGUE
from models.export import arrays

pytestmark = pytest.mark.long


def tripled(rows: Any = "n") -> lb.ExternModel:
    """Return an offline model that gives three times what is positive, and the sum of each row."""
    nodes = [node("Relu", "a", "b"), node("Mul", "b three", "c"), node("ReduceSum", "b last", "d", keepdims=0)]
    constants = {"three": np.full(8, 3, np.float32), "last": np.array([1])}
    model = small_model(nodes, {"a": ("float32", (rows, 8))}, {"c": ("float32", (rows, 8)), "d": ("float32", (rows,))}, constants)
    return lb.ExternModel.from_bytes(model.SerializeToString(), "onnxruntime", name="part.onnx")


class Mixed(nn.Module):
    """Images and tokens, a table cut to the length of the tokens, and an offline model in the middle."""

    def __init__(self, part: Any) -> None:
        super().__init__()
        self.conv, self.fc, self.norm, self.part = nn.Conv2d(3, 8, 3, padding=1), nn.Linear(8, 4), nn.LayerNorm(8), part
        self.register_buffer("table", torch.randn(20, 8))

    def forward(self, image: Any, tokens: Any) -> Any:
        pooled = torch.relu(self.conv(image)).mean((2, 3))
        features, total = self.part(pooled)
        states = nn.functional.embedding(tokens, self.table) + self.table[: tokens.shape[1]]
        states = nn.functional.gelu(self.norm(states))
        return {"logits": self.fc(features), "total": total, "states": (states.softmax(-1), states[:, 1:])}


def inputs(batch: int, length: int) -> tuple[Any, Any]:
    generator = torch.Generator().manual_seed(batch)
    return torch.randn(batch, 3, 8, 8, generator=generator), torch.randint(0, 20, (batch, length), generator=generator)


@pytest.fixture(scope="module")
def mixed() -> tuple[Any, Any]:
    """The network, and what `torch.export` makes of it."""
    torch.manual_seed(0)
    network = Mixed(lb.torch_operator(tripled())).eval()
    batch, length = torch.export.Dim("batch"), torch.export.Dim("length", min=4, max=20)
    shapes = {"image": {0: batch}, "tokens": {0: batch, 1: length}}
    return network, torch.export.export(network, inputs(2, 5), dynamic_shapes=shapes)


@pytest.fixture(scope="module")
def imported(mixed: tuple[Any, Any]) -> lb.Program:
    return lb.from_torch(mixed[1], dims={"image": {0: "batch"}, "tokens": {1: "length"}}, name="mixed")


def test_one_artifact_gives_what_pytorch_gives_at_every_size(mixed: tuple[Any, Any], imported: lb.Program) -> None:
    network, _ = mixed
    compiled = lb.compile(imported)
    assert (compiled.checked.against, compiled.checked.sets) == ("PyTorch", 2)
    with compiled.load() as session:
        for sizes in ((2, 5), (3, 20), (1, 4)):
            image, tokens = inputs(*sizes)
            found = session.run({"image": image.numpy(), "tokens": tokens.numpy()})
            wanted = network(image, tokens)
            expected = {
                "logits": wanted["logits"],
                "total": wanted["total"],
                "states_0": wanted["states"][0],
                "states_1": wanted["states"][1],
            }
            assert set(found) == set(expected)
            for name, tensor in expected.items():
                np.testing.assert_allclose(found[name], tensor.detach().numpy(), rtol=1e-4, atol=1e-5, err_msg=name)
        with pytest.raises(InputError, match="dimension 'length' is 21 on axis 1, expected at most 20"):
            session.run({"image": inputs(1, 4)[0].numpy(), "tokens": np.zeros((1, 21), np.int64)})


def test_names_and_dimensions_are_the_users(imported: lb.Program) -> None:
    assert "image: float32 [batch, 3, 8, 8], tokens: int64 [batch, length] -> logits, total, states_0, states_1" in repr(imported)
    assert "offline models: part.onnx on cpu" in repr(imported)
    report = lb.compile(imported, check="off").report
    assert not report.fallbacks


def test_dimensions_have_names_of_inputs_by_default(mixed: tuple[Any, Any]) -> None:
    assert "tokens: int64 [image_0, tokens_1]" in repr(lb.from_torch(mixed[1]))


def test_an_offline_model_runs_in_eager_mode() -> None:
    part = lb.torch_operator(tripled())
    rows = torch.linspace(-1, 1, 24).reshape(3, 8)
    features, total = part(rows)
    torch.testing.assert_close(features, 3 * rows.relu())
    torch.testing.assert_close(total, rows.relu().sum(1))
    half, _ = part(rows.half())  # converted at the border, as in a compiled program
    torch.testing.assert_close(half, 3 * rows.half().float().relu())


def test_a_region_on_a_simulated_device(tmp_path: Path) -> None:
    from landbridge.simulators.ascend.make_om import make_om

    om = make_om(small_model([node("Relu", "a", "b")], {"a": ("float32", (2, 8))}, {"b": ("float32", (2, 8))}))
    part = lb.torch_operator(lb.ExternModel.from_bytes(om, name="part.om"), simulate=["atlas"])

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.part = nn.Linear(8, 8), part

        def forward(self, x: Any) -> Any:
            return self.part(self.first(x))[0] + 1

    torch.manual_seed(0)
    network, x = Net().eval(), torch.randn(2, 8)
    wanted = network(x).detach().numpy()
    compiled = lb.compile(lb.from_torch(torch.export.export(network, (x,))))
    assert compiled.checked.against == "PyTorch"  # with made-up results of the device
    assert [copy.destination for copy in compiled.report.copies] == ["atlas0", "cpu"]
    with compiled.load(simulate=["atlas"]) as session:
        np.testing.assert_allclose(session(x.numpy())["output"], wanted, rtol=2e-3, atol=1e-3)


def test_operators_that_cannot_be_imported_are_named_with_their_lines() -> None:
    class Net(nn.Module):
        def forward(self, x: Any) -> Any:
            return torch.cummax(x, 0)[0] + torch.logcumsumexp(x, 1)

    with pytest.raises(UnsupportedError) as caught:
        lb.from_torch(torch.export.export(Net(), (torch.ones(2, 3),)), name="net")
    text = str(caught.value)
    assert text.startswith("net: 2 operators cannot be imported:")
    assert re.search(r"cummax \(aten.cummax.default\), .*test_from_torch.py.*: return torch.cummax", text)
    assert "logcumsumexp (aten.logcumsumexp.default)" in text
    assert "lb.from_onnx" in text


def test_state_that_changes_is_refused() -> None:
    class Counter(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("count", torch.zeros(1))

        def forward(self, x: Any) -> Any:
            self.count.add_(1)
            return x + self.count

    with pytest.raises(UnsupportedError, match="it changes its own state from run to run: count"):
        lb.from_torch(torch.export.export(Counter(), (torch.ones(2),)))


def test_what_is_no_exported_program_is_refused(mixed: tuple[Any, Any]) -> None:
    with pytest.raises(UsageError, match="expected an exported program, found Mixed"):
        lb.from_torch(mixed[0])
    with pytest.raises(UsageError, match="axis 1 of input 'image' is not open"):
        lb.from_torch(mixed[1], dims={"image": {1: "channels"}})
    with pytest.raises(UsageError, match="dims names the input 'picture', there are: image, tokens"):
        lb.from_torch(mixed[1], dims={"picture": {0: "batch"}})


def test_native_code_that_differs_from_pytorch_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    from tvm.relax.frontend.torch import exported_program_translator as translator

    class Net(nn.Module):
        def forward(self, x: Any) -> Any:
            return torch.tanh(torch.erf(x) + 1)

    plain = translator.ExportedProgramImporter.create_convert_map
    wrong = lambda self: {**plain(self), "erf.default": plain(self)["sin.default"]}  # noqa: E731
    monkeypatch.setattr(translator.ExportedProgramImporter, "create_convert_map", wrong)
    program = lb.from_torch(torch.export.export(Net(), (torch.ones(2, 3),)), name="net")
    with pytest.raises(UnsupportedError, match="its native code differs from PyTorch: 'erf' "):
        lb.compile(program)


def test_a_saved_program_needs_its_offline_models(tmp_path: Path, mixed: tuple[Any, Any]) -> None:
    torch.export.save(mixed[1], tmp_path / "mixed.pt2")
    code = (
        "import sys, torch, landbridge as lb\n"
        "from landbridge.frontends.torch.operator import _register\n"
        "_register(torch)\n"
        "lb.from_torch(torch.export.load(sys.argv[1]))\n"
    )
    ended = subprocess.run([sys.executable, "-c", code, tmp_path / "mixed.pt2"], capture_output=True, text=True, check=False)
    assert "which this process does not know" in ended.stderr
    assert "call lb.torch_operator with the same blob and device first" in ended.stderr


UNSUPPORTED = {"detr": r"div \(aten\.div\.Tensor_mode\)", "decoder": r"scalar_tensor \(aten\.scalar_tensor\.default\)"}
"""Architectures with operators that TVM's importer of exported programs lacks, with what its refusal says."""


@pytest.mark.parametrize("architecture", [found for found in CATALOGUE if found.name != "yolo"], ids=lambda found: found.name)
def test_an_architecture_is_what_pytorch_says(architecture: Any) -> None:
    network = seeded(architecture.network)
    example = architecture.inputs(architecture.sizes)
    exported = torch.export.export(network, tuple(example.values()))
    if architecture.name in UNSUPPORTED:
        with pytest.raises(UnsupportedError, match=UNSUPPORTED[architecture.name]):
            lb.compile(lb.from_torch(exported, name=architecture.name))
        return
    compiled = lb.compile(lb.from_torch(exported, name=architecture.name))
    assert compiled.checked.against == "PyTorch"
    with torch.no_grad():
        wanted = network(*example.values())
    tensors = list(wanted) if isinstance(wanted, list | tuple) else [wanted]
    with compiled.load() as session:
        found = session.run(
            dict(zip([info.name for info in session.inputs], arrays(architecture, architecture.sizes).values(), strict=True))
        )
    for array, tensor in zip(found.values(), tensors, strict=True):
        atol = architecture.atol * float(tensor.abs().max())
        np.testing.assert_allclose(array, tensor.numpy(), architecture.rtol, atol)
