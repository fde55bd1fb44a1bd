"""One artifact for several machines: blobs for two chips, for another vendor's device, and the region itself on the CPU."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import landbridge as lb
from landbridge.cli import main
from landbridge.runtime.artifact import read
from landbridge.runtime.vendors.atlas import acl
from landbridge.runtime.vendors.atlas import driver as atlas_driver
from landbridge.simulators.ascend.make_om import make_om
from landbridge.simulators.cambricon.make_cambricon import make_cambricon
from support.atlas_device import Simulator
from support.run_onnx import reference
from support.small_onnx import node, small_model

Array = np.ndarray[Any, Any]

WEIGHTS = np.random.default_rng(3).standard_normal((6, 6)).astype("float32") / 3
TOLERANCE: Any = {"rtol": 2e-3, "atol": 2e-3}
"""The simulated Atlas computes sums of 6 products of about 1 in float16."""
CAMBRICON = {"symbol": "subnet0", "tensor_dim_mutable": "true"}


def model() -> Any:
    nodes = [node("Relu", "image", "a"), node("MatMul", "a w", "b"), node("Tanh", "b", "c"), node("Neg", "c", "score")]
    return small_model(nodes, {"image": ("float32", ("n", 6))}, {"score": ("float32", ("n", 6))}, {"w": WEIGHTS})


def part() -> Any:
    nodes = [node("MatMul", "a w", "b"), node("Tanh", "b", "c")]
    return small_model(nodes, {"a": ("float32", ("n", 6))}, {"c": ("float32", ("n", 6))}, {"w": WEIGHTS})


def om(soc: str, gears: tuple[int, ...] = (1, 2, 4)) -> bytes:
    return make_om(part(), gears=gears, soc=soc, input_dtype="float16", output_dtype="float16")


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("several")
    (folder / "model.onnx").write_bytes(model().SerializeToString())
    (folder / "for310.om").write_bytes(om("Ascend310"))
    (folder / "for910.om").write_bytes(om("Ascend910B1", (1, 3)))
    region = f"atlas0:{folder / 'for310.om'}|atlas0:{folder / 'for910.om'};inputs=a;outputs=c"
    whole = ["compile", str(folder / "model.onnx"), "--replace"]
    assert main([*whole, f"{region};fallback=onnxruntime", "-o", str(folder / "fat.lbr")]) == 0
    assert main([*whole, region, "-o", str(folder / "two.lbr")]) == 0
    return folder


@pytest.fixture
def board(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    """Return what makes this machine one with a (simulated) chip; without a name, one with none, and without the vendor's library."""

    def become(soc: str | None, memory: str = "") -> None:
        monkeypatch.delenv("LANDBRIDGE_SIMULATE", raising=False)
        if soc is None:
            monkeypatch.delenv("ASCEND_HOME_PATH", raising=False)
            monkeypatch.setattr(acl, "LIBRARY", "libascendcl-not-here.so")
            monkeypatch.setattr(atlas_driver, "_processes", {})
            return
        monkeypatch.setenv("LANDBRIDGE_SIMULATE", "atlas")
        monkeypatch.setenv("LANDBRIDGE_SIM_ATLAS_SOC", soc)
        if memory:
            monkeypatch.setenv("LANDBRIDGE_SIM_ATLAS_MEMORY", memory)
        Simulator().reset()

    yield become
    monkeypatch.undo()
    Simulator().reset()


def agrees(session: Any, rows: tuple[int, ...] = (1, 4, 9)) -> None:
    for n in rows:
        image = np.random.default_rng(n).standard_normal((n, 6)).astype("float32")
        (expected,) = reference(model(), {"image": image}).values()
        np.testing.assert_allclose(session.run({"image": image})["score"], expected, **TOLERANCE)


@pytest.mark.parametrize(("soc", "runs"), [("Ascend310", "for310.om"), ("Ascend910B1", "for910.om")])
def test_each_chip_runs_its_own_blob(files: Path, board: Any, soc: str, runs: str, caplog: pytest.LogCaptureFixture) -> None:
    board(soc)
    with lb.load(files / "fat.lbr") as session:
        agrees(session)
        assert (session.choices[0].name, session.choices[0].device) == (runs, "atlas0")
        assert session.simulated == ("atlas",)
        split = "9 -> 4+4+1, nothing padded" if soc == "Ascend310" else "9 -> 3+3+3, nothing padded"
        assert session.plan_text({"n": 9}) == f"{runs}: {split}"
    if soc == "Ascend910B1":
        told = "for310.om on atlas0 is passed over: the offline model was compiled for Ascend310, this device is Ascend910B1"
        assert told in caplog.text


def test_without_the_device_the_region_runs_on_the_cpu(files: Path, board: Any) -> None:
    board(None)
    with lb.load(files / "fat.lbr") as session:
        agrees(session)
        (choice,) = session.choices
        assert (choice.vendor, choice.device, session.simulated) == ("onnxruntime", "cpu", ())
        assert [one.reason for one in choice.passed_over] == ["software", "software"]
        assert all("libascendcl-not-here.so does not load" in one.text and one.fix for one in choice.passed_over)


def test_on_a_chip_that_no_blob_is_for_the_region_runs_on_the_cpu(files: Path, board: Any) -> None:
    board("Ascend310P3")
    with lb.load(files / "fat.lbr") as session:
        agrees(session)
        assert [(one.name, one.reason) for one in session.choices[0].passed_over] == [("for310.om", "model"), ("for910.om", "model")]


def test_without_room_on_the_device_the_region_runs_on_the_cpu(files: Path, board: Any) -> None:
    board("Ascend310", memory="1K")
    with lb.load(files / "fat.lbr") as session:
        agrees(session)
        assert session.choices[0].passed_over[0].reason == "memory"
        assert "1024 are free" in session.choices[0].passed_over[0].text


def test_where_none_fits_one_error_has_each_reason_and_fix(files: Path, board: Any, capsys: pytest.CaptureFixture[str]) -> None:
    board("Ascend310P3")
    with pytest.raises(lb.errors.DeviceError) as caught:
        lb.load(files / "two.lbr")
    fix = "(fix: compile the model again: atc --soc_version=Ascend310P3)"
    assert str(caught.value) == (
        "for310.om: none of its 2 blobs can run here\n"
        f"- for310.om on atlas0: the offline model was compiled for Ascend310, this device is Ascend310P3 {fix}\n"
        f"- for910.om on atlas0: the offline model was compiled for Ascend910B1, this device is Ascend310P3 {fix}\n"
        "  hint: mend one of these, or compile with a blob for this machine, or with a fallback"
    )
    assert main(["run", str(files / "two.lbr"), "--fill", "ones", "--dim", "n=2"]) == 1
    assert capsys.readouterr().err.count("error:") == 1
    assert main(["doctor", str(files / "two.lbr"), "--json"]) == 7
    problems = json.loads(capsys.readouterr().out)["problems"]
    assert [(problem["kind"], problem["at"]) for problem in problems] == [
        ("model", "for310.om on atlas0"),
        ("model", "for910.om on atlas0"),
    ]


def test_the_doctor_says_what_would_run(files: Path, board: Any, capsys: pytest.CaptureFixture[str]) -> None:
    board("Ascend910B1")
    assert main(["doctor", str(files / "fat.lbr")]) == 0
    told = capsys.readouterr().out
    assert f"{files / 'fat.lbr'}: runs here\n  fine: for910.om on atlas0\n  passed over: for310.om on atlas0: the offline model" in told
    board(None)
    assert main(["doctor", str(files / "fat.lbr"), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["models"] == ["c by onnxruntime on cpu"]
    assert [one["name"] for one in found["passed_over"]] == ["for310.om", "for910.om"]


def test_what_the_other_verbs_say(files: Path, board: Any, capsys: pytest.CaptureFixture[str]) -> None:
    board("Ascend910B1")
    fat = str(files / "fat.lbr")
    assert main(["inspect", fat]) == 0
    told = capsys.readouterr().out
    assert "offline model for310.om: atlas on atlas0, section vendor/0" in told
    assert "  blob 2, where those before it cannot run: for910.om: atlas on atlas0, section vendor/1" in told
    assert "  blob 3, where those before it cannot run: c by onnxruntime: onnxruntime on cpu, section vendor/2" in told
    assert "    batch gears 1, 3 (from the file)" in told
    assert main(["inspect", fat, "--json"]) == 0
    (extern,) = json.loads(capsys.readouterr().out)["externs"]
    assert [one["name"] for one in extern["alternatives"]] == ["for910.om", "c by onnxruntime"]
    assert main(["report", fat]) == 0
    assert "for310.om has 3 blobs, of which the first runs that can: for310.om, atlas on atlas0; for910.om" in capsys.readouterr().out
    assert main(["verify", fat, "--reference", str(files / "model.onnx"), "--fill", "random", "--dim", "n=3"]) == 0
    assert "into for910.om on atlas0" in capsys.readouterr().out
    assert main(["run", fat, "--fill", "random", "--dim", "n=3", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["choices"][0]["name"] == "for910.om"
    assert main(["diff", fat, str(files / "two.lbr")]) == 1
    assert "  - for310.om, blob 3: c by onnxruntime: onnxruntime on cpu" in capsys.readouterr().out


def test_a_recording_of_one_chip_is_replayed_as_its_blob(files: Path, board: Any, tmp_path: Path) -> None:
    board("Ascend910B1")
    image = np.random.default_rng(5).standard_normal((4, 6)).astype("float32")
    with lb.load(files / "fat.lbr") as session:
        recorded = session.record({"image": image}, tmp_path)
    board(None)
    with lb.load(files / "fat.lbr", replay=tmp_path) as session:
        assert session.choices[0].name == "for910.om"
        np.testing.assert_array_equal(session.run({"image": image})["score"], recorded["score"])


def test_any_of_the_blobs_is_swapped(files: Path, board: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    new, out = tmp_path / "for310P3.om", tmp_path / "out.lbr"
    new.write_bytes(om("Ascend310P3", (2, 1)))
    assert main(["swap", str(files / "fat.lbr"), "--model", "for910.om", "--blob", str(new), "-o", str(out)]) == 0
    assert "  soc: Ascend910B1 -> Ascend310P3" in capsys.readouterr().out
    before, after = read(files / "fat.lbr"), read(out)
    assert after.report == before.report, "which is that of the first blob"
    assert after.sections["vendor/0"] == before.sections["vendor/0"]
    board("Ascend310P3")
    with lb.load(out) as session:
        agrees(session)
        assert [one.name for one in session.choices[0].passed_over] == ["for310.om"]
    new.write_bytes(om("Ascend310P3", (1, 9)))
    assert main(["swap", str(out), "--model", "vendor/1", "--blob", str(new)]) == 1
    assert "batch gears 1, 9 need room for 8 rows beyond the batch, 'a' has room for 3" in capsys.readouterr().err
    new.write_bytes(make_om(part(), gears=(1, 2), input_dtype="float32"))
    assert main(["swap", str(out), "--model", "vendor/0", "--blob", str(new)]) == 1
    assert "input 0 'a' is float32 [batch, 6] ND, expected float16" in capsys.readouterr().err


def test_a_first_blob_is_not_swapped_for_one_that_the_others_cannot_stand_in_for(tmp_path: Path) -> None:
    shape = {"a": ("float32", (4, 6))}, {"c": ("float32", (4, 6))}
    fixed = small_model([node("MatMul", "a w", "b"), node("Tanh", "b", "c")], *shape, {"w": WEIGHTS})
    whole = small_model([node("Tanh", "x", "a"), *fixed.graph.node], {"x": ("float32", (4, 6))}, {"c": ("float32", (4, 6))}, {"w": WEIGHTS})
    by = [lb.ExternModel.from_bytes(make_om(fixed, soc=soc), name=f"{soc}.om") for soc in ("Ascend310", "Ascend910B1")]
    path, new = tmp_path / "m.lbr", tmp_path / "new.om"
    lb.compile(lb.replace(lb.from_onnx(whole), inputs=["a"], outputs=["c"], by=by)).save(path)
    new.write_bytes(make_om(part(), gears=(4,)))
    assert main(["swap", str(path), "--model", "Ascend310.om", "--blob", str(new)]) == 1


def test_the_blob_of_another_vendor_runs_on_its_own_device(board: Any) -> None:
    """The plan has its tensors on atlas0; where there is none, the same call goes to a Cambricon card, over the host."""
    other = lb.ExternModel.from_bytes(make_cambricon(part(), tensor_dim_mutable=True), options=CAMBRICON, name="x.cambricon")
    whole = make_om(part(), gears=(1, 2), fp16=False)
    program = lb.replace(
        lb.from_onnx(model()),
        inputs=["a"],
        outputs=["c"],
        by=[lb.ExternModel.from_bytes(whole, name="x.om"), other],
        device=["atlas0", "mlu0"],
    )
    compiled = lb.compile(program)
    board(None)
    with compiled.load(simulate=["cambricon"]) as session:
        agrees(session)
        assert (session.choices[0].name, session.choices[0].device) == ("x.cambricon", "cambricon0")
    with compiled.load(simulate=["atlas", "cambricon"]) as session:
        agrees(session)
        assert (session.choices[0].name, session.simulated) == ("x.om", ("atlas",))


def test_offload_with_a_fallback(board: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("openvino", reason="needs the package openvino: pip install landbridge[openvino]")
    program = lb.offload(lb.from_onnx(model()), "openvino0", inputs=["a"], outputs=["c"], fallback="onnxruntime")
    compiled = lb.compile(program)
    with compiled.load() as session:
        agrees(session)
        assert session.choices[0].vendor == "openvino"

    def missing(self: Any, ordinal: int, *, simulate: bool = False) -> Any:
        raise lb.errors.DeviceError("the package openvino is not installed", hint="pip install openvino")

    monkeypatch.setattr("landbridge.runtime.vendors.openvino.OpenvinoVendor.open", missing)
    with compiled.load() as session:
        agrees(session)
        assert session.choices[0].vendor == "onnxruntime"


def test_the_module_api(board: Any) -> None:
    class Net(lb.nn.Module):
        def __init__(self) -> None:
            serialised = part().SerializeToString()
            others = [
                lb.ExternModel.from_bytes(make_om(part(), gears=(1, 2), soc="Ascend910B1"), name="for910.om"),
                lb.ExternModel.from_bytes(serialised, "onnxruntime", name="on the CPU"),
            ]
            self.backbone = lb.AtlasRuntimeSubgraph(make_om(part(), gears=(1, 2)), alternatives=others)

        def forward(self, x):  # type: ignore[no-untyped-def]  # as users write it
            return lb.nn.negative(self.backbone(lb.nn.relu(x))[0])

    compiled = lb.compile(lb.from_module(Net(), {"x": lb.TensorSpec(("n", 6), "float32")}))
    image = np.random.default_rng(1).standard_normal((3, 6)).astype("float32")
    (expected,) = reference(model(), {"image": image}).values()
    for soc, name in {"Ascend310": "backbone", "Ascend910B1": "for910.om", None: "on the CPU"}.items():
        board(soc)
        with compiled.load() as session:
            np.testing.assert_allclose(session.run({"x": image})["output"], expected, **TOLERANCE)
            assert session.choices[0].name == name


def test_the_same_inputs_give_the_same_bytes(files: Path, tmp_path: Path) -> None:
    blobs = [lb.ExternModel.from_file(files / name) for name in ("for310.om", "for910.om")]
    for name in ("one.lbr", "two.lbr"):
        program = lb.replace(lb.from_onnx(files / "model.onnx"), inputs=["a"], outputs=["c"], by=blobs, fallback="onnxruntime")
        lb.compile(program).save(tmp_path / name)
    assert (tmp_path / "one.lbr").read_bytes() == (tmp_path / "two.lbr").read_bytes()
    assert read(tmp_path / "one.lbr").externs[0].alternatives[1].name == "c by onnxruntime"
