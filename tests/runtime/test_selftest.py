"""Artifacts that test themselves: what is kept, what is found, and files that are wrong."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import landbridge as lb
from landbridge.cli import main
from landbridge.runtime import artifact
from landbridge.runtime.errors import ArtifactCorrupt, InputError, ModelError, PlanError, UnsupportedError, UsageError
from landbridge.runtime.fields import Field
from landbridge.runtime.golden import SECTION, Golden
from landbridge.simulators.ascend.make_om import make_om
from support.small_onnx import node, small_model

SHAPE = ("float32", ("n", 4))
NODES = [node("Relu", "image", "clean"), node("Sigmoid", "clean", "score"), node("Neg", "score", "result")]
MODEL = small_model(NODES, {"image": SHAPE}, {"result": SHAPE})
IMAGES = {"image": np.linspace(-2, 2, 12, dtype=np.float32).reshape(3, 4)}
ONE = {"image": np.ones((1, 4), np.float32)}


def program(function: str = "Sigmoid") -> lb.Program:
    """Return the model with an offline model for its middle, which computes ``function``."""
    part = small_model([node(function, "clean", "score")], {"clean": SHAPE}, {"score": SHAPE})
    blob = lb.ExternModel.from_bytes(make_om(part, gears=(1, 2, 4)), name="middle.om")
    return lb.replace(lb.from_onnx(MODEL), inputs=["clean"], outputs=["score"], by=blob)


@pytest.fixture(scope="module")
def right() -> bytes:
    return lb.compile(program(), golden=[IMAGES, ONE]).to_bytes()


def test_a_right_artifact_passes(right: bytes) -> None:
    found = lb.selftest(right, simulate=["atlas"])
    assert (found.passed, found.first_region, found.simulated) == (True, "", ("atlas",))
    assert found.by.partition(" with ")[0] in ("onnxruntime", "onnx")
    for verdict, rows in zip(found.verdicts, (3, 1), strict=True):
        assert [(entry.difference.name, entry.where) for entry in verdict.checked] == [
            ("clean", "into middle.om on atlas0"),
            ("score", "out of middle.om on atlas0"),
            ("result", "output 'result'"),
        ]
        assert all(entry.difference.shape == (rows, 4) for entry in verdict.checked)


def test_a_wrong_offline_model_is_named_and_by_how_much_it_is_off() -> None:
    found = lb.selftest(lb.compile(program("Tanh"), golden=IMAGES).to_bytes(), simulate=["atlas"])
    assert not found.passed
    assert found.first_region == "middle.om on atlas0 (by atlas)"
    by_name = {entry.difference.name: entry.difference for entry in found.verdicts[0].checked}
    assert by_name["clean"].agrees
    x = np.maximum(IMAGES["image"], 0).astype(np.float64)
    off = np.abs(np.tanh(x) - 1 / (1 + np.exp(-x))).max()
    assert by_name["score"].max_abs == pytest.approx(off, abs=2e-3)  # float16


def test_what_is_kept_is_the_reference_s_and_not_the_artifact_s(right: bytes) -> None:
    read = artifact.from_bytes(right)
    assert read.golden is not None
    section = memoryview(read.sections[SECTION])
    case = read.golden.cases[0]
    kept = {tensor.name: tensor.array(section) for tensor in (*case.inputs, *case.values)}
    np.testing.assert_array_equal(kept["image"], IMAGES["image"])
    clean = np.maximum(IMAGES["image"], 0)
    np.testing.assert_array_equal(kept["clean"], clean)
    np.testing.assert_allclose(kept["result"], -1 / (1 + np.exp(-clean)), rtol=1e-6)  # float32, where the artifact has float16
    assert all(tensor.offset % 64 == 0 for _, tensor in read.golden.tensors())


def test_the_same_inputs_give_the_same_bytes_and_the_rest_of_the_artifact_is_as_without(right: bytes) -> None:
    assert lb.compile(program(), golden=[IMAGES, ONE]).to_bytes() == right
    with_golden, without = artifact.from_bytes(right), artifact.from_bytes(lb.compile(program()).to_bytes())
    assert without.golden is None
    stripped = dataclasses.replace(
        with_golden, golden=None, sections={name: data for name, data in with_golden.sections.items() if name != SECTION}
    )
    assert artifact.to_bytes(stripped) == artifact.to_bytes(without)


def test_a_written_artifact_reads_back_the_same(right: bytes) -> None:
    assert artifact.to_bytes(artifact.from_bytes(right)) == right


def test_a_reader_that_does_not_know_of_golden_values_takes_the_file(right: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(artifact, "MEMBER", "unheard-of")
    with lb.load(right, simulate=["atlas"]) as session:
        assert session.artifact.golden is None
        assert session.run(ONE)["result"].shape == (1, 4)


def test_an_artifact_without_golden_values_says_how_to_get_them() -> None:
    with pytest.raises(UsageError, match=r"(?s)nothing to test itself with.*--golden in\.npz") as caught:
        lb.selftest(lb.compile(lb.from_onnx(MODEL)).to_bytes())
    assert caught.value.code == "LB1117"


def test_inputs_that_do_not_fit_are_refused_at_compile_time() -> None:
    with pytest.raises(InputError, match=r"input 'image': float64 \[1, 4\], expected float32"):
        lb.compile(lb.from_onnx(MODEL), golden={"image": np.ones((1, 4))})
    with pytest.raises(InputError, match="no value for input 'image'"):
        lb.compile(lb.from_onnx(MODEL), golden={})


class Net(lb.nn.Module):
    def forward(self, image: Any) -> Any:
        return lb.nn.relu(image)


def test_a_module_needs_a_model_to_compare_with(tmp_path: Path) -> None:
    model = lb.from_module(Net(), {"image": lb.TensorSpec(("n", 4), "float32")})
    with pytest.raises(UnsupportedError, match="not from an ONNX model") as caught:
        lb.compile(model, golden=ONE)
    assert caught.value.code == "LB2313"
    with pytest.raises(ModelError, match=r"none\.onnx"):
        lb.compile(model, golden=ONE, golden_reference=tmp_path / "none.onnx")
    same = small_model([node("Relu", "image", "output")], {"image": SHAPE}, {"output": SHAPE})
    (tmp_path / "same.onnx").write_bytes(same.SerializeToString())
    compiled = lb.compile(model, golden=IMAGES, golden_reference=tmp_path / "same.onnx")
    assert lb.selftest(compiled.to_bytes()).passed


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda golden: golden.update(cases=[]), "x.golden.cases: no case to test with"),
        (lambda golden: golden.update(more=1), "x.golden: unknown member 'more'"),
        (lambda golden: golden["cases"][0]["values"][0].update(dtype="object"), "'object' is not a dtype that NumPy has"),
        (lambda golden: golden["cases"][0]["values"][0].update(shape=[-1]), "-1, expected 0 to"),
        (lambda golden: golden["cases"][0]["values"][0].update(offset="0"), "a string, expected an integer"),
    ],
)
def test_golden_values_that_are_wrong_are_refused(change: Any, message: str, right: bytes) -> None:
    read = artifact.from_bytes(right)
    assert read.golden is not None
    data = json.loads(json.dumps(read.golden.to_json()))
    change(data)
    with pytest.raises(ArtifactCorrupt, match=message):
        Golden.from_json(Field(data, "x.golden"))


def test_golden_values_beyond_their_section_are_refused(right: bytes) -> None:
    read = artifact.from_bytes(right)
    short = {**read.sections, SECTION: bytes(read.sections[SECTION])[:-1]}
    with pytest.raises(PlanError, match=r"reaches beyond the \d+ bytes of 'const/golden'"):
        artifact.to_bytes(dataclasses.replace(read, sections=short))
    with pytest.raises(PlanError, match="reaches beyond the 0 bytes"):
        artifact.to_bytes(dataclasses.replace(read, sections={n: d for n, d in read.sections.items() if n != SECTION}))


def test_the_verb(right: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "right.lbr").write_bytes(right)
    assert main(["selftest", str(tmp_path / "right.lbr"), "--simulate", "atlas"]) == 0
    text = capsys.readouterr().out
    assert text.startswith("case 1 of 2\n")
    assert text.endswith("simulated: atlas\npassed\n")
    assert main(["selftest", str(tmp_path / "right.lbr"), "--simulate", "atlas", "--atol", "1e-9", "--json"]) == 1
    facts = json.loads(capsys.readouterr().out)
    assert (facts["passed"], facts["first_region"]) == (False, "middle.om on atlas0 (by atlas)")
    assert [value["agrees"] for value in facts["cases"][0]["values"]] == [True, False, False]


def test_compile_takes_golden_inputs_from_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "model.onnx").write_bytes(MODEL.SerializeToString())
    np.savez(tmp_path / "in.npz", image=IMAGES["image"])
    words = ["compile", str(tmp_path / "model.onnx"), "-o", str(tmp_path / "model.lbr"), "--golden", str(tmp_path / "in.npz")]
    assert main(words) == 0
    assert main(["selftest", str(tmp_path / "model.lbr")]) == 0
    capsys.readouterr()
    assert main(["inspect", str(tmp_path / "model.lbr")]) == 0
    assert "self-test    1 case, 1 value each" in capsys.readouterr().out


def test_it_needs_nothing_but_the_runtime(tmp_path: Path) -> None:
    path = lb.compile(lb.from_onnx(MODEL), golden=IMAGES).save(tmp_path / "model.lbr")
    code = (
        "import sys\n"
        "for name in ('tvm', 'tvm_ffi', 'onnx', 'networkx', 'onnxruntime'): sys.modules[name] = None\n"
        "from landbridge.cli import main\n"
        f"raise SystemExit(main(['selftest', {str(path)!r}]))\n"
    )
    source = str(Path(lb.__file__).parents[1])
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, env={"PYTHONPATH": source})
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.endswith("passed\n")
