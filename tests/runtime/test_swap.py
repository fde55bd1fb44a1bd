from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import landbridge as lb
from landbridge.runtime.artifact import read
from landbridge.runtime.dims import evaluate
from landbridge.runtime.errors import LandbridgeError, SignatureError, UsageError, UserError
from landbridge.runtime.sidecar import sidecar_path, write_sidecar
from landbridge.runtime.swap import swap
from landbridge.simulators.ascend.make_om import make_om
from support.small_onnx import node, small_model
from support.tensorrt_double import plan as engine

ROWS = np.array([[1, -2, 3, 0.5], [0, 4, -1, 2], [2, 2, 2, 2]], np.float32)


def om(operator: str = "Sigmoid", gears: tuple[int, ...] = (1, 2, 4), width: int = 4, rows: int | str = "n") -> bytes:
    shape = ("float32", (rows, width))
    return make_om(small_model([node(operator, "clean", "score")], {"clean": shape}, {"score": shape}), gears=gears)


@lru_cache(maxsize=2)
def compiled(rows: int | str) -> bytes:
    """Return an artifact: Relu, then ``middle`` on atlas0, then Neg."""
    shape = ("float32", (rows, 4))
    nodes = [node("Relu", "image", "clean"), node("Sigmoid", "clean", "score"), node("Neg", "score", "result")]
    program = lb.from_onnx(small_model(nodes, {"image": shape}, {"result": shape}))
    by = lb.ExternModel.from_bytes(om(), name="middle.om")
    return lb.compile(lb.replace(program, inputs=["clean"], outputs=["score"], by=by)).to_bytes()


def files(folder: Path, blob: bytes, rows: int | str = "n") -> tuple[Path, Path]:
    (folder / "model.lbr").write_bytes(compiled(rows))
    (folder / "new.om").write_bytes(blob)
    return folder / "model.lbr", folder / "new.om"


def run(path: Path, rows: Any = ROWS) -> Any:
    with lb.load(path, simulate=["atlas"]) as session:
        return session(rows)["result"]


def refusal(path: Path, blob: Path, kind: type[LandbridgeError] = SignatureError, model: str = "middle.om") -> str:
    before = path.read_bytes()
    with pytest.raises(kind) as caught:
        swap(path, model, blob)
    assert path.read_bytes() == before
    return str(caught.value).replace(f"{path.parent}/", "")


def test_the_new_blob_runs_in_place_of_the_old_one(tmp_path: Path) -> None:
    path, blob = files(tmp_path, om("Tanh"))
    clean = np.maximum(ROWS, 0)
    np.testing.assert_allclose(run(path), -1 / (1 + np.exp(-clean)), atol=2e-3)  # the model works in float16
    done = swap(path, "middle.om", blob)
    np.testing.assert_allclose(run(path), -np.tanh(clean), atol=2e-3)
    assert (done.path, done.model, done.changes, done.signatures) == (path, "middle.om", (), 0)
    assert done.digests[1] == read(path).digest != done.digests[0]


def test_another_file_leaves_the_first_as_it_is(tmp_path: Path) -> None:
    path, blob = files(tmp_path, om("Tanh"))
    out = tmp_path / "out.lbr"
    assert swap(path, "middle.om", blob, out).path == out
    assert path.read_bytes() == compiled("n")
    assert read(out).sections["vendor/0"] == om("Tanh")


def test_other_gears_fit_where_the_plan_has_room(tmp_path: Path) -> None:
    path, blob = files(tmp_path, om("Tanh", gears=(1, 3)))
    done = swap(path, "middle", blob)
    assert done.changes[0] == "gears: 1, 2, 4 -> 1, 3"
    found = read(path)
    assert found.report.launches == {"middle.om": "n over gears 1, 3"}
    assert found.externs[0].signature.gears == lb.Gears("batch", ((1,), (3,)))
    np.testing.assert_allclose(run(path, np.repeat(ROWS, 3, axis=0)), np.repeat(-np.tanh(np.maximum(ROWS, 0)), 3, axis=0), atol=2e-3)


def test_the_memory_is_that_of_the_new_blob(tmp_path: Path) -> None:
    shape = ("float32", ("n", 4))
    weight = np.eye(4, dtype=np.float32)
    larger = small_model([node("MatMul", "clean w", "score")], {"clean": shape}, {"score": shape}, {"w": weight})
    path, blob = files(tmp_path, make_om(larger, gears=(1, 2, 3)))
    old = read(path)
    done = swap(path, "middle.om", blob)
    new = read(path)
    signatures = [artifact.externs[0].signature for artifact in (old, new)]
    grown = [s.workspace_nbytes + s.weight_nbytes for s in signatures]
    sizes = [evaluate(artifact.report.peak_nbytes["atlas0"], {"n": 5}) for artifact in (old, new)]
    assert grown[0] != grown[1]
    assert sizes[1] - sizes[0] == grown[1] - grown[0]
    assert done.peak_nbytes == new.report.peak_nbytes
    assert old.report.peak_nbytes["cpu"] == new.report.peak_nbytes["cpu"]


def test_gears_that_need_more_room_are_refused(tmp_path: Path) -> None:
    text = refusal(*files(tmp_path, om("Tanh", gears=(1, 8))))
    assert text == (
        "model.lbr: middle.om: new.om does not fit: batch gears 1, 8 need room for 7 rows beyond the batch, 'clean' has room for 3; "
        "batch gears 1, 8 need room for 7 rows beyond the batch, 'score' has room for 3\n  hint: compile the model anew with it"
    )


def test_gears_that_do_not_reach_a_fixed_batch_are_refused(tmp_path: Path) -> None:
    text = refusal(*files(tmp_path, om("Tanh", gears=(2, 4)), rows=3))
    assert text.startswith(
        "model.lbr: middle.om: new.om does not fit: batch 3 is not a sum of the batches that this model was compiled for"
    )


def test_every_port_that_differs_is_named(tmp_path: Path) -> None:
    text = refusal(*files(tmp_path, om("Tanh", width=5)))
    assert "input 0 'clean' is float32 [batch, 5] ND, expected float32 [batch, 4] ND; output 0 " in text


def test_a_model_of_one_size_does_not_replace_one_with_gears(tmp_path: Path) -> None:
    text = refusal(*files(tmp_path, om("Tanh", gears=(), rows=4)))
    assert "input 0 'clean' is float32 [4, 4] ND, expected float32 [batch, 4] ND" in text
    assert "no gears, expected batch gears" in text


def test_what_is_not_there_and_what_is_there_already(tmp_path: Path) -> None:
    path, blob = files(tmp_path, om())
    assert refusal(path, blob, UserError) == "model.lbr: middle.om: new.om is the blob that it has already"
    assert refusal(path, blob, UsageError, "midle.om") == (
        "model.lbr: it has no offline model 'midle.om'\n  hint: did you mean 'middle.om'?"
    )
    blob.write_bytes(small_model([node("Relu", "a", "b")], {"a": ("float32", (1,))}, {"b": ("float32", (1,))}).SerializeToString())
    assert refusal(path, blob).startswith("new.om: this is a blob of onnxruntime, expected one of atlas")


def test_a_call_of_a_shared_blob_gets_its_own(tmp_path: Path) -> None:
    shape = ("float32", ("n", 4))
    nodes = [node("Relu", "image", "clean"), node("Sigmoid", "clean", "score"), node("Sigmoid", "score", "result")]
    program = lb.from_onnx(small_model(nodes, {"image": shape}, {"result": shape}))
    for name, borders in {"first.om": ("clean", "score"), "second.om": ("score", "result")}.items():
        by = lb.ExternModel.from_bytes(om(), name=name)
        program = lb.replace(program, inputs=[borders[0]], outputs=[borders[1]], by=by)
    path, blob = tmp_path / "two.lbr", tmp_path / "new.om"
    lb.compile(program).save(path)
    blob.write_bytes(om("Tanh"))
    assert [record.section for record in read(path).externs] == ["vendor/0", "vendor/0"]
    swap(path, "second.om", blob)
    assert [record.section for record in read(path).externs] == ["vendor/0", "vendor/1"]
    expected = np.tanh(1 / (1 + np.exp(-np.maximum(ROWS, 0))))
    np.testing.assert_allclose(run(path), expected, atol=2e-3)


def test_the_report_is_that_of_an_artifact_compiled_with_the_new_blob(tmp_path: Path) -> None:
    new = om("Tanh", gears=(1, 3, 4))
    path, blob = files(tmp_path, new, rows=7)
    swap(path, "middle.om", blob)
    shape = ("float32", (7, 4))
    nodes = [node("Relu", "image", "clean"), node("Sigmoid", "clean", "score"), node("Neg", "score", "result")]
    program = lb.from_onnx(small_model(nodes, {"image": shape}, {"result": shape}))
    by = lb.ExternModel.from_bytes(new, name="middle.om")
    compiled_anew = lb.compile(lb.replace(program, inputs=["clean"], outputs=["score"], by=by)).artifact
    swapped = read(path)
    assert swapped.report == compiled_anew.report
    assert swapped.report.launches["middle.om"].startswith("7 -> 4+3")
    assert swapped.externs == compiled_anew.externs
    assert swapped.plan == compiled_anew.plan


def sided(folder: Path, name: str, rows: Any, version: str) -> Path:
    """Write a TensorRT plan, which does not tell its signature, and a sidecar that does."""
    path = folder / name
    path.write_bytes(engine("double", [], [], version=version))
    ports = lb.Port("x", "float32", (rows, 4)), lb.Port("y", "float32", (rows, 4))
    signature = lb.Signature(ports[:1], ports[1:], versions={"sdk": version})
    write_sidecar(sidecar_path(path), path.read_bytes(), signature, "tensorrt")
    return path


def test_a_blob_that_does_not_tell_its_signature_needs_a_sidecar(tmp_path: Path) -> None:
    shape = ("float32", ("n", 4))
    program = lb.from_onnx(
        small_model([node("Relu", "image", "clean"), node("Neg", "clean", "result")], {"image": shape}, {"result": shape})
    )
    by = lb.ExternModel.from_file(sided(tmp_path, "old.engine", "batch", "10.3.0.26"))
    path = tmp_path / "model.lbr"
    lb.compile(lb.replace(program, inputs=["image"], outputs=["clean"], by=by)).save(path)
    new = sided(tmp_path, "new.engine", "rows", "10.4.0.1")
    assert swap(path, "old.engine", new).changes == ("sdk: 10.3.0.26 -> 10.4.0.1",)
    assert read(path).externs[0].signature.inputs == (lb.Port("x", "float32", ("rows", 4)),)
    other = sided(tmp_path, "other.engine", 3, "10.4.0.2")
    assert "input 0 'x' is float32 [3, 4] ND, expected float32 [rows, 4] ND" in refusal(path, other, model="old.engine")
    sidecar_path(other).unlink()
    assert refusal(path, other, model="old.engine").startswith("other.engine: TensorRT plan: a plan of TensorRT 10.4.0.2 does not tell")
